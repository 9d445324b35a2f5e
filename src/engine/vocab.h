/* vocab.h - the tokens of a model: their bytes, kinds and ids. Read-only after opening.
 *
 * vocab_new takes what the file says (src/engine/gguf.c) and checks all of it: hostile counts,
 * malformed byte tokens, merges that name no token, ids out of range are ERR_FORMAT. */
#ifndef PENSIEVE_ENGINE_VOCAB_H
#define PENSIEVE_ENGINE_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

enum { VOCAB_TOKENS_MAX = 1 << 20, VOCAB_TOKEN_BYTES_MAX = 4096, VOCAB_MERGES_MAX = 1 << 21 };

/* GGUF's tokenizer.ggml.token_type numbers. */
enum token_type {
    TOKEN_NORMAL = 1, TOKEN_UNKNOWN = 2, TOKEN_CONTROL = 3, TOKEN_USER_DEFINED = 4,
    TOKEN_UNUSED = 5, TOKEN_BYTE = 6
};

/* What a file says, borrowed during vocab_new only. */
struct vocab_source {
    struct str model;           /* tokenizer.ggml.model: "gpt2" */
    struct str pre;             /* tokenizer.ggml.pre: "smollm", ... */
    const struct str *tokens;
    const int32_t *types;       /* NULL: all normal */
    size_t tokens_n;
    const struct str *merges;   /* "left right" */
    size_t merges_n;
    int64_t bos, eos, unknown;  /* -1: none */
    int64_t eot;                /* tokenizer.ggml.eot_token_id, -1: none */
    bool add_bos;
};

struct vocab;
struct pretokenizer;
struct vocab *vocab_new(const struct vocab_source *source, struct err *err);
void vocab_free(struct vocab *vocab);           /* NULL is allowed */

size_t vocab_size(const struct vocab *vocab);
struct str vocab_bytes(const struct vocab *vocab, int32_t id);      /* what the token writes */
struct str vocab_spelling(const struct vocab *vocab, int32_t id);   /* as the file spells it */
enum token_type vocab_type(const struct vocab *vocab, int32_t id);
bool vocab_is_end(const struct vocab *vocab, int32_t id);   /* ends a turn: eos, eot, <|im_end|>, ... */
int32_t vocab_bos(const struct vocab *vocab);               /* -1: none */
int32_t vocab_eos(const struct vocab *vocab);
bool vocab_adds_bos(const struct vocab *vocab);
const char *vocab_kind(const struct vocab *vocab);          /* "gpt2/smollm" */

/* What the tokenizer needs. */

/* The token of one byte, or -1: vocabularies that were trained on text alone lack some. */
int32_t vocab_byte(const struct vocab *vocab, uint8_t byte);
/* The ordinary token that writes exactly these bytes, or -1. */
int32_t vocab_word(const struct vocab *vocab, struct str bytes);
/* Whether two neighbours merge: into which token, and how early (0 is the first rule). */
bool vocab_merge(const struct vocab *vocab, int32_t left, int32_t right, uint32_t *rank,
                 int32_t *merged);
/* Tokens that are found by their spelling before anything else, sorted by spelling as bytes. */
const int32_t *vocab_spelled(const struct vocab *vocab, size_t *n);
/* Of those: means something to the model or the template, so plain text must never become it. The
 * others (runs of spaces and the like) are text and are found everywhere. */
bool vocab_is_special(const struct vocab *vocab, int32_t id);
const struct pretokenizer *vocab_pretokenizer(const struct vocab *vocab);

#endif
