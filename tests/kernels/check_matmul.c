/* check_matmul.c - the weight formats, the quantising of activations, and the products.
 *
 * The formulas here are written from quant.h's description, number by number and in double
 * precision, independently of how the kernels read a block. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "kernels/acts.h"
#include "kernels/half.h"

static void put_half(struct check *check, uint8_t *at, float size)
{
    uint16_t half = float_half(check_uniform(check, size));
    memcpy(at, &half, sizeof half);
}

void check_matrix(struct check *check, struct matrix *matrix, enum quant quant, uint32_t rows,
                  uint32_t cols)
{
    const struct quant_info *info = &quants[quant];
    size_t row_bytes = cols / info->block * info->bytes;
    uint8_t *data = (uint8_t *)check_alloc(rows * row_bytes + 1) + 1;
    *matrix = (struct matrix){.data = data, .row_bytes = row_bytes, .rows = rows, .cols = cols,
                               .quant = quant};
    for (size_t i = 0; i < rows * row_bytes; i++)
        data[i] = (uint8_t)rng_next(&check->rng);
    for (size_t i = 0; i < rows * row_bytes; i += info->bytes) {
        uint8_t *block = data + i;
        float value = check_uniform(check, 1);
        uint32_t bits = float_bits(value);
        uint16_t brain = (uint16_t)(bits >> 16);
        switch (quant) {
        case QUANT_F32: memcpy(block, &value, 4); break;
        case QUANT_F16: put_half(check, block, 1); break;
        case QUANT_BF16: memcpy(block, &brain, 2); break;
        case QUANT_Q8_0: put_half(check, block, 0.01f); break;
        case QUANT_Q4_0: put_half(check, block, 0.1f); break;
        case QUANT_Q4_1:
            put_half(check, block, 0.1f);
            put_half(check, block + 2, 1);
            break;
        case QUANT_Q6_K: put_half(check, block + 208, 0.001f); break;
        case QUANT_COUNT: break;
        }
    }
}

void check_matrix_free(struct matrix *matrix)
{
    free((uint8_t *)matrix->data - 1);
}

/* Number i of a row, by the book. */
static double weight(const struct matrix *w, size_t row, size_t i)
{
    const struct quant_info *info = &quants[w->quant];
    const uint8_t *block = (const uint8_t *)w->data + row * w->row_bytes +
                           i / info->block * info->bytes;
    size_t j = i % info->block;
    float value;
    switch (w->quant) {
    case QUANT_F32:
        memcpy(&value, block, 4);
        return value;
    case QUANT_F16:
        return half_float(load_u16(block));
    case QUANT_BF16:
        return bfloat_float(load_u16(block));
    case QUANT_Q8_0:
        return (double)half_float(load_u16(block)) * (int8_t)block[2 + j];
    case QUANT_Q4_0:
        return (double)half_float(load_u16(block)) *
               ((j < 16 ? block[2 + j] & 15 : block[2 + j - 16] >> 4) - 8);
    case QUANT_Q4_1:
        return (double)half_float(load_u16(block)) *
                   (j < 16 ? block[4 + j] & 15 : block[4 + j - 16] >> 4) +
               half_float(load_u16(block + 2));
    case QUANT_Q6_K: {
        /* Within 128: quarter 0, 1 the low and 2, 3 the high nibbles of 64 bytes; two bits each of
         * 32 bytes, quarter by quarter from the lowest. */
        size_t half = j / 128, l = j % 32, quarter = j % 128 / 32;
        int low = block[half * 64 + quarter % 2 * 32 + l] >> (quarter / 2 * 4) & 15;
        int high = block[128 + half * 32 + l] >> (2 * quarter) & 3;
        return (double)half_float(load_u16(block + 208)) * (int8_t)block[192 + j / 16] *
               (low + 16 * high - 32);
    }
    default:
        return NAN;
    }
}

void check_formats(struct check *check)
{
    for (enum quant quant = 0; quant < QUANT_COUNT; quant++) {
        struct matrix w;
        size_t blocks = quants[quant].block == 1 ? check_random(check, 1, 300)
                                                 : check_random(check, 1, 6);
        uint32_t cols = (uint32_t)(blocks * quants[quant].block);
        check_matrix(check, &w, quant, 2, cols);
        float *out = check_alloc(cols * sizeof *out);
        check->table->dequant[quant](out, (const uint8_t *)w.data + w.row_bytes, cols);
        for (size_t i = 0; i < cols; i++) {
            double want = weight(&w, 1, i);
            check_near(check, out[i], want, 1e-6 + 1e-6 * fabs(want),
                       "dequant %s, number %zu of %u", quants[quant].name, i, cols);
        }
        free(out);
        check_matrix_free(&w);
    }
}

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
static void product(const struct matrix *w, size_t row, const struct acts *x, size_t c,
                    double *want, double *tolerance)
{
    size_t lanes = acts_lanes(x->columns);
    double sum = 0, most = 0, size = 0;
    for (size_t i = 0; i < w->cols; i++) {
        double right = x->f32[c * x->stride + i], left = weight(w, row, i);
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
    void *scratch = check_alloc(matmul_scratch_bytes(cols));
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
    for (size_t c = 0; c < columns; c++) {
        for (size_t r = 0; r < out_stride; r++) {
            float got = out[c * out_stride + r];
            if (r < row_begin || r >= row_end) {
                check_true(check, float_bits(got) == 0xffffffff,
                           "matmul %s wrote row %zu outside %zu..%zu", quants[quant].name, r,
                           row_begin, row_end);
                continue;
            }
            double want, tolerance;
            product(&w, r, &x, c, &want, &tolerance);
            check_near(check, got, want, tolerance,
                       "matmul %s %ux%u, %zu columns, rows %zu..%zu: row %zu column %zu",
                       quants[quant].name, rows, cols, columns, row_begin, row_end, r, c);
        }
    }
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
        size_t most = block == 1 ? 200 : block == 32 ? 12 : 3;
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
