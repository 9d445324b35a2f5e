/* body_plain.h - quantised weights times up to ACT_PLAIN_MAX columns, straight from the layout of
 * the file: one loop for formats with a scale for 32 numbers, one for those with a scale for 16.
 *
 * One column is bound by how fast memory gives the weights, so the work per byte is what counts: a
 * chunk's scales are made at once, its numbers four groups at a time, once for PLAIN_COLUMNS, and
 * the integer sums of its 8 groups come into one vector before they become floats. So the lanes are
 * the totals of a run, and a row's sum has the same bits as body_gemm.h's.
 *
 * The file that includes this gives plain_four and w8, vectors of integer sums of 4 groups (not yet
 * complete) and of 8; plain_order(quant), in which order it would have the numbers of two groups;
 * plain_numbers(n, at, half, quant) to read four groups so; plain_reorder(to, q, order) to bring
 * two groups of activations into it, plain_floats8(x, order) their scales; plain_dots(n, q, kind,
 * order), plain_eight(low, high, kind, order), and the same of sixteens; plain_fixes;
 * plain_run_sum. */
#include "kernels/acts.h"
#include "kernels/body_unpack.h"

enum {
    PLAIN_COLUMNS = 4,          /* at once, */
    PLAIN_ROWS = 16,            /* rows that stay in the first cache until all had them */
};

/* One column's activations, from a row's first group on. */
struct plain_column {
    const int8_t *q;
    const float *scale, *sum;
    const int16_t *halves;
};

/* 8 groups of a row, the first of which is `from`. */
UNPACK void plain_chunk(f8 *totals, const struct chunk *chunk, struct scales8 s,
                        const struct plain_column *x, size_t from, const enum quant quant,
                        const size_t C)
{
    const enum kind kind = kind_of(quant);
    const enum order order = plain_order(quant);
    plain_four fours[PLAIN_COLUMNS][2];
    s.d = plain_floats8(s.d, order);
    s.m = plain_floats8(s.m, order);
    UNROLL
    for (size_t h = 0; h < 2; h++) {
        vb n[4];
        plain_numbers(n, chunk->at, h, quant);
        for (size_t c = 0; c < C; c++)
            fours[c][h] = plain_dots(n, x[c].q + (from + h * 4) * ACT_GROUP, kind, order);
    }
    for (size_t c = 0; c < C; c++) {
        f8 sums = w8_floats(plain_eight(fours[c][0], fours[c][1], kind, order));
        totals[c] = f8_fma(sums, f8_mul(s.d, f8_load(x[c].scale + from)), totals[c]);
        if (has_m(kind))
            totals[c] = f8_fma(s.m, f8_load(x[c].sum + from), totals[c]);
    }
}

/* Ends a run. */
UNPACK void plain_run(float *sums, f8 *totals, const enum order order, const size_t C)
{
    for (size_t c = 0; c < C; c++) {
        sums[c] += plain_run_sum(totals[c], order);
        totals[c] = f8_set1(0);
    }
}

UNPACK void plain_groups(float *out, size_t out_stride, const struct matrix *w,
                         const struct plain_column *x, size_t row_begin, size_t row_end,
                         const enum quant quant, const size_t C)
{
    const size_t groups = w->cols / ACT_GROUP, rest = groups % CHUNK_GROUPS, whole = groups - rest;
    const size_t each = scales_bytes(w, quant);
    struct chunk_copy chunk_copy = {0};
    for (size_t r = row_begin; r < row_end; r++) {
        float sums[PLAIN_COLUMNS] = {0};
        f8 totals[PLAIN_COLUMNS];
        for (size_t c = 0; c < C; c++)
            totals[c] = f8_set1(0);
        for (size_t from = 0; from < whole; from += CHUNK_GROUPS) {
            const struct chunk chunk = chunk_of(w, r, from, CHUNK_GROUPS, each, quant, &chunk_copy);
            fetch_ahead(chunk.at, chunk_bytes[quant]);
            plain_chunk(totals, &chunk, scales(&chunk, w, quant), x, from, quant, C);
            if (from % ACT_RUN == ACT_RUN - CHUNK_GROUPS)
                plain_run(sums, totals, plain_order(quant), C);
        }
        if (rest) {
            /* What follows the row gets scales of 0: copied is only where nothing follows. */
            const bool last_row = r * groups + whole + CHUNK_GROUPS > w->rows * groups;
            const struct chunk chunk = chunk_of(w, r, whole, last_row ? rest : CHUNK_GROUPS, each,
                                                quant, &chunk_copy);
            struct scales8 s = scales(&chunk, w, quant);
            s.d = f8_first(s.d, rest);
            s.m = f8_first(s.m, rest);
            plain_chunk(totals, &chunk, s, x, whole, quant, C);
        }
        if (groups % ACT_RUN)
            plain_run(sums, totals, plain_order(quant), C);
        for (size_t c = 0; c < C; c++)
            out[c * out_stride + r] = sums[c];
    }
}

