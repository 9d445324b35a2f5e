/* recall.h - what the sequences of a conversation said and were told, after they have ended: a prompt
 * need not have it all any more, and an answer that is asked for again is mostly the same one.
 *
 * Guesses alone are made of it. Still nothing crosses from one owner or space to another: how fast an
 * answer comes would tell what somebody else's said. */
#ifndef PENSIEVE_ENGINE_RECALL_H
#define PENSIEVE_ENGINE_RECALL_H

#include <stdint.h>

#include "engine/ngrams.h"
#include "engine/speculate.h"

enum {
    RECALL_FLOWS_MAX = 64,              /* conversations, the least recently used forgotten first */
    RECALL_TOKENS_MAX = 1 << 14,        /* of each, the last ones */
};

struct recall_key {
    uint64_t space, owner, flow;        /* flow 0: of no conversation, nothing is kept */
};

struct flow {
    struct recall_key key;
    struct ngrams *said;
    struct odds odds;                   /* as the last sequence had them */
    uint32_t users;                     /* sequences that hold it */
    uint64_t used;                      /* when it was last taken, by recall.clock */
};

/* Zeroed: empty. */
struct recall {
    struct flow flows[RECALL_FLOWS_MAX];
    uint64_t clock;
};

void recall_release(struct recall *recall);     /* nobody may hold a flow */
/* The conversation's, which stays until it is given back. NULL: flow 0; or all are held; no memory. */
struct flow *recall_take(struct recall *recall, struct recall_key key);
/* Adds these tokens to what was said. */
void recall_give_back(struct flow *flow, const int32_t *tokens, uint32_t n, const struct odds *odds);

#endif
