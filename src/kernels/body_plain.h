/* body_plain.h - quantised weights times up to ACT_PLAIN_MAX columns, straight from the layout of
 * the file: a run's groups in one way where 32 numbers have a scale, in another where 16 have.
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
 * plain_run_sums(sums, totals, order), which adds those of a run of PLAIN_QUAD rows; PLAIN_ORDERS,
 * a bit for each order that plain_order may say. */
#include "kernels/acts.h"
#include "kernels/body_unpack.h"
#include "kernels/fetch.h"

enum {
    PLAIN_COLUMNS = 4,          /* at once, */
    PLAIN_ROWS = 16,            /* rows that stay in the first cache until all had them */
    PLAIN_QUAD = 4,             /* rows whose sums are made at once */
};

/* One column's activations, from a row's first group on. */
struct plain_column {
    const int8_t *q;
    const float *scale, *sum;
    const int16_t *halves;
};

/* 8 groups of a row, the first of which is `from`; of them `halves` times 4 count. */
UNPACK void plain_chunk(f8 *totals, const struct chunk *chunk, struct scales8 s,
                        const struct plain_column *x, size_t from, const size_t halves,
                        const enum quant quant, const size_t C)
{
    const enum kind kind = kind_of(quant);
    const enum order order = plain_order(quant);
    plain_four fours[PLAIN_COLUMNS][2] = {0};
    s.d = plain_floats8(s.d, order);
    s.m = plain_floats8(s.m, order);
    UNROLL
    for (size_t h = 0; h < halves; h++) {
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

/* What PLAIN_QUAD rows have of a run, until their sums are made at once: for one row alone the
 * lanes' sum would take as long as two chunks. */
struct quad {
    f8 totals[PLAIN_COLUMNS][PLAIN_QUAD];
    float sums[PLAIN_COLUMNS][PLAIN_QUAD];
};

static void quad_begin(struct quad *quad, const size_t C)
{
    for (size_t c = 0; c < C; c++) {
        for (size_t i = 0; i < PLAIN_QUAD; i++) {
            quad->totals[c][i] = f8_set1(0);
            quad->sums[c][i] = 0;
        }
    }
}

UNPACK void quad_end_run(struct quad *quad, const enum order order, const size_t C)
{
    for (size_t c = 0; c < C; c++)
        plain_run_sums(quad->sums[c], quad->totals[c], order);
}

static void quad_store(float *out, size_t out_stride, const struct quad *quad, size_t rows,
                       const size_t C)
{
    for (size_t c = 0; c < C; c++)
        memcpy(out + c * out_stride, quad->sums[c], rows * sizeof(float));
}

/* Rows go together where a row is one run; else each by itself, in the order of the file. */
static size_t quad_rows(size_t groups, size_t rows)
{
    const size_t most = groups <= ACT_RUN ? PLAIN_QUAD : 1;
    return rows < most ? rows : most;
}

/* Groups [from, to) of row r, a run or its beginning. */
UNPACK void plain_run(f8 *totals, const struct matrix *w, size_t r, size_t from, size_t to,
                      const struct plain_column *x, const enum quant quant, const size_t C)
{
    const size_t groups = w->cols / ACT_GROUP, rest = (to - from) % CHUNK_GROUPS;
    const size_t each = scales_bytes(w, quant);
    struct chunk_copy chunk_copy;
    for (; from + CHUNK_GROUPS <= to; from += CHUNK_GROUPS) {
        const struct chunk chunk = chunk_of(w, r, from, CHUNK_GROUPS, each, quant, &chunk_copy);
        fetch_ahead(chunk.at, chunk_bytes[quant]);
        plain_chunk(totals, &chunk, scales(&chunk, w, quant), x, from, 2, quant, C);
    }
    if (rest) {
        /* What follows the row gets scales of 0: copied is only where nothing follows. */
        const bool last_row = r * groups + from + CHUNK_GROUPS > w->rows * groups;
        const struct chunk chunk = chunk_of(w, r, from, last_row ? rest : CHUNK_GROUPS, each, quant,
                                            &chunk_copy);
        struct scales8 s = scales(&chunk, w, quant);
        s.d = f8_first(s.d, rest);
        s.m = f8_first(s.m, rest);
        if (rest <= CHUNK_GROUPS / 2)
            plain_chunk(totals, &chunk, s, x, from, 1, quant, C);
        else
            plain_chunk(totals, &chunk, s, x, from, 2, quant, C);
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

/* Groups [from, to) of row r of a format with a scale for 16. */
UNPACK void plain_run_sixteens(f8 *totals, const struct matrix *w, size_t r, size_t from, size_t to,
                               const struct plain_column *x, const enum quant quant, const size_t C)
{
    const uint8_t *row = (const uint8_t *)w->data + r * w->row_bytes;
    for (; from < to; from += CHUNK_GROUPS)
        plain_block(totals, row + from / CHUNK_GROUPS * chunk_bytes[quant], x, from, quant, C);
}

UNPACK void plain_rows(float *out, size_t out_stride, const struct matrix *w,
                       const struct plain_column *x, size_t row_begin, size_t row_end,
                       const enum quant quant, const size_t C)
{
    const size_t groups = w->cols / ACT_GROUP;
    struct quad quad;
    for (size_t r = row_begin, rows; r < row_end; r += rows) {
        rows = quad_rows(groups, row_end - r);
        quad_begin(&quad, C);
        for (size_t from = 0; from < groups; from += ACT_RUN) {
            const size_t to = groups - from < ACT_RUN ? groups : from + ACT_RUN;
            for (size_t i = 0; i < rows; i++) {
                f8 totals[PLAIN_COLUMNS];
                for (size_t c = 0; c < C; c++)
                    totals[c] = f8_set1(0);
                if (is_sixteens(kind_of(quant)))
                    plain_run_sixteens(totals, w, r + i, from, to, x, quant, C);
                else
                    plain_run(totals, w, r + i, from, to, x, quant, C);
                for (size_t c = 0; c < C; c++)
                    quad.totals[c][i] = totals[c];
            }
            quad_end_run(&quad, plain_order(quant), C);
        }
        quad_store(out + r, out_stride, &quad, rows, C);
    }
}

/* A format's function: compiled once for each number of columns, or for all of them at once where
 * the checks that sanitizers add to each copy would take minutes to compile. */
typedef void plain_fn(float *out, size_t out_stride, const struct matrix *w,
                      const struct plain_column *x, size_t columns, size_t row_begin,
                      size_t row_end);

#ifdef KERNELS_SMALL
#define PLAIN_INSTANCE(quant)                                                                   \
    static void plain_##quant(float *out, size_t out_stride, const struct matrix *w,            \
                              const struct plain_column *x, size_t columns, size_t row_begin,   \
                              size_t row_end)                                                   \
    {                                                                                           \
        plain_rows(out, out_stride, w, x, row_begin, row_end, QUANT_##quant, columns);          \
    }
#else
#define PLAIN_INSTANCE(quant)                                                                   \
    static void plain_##quant(float *out, size_t out_stride, const struct matrix *w,            \
                              const struct plain_column *x, size_t columns, size_t row_begin,   \
                              size_t row_end)                                                   \
    {                                                                                           \
        switch (columns) {                                                                      \
        case 1: plain_rows(out, out_stride, w, x, row_begin, row_end, QUANT_##quant, 1); break; \
        case 2: plain_rows(out, out_stride, w, x, row_begin, row_end, QUANT_##quant, 2); break; \
        case 3: plain_rows(out, out_stride, w, x, row_begin, row_end, QUANT_##quant, 3); break; \
        default: plain_rows(out, out_stride, w, x, row_begin, row_end, QUANT_##quant, 4);       \
        }                                                                                       \
    }
#endif
PLAIN_INSTANCE(Q8_0)
PLAIN_INSTANCE(Q4_0)
PLAIN_INSTANCE(Q4_1)
PLAIN_INSTANCE(Q5_0)
PLAIN_INSTANCE(Q5_1)
PLAIN_INSTANCE(IQ4_NL)
PLAIN_INSTANCE(MXFP4)
PLAIN_INSTANCE(Q2_K)
PLAIN_INSTANCE(Q3_K)
PLAIN_INSTANCE(Q4_K)
PLAIN_INSTANCE(Q5_K)
PLAIN_INSTANCE(Q6_K)
PLAIN_INSTANCE(IQ4_XS)
PLAIN_INSTANCE(AFFINE_2)
PLAIN_INSTANCE(AFFINE_3)
PLAIN_INSTANCE(AFFINE_4)
PLAIN_INSTANCE(AFFINE_5)
PLAIN_INSTANCE(AFFINE_6)
PLAIN_INSTANCE(AFFINE_8)

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

/* A column's numbers in order and filled up to whole chunks, and its scales and sums. */
static void arrange_column(uint8_t *to, const struct plain_column *column, size_t groups,
                           size_t chunks, const enum order order)
{
    int8_t *q = (int8_t *)to;
    float *scale = (float *)(to + chunks * CHUNK_GROUPS * ACT_GROUP);
    float *sum = scale + chunks * CHUNK_GROUPS;
    memset(scale, 0, 2 * chunks * CHUNK_GROUPS * sizeof *scale);
    memcpy(scale, column->scale, groups * sizeof *scale);
    memcpy(sum, column->sum, groups * sizeof *sum);
    for (size_t g = 0; g < chunks * CHUNK_GROUPS; g += CHUNK_GROUPS) {
        f8_store(scale + g, plain_floats8(f8_load(scale + g), order));
        f8_store(sum + g, plain_floats8(f8_load(sum + g), order));
    }
    for (size_t g = 0; g < chunks * CHUNK_GROUPS; g += 2) {
        int8_t two[2 * ACT_GROUP] = {0};
        const size_t n = g >= groups ? 0 : groups - g < 2 ? 1 : 2;
        memcpy(two, column->q + g * ACT_GROUP, n * ACT_GROUP);
        plain_reorder(q + g * ACT_GROUP, two, order);
    }
}

/* Where acts_quantize put it, which needs no arranging if it fills whole chunks as it is. */
static struct plain_column natural_column(const struct acts *x, size_t c)
{
    const size_t groups = x->k_padded / ACT_GROUP;
    return (struct plain_column){
        x->q + c * x->k_padded, x->scale + c * groups, x->sum + c * groups,
        x->halves + 2 * c * groups,
    };
}

static bool is_arranged(const struct acts *x, const enum order order)
{
    return order != ORDER_NATURAL || x->k_padded % PLAIN_CHUNK;
}

static void acts_arrange(struct acts *x, size_t c)
{
    const struct plain_column column = natural_column(x, c);
    for (enum order order = 0; order < ORDERS; order++)
        if ((PLAIN_ORDERS >> order & 1) && is_arranged(x, order))
            arrange_column(acts_arranged(x, c, order), &column, x->k_padded / ACT_GROUP,
                           plain_chunks(x->k), order);
}

static struct plain_column plain_column(const struct acts *x, size_t c, const enum order order)
{
    if (!is_arranged(x, order))
        return natural_column(x, c);
    const uint8_t *at = acts_arranged(x, c, order);
    const float *scale = (const float *)(at + plain_chunks(x->k) * PLAIN_CHUNK);
    return (struct plain_column){
        (const int8_t *)at, scale, scale + plain_chunks(x->k) * CHUNK_GROUPS, NULL,
    };
}

static void plain_matmul(float *out, size_t out_stride, const struct matrix *w,
                         const struct acts *x, size_t row_begin, size_t row_end)
{
    struct plain_column columns[ACT_PLAIN_MAX];
    for (size_t c = 0; c < x->columns; c++)
        columns[c] = plain_column(x, c, plain_order(w->quant));
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
