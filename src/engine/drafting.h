/* drafting.h - the guesses of one step: whose, how many, and that there is room for them. */
#ifndef PENSIEVE_ENGINE_DRAFTING_H
#define PENSIEVE_ENGINE_DRAFTING_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/kvcache.h"
#include "engine/recall.h"
#include "engine/sequence.h"
#include "engine/worth.h"

struct drafting {
    enum speculate mode;
    struct kv_cache *cache;             /* borrowed */
    uint32_t context, variant_length;   /* as in scheduler_options */
    uint32_t rows_max;                  /* guesses in one step at most */
    struct worth worth;
    struct draft **drafts;              /* [sequences_max]: what there is to choose from */
    struct recall recall;
};

/* The other fields are set. false: no memory. */
bool drafting_init(struct drafting *drafting, uint32_t sequences_max);
void drafting_release(struct drafting *drafting);

/* Of the sequences from `oldest` on, those that have a row by now decode in this step: gives them rows
 * for guesses too, beside so many prompt rows. draft.kept says how many; returns the sum. */
uint32_t drafting_choose(struct drafting *drafting, struct sequence *oldest, uint32_t prompt_rows);
/* The sequence ends: what it said, and was told that no other was, is kept for its conversation. */
void drafting_leave(struct sequence *sequence);

#endif
