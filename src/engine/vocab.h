/* vocab.h - the tokens of a model: their bytes, kinds and ids. Read-only after opening.
 *
 * vocab_new takes what a file says (vocab_gguf.h, tokenizer_json.h) and checks all of it: hostile
 * counts, malformed byte tokens, merges that name no token, ids out of range are ERR_FORMAT. */
#ifndef PENSIEVE_ENGINE_VOCAB_H
#define PENSIEVE_ENGINE_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "engine/normalizer.h"
#include "engine/pretokenizer.h"

enum { VOCAB_TOKENS_MAX = 1 << 20, VOCAB_TOKEN_BYTES_MAX = 4096, VOCAB_MERGES_MAX = 1 << 21,
       VOCAB_ENDS_MAX = 256 };

/* GGUF's tokenizer.ggml.token_type numbers. */
enum token_type {
    TOKEN_NORMAL = 1, TOKEN_UNKNOWN = 2, TOKEN_CONTROL = 3, TOKEN_USER_DEFINED = 4,
    TOKEN_UNUSED = 5, TOKEN_BYTE = 6
};

/* How a token that is found by its spelling takes what stands beside it. */
enum token_flags {
    TOKEN_LSTRIP = 1,           /* swallows the white space before it */
    TOKEN_RSTRIP = 2,           /* ... and after it (Phi-3's do) */
    TOKEN_SINGLE_WORD = 4,      /* is found only with no word character beside it */
    TOKEN_NORMALIZED = 8,       /* is found in the normalised text, unless it is special */
};

/* How a word becomes tokens. */
enum vocab_model {
    VOCAB_BPE_BYTES,            /* byte pairs from single bytes on: GPT-2's alphabet */
    VOCAB_BPE_CHARS,            /* from characters on, U+2581 for a space: SentencePiece's BPE */
    VOCAB_UNIGRAM,              /* the likeliest way to cut it into pieces */
};

/* What a file says, borrowed during vocab_new only. */
struct vocab_source {
    enum vocab_model model;
    const struct str *tokens;   /* one with n == 0 and type UNUSED is a hole in the ids */
    const int32_t *types;       /* NULL: all normal */
    const uint8_t *flags;       /* NULL: none */
    const double *scores;       /* UNIGRAM, and BPE_CHARS that has no merges; else NULL */
    size_t tokens_n;
    const struct str *merges;   /* "left right" */
    const uint32_t *merge_lefts;    /* length of each left part; NULL: it ends at the first space */
    size_t merges_n;
    int64_t bos, eos, unknown;  /* -1: none */
    int64_t eot;                /* tokenizer.ggml.eot_token_id, -1: none */
    const int64_t *ends;        /* more tokens that end a turn (generation_config.json) */
    size_t ends_n;
    bool add_bos;
    bool byte_fallback;         /* a character without a token becomes its bytes' <0xNN> */
    bool fuse_unknown;          /* unknown characters beside each other become one unknown token */
    bool ignore_merges;         /* a word that is a token as it stands is that token */

    /* What is done to the text: before tokens that are `normalized` are looked for, and after. */
    struct normalizer_steps normalize, prepare;
    struct str pre;             /* a family of patterns by name (tokenizer.ggml.pre), or ... */
    struct pretokenizer_steps split;    /* ... the file's own (pre.n == 0); none: one word */
    enum vocab_decode {
        DECODE_PLAIN,           /* tokens' bytes as they are */
        DECODE_STRIP_SPACE,     /* a space at the very start is dropped */
        DECODE_STRIP_TOKEN,     /* every space of the first token is dropped */
    } decode;
};

/* Nothing but "none" everywhere. */
void vocab_source_init(struct vocab_source *source);

struct vocab;
struct vocab *vocab_new(const struct vocab_source *source, struct err *err);
void vocab_free(struct vocab *vocab);           /* NULL is allowed */

size_t vocab_size(const struct vocab *vocab);
struct str vocab_bytes(const struct vocab *vocab, int32_t id);      /* what the token writes */
struct str vocab_spelling(const struct vocab *vocab, int32_t id);   /* as the file spells it */
enum token_type vocab_type(const struct vocab *vocab, int32_t id);
bool vocab_is_end(const struct vocab *vocab, int32_t id);   /* ends a turn: eos, <|im_end|>, ... */
int32_t vocab_bos(const struct vocab *vocab);               /* -1: none */
int32_t vocab_eos(const struct vocab *vocab);
bool vocab_adds_bos(const struct vocab *vocab);
const char *vocab_kind(const struct vocab *vocab);          /* "gpt2/smollm" */

enum vocab_decode vocab_decode(const struct vocab *vocab);

/* What the tokenizer needs. */

/* The token of one byte, or -1: vocabularies that were trained on text alone lack some. */
int32_t vocab_byte(const struct vocab *vocab, uint8_t byte);
/* The ordinary token that writes exactly these bytes, or -1. */
int32_t vocab_word(const struct vocab *vocab, struct str bytes);
/* The token that is spelled so, or -1. */
int32_t vocab_find(const struct vocab *vocab, struct str spelling);
/* Means something to the model or the template, so plain text must never become it. The others that
 * are found by their spelling (runs of spaces and the like) are text and are found everywhere. */
bool vocab_is_special(const struct vocab *vocab, int32_t id);
/* Text may become it by merging or as a unigram. */
bool vocab_is_piece(const struct vocab *vocab, int32_t id);
/* Whether two neighbours merge: into which token, and how early (0 is the first rule). */
bool vocab_merge(const struct vocab *vocab, int32_t left, int32_t right, uint32_t *rank,
                 int32_t *merged);
/* false: no piece holds these two characters beside each other. Not for BPE_BYTES. */
bool vocab_joins(const struct vocab *vocab, uint32_t left, uint32_t right);

struct spelled;
struct unigram;

struct vocab_rules {
    enum vocab_model model;
    int32_t unknown;                        /* -1: none */
    bool byte_fallback, fuse_unknown, whole_words;
    struct normalizer_steps normalize, prepare;
    const struct spelled *spelled, *spelled_normalized;
    struct pretokenizer *pretokenizer;
    const struct unigram *unigram;          /* UNIGRAM only */
};
const struct vocab_rules *vocab_rules(const struct vocab *vocab);

#endif
