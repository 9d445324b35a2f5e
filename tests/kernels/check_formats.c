/* check_formats.c - random matrices of every weight format, and dequant of every table.
 *
 * Any bytes are a matrix of a quantised format, but for their scales, which must neither be NaN nor
 * so unlike each other that nothing but the largest can be seen. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "kernels/half.h"

/* Where a block has its half floats, and how large they are to be; size 0: there is none. */
static const struct scales { uint16_t at; float size; } block_scales[QUANT_COUNT][2] = {
    [QUANT_F16] = {{0, 1}},
    [QUANT_Q8_0] = {{0, 0.01f}},
    [QUANT_Q4_0] = {{0, 0.1f}},
    [QUANT_Q4_1] = {{0, 0.1f}, {2, 1}},
    [QUANT_Q5_0] = {{0, 0.05f}},
    [QUANT_Q5_1] = {{0, 0.05f}, {2, 1}},
    [QUANT_IQ4_NL] = {{0, 0.01f}},
    [QUANT_Q2_K] = {{80, 0.02f}, {82, 0.05f}},
    [QUANT_Q3_K] = {{108, 0.01f}},
    [QUANT_Q4_K] = {{0, 0.001f}, {2, 0.01f}},
    [QUANT_Q5_K] = {{0, 0.0005f}, {2, 0.01f}},
    [QUANT_Q6_K] = {{208, 0.001f}},
    [QUANT_IQ4_XS] = {{0, 0.0003f}},
};

static void put_float(uint8_t *at, float value, enum quant quant)
{
    uint32_t bits = float_bits(value);
    uint16_t narrow = quant == QUANT_F16 ? float_half(value) : (uint16_t)(bits >> 16);
    memcpy(at, quant == QUANT_F32 ? (void *)&bits : (void *)&narrow, quants[quant].bytes);
}

/* count floats at an odd address. */
static uint8_t *random_floats(struct check *check, size_t count, enum quant quant, float size)
{
    size_t bytes = quants[quant].bytes;
    uint8_t *data = (uint8_t *)check_alloc(count * bytes + 1) + 1;
    for (size_t i = 0; i < count; i++)
        put_float(data + i * bytes, check_uniform(check, size), quant);
    return data;
}

static void fill_block(struct check *check, uint8_t *block, enum quant quant)
{
    if (quant == QUANT_F32 || quant == QUANT_BF16)
        put_float(block, check_uniform(check, 1), quant);
    if (quant == QUANT_MXFP4)
        block[0] = (uint8_t)check_random(check, 118, 126);
    for (const struct scales *scale = block_scales[quant];
         scale < block_scales[quant] + 2 && scale->size > 0; scale++)
        put_float(block + scale->at, check_uniform(check, scale->size), QUANT_F16);
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
    for (size_t i = 0; i < rows * row_bytes; i += info->bytes)
        fill_block(check, data + i, quant);
    if (!info->affine)
        return;
    matrix->group = 32u << check_random(check, 0, 2);
    if (cols % matrix->group)
        matrix->group = 32;
    matrix->scale_quant = (enum quant)check_random(check, QUANT_F32, QUANT_BF16);
    matrix->scale_row_bytes = cols / matrix->group * quants[matrix->scale_quant].bytes;
    size_t count = (size_t)rows * (cols / matrix->group);
    matrix->scales = random_floats(check, count, matrix->scale_quant, 1.0f / (1 << info->affine));
    matrix->biases = random_floats(check, count, matrix->scale_quant, 1);
}

void check_matrix_free(struct matrix *matrix)
{
    free((uint8_t *)matrix->data - 1);
    if (matrix->group) {
        free((uint8_t *)matrix->scales - 1);
        free((uint8_t *)matrix->biases - 1);
    }
}

void check_formats(struct check *check)
{
    for (enum quant quant = 0; quant < QUANT_COUNT; quant++) {
        struct matrix w;
        size_t block = quants[quant].block;
        size_t blocks = check_random(check, 1, block == 1 ? 300 : block == 32 ? 20 : 4);
        uint32_t cols = (uint32_t)(blocks * block);
        check_matrix(check, &w, quant, 2, cols);
        float *out = check_alloc(cols * sizeof *out), *want = check_alloc(cols * sizeof *want);
        check->table->dequant[quant](out, &w, 1);
        check->scalar->dequant[quant](want, &w, 1);
        for (size_t i = 0; i < cols; i++)
            check_near(check, out[i], want[i], 1e-6 * fabsf(want[i]),
                       "dequant %s, number %zu of %u", quants[quant].name, i, cols);
        free(want);
        free(out);
        check_matrix_free(&w);
    }
}
