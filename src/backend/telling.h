/* telling.h - an answer's blocks told as events, and kept as they were told: on the loop. */
#ifndef PENSIEVE_BACKEND_TELLING_H
#define PENSIEVE_BACKEND_TELLING_H

#include "backend/backend.h"
#include "backend/sayings.h"
#include "backend/sign.h"
#include "base/arena.h"

struct told_block;

struct telling {
    struct arena *arena;                /* the exchange's */
    const struct signer *signer;
    bool omitted;                       /* thoughts are signed, and not sent */
    const bool *silent;                 /* becomes true at any event: nobody listens any more */
    gen_event_fn *on_event;
    void *context;
    struct told_block *blocks;          /* [n] */
    size_t n, capacity;
    struct buf text;                    /* of all blocks, one behind the other */
    bool open;
    bool called;                        /* a call was told to its end, */
    bool broken;                        /* one was not, and its input has an end that is not the model's */
};

void telling_release(struct telling *telling);
void telling_say(struct telling *telling, const struct saying *saying);
/* Nothing more comes: the block that is open is closed. */
void telling_end(struct telling *telling);
/* The blocks as they were sent; [telling->n], in the arena, their texts in the telling. */
struct content_block *telling_blocks(const struct telling *telling);

#endif
