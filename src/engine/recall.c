/* recall.c - a few conversations, searched one by one. */
#include "engine/recall.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

void recall_release(struct recall *recall)
{
    for (int i = 0; i < RECALL_FLOWS_MAX; i++) {
        assert(recall->flows[i].users == 0);
        ngrams_free(recall->flows[i].said);
        recall->flows[i] = (struct flow){0};
    }
}

static bool same(const struct recall_key *a, const struct recall_key *b)
{
    return a->space == b->space && a->owner == b->owner && a->flow == b->flow;
}

/* This conversation's place, or the one that was not used for longest; NULL: all are held. */
static struct flow *place_for(struct recall *recall, const struct recall_key *key)
{
    struct flow *oldest = NULL;

    for (int i = 0; i < RECALL_FLOWS_MAX; i++) {
        struct flow *flow = &recall->flows[i];
        if (flow->said && same(&flow->key, key))
            return flow;
        if (flow->users == 0 && (!oldest || flow->used < oldest->used))
            oldest = flow;
    }
    return oldest;
}

struct flow *recall_take(struct recall *recall, struct recall_key key)
{
    struct flow *flow = key.flow ? place_for(recall, &key) : NULL;

    if (!flow)
        return NULL;
    if (!flow->said || !same(&flow->key, &key)) {
        ngrams_free(flow->said);
        *flow = (struct flow){.key = key, .said = ngrams_new(RECALL_TOKENS_MAX)};
        if (!flow->said)
            return NULL;
        odds_init(&flow->odds);
    }
    flow->users++;
    flow->used = ++recall->clock;
    return flow;
}

void recall_give_back(struct flow *flow, const int32_t *tokens, uint32_t n, const struct odds *odds)
{
    const uint32_t skipped = n > RECALL_TOKENS_MAX ? n - RECALL_TOKENS_MAX : 0;

    assert(flow->users > 0);
    for (uint32_t i = skipped; i < n; i++)
        ngrams_push(flow->said, tokens[i]);
    flow->odds = *odds;
    flow->users--;
}
