/* check.h - what the parts of the kernel check share. */
#ifndef PENSIEVE_TESTS_KERNELS_CHECK_H
#define PENSIEVE_TESTS_KERNELS_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/random.h"
#include "kernels/kernels.h"

/* One table held against the scalar one. Failures are counted, and the first few printed. */
struct check {
    const struct kernels *scalar, *table;
    struct rng rng;
    unsigned compared, failed;
};

size_t check_random(struct check *check, size_t low, size_t high);     /* both inclusive */
float check_uniform(struct check *check, float size);                  /* in [-size, size) */
/* got must lie within tolerance of want; NaN never does. what names the case (printf format). */
void check_near(struct check *check, double got, double want, double tolerance, const char *what,
                ...) __attribute__((format(printf, 5, 6)));
void check_true(struct check *check, bool ok, const char *what, ...)
    __attribute__((format(printf, 3, 4)));
void *check_alloc(size_t bytes);        /* aligned to 64, filled with 0xff bytes (NaN as floats) */

/* A matrix of random weights in a format, at odd addresses; affine ones with any group and scales.
 */
void check_matrix(struct check *check, struct matrix *matrix, enum quant quant, uint32_t rows,
                  uint32_t cols);
void check_matrix_free(struct matrix *matrix);

void check_formats(struct check *check);        /* dequant */
void check_matmul(struct check *check);         /* acts_quantize and matmul */
void check_attend(struct check *check);
void check_floats(struct check *check);         /* everything else */

void bench_run(const struct kernels *table, const struct kernels *scalar);
bool peak_run(const struct kernels *table);     /* false: nothing known about this table */

#endif
