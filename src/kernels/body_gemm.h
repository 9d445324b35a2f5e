/* body_gemm.h - quantised weights times many columns: a real matrix product in int8.
 *
 * MATMUL_ROWS rows, PANEL_K numbers long, are unpacked to bytes in scratch once, and multiplied
 * with every panel of columns; that scratch and one column panel stay in the first caches. The file
 * that includes this gives the tiles: R rows by a panel's columns, summed over all groups in
 * registers. A tile broadcasts 4 weights of a row against a vector of 4 numbers of each of several
 * columns, so that each lane is one output and is never added to its neighbours.
 *
 * Before including: GEMM_Q8_BIAS, what is added to signed weights to make them fit the tile's
 * multiplication (128 where it takes unsigned bytes, 0 where signed). */
#include <stdbool.h>
#include <string.h>

#include "kernels/acts.h"
#include "kernels/body_unpack.h"
#include "kernels/half.h"
#include "kernels/kernels.h"

enum { PANEL_GROUPS = ACT_RUN, PANEL_K = PANEL_GROUPS * ACT_GROUP };

/* A row's groups stand in the order of acts_place. w[i] = d * n[i] + m, or, where each 16 have a
 * scale (struct sixteens): sub and fix as pairs of int16, fix already multiplied with -32 or -4
 * where that is all there is to m. */
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
};

typedef void tile_fn(struct row_panel *rows, size_t row, const struct column_panel *x,
                     size_t groups);
/* Unpacks groups [from, from + groups) of row r of w to row i of the panel. */
typedef void unpack_fn(struct row_panel *rows, size_t i, const struct matrix *w, size_t r,
                       size_t from, size_t groups);

/* A kind's tile, and how many rows it takes. */
struct gemm_tile {
    tile_fn *multiply;
    size_t rows;
};

/* The sum of a run: of the totals t[0], t[n], t[2n] and so on. 0 is added to be rid of -0. */
static inline vf run_sum(const vf *t, size_t n)
{
    vf even = vf_add(vf_add(t[0], t[4 * n]), vf_add(t[2 * n], t[6 * n]));
    vf odd = vf_add(vf_add(t[n], t[5 * n]), vf_add(t[3 * n], t[7 * n]));
    return vf_add(vf_add(even, odd), vf_zero());
}

/* Where in a row of the panel the chunks' groups stand: group j of the i-th chunk at at[j] + i. */
struct places {
    size_t at[CHUNK_GROUPS];
};

static inline struct places places_of(size_t groups)
{
    struct places places;
    for (size_t j = 0; j < CHUNK_GROUPS; j++)
        places.at[j] = run_begin(groups, j);
    return places;
}

/* w = d*n + m by 32. */
UNPACK void unpack_groups(struct row_panel *rows, size_t i, const struct matrix *w, size_t r,
                          size_t from, size_t groups, const enum quant quant)
{
    uint8_t *to = rows->n + i * groups * ACT_GROUP;
    const size_t each = scales_bytes(w, quant);
    const enum kind kind = kind_of(quant);
    const bool is_signed = kind == KIND_BYTES || kind == KIND_BYTES_M;
    const struct places places = places_of(groups);
    struct chunk_copy copy = {0};
    for (size_t g = 0; g < groups; g += CHUNK_GROUPS) {
        size_t n = groups - g < CHUNK_GROUPS ? groups - g : CHUNK_GROUPS;
        struct chunk chunk = chunk_of(w, r, from + g, n, each, quant, &copy);
        struct scales8 s = scales(&chunk, w, quant);
        float d[CHUNK_GROUPS], m[CHUNK_GROUPS];
        f8_store(d, s.d);
        f8_store(m, s.m);
        for (size_t j = 0; j < n; j++) {
            const size_t place = places.at[j] + g / CHUNK_GROUPS;
            vb x = numbers(chunk.at, j, quant);
            vb_store(to + place * ACT_GROUP, is_signed ? vb_xor(x, vb_set1(GEMM_Q8_BIAS)) : x);
            rows->d[i][place] = d[j];
            rows->m[i][place] = m[j];
        }
    }
}

/* Blocks of 256 with scales by 16. */
UNPACK void unpack_sixteens(struct row_panel *rows, size_t i, const struct matrix *w, size_t r,
                            size_t from, size_t groups, const enum quant quant)
{
    const uint8_t *block = (const uint8_t *)w->data + r * w->row_bytes +
                           from / CHUNK_GROUPS * chunk_bytes[quant];
    const int middle = sixteens_middle(quant);
    const struct places places = places_of(groups);
    uint8_t *to = rows->n + i * groups * ACT_GROUP;
    for (size_t g = 0; g < groups; g += CHUNK_GROUPS, block += chunk_bytes[quant]) {
        const struct sixteens s = sixteens(block, quant);
        int8_t sub[2 * CHUNK_GROUPS], fix[2 * CHUNK_GROUPS];
        memcpy(sub, s.sub, sizeof sub);
        memcpy(fix, s.fix, sizeof fix);
        UNROLL
        for (size_t j = 0; j < CHUNK_GROUPS; j++) {
            const size_t place = places.at[j] + g / CHUNK_GROUPS;
            rows->d[i][place] = s.d;
            rows->m[i][place] = s.m;
            for (size_t h = 0; h < 2; h++) {
                int16_t *subs = rows->sub[i][place][h];
                subs[0] = subs[1] = sub[2 * j + h];
                rows->fix[i][place][h] =
                    (int16_t)(middle ? -middle * fix[2 * j + h] : fix[2 * j + h]);
            }
            vb_store(to + place * ACT_GROUP, numbers(block, j, quant));
        }
    }
}

