/* ngrams.h - a log of tokens, and where in it the tokens last said were said before.
 *
 * Bounded: the log is a ring that keeps the last tokens_max of all that were ever pushed. Positions
 * count them from the first on, modulo 2^32. */
#ifndef PENSIEVE_ENGINE_NGRAMS_H
#define PENSIEVE_ENGINE_NGRAMS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    NGRAMS_SHORT = 2,           /* tokens that a match has at least */
    NGRAMS_LONG = 6,            /* matches of so many are looked for first */
    NGRAMS_CANDIDATES = 32,     /* the most recent places that are looked at, for either */
    NGRAMS_MATCH_MAX = 64,      /* a match is not measured beyond */
    NGRAMS_TOKENS_MAX = 1 << 16,        /* kept at most; 20 bytes each */
};

struct ngrams;

/* tokens_max: rounded up to a power of 2, and down to NGRAMS_TOKENS_MAX. NULL: no memory. */
struct ngrams *ngrams_new(uint32_t tokens_max);
void ngrams_free(struct ngrams *ngrams);
void ngrams_push(struct ngrams *ngrams, int32_t token);

struct ngrams_match {
    uint32_t next;              /* the position after the place that matched */
    uint32_t length;            /* tokens that are the same before it; 0: there is no such place */
};

/* The place that the longest end of `tail` is the same as, and there the most recent; only places
 * that something follows. The tail may be the log's own end. */
struct ngrams_match ngrams_find(const struct ngrams *ngrams, const int32_t *tail, uint32_t tail_n);
uint32_t ngrams_end(const struct ngrams *ngrams);       /* the position that comes next */
/* false: not in the log, any more or yet. */
bool ngrams_at(const struct ngrams *ngrams, uint32_t position, int32_t *token);

#endif
