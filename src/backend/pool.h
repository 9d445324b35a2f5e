/* pool.h - a backend whose members are backends: who of them answers, and who when that one fails.
 *
 * POOL_SHARE: equals, such as two servers with the same model. A conversation goes back to where it
 * was, for its keys and values lie there, unless that member is far busier than the least busy one;
 * a new one goes to the least busy. POOL_ORDER: a chain; each is asked only if those before it are
 * overloaded or failed.
 *
 * A request moves on to the next member while no block of its answer has begun, and only after
 * an error that another member need not have: not after "prompt is too long". Members that fail
 * are left alone for a while (circuit.h), and are asked with their probe whether they are well
 * again. */
#ifndef PENSIEVE_BACKEND_POOL_H
#define PENSIEVE_BACKEND_POOL_H

#include "backend/backend.h"

enum {
    POOL_MEMBERS_MAX = 64,
    POOL_AHEAD_MAX = 4,                 /* answers by which a conversation's may be busier, */
    POOL_AHEAD_TIMES = 2,               /* besides being so many times as busy, and still keep it */
    POOL_MISSES_MAX = 2,                /* failed probes in a row: it is left alone then */
};

enum pool_policy { POOL_SHARE, POOL_ORDER };

struct pool_options {
    struct model_card card;             /* copied */
    enum pool_policy policy;
    uint64_t probe_ms;                  /* how often members are probed; 0: never */
};

/* While nothing is under way it keeps no loop from returning; its free leaves a closing handle. */
struct backend *backend_pool_new(uv_loop_t *loop, const struct pool_options *options,
                                 struct err *err);
/* name: visible ASCII, copied; it stands in answers' heads. owned: it is freed with the pool; if
 * not, it must live as long, and is not probed. POOL_MEMBERS_MAX at most. */
void backend_pool_add(struct backend *pool, const char *name, struct backend *member, bool owned);

#endif
