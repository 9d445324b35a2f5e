/* drafting.c - lets the sequences of a step guess, and takes the guesses that are worth their rows. */
#include "engine/drafting.h"

#include <stdlib.h>

bool drafting_init(struct drafting *drafting, uint32_t sequences_max)
{
    worth_init(&drafting->worth);
    drafting->drafts = calloc(sequences_max, sizeof(struct draft *));
    return drafting->drafts != NULL;
}

void drafting_release(struct drafting *drafting)
{
    recall_release(&drafting->recall);
    free(drafting->drafts);
    drafting->drafts = NULL;
}

/* None past the sequence's end, none in another variant, and none that no token is drawn after. */
static uint32_t allowed(const struct drafting *drafting, const struct sequence *sequence)
{
    const uint32_t wanted = sequence->params.max_tokens - sequence->output_n - 1;
    const uint32_t room = drafting->context - sequence->n - 1;
    uint32_t most = wanted < room ? wanted : room;

    if (sequence->n <= drafting->variant_length && drafting->variant_length - sequence->n < most)
        most = drafting->variant_length - sequence->n;
    return most;
}

static bool begin(struct drafting *drafting, struct sequence *sequence)
{
    const struct sequence_params *params = &sequence->params;
    const struct recall_key key = {params->space, params->owner, params->flow};
    struct flow *flow = recall_take(&drafting->recall, key);

    sequence->flow = flow;
    if (!speculator_init(&sequence->speculator, sequence->capacity, flow ? flow->said : NULL)) {
        drafting_leave(sequence);
        return false;
    }
    if (flow)
        sequence->speculator.odds = flow->odds;
    return true;
}

/* The prompt's beginning that was found in the cache was said in another sequence, which kept it. */
void drafting_leave(struct sequence *sequence)
{
    const uint32_t found = sequence->start.memory_tokens + sequence->start.disk_tokens;

    if (sequence->flow)
        recall_give_back(sequence->flow, sequence->ids + found, sequence->n - found,
                         &sequence->speculator.odds);
    sequence->flow = NULL;
    speculator_release(&sequence->speculator);
}

static bool guess(struct drafting *drafting, struct sequence *sequence)
{
    struct speculator *speculator = &sequence->speculator;

    if (!speculator->own && !begin(drafting, sequence))
        return false;
    speculator_follow(speculator, sequence->ids, sequence->n, sequence->prompt_n);
    speculator_draft(speculator, allowed(drafting, sequence), &sequence->draft);
    return sequence->draft.n > 0;
}

/* Nobody gives up pages for a guess. */
static void take_rows(const struct drafting *drafting, struct sequence *sequence)
{
    struct draft *draft = &sequence->draft;

    if (!kv_table_reserve(drafting->cache, &sequence->table, sequence->n + draft->kept))
        draft->kept = sequence->table.pages_n * KV_PAGE - sequence->n;
    sequence->rows_n += draft->kept;
}

uint32_t drafting_choose(struct drafting *drafting, struct sequence *oldest, uint32_t prompt_rows)
{
    const struct worth *worth = drafting->mode == SPECULATE_AUTO ? &drafting->worth : NULL;
    uint32_t decoding = 0, drafts_n = 0, taken = 0;

    if (drafting->mode == SPECULATE_OFF)
        return 0;
    for (struct sequence *sequence = oldest; sequence; sequence = sequence->newer) {
        if (!sequence->rows_n)
            continue;
        decoding++;
        if (guess(drafting, sequence))
            drafting->drafts[drafts_n++] = &sequence->draft;
    }
    if (!worth_plan(worth, prompt_rows + decoding, decoding, drafting->drafts, drafts_n,
                    drafting->rows_max))
        return 0;
    for (struct sequence *sequence = oldest; sequence; sequence = sequence->newer)
        if (sequence->draft.kept) {
            take_rows(drafting, sequence);
            taken += sequence->draft.kept;
        }
    return taken;
}