/* A block of 256. */
UNPACK void plain_block(f8 *totals, const uint8_t *block, const struct plain_column *x, size_t from,
                        const enum quant quant, const size_t C)
{
    const int middle = sixteens_middle(quant);
    const struct sixteens s = sixteens(block, quant);
    const struct plain_subs subs = plain_subs(&s);
    plain_four fours[PLAIN_COLUMNS][2];
    fetch_ahead(block, chunk_bytes[quant]);
    UNROLL
    for (size_t h = 0; h < 2; h++) {
        vb n[4];
        plain_numbers(n, block, h, quant);
        for (size_t c = 0; c < C; c++)
            fours[c][h] = plain_dots_sixteens(n, x[c].q + (from + h * 4) * ACT_GROUP, &subs, h);
    }
    for (size_t c = 0; c < C; c++) {
        f8 scale = f8_load(x[c].scale + from);
        w8 sums = plain_eight(fours[c][0], fours[c][1], kind_of(quant), ORDER_NATURAL);
        w8 fixes = plain_fixes(&s, x[c].halves + 2 * from, middle ? -middle : 1);
        if (middle)
            sums = w8_add(sums, fixes);
        totals[c] = f8_fma(w8_floats(sums), f8_mul(scale, f8_set1(s.d)), totals[c]);
        if (!middle)
            totals[c] = f8_fma(f8_set1(s.m), f8_mul(w8_floats(fixes), scale), totals[c]);
    }
}

UNPACK void plain_sixteens(float *out, size_t out_stride, const struct matrix *w,
                           const struct plain_column *x, size_t row_begin, size_t row_end,
                           const enum quant quant, const size_t C)
{
    const size_t groups = w->cols / ACT_GROUP;
    for (size_t r = row_begin; r < row_end; r++) {
        const uint8_t *block = (const uint8_t *)w->data + r * w->row_bytes;
        float sums[PLAIN_COLUMNS] = {0};
        f8 totals[PLAIN_COLUMNS];
        for (size_t c = 0; c < C; c++)
            totals[c] = f8_set1(0);
        for (size_t from = 0; from < groups; from += CHUNK_GROUPS) {
            plain_block(totals, block + from / CHUNK_GROUPS * chunk_bytes[quant], x, from, quant,
                        C);
            if (from % ACT_RUN == ACT_RUN - CHUNK_GROUPS)
                plain_run(sums, totals, plain_order(quant), C);
        }
        if (groups % ACT_RUN)
            plain_run(sums, totals, plain_order(quant), C);
        for (size_t c = 0; c < C; c++)
            out[c * out_stride + r] = sums[c];
    }
}

/* A format's function: compiled once for each number of columns, or for all of them at once where
 * the checks that sanitizers add to each copy would take minutes to compile. */
typedef void plain_fn(float *out, size_t out_stride, const struct matrix *w,
                      const struct plain_column *x, size_t columns, size_t row_begin,
                      size_t row_end);

