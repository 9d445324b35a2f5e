/* work.c - tasks of rows and tasks of weights.
 *
 * The hard thing is to share fairly without waiting: whole rows stay on the calling thread until
 * there are more than a worker could help with, and weight rows are cut into tiles large enough to
 * stream and small enough to balance. */
#include "engine/work.h"

#include <math.h>

enum {
    TASKS_PER_THREAD = 4,
    ROWS_ALONE = 8,             /* fewer whole rows are done before a worker would have joined in */
    ROWS_PER_TASK = 16,         /* a panel of acts, so that tasks don't share its cache lines */
};

struct rows_job {
    struct forward *f;
    rows_fn *fn;
    const void *argument;
};

static void rows_task(void *context, size_t task, unsigned thread)
{
    const struct rows_job *job = context;
    const uint32_t begin = (uint32_t)task * ROWS_PER_TASK, rest = job->f->rows - begin;

    job->fn(job->f, job->argument, begin, begin + (rest < ROWS_PER_TASK ? rest : ROWS_PER_TASK));
}

void for_rows(struct forward *f, rows_fn *fn, const void *argument)
{
    struct rows_job job = {f, fn, argument};

    if (f->rows < ROWS_ALONE)
        fn(f, argument, 0, f->rows);
    else
        parallel_for(f->pool, (f->rows + ROWS_PER_TASK - 1) / ROWS_PER_TASK, rows_task, &job);
}

uint32_t tiles(uint32_t rows, uint32_t tile)
{
    return (rows + tile - 1) / tile;
}

/* Long runs keep the prefetchers of decode busy (measured: a fifth faster than four tasks a
 * thread); in prefill a tile's products stay in the cache. */
uint32_t tile_rows(const struct forward *f, uint32_t rows, uint32_t columns)
{
    const bool few = columns <= COLUMNS_FEW;
    const uint32_t tasks = pool_threads(f->pool) * (few ? 1 : TASKS_PER_THREAD);
    const uint32_t fair = tiles(rows, tasks), most = few ? TILE_ROWS_FEW : TILE_ROWS;
    const uint32_t tile = tiles(fair, MATMUL_ROWS) * MATMUL_ROWS;

    return tile < most ? tile : most;
}

struct matrix tile_of(const struct matrix *w, uint32_t begin, uint32_t tile)
{
    return matrix_rows(w, begin, w->rows - begin < tile ? w->rows - begin : tile);
}

void multiply(const struct forward *f, float *out, size_t stride, const struct matrix *w,
              const struct acts *x, unsigned thread)
{
    f->kernels->matmul[w->quant](out, stride, w, x, 0, w->rows, f->threads[thread].matmul);
}

const float *nth_vector(const float *vectors, size_t i, size_t n)
{
    return vectors ? vectors + i * n : NULL;
}

/* GELU as it is defined; no common model has it, so it has no kernel. */
static void gelu_erf_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        gate[i] = gate[i] / 2 * (1 + erff(gate[i] * 0.707106781f)) * up[i];
}

/* gpt-oss: g / (1 + e^(-1.702 g)) * (u + 1), of numbers kept within 7. */
static void swiglu_clamped_mul(float *gate, const float *up, size_t n)
{
    const float limit = 7;

    for (size_t i = 0; i < n; i++) {
        const float g = gate[i] > limit ? limit : gate[i];
        const float u = up[i] > limit ? limit : up[i] < -limit ? -limit : up[i];
        gate[i] = g / (1 + expf(-1.702f * g)) * (u + 1);
    }
}

void gate_mul(const struct forward *f, float *gate, const float *up, size_t n)
{
    switch (f->hparams->activation) {
    case ACTIVATION_SILU: f->kernels->silu_mul(gate, up, n); break;
    case ACTIVATION_GELU_TANH: f->kernels->gelu_mul(gate, up, n); break;
    case ACTIVATION_GELU: gelu_erf_mul(gate, up, n); break;
    case ACTIVATION_SWIGLU_CLAMPED: swiglu_clamped_mul(gate, up, n); break;
    }
}
