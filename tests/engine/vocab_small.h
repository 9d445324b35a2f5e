/* vocab_small.h - a small byte-level vocabulary for tests: the bytes, a few merges, a few specials. */
#ifndef PENSIEVE_TESTS_VOCAB_SMALL_H
#define PENSIEVE_TESTS_VOCAB_SMALL_H

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "engine/vocab.h"

enum { SMALL_TOKENS_MAX = 300 };

/* What the vocabulary is made of, so that a test can spoil it first. */
struct small {
    struct vocab_source source;
    struct str tokens[SMALL_TOKENS_MAX];
    int32_t types[SMALL_TOKENS_MAX];
    struct str merges[8];
    char alphabet[256][4];
};

static inline int32_t small_token(struct small *small, const char *spelling, int32_t type)
{
    const size_t id = small->source.tokens_n++;

    small->tokens[id] = str_of(spelling);
    small->types[id] = type;
    return (int32_t)id;
}

/* `without`: bytes that get no token; may be NULL. Byte b's character is the b-th of GPT-2's list. */
static inline void small_init(struct small *small, const char *without)
{
    static const char *const merges[] = {"a b", "ab c", "c c", "b c", "a a", "\xc4\xa0 ab"};
    uint32_t next = 0x100;

    memset(small, 0, sizeof *small);
    small->source = (struct vocab_source){
        .model = VOCAB_BPE_BYTES, .pre = STR("gpt-2"), .tokens = small->tokens, .types = small->types,
        .merges = small->merges, .bos = -1, .eos = -1, .unknown = -1, .eot = -1};
    for (unsigned byte = 0; byte < 256; byte++) {
        const bool printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
        char *spelling = small->alphabet[byte];
        utf8_encode(spelling, printable ? byte : next++);
        if (!without || !byte || !strchr(without, (int)byte))
            small_token(small, spelling, TOKEN_NORMAL);
    }
    static const char *const words[] = {"ab", "abc", "aa", "cc", "bc", "\xc4\xa0" "ab"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        small_token(small, words[i], TOKEN_NORMAL);
    small_token(small, "<|im_end|>", TOKEN_CONTROL);
    small_token(small, "<|im_end|>>", TOKEN_CONTROL);
    small_token(small, "<think>", TOKEN_USER_DEFINED);
    small_token(small, "   ", TOKEN_USER_DEFINED);
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++)
        small->merges[small->source.merges_n++] = str_of(merges[i]);
}

static inline struct vocab *vocab_small(const char *without)
{
    struct small *small = malloc(sizeof *small);

    small_init(small, without);
    struct vocab *vocab = vocab_new(&small->source, NULL);
    free(small);
    return vocab;
}

static inline struct vocab *vocab_small_bos(void)
{
    struct small *small = malloc(sizeof *small);

    small_init(small, NULL);
    small->source.bos = small_token(small, "<s>", TOKEN_CONTROL);
    small->source.add_bos = true;
    struct vocab *vocab = vocab_new(&small->source, NULL);
    free(small);
    return vocab;
}

#endif