#define UNPACK_INSTANCE(family, quant)                                                          \
    static void unpack_##quant(struct row_panel *rows, size_t i, const struct matrix *w,        \
                               size_t r, size_t from, size_t groups)                            \
    {                                                                                           \
        unpack_##family(rows, i, w, r, from, groups, QUANT_##quant);                            \
    }
UNPACK_INSTANCE(groups, Q8_0)
UNPACK_INSTANCE(groups, Q4_0)
UNPACK_INSTANCE(groups, Q4_1)
UNPACK_INSTANCE(groups, Q5_0)
UNPACK_INSTANCE(groups, Q5_1)
UNPACK_INSTANCE(groups, IQ4_NL)
UNPACK_INSTANCE(groups, MXFP4)
UNPACK_INSTANCE(groups, Q4_K)
UNPACK_INSTANCE(groups, Q5_K)
UNPACK_INSTANCE(groups, IQ4_XS)
UNPACK_INSTANCE(groups, AFFINE_2)
UNPACK_INSTANCE(groups, AFFINE_3)
UNPACK_INSTANCE(groups, AFFINE_4)
UNPACK_INSTANCE(groups, AFFINE_5)
UNPACK_INSTANCE(groups, AFFINE_6)
UNPACK_INSTANCE(groups, AFFINE_8)
UNPACK_INSTANCE(sixteens, Q2_K)
UNPACK_INSTANCE(sixteens, Q3_K)
UNPACK_INSTANCE(sixteens, Q6_K)

static unpack_fn *const unpacks[QUANT_COUNT] = {
    [QUANT_Q8_0] = unpack_Q8_0,         [QUANT_Q4_0] = unpack_Q4_0,
    [QUANT_Q4_1] = unpack_Q4_1,         [QUANT_Q5_0] = unpack_Q5_0,
    [QUANT_Q5_1] = unpack_Q5_1,         [QUANT_IQ4_NL] = unpack_IQ4_NL,
    [QUANT_MXFP4] = unpack_MXFP4,       [QUANT_Q2_K] = unpack_Q2_K,
    [QUANT_Q3_K] = unpack_Q3_K,         [QUANT_Q4_K] = unpack_Q4_K,
    [QUANT_Q5_K] = unpack_Q5_K,         [QUANT_Q6_K] = unpack_Q6_K,
    [QUANT_IQ4_XS] = unpack_IQ4_XS,     [QUANT_AFFINE_2] = unpack_AFFINE_2,
    [QUANT_AFFINE_3] = unpack_AFFINE_3, [QUANT_AFFINE_4] = unpack_AFFINE_4,
    [QUANT_AFFINE_5] = unpack_AFFINE_5, [QUANT_AFFINE_6] = unpack_AFFINE_6,
    [QUANT_AFFINE_8] = unpack_AFFINE_8,
};

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
                         const struct acts *x, const struct gemm_tile *tile, size_t from,
                         size_t groups)
{
    const size_t lanes = ACT_LANES_MAX;
    for (size_t c = 0; c < x->columns; c += lanes) {
        size_t at = acts_group_at(x, lanes, c, from / ACT_GROUP);
        struct column_panel panel = {
            .q = x->q + acts_at(x, lanes, c, from),
            .scale = x->scale + at,
            .sum = x->sum + at,
            .halves = x->halves + 2 * at,
        };
        size_t columns_n = x->columns - c < lanes ? x->columns - c : lanes;
        for (size_t r = 0; r < rows_n; r += tile->rows)
            tile->multiply(rows, r, &panel, groups);
        tiles_store(out + c * out_stride, out_stride, rows, rows_n, columns_n, from > 0);
    }
}

static void gemm_run(float *out, size_t out_stride, const struct matrix *w, const struct acts *x,
                     size_t row_begin, size_t row_end, void *scratch,
                     const struct gemm_tile tiles[KINDS])
{
    struct row_panel *rows = scratch;
    unpack_fn *unpack = unpacks[w->quant];
    const struct gemm_tile *tile = &tiles[kind_of(w->quant)];
    for (size_t r = row_begin; r < row_end; r += MATMUL_ROWS) {
        size_t rows_n = row_end - r < MATMUL_ROWS ? row_end - r : MATMUL_ROWS;
        for (size_t from = 0; from < w->cols; from += PANEL_K) {
            size_t groups = (w->cols - from < PANEL_K ? w->cols - from : PANEL_K) / ACT_GROUP;
            for (size_t i = 0; i < rows_n; i++)
                unpack(rows, i, w, r + i, from / ACT_GROUP, groups);
            for (size_t i = rows_n; i % tile->rows; i++)
                unpack_nothing(rows, i, groups);
            gemm_columns(out + r, out_stride, rows, rows_n, x, tile, from, groups);
        }
    }
}
