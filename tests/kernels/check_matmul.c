/* check_matmul.c - the quantising of activations, and the products of every format of weights.
 *
 * Products are summed here number by number in double precision, over weights as the scalar table
 * reads them, which test_formats.c holds to other programs' values. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "kernels/acts.h"
#include "kernels/half.h"

/* Activations of a table: every number within half a step, the rest exactly what belongs to it. */
static void check_acts(struct check *check, const struct acts *x)
{
    size_t lanes = acts_lanes(x->columns);
    for (size_t c = 0; c < x->columns; c++) {
        for (size_t g = 0; g < x->k_padded / ACT_GROUP; g++) {
            size_t at = acts_group_at(x, lanes, c, g);
            int sums[2] = {0, 0}, biggest = 0;
            float amax = 0;
            for (size_t l = 0; l < ACT_GROUP; l++) {
                size_t i = g * ACT_GROUP + l;
                float want = i < x->k ? x->f32[c * x->stride + i] : 0;
                int q = x->q[acts_at(x, lanes, c, i - i % ACT_QUAD) + i % ACT_QUAD];
                check_near(check, (double)x->scale[at] * q, want, 0.5001 * x->scale[at],
                           "acts_quantize, column %zu of %zu, number %zu of %zu", c, x->columns, i,
                           x->k);
                sums[l / 16] += q;
                biggest = abs(q) > biggest ? abs(q) : biggest;
                amax = fabsf(want) > amax ? fabsf(want) : amax;
            }
            check_near(check, x->scale[at], amax / 127, 1e-6f * amax, "acts_quantize, scale");
            check_true(check, x->halves[2 * at] == sums[0] && x->halves[2 * at + 1] == sums[1],
                       "acts_quantize, sums of sixteens of column %zu, group %zu", c, g);
            double sum = (double)x->scale[at] * (sums[0] + sums[1]);
            check_near(check, x->sum[at], sum, 1e-7 * fabs(sum), "acts_quantize, sum");
            check_true(check, biggest == (amax > 0 ? 127 : 0), "acts_quantize, range %d", biggest);
        }
    }
}

/* What the product should be, and how far off it may be. All tables take the same steps in
 * integers; they differ in the order of float additions. Each of `terms` additions rounds to 2^-24
 * of a partial sum that is at most sum |w| |x|; taking the row's largest |w| also covers terms that
 * cancel within a group (d * n against m). */
static void product(const struct matrix *w, const float *numbers, const struct acts *x, size_t c,
                    double *want, double *tolerance)
{
    size_t lanes = acts_lanes(x->columns);
    double sum = 0, most = 0, size = 0;
    for (size_t i = 0; i < w->cols; i++) {
        double right = x->f32[c * x->stride + i], left = numbers[i];
        if (!quants[w->quant].floats)
            right = (double)x->scale[acts_group_at(x, lanes, c, i / ACT_GROUP)] *
                    x->q[acts_at(x, lanes, c, i - i % ACT_QUAD) + i % ACT_QUAD];
        sum += left * right;
        most = fabs(left) > most ? fabs(left) : most;
        size += fabs(right);
    }
    *want = sum;
    *tolerance = most * size * 2e-6 + 1e-30;
}

/* A row's bits do not depend on its company: the product again, of some of x's columns alone and of
 * some of its rows. */
static void check_company(struct check *check, const struct matrix *w, const struct acts *all,
                          const float *want, size_t stride, size_t row_begin, size_t row_end)
{
    const size_t first = check_random(check, 0, all->columns - 1), rest = all->columns - first;
    const size_t most = rest < 20 ? rest : 20;
    const size_t columns = check_random(check, 1, check_random(check, 0, 1) && most > 4 ? 4 : most);
    const size_t begin = check_random(check, row_begin, row_end - 1);
    const size_t end = check_random(check, begin + 1, row_end);
    void *storage = check_alloc(acts_bytes(all->k, columns));
    void *scratch = check_alloc(matmul_scratch_bytes());
    float *out = check_alloc(columns * w->rows * sizeof *out);
    struct acts x;
    acts_init(&x, storage, all->k, columns);
    x.f32 = all->f32 + first * all->stride;
    x.stride = all->stride;
    if (!quants[w->quant].floats)
        check->table->acts_quantize(&x, 0, columns);
    check->table->matmul[w->quant](out, w->rows, w, &x, begin, end, scratch);
    for (size_t c = 0; c < columns; c++) {
        for (size_t r = begin; r < end; r++) {
            float alone = out[c * w->rows + r], among = want[(first + c) * stride + r];
            check_true(check, float_bits(alone) == float_bits(among),
                       "matmul %s %ux%u by %u: row %zu column %zu is %.9g among %zu columns, but "
                       "%.9g among %zu",
                       quants[w->quant].name, w->rows, w->cols, w->group, r, first + c,
                       (double)among, all->columns, (double)alone, columns);
        }
    }
    free(out);
    free(scratch);
    free(storage);
}

