/* vocab_gguf.h - a GGUF file's tokenizer keys as a vocab_source. */
#ifndef PENSIEVE_ENGINE_VOCAB_GGUF_H
#define PENSIEVE_ENGINE_VOCAB_GGUF_H

#include "engine/vocab.h"

struct gguf;

/* Strings are borrowed from the file, arrays lie in the arena. ERR_FORMAT names key and place. */
bool vocab_source_gguf(const struct gguf *file, struct arena *arena, struct vocab_source *out,
                       struct err *err);

#endif
