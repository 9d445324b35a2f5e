/* runner.c - see runner.h. */
#include "support/runner.h"

#include <stdlib.h>
#include <string.h>

enum { CACHE_BYTES = 256 << 20 };

bool runner_open(struct runner *r, const char *path, const struct kernels *kernels,
                 unsigned threads, uint32_t rows_max, struct err *err)
{
    *r = (struct runner){.rows_max = rows_max};
    r->model = model_open(path, err);
    if (!r->model)
        return false;
    r->hparams = model_hparams(r->model);
    r->pool = pool_new(threads, err);
    r->cache = kv_cache_new(r->hparams->layers, r->hparams->kv_heads, r->hparams->head_dim,
                            CACHE_BYTES, err);
    if (r->pool && r->cache)
        r->forward = forward_new(r->model, kernels, r->pool, r->cache, rows_max, err);
    if (!r->forward)
        runner_close(r);
    return r->forward;
}

void runner_close(struct runner *r)
{
    forward_free(r->forward);
    kv_cache_free(r->cache);
    pool_free(r->pool);
    model_close(r->model);
    *r = (struct runner){0};
}

bool runner_step(struct runner *r, struct kv_table *table, const int32_t *tokens, uint32_t n,
                 float *const *logits)
{
    const uint32_t begin = table->length;
    struct batch_row *rows = calloc(n, sizeof *rows);
    const bool ok = rows && n <= r->rows_max && kv_table_reserve(r->cache, table, begin + n);

    if (ok) {
        for (uint32_t i = 0; i < n; i++)
            rows[i] = (struct batch_row){.token = tokens[begin + i], .position = begin + i,
                                         .table = table, .logits = logits[i]};
        forward_step(r->forward, rows, n);
        kv_table_commit(r->cache, table, tokens, begin + n);
    }
    free(rows);
    return ok;
}

bool runner_logits(struct runner *r, const int32_t *ids, uint32_t n, uint32_t chunk, float *out)
{
    float **logits = calloc(chunk, sizeof *logits);
    struct kv_table table;
    bool ok = logits;

    kv_table_init(&table, n > model_variant_length(r->model));
    for (uint32_t at = 0; ok && at < n; at += chunk) {
        const uint32_t rows = n - at < chunk ? n - at : chunk;
        for (uint32_t i = 0; i < rows; i++)
            logits[i] = out + (size_t)(at + i) * r->hparams->vocab;
        ok = runner_step(r, &table, ids, rows, logits);
    }
    kv_table_release(r->cache, &table);
    free(logits);
    return ok;
}
