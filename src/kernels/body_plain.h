/* body_plain.h - quantised weights times up to ACT_PLAIN_MAX columns, straight from the layout of
 * the file: one loop for formats with a scale for 32 numbers, one for those with a scale for 16.
 *
 * One column is bound by how fast memory gives the weights, so the work per byte is what counts: a
 * chunk's scales are made at once, its numbers four groups at a time, once for all columns, and the
 * integer sums of its 8 groups come into one vector before they become floats. So the lanes are the
 * totals of a run, and a row's sum has the same bits as body_gemm.h's.
 *
 * The file that includes this gives plain_four and w8, vectors of integer sums of 4 groups (not yet
 * complete) and of 8; plain_dots(n, q, kind), and plain_dots_sixteens after 16 numbers each got
 * their scale; plain_eight(low, high); plain_fixes; f8_run_sum. */
#include "kernels/acts.h"
#include "kernels/body_unpack.h"

/* One column's activations for a chunk. */
struct plain_column {
    const int8_t *q;
    const float *scale, *sum;
};

/* Room for the activations of a row's last groups, where they are fewer than 8. */
struct plain_copy {
    int8_t q[CHUNK_GROUPS * ACT_GROUP];
    float scale[CHUNK_GROUPS], sum[CHUNK_GROUPS];
};

/* Column c from a group on. */
static struct plain_column plain_column(const struct acts *x, size_t c, size_t from)
{
    const size_t at = c * (x->k_padded / ACT_GROUP) + from;
    return (struct plain_column){x->q + at * ACT_GROUP, x->scale + at, x->sum + at};
}

/* The column's last n groups and zeros after them. */
static struct plain_column plain_column_rest(const struct acts *x, size_t c, size_t from, size_t n,
                                             struct plain_copy *copy)
{
    const struct plain_column column = plain_column(x, c, from);
    memset(copy, 0, sizeof *copy);
    memcpy(copy->q, column.q, n * ACT_GROUP);
    memcpy(copy->scale, column.scale, n * sizeof *copy->scale);
    memcpy(copy->sum, column.sum, n * sizeof *copy->sum);
    return (struct plain_column){copy->q, copy->scale, copy->sum};
}

/* 8 groups of a row. */
UNPACK void plain_chunk(f8 *totals, const struct chunk *chunk, struct scales8 s,
                        const struct plain_column *x, const enum quant quant, const size_t C)
{
    plain_four fours[ACT_PLAIN_MAX][2];
    UNROLL
    for (size_t h = 0; h < 2; h++) {
        vb n[4];
        UNROLL
        for (size_t g = 0; g < 4; g++)
            n[g] = numbers(chunk->at, h * 4 + g, quant);
        for (size_t c = 0; c < C; c++)
            fours[c][h] = plain_dots(n, x[c].q + h * 4 * ACT_GROUP, kind_of(quant));
    }
    for (size_t c = 0; c < C; c++) {
        f8 sums = w8_floats(plain_eight(fours[c][0], fours[c][1]));
        totals[c] = f8_fma(sums, f8_mul(s.d, f8_load(x[c].scale)), totals[c]);
        if (has_m(kind_of(quant)))
            totals[c] = f8_fma(s.m, f8_load(x[c].sum), totals[c]);
    }
}

/* Ends a run. */
UNPACK void plain_run(float *sums, f8 *totals, const size_t C)
{
    for (size_t c = 0; c < C; c++) {
        sums[c] += f8_run_sum(totals[c]);
        totals[c] = f8_set1(0);
    }
}

UNPACK void plain_groups(float *out, size_t out_stride, const struct matrix *w,
                         const struct acts *x, size_t row_begin, size_t row_end,
                         const enum quant quant, const size_t C)
{
    const size_t groups = w->cols / ACT_GROUP, rest = groups % CHUNK_GROUPS, whole = groups - rest;
    const size_t each = scales_bytes(w, quant);
    struct chunk_copy chunk_copy = {0};
    struct plain_copy copies[ACT_PLAIN_MAX];
    struct plain_column columns[ACT_PLAIN_MAX], last[ACT_PLAIN_MAX];
    for (size_t c = 0; rest && c < C; c++)
        last[c] = plain_column_rest(x, c, whole, rest, &copies[c]);
    for (size_t r = row_begin; r < row_end; r++) {
        float sums[ACT_PLAIN_MAX] = {0};
        f8 totals[ACT_PLAIN_MAX];
        for (size_t c = 0; c < C; c++)
            totals[c] = f8_set1(0);
        for (size_t from = 0; from < whole; from += CHUNK_GROUPS) {
            const struct chunk chunk = chunk_of(w, r, from, CHUNK_GROUPS, each, quant, &chunk_copy);
            fetch_ahead(chunk.at, chunk_bytes[quant]);
            for (size_t c = 0; c < C; c++)
                columns[c] = plain_column(x, c, from);
            plain_chunk(totals, &chunk, scales(&chunk, w, quant), columns, quant, C);
            if (from % ACT_RUN == ACT_RUN - CHUNK_GROUPS)
                plain_run(sums, totals, C);
        }
        if (rest) {
            /* What follows the row gets scales of 0: copied is only where nothing follows. */
            const bool last_row = r * groups + whole + CHUNK_GROUPS > w->rows * groups;
            const struct chunk chunk = chunk_of(w, r, whole, last_row ? rest : CHUNK_GROUPS, each,
                                                quant, &chunk_copy);
            struct scales8 s = scales(&chunk, w, quant);
            s.d = f8_first(s.d, rest);
            s.m = f8_first(s.m, rest);
            plain_chunk(totals, &chunk, s, last, quant, C);
        }
        if (groups % ACT_RUN)
            plain_run(sums, totals, C);
        for (size_t c = 0; c < C; c++)
            out[c * out_stride + r] = sums[c];
    }
}

