/* unigram.h - the likeliest way to cut text into a vocabulary's pieces. */
#ifndef PENSIEVE_ENGINE_UNIGRAM_H
#define PENSIEVE_ENGINE_UNIGRAM_H

#include "base/arena.h"
#include "base/err.h"
#include "engine/vocab.h"

enum { UNIGRAM_BYTES_MAX = 1 << 24 };       /* of all pieces together */

struct unigram;
/* Lives in the arena. scores: one a token, finite. */
struct unigram *unigram_new(struct arena *arena, const struct vocab *vocab, const double *scores,
                            struct err *err);

struct unigram_piece {
    size_t end;                 /* of its bytes, in the text */
    int32_t id;                 /* -1: one character that no piece holds */
};
/* The pieces of text in order; the array and the scratch are the arena's. */
size_t unigram_cut(const struct unigram *unigram, struct arena *arena, struct str text,
                   struct unigram_piece **out);

#endif
