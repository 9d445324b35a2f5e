/* tokenizer_json.h - Hugging Face's tokenizer.json and tokenizer_config.json as a vocab_source. */
#ifndef PENSIEVE_ENGINE_TOKENIZER_JSON_H
#define PENSIEVE_ENGINE_TOKENIZER_JSON_H

#include "engine/vocab.h"

enum { TOKENIZER_JSON_BYTES_MAX = 128 << 20, TOKENIZER_CONFIG_BYTES_MAX = 16 << 20 };

/* tokenizer_config may be empty (n == 0): then no token is named bos or eos, only what the
 * post-processor puts first. Everything lies in the arena; `ends` is left to the caller.
 * ERR_FORMAT names the file and the field; what is not supported is refused by its name. */
bool vocab_source_json(struct arena *arena, struct str tokenizer_json, struct str tokenizer_config,
                       struct vocab_source *out, struct err *err);

#endif
