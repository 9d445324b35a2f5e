/* body_gemm.h - quantised weights times many columns: a real matrix product in int8.
 *
 * MATMUL_ROWS rows, PANEL_K numbers long, are unpacked to bytes in scratch once, and multiplied
 * with every panel of columns; that scratch and one column panel stay in the first caches. The file
 * that includes this gives the tiles: R rows by a panel's columns, summed over all groups in
 * registers. A tile broadcasts 4 weights of a row against a vector of 4 numbers of each of several
 * columns, so that each lane is one output and is never added to its neighbours.
 *
 * Before including: GEMM_Q8_BIAS, what is added to q8_0's weights to make them fit the tile's
 * multiplication (128 where it takes unsigned bytes, 0 where signed). */
#include <stdbool.h>
#include <string.h>

#include "kernels/acts.h"
#include "kernels/half.h"
#include "kernels/kernels.h"

enum { PANEL_K = 2048, PANEL_GROUPS = PANEL_K / ACT_GROUP };

/* w[i] = d * n[i] + m. q6_k has d * (sub[i / 16] * (n[i] - 32)) instead: sub as a pair of int16
 * each, and in fix what makes up for the 32: the pair of -32 * sub. */
struct row_panel {
    _Alignas(64) float tile[MATMUL_ROWS][ACT_LANES_MAX];
    float d[MATMUL_ROWS][PANEL_GROUPS], m[MATMUL_ROWS][PANEL_GROUPS];
    int16_t sub[MATMUL_ROWS][PANEL_GROUPS][2][2], fix[MATMUL_ROWS][PANEL_GROUPS][2];
    uint8_t n[MATMUL_ROWS * PANEL_K];
};

_Static_assert(sizeof(struct row_panel) <= MATMUL_SCRATCH_BYTES, "scratch");

/* One panel of columns, from the group on at which the row panel begins. */
struct column_panel {
    const int8_t *q;
    const float *scale, *sum;
    const int16_t *halves;
    size_t lanes;
};

typedef void tile_fn(struct row_panel *rows, size_t row, const struct column_panel *x,
                     size_t groups);
typedef void unpack_fn(struct row_panel *rows, size_t row, const uint8_t *source, size_t groups);

/* A format's way through: its unpacking, and tiles for panels with up to 8 and up to 16 columns. */
struct gemm {
    unpack_fn *unpack;
    tile_fn *tile8, *tile16;
    size_t rows8, rows16;
};

static void unpack_q4_1(struct row_panel *rows, size_t row, const uint8_t *source, size_t groups)
{
    uint8_t *n = rows->n + row * groups * ACT_GROUP;
    for (size_t g = 0; g < groups; g++, source += 20, n += ACT_GROUP) {
        rows->d[row][g] = simd_half(source);
        rows->m[row][g] = simd_half(source + 2);
        simd_nibbles(n, source + 4);
    }
}

static void unpack_q4_0(struct row_panel *rows, size_t row, const uint8_t *source, size_t groups)
{
    uint8_t *n = rows->n + row * groups * ACT_GROUP;
    for (size_t g = 0; g < groups; g++, source += 18, n += ACT_GROUP) {
        rows->d[row][g] = simd_half(source);
        rows->m[row][g] = -8 * rows->d[row][g];
        simd_nibbles(n, source + 2);
    }
}

static void unpack_q8_0(struct row_panel *rows, size_t row, const uint8_t *source, size_t groups)
{
    uint8_t *n = rows->n + row * groups * ACT_GROUP;
    for (size_t g = 0; g < groups; g++, source += 34, n += ACT_GROUP) {
        rows->d[row][g] = simd_half(source);
        for (size_t i = 0; i < ACT_GROUP; i++)
            n[i] = source[2 + i] ^ GEMM_Q8_BIAS;
    }
}

/* One half block of 128: see scalar.c for how its bits lie. */
static void unpack_q6_k_half(uint8_t *n, const uint8_t *low, const uint8_t *high)
{
    for (size_t l = 0; l < 32; l++) {
        n[l] = (uint8_t)((low[l] & 15) | (high[l] & 3) << 4);
        n[l + 32] = (uint8_t)((low[l + 32] & 15) | (high[l] >> 2 & 3) << 4);
        n[l + 64] = (uint8_t)(low[l] >> 4 | (high[l] >> 4 & 3) << 4);
        n[l + 96] = (uint8_t)(low[l + 32] >> 4 | (high[l] >> 6) << 4);
    }
}

