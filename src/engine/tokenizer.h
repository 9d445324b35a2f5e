/* tokenizer.h - text to tokens: byte-level BPE with the file's named pre-tokeniser. Pure. */
#ifndef PENSIEVE_ENGINE_TOKENIZER_H
#define PENSIEVE_ENGINE_TOKENIZER_H

#include "engine/vocab.h"
#include "pensieve/engine.h"

/* See engine_tokenize for the rules. Invalid UTF-8 in text is tokenised byte by byte. */
bool tokenizer_encode(const struct vocab *vocab, struct arena *arena, struct str text,
                      const struct plain_range *plain, size_t plain_n, bool add_bos,
                      struct tokens *out, struct err *err);

#endif
