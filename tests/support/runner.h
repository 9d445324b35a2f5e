/* runner.h - a model with all that its forward pass needs, for tests and tools of the engine room. */
#ifndef PENSIEVE_TESTS_RUNNER_H
#define PENSIEVE_TESTS_RUNNER_H

#include "engine/kvcache.h"
#include "engine/model.h"
#include "kernels/kernels.h"
#include "kernels/pool.h"

struct runner {
    struct model *model;
    struct pool *pool;
    struct kv_cache *cache;
    struct forward *forward;
    const struct hparams *hparams;
    uint32_t rows_max;
};

bool runner_open(struct runner *runner, const char *path, const struct kernels *kernels,
                 unsigned threads, uint32_t rows_max, struct err *err);
void runner_close(struct runner *runner);

/* Logits of every position, out[n][vocab], `chunk` rows a step, on a table of its own. */
bool runner_logits(struct runner *runner, const int32_t *ids, uint32_t n, uint32_t chunk,
                   float *out);

/* Appends n tokens to a sequence in one step; logits[n] may hold NULLs. tokens: all from 0. */
bool runner_step(struct runner *runner, struct kv_table *table, const int32_t *tokens, uint32_t n,
                 float *const *logits);

#endif