#ifdef KERNELS_SMALL
#define PLAIN_INSTANCE(loop, quant)                                                             \
    static void plain_##quant(float *out, size_t out_stride, const struct matrix *w,            \
                              const struct plain_column *x, size_t columns, size_t row_begin,   \
                              size_t row_end)                                                   \
    {                                                                                           \
        loop(out, out_stride, w, x, row_begin, row_end, QUANT_##quant, columns);                \
    }
#else
#define PLAIN_INSTANCE(loop, quant)                                                             \
    static void plain_##quant(float *out, size_t out_stride, const struct matrix *w,            \
                              const struct plain_column *x, size_t columns, size_t row_begin,   \
                              size_t row_end)                                                   \
    {                                                                                           \
        switch (columns) {                                                                      \
        case 1: loop(out, out_stride, w, x, row_begin, row_end, QUANT_##quant, 1); break;       \
        case 2: loop(out, out_stride, w, x, row_begin, row_end, QUANT_##quant, 2); break;       \
        case 3: loop(out, out_stride, w, x, row_begin, row_end, QUANT_##quant, 3); break;       \
        default: loop(out, out_stride, w, x, row_begin, row_end, QUANT_##quant, 4); break;      \
        }                                                                                       \
    }
#endif
PLAIN_INSTANCE(plain_groups, Q8_0)
PLAIN_INSTANCE(plain_groups, Q4_0)
PLAIN_INSTANCE(plain_groups, Q4_1)
PLAIN_INSTANCE(plain_groups, Q5_0)
PLAIN_INSTANCE(plain_groups, Q5_1)
PLAIN_INSTANCE(plain_groups, IQ4_NL)
PLAIN_INSTANCE(plain_groups, MXFP4)
PLAIN_INSTANCE(plain_sixteens, Q2_K)
PLAIN_INSTANCE(plain_sixteens, Q3_K)
PLAIN_INSTANCE(plain_groups, Q4_K)
PLAIN_INSTANCE(plain_groups, Q5_K)
PLAIN_INSTANCE(plain_sixteens, Q6_K)
PLAIN_INSTANCE(plain_groups, IQ4_XS)
PLAIN_INSTANCE(plain_groups, AFFINE_2)
PLAIN_INSTANCE(plain_groups, AFFINE_3)
PLAIN_INSTANCE(plain_groups, AFFINE_4)
PLAIN_INSTANCE(plain_groups, AFFINE_5)
PLAIN_INSTANCE(plain_groups, AFFINE_6)
PLAIN_INSTANCE(plain_groups, AFFINE_8)

static plain_fn *const plains[QUANT_COUNT] = {
    [QUANT_Q8_0] = plain_Q8_0,         [QUANT_Q4_0] = plain_Q4_0,
    [QUANT_Q4_1] = plain_Q4_1,         [QUANT_Q5_0] = plain_Q5_0,
    [QUANT_Q5_1] = plain_Q5_1,         [QUANT_IQ4_NL] = plain_IQ4_NL,
    [QUANT_MXFP4] = plain_MXFP4,       [QUANT_Q2_K] = plain_Q2_K,
    [QUANT_Q3_K] = plain_Q3_K,         [QUANT_Q4_K] = plain_Q4_K,
    [QUANT_Q5_K] = plain_Q5_K,         [QUANT_Q6_K] = plain_Q6_K,
    [QUANT_IQ4_XS] = plain_IQ4_XS,     [QUANT_AFFINE_2] = plain_AFFINE_2,
    [QUANT_AFFINE_3] = plain_AFFINE_3, [QUANT_AFFINE_4] = plain_AFFINE_4,
    [QUANT_AFFINE_5] = plain_AFFINE_5, [QUANT_AFFINE_6] = plain_AFFINE_6,
    [QUANT_AFFINE_8] = plain_AFFINE_8,
};

/* A column as the loops want it: where it lies, if it needs nothing; else its numbers in order and
 * filled up to whole chunks, its scales and sums too, in scratch. */
static struct plain_column plain_prepare(const struct acts *x, size_t c, const enum order order,
                                         uint8_t *scratch)
{
    const size_t groups = x->k_padded / ACT_GROUP, chunks = plain_chunks(x->k);
    const struct plain_column column = {
        x->q + c * x->k_padded, x->scale + c * groups, x->sum + c * groups,
        x->halves + 2 * c * groups,
    };
    if (order == ORDER_NATURAL && groups == chunks * CHUNK_GROUPS)
        return column;
    int8_t *q = (int8_t *)scratch + c * chunks * PLAIN_CHUNK_BYTES;
    float *scale = (float *)(q + chunks * CHUNK_GROUPS * ACT_GROUP);
    float *sum = scale + chunks * CHUNK_GROUPS;
    memset(scale, 0, 2 * chunks * CHUNK_GROUPS * sizeof *scale);
    memcpy(scale, column.scale, groups * sizeof *scale);
    memcpy(sum, column.sum, groups * sizeof *sum);
    for (size_t g = 0; g < chunks * CHUNK_GROUPS; g += CHUNK_GROUPS) {
        f8_store(scale + g, plain_floats8(f8_load(scale + g), order));
        f8_store(sum + g, plain_floats8(f8_load(sum + g), order));
    }
    for (size_t g = 0; g < chunks * CHUNK_GROUPS; g += 2) {
        int8_t two[2 * ACT_GROUP] = {0};
        const size_t n = g >= groups ? 0 : groups - g < 2 ? 1 : 2;
        memcpy(two, column.q + g * ACT_GROUP, n * ACT_GROUP);
        plain_reorder(q + g * ACT_GROUP, two, order);
    }
    return (struct plain_column){q, scale, sum, NULL};
}

static void plain_matmul(float *out, size_t out_stride, const struct matrix *w,
                         const struct acts *x, size_t row_begin, size_t row_end, void *scratch)
{
    struct plain_column columns[ACT_PLAIN_MAX];
    for (size_t c = 0; c < x->columns; c++)
        columns[c] = plain_prepare(x, c, plain_order(w->quant), scratch);
    /* More rows at once, where no other columns wait for them, are one stream to the prefetcher. */
    const size_t step = x->columns <= PLAIN_COLUMNS ? row_end - row_begin : PLAIN_ROWS;
    for (size_t r = row_begin; r < row_end; r += step) {
        const size_t end = row_end - r < step ? row_end : r + step;
        for (size_t c = 0; c < x->columns; c += PLAIN_COLUMNS) {
            const size_t rest = x->columns - c;
            plains[w->quant](out + c * out_stride, out_stride, w, columns + c,
                             rest < PLAIN_COLUMNS ? rest : PLAIN_COLUMNS, r, end);
        }
    }
}
