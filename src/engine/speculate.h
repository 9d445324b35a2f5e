/* speculate.h - what a sequence will probably say next: what followed when it last said the same.
 *
 * Drafts are guesses and nothing else: each is computed in the same step as the token before it, and
 * kept only if the sampler draws that very token. It knows no model; docs/speculation.md tells all. */
#ifndef PENSIEVE_ENGINE_SPECULATE_H
#define PENSIEVE_ENGINE_SPECULATE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/ngrams.h"

enum {
    DRAFT_MAX = 15,             /* guessed at once; with the sure one before it 16 rows a sequence */
    ODDS_KINDS = 9,             /* matches are told apart by their length */
    STRAY_MAX = 4,              /* so many tokens of a text may be others before it is given up */
};

/* How often the token that followed a match was the one that was said next. */
struct odds {
    struct { float right, tried; } of[ODDS_KINDS];
};

struct speculator {
    struct ngrams *own;         /* the sequence's tokens up to `known` */
    const struct ngrams *earlier;       /* other sequences' of the conversation; borrowed, or NULL */
    const struct ngrams *source;        /* that `match` is in; NULL: nothing matches */
    struct ngrams_match match;  /* length: tokens since the last that was another */
    uint32_t strayed;           /* tokens that were others, one after another */
    uint32_t known;
    struct odds odds;
};

/* false: no memory. */
bool speculator_init(struct speculator *speculator, uint32_t tokens_max,
                     const struct ngrams *earlier);
void speculator_release(struct speculator *speculator);
/* The sequence is now ids[0..n), and has only grown since the last call; those past `sampled` were
 * said by the model. They are held against what was expected, whether that was drafted or not: so
 * the odds are known without trying, and a text that can't be foreseen costs nothing to notice. */
void speculator_follow(struct speculator *speculator, const int32_t *ids, uint32_t n,
                       uint32_t sampled);

struct draft {
    uint32_t n, kept;           /* kept: so many are in the step; worth.h chooses */
    int32_t tokens[DRAFT_MAX];
    float reach[DRAFT_MAX];     /* the chance that this one and all before it are right */
};

/* Up to `max` guesses at what comes next, as of the last follow. */
void speculator_draft(const struct speculator *speculator, uint32_t max, struct draft *draft);

void odds_init(struct odds *odds);

#endif