/* A block of 256. */
UNPACK void plain_block(f8 *totals, const uint8_t *block, const struct acts *x, size_t from,
                        const enum quant quant, const size_t C)
{
    const size_t groups = x->k_padded / ACT_GROUP;
    const int middle = sixteens_middle(quant);
    const struct sixteens s = sixteens(block, quant);
    const struct plain_subs subs = plain_subs(&s);
    plain_four fours[ACT_PLAIN_MAX][2];
    fetch_ahead(block, chunk_bytes[quant]);
    UNROLL
    for (size_t h = 0; h < 2; h++) {
        vb n[4];
        UNROLL
        for (size_t g = 0; g < 4; g++)
            n[g] = numbers(block, h * 4 + g, quant);
        for (size_t c = 0; c < C; c++)
            fours[c][h] = plain_dots_sixteens(
                n, x->q + c * x->k_padded + (from + h * 4) * ACT_GROUP, &subs, h);
    }
    for (size_t c = 0; c < C; c++) {
        const size_t at = c * groups + from;
        f8 scale = f8_load(x->scale + at);
        w8 sums = plain_eight(fours[c][0], fours[c][1]);
        w8 fixes = plain_fixes(&s, x->halves + 2 * at, middle ? -middle : 1);
        if (middle)
            sums = w8_add(sums, fixes);
        totals[c] = f8_fma(w8_floats(sums), f8_mul(scale, f8_set1(s.d)), totals[c]);
        if (!middle)
            totals[c] = f8_fma(f8_set1(s.m), f8_mul(w8_floats(fixes), scale), totals[c]);
    }
}

UNPACK void plain_sixteens(float *out, size_t out_stride, const struct matrix *w,
                           const struct acts *x, size_t row_begin, size_t row_end,
                           const enum quant quant, const size_t C)
{
    const size_t groups = w->cols / ACT_GROUP;
    for (size_t r = row_begin; r < row_end; r++) {
        const uint8_t *block = (const uint8_t *)w->data + r * w->row_bytes;
        float sums[ACT_PLAIN_MAX] = {0};
        f8 totals[ACT_PLAIN_MAX];
        for (size_t c = 0; c < C; c++)
            totals[c] = f8_set1(0);
        for (size_t from = 0; from < groups; from += CHUNK_GROUPS) {
            plain_block(totals, block + from / CHUNK_GROUPS * chunk_bytes[quant], x, from, quant,
                        C);
            if (from % ACT_RUN == ACT_RUN - CHUNK_GROUPS)
                plain_run(sums, totals, C);
        }
        if (groups % ACT_RUN)
            plain_run(sums, totals, C);
        for (size_t c = 0; c < C; c++)
            out[c * out_stride + r] = sums[c];
    }
}

/* A format's function: compiled once for each number of columns, or for all of them at once where
 * the checks that sanitizers add to each copy would take minutes to compile. */
typedef void plain_fn(float *out, size_t out_stride, const struct matrix *w, const struct acts *x,
                      size_t row_begin, size_t row_end);

#ifdef KERNELS_SMALL
#define PLAIN_INSTANCE(loop, quant)                                                             \
    static void plain_##quant(float *out, size_t out_stride, const struct matrix *w,            \
                              const struct acts *x, size_t row_begin, size_t row_end)           \
    {                                                                                           \
        loop(out, out_stride, w, x, row_begin, row_end, QUANT_##quant, x->columns);             \
    }
#else
#define PLAIN_INSTANCE(loop, quant)                                                             \
    static void plain_##quant(float *out, size_t out_stride, const struct matrix *w,            \
                              const struct acts *x, size_t row_begin, size_t row_end)           \
    {                                                                                           \
        switch (x->columns) {                                                                   \
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
