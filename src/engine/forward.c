/* forward.c - the scratch of forward passes, sized once, and the step that runs one. */
#include <assert.h>
#include <stdlib.h>

#include "engine/arch.h"
#include "engine/work.h"
#include "kernels/acts.h"

enum {
    FORWARD_ROWS_MAX = 1 << 14,
    ALIGNMENT = 64,
    ROWS_SPLIT = 8,             /* rows of the longest sequence that attention can do in parts */
};

struct carver {
    char *base;                 /* NULL: only measures */
    size_t used;
};

static void *carve(struct carver *c, size_t count, size_t size)
{
    void *p = c->base ? c->base + c->used : NULL;

    c->used += (count * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return p;
}

static void carve_acts(struct carver *c, struct acts *acts, size_t k, size_t columns,
                       const float *f32)
{
    void *storage = carve(c, acts_bytes(k, columns), 1);

    if (!storage)
        return;
    acts_init(acts, storage, k, columns);
    acts->f32 = f32;
    acts->stride = k;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void lay_out_threads(struct forward *f, struct carver *c)
{
    const struct hparams *h = f->hparams;
    const size_t rows = f->rows_max;
    const size_t tile = larger(rows * larger(TILE_ROWS, h->head_dim), COLUMNS_FEW * TILE_ROWS_FEW);
    const unsigned threads = pool_threads(f->pool);

    f->threads = carve(c, threads, sizeof *f->threads);
    for (unsigned t = 0; t < threads; t++) {
        struct thread_scratch own = {
            .matmul = carve(c, matmul_scratch_bytes(), 1),
            .attend = carve(c, attend_scratch_floats(h->head_dim), sizeof(float)),
            .tile = carve(c, tile, sizeof(float)),
            .k = carve(c, f->pages_max, sizeof *own.k),
            .v = carve(c, f->pages_max, sizeof *own.v),
        };
        if (c->base)
            f->threads[t] = own;
    }
}

static void lay_out_ropes(struct forward *f, struct carver *c)
{
    const size_t half = f->hparams->rotary / 2;

    for (uint32_t i = 0; i < f->ropes_n; i++) {
        f->cos[i] = carve(c, f->rows_max * half, sizeof(float));
        f->sin[i] = carve(c, f->rows_max * half, sizeof(float));
        for (int v = 0; v < ROPE_VARIANTS; v++)
            f->ropes[i][v].frequencies = carve(c, half, sizeof(double));
    }
}

/* Room for the acts of all runs: each has at most ACT_LANES_MAX - 1 columns of padding. */
static size_t acts_of_runs(size_t k, size_t places, size_t runs)
{
    return acts_bytes(k, places) + runs * acts_bytes(k, ACT_LANES_MAX);
}

static void lay_out_experts(struct forward *f, struct carver *c)
{
    const struct hparams *h = f->hparams;
    const size_t places = (size_t)f->rows_max * h->experts_used;
    const size_t runs = places < h->experts ? places : h->experts;
    struct experts *x = &f->experts;

    x->router = carve(c, (size_t)f->rows_max * h->experts, sizeof *x->router);
    x->chosen = carve(c, places, sizeof *x->chosen);
    x->share = carve(c, places, sizeof *x->share);
    x->place = carve(c, places, sizeof *x->place);
    x->row_of = carve(c, places, sizeof *x->row_of);
    x->in = carve(c, places * h->hidden, sizeof *x->in);
    x->gated = carve(c, places * h->expert_ffn, sizeof *x->gated);
    x->acts_in = carve(c, acts_of_runs(h->hidden, places, runs), 1);
    x->acts_gated = carve(c, acts_of_runs(h->expert_ffn, places, runs), 1);
    x->runs = carve(c, runs, sizeof *x->runs);
}

static void lay_out_attention(struct forward *f, struct carver *c)
{
    const struct hparams *h = f->hparams;
    const size_t parts = ((size_t)f->pages_max * KV_PAGE + ATTEND_PART - 1) / ATTEND_PART;
    const size_t runs = (size_t)f->rows_max * h->kv_heads;

    f->parts_max = parts * h->heads * ROWS_SPLIT;
    f->parts = carve(c, f->parts_max, ATTEND_PART_FLOATS(h->head_dim) * sizeof(float));
    for (int i = 0; i < 2; i++) {
        f->plans[i].tasks = carve(c, runs + f->parts_max, sizeof *f->plans[i].tasks);
        f->plans[i].splits = carve(c, runs, sizeof *f->plans[i].splits);
    }
}

/* Run twice, to measure and to place, so the two can't disagree. */
static size_t lay_out(struct forward *f, char *base)
{
    const struct hparams *h = f->hparams;
    const size_t rows = f->rows_max, query = (size_t)h->heads * h->head_dim;
    struct carver c = {.base = base};

    lay_out_threads(f, &c);
    f->x = carve(&c, rows * h->hidden, sizeof *f->x);
    f->normed = carve(&c, rows * h->hidden, sizeof *f->normed);
    f->q = carve(&c, rows * query, sizeof *f->q);
    f->attended = carve(&c, rows * query, sizeof *f->attended);
    f->gated = carve(&c, rows * h->ffn, sizeof *f->gated);
    f->rows_of = carve(&c, rows, sizeof *f->rows_of);
    lay_out_attention(f, &c);
    carve_acts(&c, &f->acts_hidden, h->hidden, rows, f->normed);
    carve_acts(&c, &f->acts_attended, query, rows, f->attended);
    carve_acts(&c, &f->acts_gated, h->ffn, rows, f->gated);
    lay_out_ropes(f, &c);
    if (h->experts)
        lay_out_experts(f, &c);
    return c.used;
}

static uint32_t count_ropes(const struct hparams *h)
{
    uint32_t n = 1;

    for (uint32_t i = 0; i < h->layers; i++)
        if (h->kinds[i].rope >= n)
            n = h->kinds[i].rope + 1u;
    return n;
}

struct forward *forward_new(const struct model *model, const struct kernels *kernels,
                            struct pool *pool, struct kv_cache *cache, uint32_t rows_max,
                            struct err *err)
{
    const struct hparams *h = &model->hparams;

    if (rows_max < 1 || rows_max > FORWARD_ROWS_MAX) {
        err_set(err, ERR_USAGE, "steps of %u rows are not within 1 to %d", rows_max,
                FORWARD_ROWS_MAX);
        return NULL;
    }
    struct forward *f = calloc(1, sizeof *f);
    if (f) {
        *f = (struct forward){
            .hparams = h, .weights = &model->weights, .kernels = kernels, .pool = pool,
            .cache = cache, .rows_max = rows_max, .ropes_n = count_ropes(h),
            .pages_max = (uint32_t)kv_cache_counts(cache).total,
        };
        f->storage = aligned_alloc(ALIGNMENT, lay_out(f, NULL));
    }
    if (!f || !f->storage) {
        free(f);
        err_set(err, ERR_IO, "no memory for steps of %u rows", rows_max);
        return NULL;
    }
    lay_out(f, f->storage);
    for (uint32_t i = 0; i < f->ropes_n; i++)
        for (int v = 0; v < ROPE_VARIANTS; v++)
            rope_table_fill(&f->ropes[i][v], &h->ropes[i], h->rotary, h->context_trained,
                            (enum rope_variant)v);
    return f;
}

void forward_free(struct forward *f)
{
    if (!f)
        return;
    free(f->storage);
    free(f);
}

void forward_step(struct forward *f, const struct batch_row *rows, uint32_t rows_n)
{
    assert(rows_n <= f->rows_max);
    f->batch = rows;
    f->rows = rows_n;
    for (uint32_t r = 0; r < rows_n; r++)
        f->rows_of[r] = r;
    if (rows_n > 0)
        layers_decoder(f);
}
