/* work.h - how the pieces of a forward pass cut their work into tasks. For the files that implement
 * layers.h only. */
#ifndef PENSIEVE_ENGINE_WORK_H
#define PENSIEVE_ENGINE_WORK_H

#include "engine/layers.h"
#include "kernels/acts.h"

enum {
    TILE_ROWS = 8 * MATMUL_ROWS,        /* weight rows of a task at most, */
    COLUMNS_FEW = ACT_PLAIN_MAX,        /* ... but where reading weights is all that counts, */
    TILE_ROWS_FEW = 40 * MATMUL_ROWS,   /* and one long run a thread reads fastest */
};

/* Does rows [begin, end) of the step. */
typedef void rows_fn(struct forward *f, const void *argument, uint32_t begin, uint32_t end);

/* fn over all rows of the step, on the calling thread while there are few. */
void for_rows(struct forward *f, rows_fn *fn, const void *argument);

typedef void task_fn(void *context, size_t task, unsigned thread);

/* How many of a matrix's rows make one task when it is multiplied by so many columns. */
uint32_t tile_rows(const struct forward *f, uint32_t rows, uint32_t columns);
uint32_t tiles(uint32_t rows, uint32_t tile);
/* The rows [begin, begin + tile) of a matrix, or what there is of them. */
struct matrix tile_of(const struct matrix *w, uint32_t begin, uint32_t tile);

/* out[column][stride] = x * w^T, for all rows of w. */
void multiply(const struct forward *f, float *out, size_t stride, const struct matrix *w,
              const struct acts *x, unsigned thread);

/* Vector i of some that lie one after another, n numbers each; NULL where there are none. */
const float *nth_vector(const float *vectors, size_t i, size_t n);
/* The feed-forward's gating, of n numbers: gate = activation(gate) * up. */
void gate_mul(const struct forward *f, float *gate, const float *up, size_t n);

#endif