static void unpack_q6_k(struct row_panel *rows, size_t row, const uint8_t *source, size_t groups)
{
    uint8_t *n = rows->n + row * groups * ACT_GROUP;
    for (size_t g = 0; g < groups; g++) {
        const uint8_t *block = source + g / 8 * 210;
        const int8_t *sub = (const int8_t *)block + 192 + g % 8 * 2;
        rows->d[row][g] = simd_half(block + 208);
        for (size_t h = 0; h < 2; h++) {
            rows->sub[row][g][h][0] = rows->sub[row][g][h][1] = sub[h];
            rows->fix[row][g][h] = (int16_t)(-32 * sub[h]);
        }
        if (g % 4 == 0)
            unpack_q6_k_half(n + g * ACT_GROUP, block + g % 8 * 16, block + 128 + g % 8 * 8);
    }
}

/* Rows that fill up the last tile: nothing times anything. */
static void unpack_nothing(struct row_panel *rows, size_t row, size_t groups)
{
    memset(rows->n + row * groups * ACT_GROUP, 0, groups * ACT_GROUP);
    memset(rows->d[row], 0, groups * sizeof(float));
    memset(rows->m[row], 0, groups * sizeof(float));
    memset(rows->sub[row], 0, groups * sizeof rows->sub[row][0]);
    memset(rows->fix[row], 0, groups * sizeof rows->fix[row][0]);
}

static void tiles_store(float *out, size_t out_stride, const struct row_panel *rows, size_t rows_n,
                        size_t columns_n, bool accumulate)
{
    for (size_t r = 0; r < rows_n; r += 4) {
        for (size_t c = 0; c < columns_n; c += 4) {
            if (rows_n - r >= 4 && columns_n - c >= 4) {
                simd_transpose4(out + c * out_stride + r, out_stride, &rows->tile[r][c],
                                ACT_LANES_MAX, accumulate);
                continue;
            }
            for (size_t i = r; i < r + 4 && i < rows_n; i++) {
                for (size_t j = c; j < c + 4 && j < columns_n; j++) {
                    float *to = out + j * out_stride + i;
                    *to = accumulate ? *to + rows->tile[i][j] : rows->tile[i][j];
                }
            }
        }
    }
}

static void gemm_columns(float *out, size_t out_stride, struct row_panel *rows, size_t rows_n,
                         const struct acts *x, const struct gemm *gemm, size_t from, size_t groups)
{
    size_t lanes = acts_lanes(x->columns);
    for (size_t c = 0; c < x->columns; c += lanes) {
        size_t at = acts_group_at(x, lanes, c, from / ACT_GROUP);
        struct column_panel panel = {
            .q = x->q + acts_at(x, lanes, c, from),
            .scale = x->scale + at,
            .sum = x->sum + at,
            .halves = x->halves + 2 * at,
            .lanes = lanes,
        };
        size_t columns_n = x->columns - c < lanes ? x->columns - c : lanes;
        if (columns_n <= 8) {
            for (size_t r = 0; r < rows_n; r += gemm->rows8)
                gemm->tile8(rows, r, &panel, groups);
        } else {
            for (size_t r = 0; r < rows_n; r += gemm->rows16)
                gemm->tile16(rows, r, &panel, groups);
        }
        tiles_store(out + c * out_stride, out_stride, rows, rows_n, columns_n, from > 0);
    }
}

static void gemm_run(float *out, size_t out_stride, const struct matrix *w, const struct acts *x,
                     size_t row_begin, size_t row_end, void *scratch, const struct gemm *gemm)
{
    struct row_panel *rows = scratch;
    const struct quant_info *info = &quants[w->quant];
    for (size_t r = row_begin; r < row_end; r += MATMUL_ROWS) {
        size_t rows_n = row_end - r < MATMUL_ROWS ? row_end - r : MATMUL_ROWS;
        for (size_t from = 0; from < w->cols; from += PANEL_K) {
            size_t n = w->cols - from < PANEL_K ? w->cols - from : PANEL_K;
            const uint8_t *source = (const uint8_t *)w->data + r * w->row_bytes +
                                    from / info->block * info->bytes;
            for (size_t i = 0; i < rows_n; i++)
                gemm->unpack(rows, i, source + i * w->row_bytes, n / ACT_GROUP);
            for (size_t i = rows_n; i % gemm->rows8 || i % gemm->rows16; i++)
                unpack_nothing(rows, i, n / ACT_GROUP);
            gemm_columns(out + r, out_stride, rows, rows_n, x, gemm, from, n / ACT_GROUP);
        }
    }
}
