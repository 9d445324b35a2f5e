/* tokenizer.h - text to tokens, exactly as the model's own tokenizer does it. Pure. */
#ifndef PENSIEVE_ENGINE_TOKENIZER_H
#define PENSIEVE_ENGINE_TOKENIZER_H

#include "engine/vocab.h"
#include "pensieve/engine.h"

enum {
    TOKENIZER_TEXT_BYTES_MAX = 128 << 20,
    TOKENIZER_WORD_BYTES_MAX = 256 << 10,   /* a longer word is cut here, at a character */
};

/* See engine_tokenize_known for the rules. */
bool tokenizer_encode_known(const struct vocab *vocab, struct arena *arena,
                            const struct known_text *known, struct tokens *out,
                            uint32_t *cut_tokens, struct err *err);
/* See engine_tokenize for the rules. Invalid UTF-8 in text is tokenised byte by byte. A character
 * with a byte that no token of the vocabulary writes becomes U+FFFD. */
bool tokenizer_encode(const struct vocab *vocab, struct arena *arena, struct str text,
                      const struct plain_range *plain, size_t plain_n, bool add_bos,
                      struct tokens *out, struct err *err);

#endif