/* SIMD tables all add in the order that kernels.h tells: the first of them, given the same, gets
 * the same bits. */
static void check_first(struct check *check, const struct matrix *w, const struct acts *all,
                        const float *want, size_t stride, size_t row_begin, size_t row_end)
{
    const struct kernels *first = kernels_nth(1);
    if (check->table == check->scalar || quants[w->quant].floats)
        return;
    void *storage = check_alloc(acts_bytes(all->k, all->columns));
    void *scratch = check_alloc(matmul_scratch_bytes());
    float *out = check_alloc(all->columns * stride * sizeof *out);
    struct acts x;
    acts_init(&x, storage, all->k, all->columns);
    x.f32 = all->f32;
    x.stride = all->stride;
    first->acts_quantize(&x, 0, x.columns);
    first->matmul[w->quant](out, stride, w, &x, row_begin, row_end, scratch);
    for (size_t c = 0; c < x.columns; c++) {
        for (size_t r = row_begin; r < row_end; r++) {
            float got = want[c * stride + r], other = out[c * stride + r];
            check_true(check, float_bits(got) == float_bits(other),
                       "matmul %s %ux%u by %u, %zu columns: row %zu column %zu is %.9g, but "
                       "%.9g by %s",
                       quants[w->quant].name, w->rows, w->cols, w->group, x.columns, r, c,
                       (double)got, (double)other, first->isa);
        }
    }
    free(out);
    free(scratch);
    free(storage);
}

static void check_product(struct check *check, enum quant quant, uint32_t rows, uint32_t cols,
                          size_t columns, size_t row_begin, size_t row_end)
{
    struct matrix w;
    check_matrix(check, &w, quant, rows, cols);
    size_t stride = cols + check_random(check, 0, 9), out_stride = rows + check_random(check, 0, 5);
    /* Made for more columns than there are, as a server's scratch is. */
    void *storage = check_alloc(acts_bytes(cols, columns + 5));
    float *f32 = check_alloc(columns * stride * sizeof *f32);
    float *out = check_alloc(columns * out_stride * sizeof *out);
    void *scratch = check_alloc(matmul_scratch_bytes());
    struct acts x;
    acts_init(&x, storage, cols, columns + 5);
    x.f32 = f32;
    x.stride = stride;
    x.columns = columns;
    for (size_t i = 0; i < columns * stride; i++)
        f32[i] = i / 64 % 7 == 3 ? 0 : check_uniform(check, i % 100 ? 1 : 50);
    if (!quants[quant].floats) {
        size_t half = check_random(check, 0, columns);
        check->table->acts_quantize(&x, 0, half);
        check->table->acts_quantize(&x, half, columns);
        check_acts(check, &x);
    }
    check->table->matmul[quant](out, out_stride, &w, &x, row_begin, row_end, scratch);
    for (int i = 0; i < 2; i++)
        check_company(check, &w, &x, out, out_stride, row_begin, row_end);
    check_first(check, &w, &x, out, out_stride, row_begin, row_end);
    float *numbers = check_alloc(cols * sizeof *numbers);
    for (size_t r = 0; r < out_stride; r++) {
        bool inside = r >= row_begin && r < row_end;
        if (inside)
            check->scalar->dequant[quant](numbers, &w, r);
        for (size_t c = 0; c < columns; c++) {
            float got = out[c * out_stride + r];
            if (!inside) {
                check_true(check, float_bits(got) == 0xffffffff,
                           "matmul %s wrote row %zu outside %zu..%zu", quants[quant].name, r,
                           row_begin, row_end);
                continue;
            }
            double want, tolerance;
            product(&w, numbers, &x, c, &want, &tolerance);
            check_near(check, got, want, tolerance,
                       "matmul %s %ux%u by %u, %zu columns, rows %zu..%zu: row %zu column %zu",
                       quants[quant].name, rows, cols, w.group, columns, row_begin, row_end, r, c);
        }
    }
    free(numbers);
    free(scratch);
    free(out);
    free(f32);
    free(storage);
    check_matrix_free(&w);
}

void check_matmul(struct check *check)
{
    static const size_t edges[] = {1, 2, 3, 4, 5, 8, 9, 16, 17, 24, 25};
    for (enum quant quant = 0; quant < QUANT_COUNT; quant++) {
        size_t block = quants[quant].block;
        size_t most = block == 1 ? 200 : block == 32 ? 24 : 3;
        uint32_t cols = (uint32_t)(block * check_random(check, 1, most));
        if (check_random(check, 0, 9) == 0)     /* longer than a panel */
            cols = (uint32_t)(block == 1 ? 2051 : 2304);
        uint32_t rows = (uint32_t)check_random(check, 1, 60);
        size_t begin = check_random(check, 0, rows - 1), end = check_random(check, begin + 1, rows);
        size_t columns = check_random(check, 0, 1) ? check_random(check, 1, 70)
                                                   : edges[check_random(check, 0, 10)];
        check_product(check, quant, rows, cols, columns, begin, end);
    }
}
