/* body_attend.h - attention over half-float pages, in the vocabulary of a simd_*.h file.
 *
 * Each page of keys and of values is read once for all query rows. Keys lie as [dim][position], so
 * that a vector is a run of positions and scores never need adding across lanes; values lie as
 * [position][dim]. Both products are tiles of a few rows by 4 vectors held in registers, straight
 * from the half floats: making floats of them once for all tiles was measured, and is slower. The
 * softmax streams: a row keeps its maximum and total so far, and what it gathered is shrunk when a
 * page brings a higher maximum.
 *
 * The hard thing is that a row's bits may not depend on the rows beside it. Each number is one
 * chain of fma in order of dims, or of positions, whatever the tile's shape; and where the rows of
 * a tile see different positions, those are added row by row, so that nothing outside a row's
 * range is ever multiplied for it (memory that holds no position yet may hold NaN). */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/kernels.h"

enum {
    ATTEND_VECTORS = 4,         /* of a tile */
};

struct attend_state {
    const struct attend *job;
    size_t dim, stride;         /* stride: dim in whole vectors */
    float *q;                   /* [rows][dim], scaled */
    float *sums;                /* [rows][stride] */
    float *scores;              /* [rows][KV_PAGE] */
    float *totals;              /* [rows][V_LANES] */
    float best[ATTEND_ROWS_MAX];
    size_t begin[ATTEND_ROWS_MAX], end[ATTEND_ROWS_MAX];    /* what each row sees of the page */
};

static void attend_begin(struct attend_state *state, const struct attend *job)
{
    size_t dim = job->head_dim;
    state->job = job;
    state->dim = dim;
    state->stride = (dim + V_LANES - 1) / V_LANES * V_LANES;
    state->sums = job->scratch;
    state->scores = state->sums + job->rows * state->stride;
    state->totals = state->scores + job->rows * KV_PAGE;
    state->q = state->totals + job->rows * V_LANES;
    for (size_t r = 0; r < job->rows; r++) {
        for (size_t i = 0; i < dim; i++)
            state->q[r * dim + i] = job->q[r][i] * job->scale;
    }
}

/* A page of halves, and how far off the next one is, for fetching: both in bytes. */
struct attend_side {
    const uint16_t *halves;
    intptr_t ahead;
};

static inline struct attend_side attend_side(const uint16_t *page, const uint16_t *next)
{
    return (struct attend_side){page, next ? (intptr_t)next - (intptr_t)page : 0};
}

/* to[r][0 .. J vectors) (+)= sum over i of a[r][i] * b[i][0 .. J vectors), r < R; the vectors hold
 * at most `lanes` numbers. */
__attribute__((always_inline)) static inline void
attend_tile(float *to, size_t to_stride, const float *a, size_t a_stride, const uint16_t *b,
            size_t b_stride, intptr_t ahead, size_t n, const bool accumulate, const size_t lanes,
            const size_t R, const size_t J)
{
    vf sums[V_TILE_ROWS][ATTEND_VECTORS];
    for (size_t r = 0; r < R; r++) {
        for (size_t j = 0; j < J; j++)
            sums[r][j] = accumulate ? vf_load(to + r * to_stride + j * V_LANES) : vf_zero();
    }
    for (size_t i = 0; i < n; i++, b += b_stride) {
        vf left[V_TILE_ROWS];
        __builtin_prefetch((const void *)((intptr_t)b + ahead));
        for (size_t r = 0; r < R; r++)
            left[r] = vf_set1(a[r * a_stride + i]);
        for (size_t j = 0; j < J; j++) {
            vf right = lanes < V_LANES ? vf_load_half8(b) : vf_load_half(b + j * V_LANES);
            for (size_t r = 0; r < R; r++)
                sums[r][j] = vf_fma(left[r], right, sums[r][j]);
        }
    }
    for (size_t r = 0; r < R; r++) {
        for (size_t j = 0; j < J; j++)
            vf_store(to + r * to_stride + j * V_LANES, sums[r][j]);
    }
}

/* Scores of R rows at positions [from, to) and what else is in their vectors. */
__attribute__((always_inline)) static inline void
attend_scores(struct attend_state *state, const struct attend_side *keys, size_t row, size_t from,
              size_t to, const size_t R)
{
    const size_t step = ATTEND_VECTORS * V_LANES, dim = state->dim;
    for (size_t p = from / step * step; p < to; p += step)
        attend_tile(state->scores + row * KV_PAGE + p, KV_PAGE, state->q + row * dim, dim,
                    keys->halves + p, KV_PAGE, keys->ahead, dim, false, V_LANES, R,
                    ATTEND_VECTORS);
}

/* Adds to R rows' sums the values of positions [from, to), by their weights. */
__attribute__((always_inline)) static inline void
attend_values(struct attend_state *state, const struct attend_side *values, size_t row, size_t from,
              size_t to, const size_t R)
{
    const size_t step = ATTEND_VECTORS * V_LANES, dim = state->dim;
    const float *weights = state->scores + row * KV_PAGE + from;
    const uint16_t *halves = values->halves + from * dim;
    float *sums = state->sums + row * state->stride;
    size_t i = 0;
    for (; i + step <= dim; i += step)
        attend_tile(sums + i, state->stride, weights, KV_PAGE, halves + i, dim, values->ahead,
                    to - from, true, V_LANES, R, ATTEND_VECTORS);
    for (; i + V_LANES <= dim; i += V_LANES)
        attend_tile(sums + i, state->stride, weights, KV_PAGE, halves + i, dim, values->ahead,
                    to - from, true, V_LANES, R, 1);
    if (V_LANES > 8 && i < dim)
        attend_tile(sums + i, state->stride, weights, KV_PAGE, halves + i, dim, values->ahead,
                    to - from, true, 8, R, 1);
}

typedef void attend_product(struct attend_state *state, const struct attend_side *side, size_t row,
                            size_t from, size_t to);

#define ATTEND_PRODUCT(name, product, rows)                                                  \
    static void name(struct attend_state *state, const struct attend_side *side, size_t row, \
                     size_t from, size_t to)                                                 \
    {                                                                                        \
        product(state, side, row, from, to, rows);                                           \
    }
ATTEND_PRODUCT(scores1, attend_scores, 1)
ATTEND_PRODUCT(scores2, attend_scores, 2)
ATTEND_PRODUCT(scores_tile, attend_scores, V_TILE_ROWS)
ATTEND_PRODUCT(values1, attend_values, 1)
ATTEND_PRODUCT(values2, attend_values, 2)
ATTEND_PRODUCT(values_tile, attend_values, V_TILE_ROWS)

/* By the number of rows: those that attend_tile_rows gives. */
static attend_product *const scores_of[V_TILE_ROWS + 1] =
    {[1] = scores1, [2] = scores2, [V_TILE_ROWS] = scores_tile};
static attend_product *const values_of[V_TILE_ROWS + 1] =
    {[1] = values1, [2] = values2, [V_TILE_ROWS] = values_tile};

/* How many rows the next tile has when so many are left; two and two read less than three and one. */
static size_t attend_tile_rows(size_t left)
{
    return left >= V_TILE_ROWS && left != 4 ? V_TILE_ROWS : left > 2 ? 2 : left;
}

/* A row has a new highest score: what was summed so far was measured against the old one. */
__attribute__((noinline)) static void
attend_raise(struct attend_state *state, size_t row, float best)
{
    float *sums = state->sums + row * state->stride, *totals = state->totals + row * V_LANES;
    vf shrink = vf_set1(expf(state->best[row] - best));
    for (size_t i = 0; i < state->stride; i += V_LANES)
        vf_store(sums + i, vf_mul(vf_load(sums + i), shrink));
    vf_store(totals, vf_mul(vf_load(totals), shrink));
    state->best[row] = best;
}

/* Scores [from, to) of one row, whole vectors, become weights and are added to its total. */
__attribute__((always_inline)) static inline void
attend_weigh(struct attend_state *state, size_t row, const size_t from, const size_t to)
{
    float *scores = state->scores + row * KV_PAGE, *totals = state->totals + row * V_LANES;
    vf top = vf_load(scores + from);
    for (size_t p = from + V_LANES; p < to; p += V_LANES)
        top = vf_max(top, vf_load(scores + p));
    float best = vf_top(top);
    if (best > state->best[row])
        attend_raise(state, row, best);
    vf most = vf_set1(state->best[row]), total = vf_load(totals);
    for (size_t p = from; p < to; p += V_LANES) {
        vf weight = vf_exp(vf_sub(vf_load(scores + p), most));
        vf_store(scores + p, weight);
        total = vf_add(total, weight);
    }
    vf_store(totals, total);
}

/* Scores of one row in one page become weights. */
static void attend_softmax(struct attend_state *state, size_t row)
{
    float *scores = state->scores + row * KV_PAGE;
    size_t begin = state->begin[row], end = state->end[row];
    size_t from = begin / V_LANES * V_LANES, to = (end + V_LANES - 1) / V_LANES * V_LANES;
    if (begin >= end)
        return;
    if (state->job->softcap > 0)
        softcap(scores + begin, end - begin, state->job->softcap);
    if (begin == 0 && end == KV_PAGE) {
        attend_weigh(state, row, 0, KV_PAGE);
        return;
    }
    for (size_t p = from; p < begin; p++)
        scores[p] = -INFINITY;
    for (size_t p = end; p < to; p++)
        scores[p] = -INFINITY;
    attend_weigh(state, row, from, to);
}

/* The values of a page for n rows: together where all of them see, then the others' ends. */
static void attend_gather(struct attend_state *state, const struct attend_side *values, size_t row,
                          size_t n)
{
    size_t low = 0, high = KV_PAGE;
    for (size_t r = row; r < row + n; r++) {
        low = state->begin[r] > low ? state->begin[r] : low;
        high = state->end[r] < high ? state->end[r] : high;
    }
    if (low >= high)
        low = high = KV_PAGE;
    for (size_t r = row; r < row + n; r++) {
        size_t end = state->end[r] < low ? state->end[r] : low;
        if (state->begin[r] < end)
            values1(state, values, r, state->begin[r], end);
    }
    if (low < high)
        values_of[n](state, values, row, low, high);
    for (size_t r = row; r < row + n; r++) {
        if (high < state->end[r])
            values1(state, values, r, high, state->end[r]);
    }
}

/* What rows see of a page, as positions in it; returns whether it is anything at all. */
static bool attend_look(struct attend_state *state, size_t page)
{
    const struct attend *job = state->job;
    size_t start = page * KV_PAGE;
    bool any = false;
    for (size_t r = 0; r < job->rows; r++) {
        size_t from = job->first[r] > start ? job->first[r] - start : 0;
        size_t to = job->visible[r] > start ? job->visible[r] - start : 0;
        state->begin[r] = from;
        state->end[r] = to < KV_PAGE ? to : KV_PAGE;
        if (from >= state->end[r])
            state->begin[r] = state->end[r] = 0;
        any = any || state->end[r] > 0;
    }
    return any;
}

/* The hull of what n rows see. */
static void attend_hull(const struct attend_state *state, size_t row, size_t n, size_t *from,
                        size_t *to)
{
    *from = KV_PAGE;
    *to = 0;
    for (size_t r = row; r < row + n; r++) {
        if (state->end[r] > 0 && state->begin[r] < *from)
            *from = state->begin[r];
        if (state->end[r] > *to)
            *to = state->end[r];
    }
}

static void attend_page(struct attend_state *state, size_t page, size_t next)
{
    const struct attend *job = state->job;
    size_t from, to, n;
    if (!attend_look(state, page))
        return;
    struct attend_side keys = attend_side(job->k[page], job->k[next]);
    struct attend_side values = attend_side(job->v[page], job->v[next]);
    for (size_t row = 0; row < job->rows; row += n) {
        n = attend_tile_rows(job->rows - row);
        attend_hull(state, row, n, &from, &to);
        if (from < to)
            scores_of[n](state, &keys, row, from, to);
        keys.ahead = 0;         /* it is on its way */
        for (size_t r = row; r < row + n; r++)
            attend_softmax(state, r);
    }
    for (size_t row = 0; row < job->rows; row += n) {
        n = attend_tile_rows(job->rows - row);
        attend_gather(state, &values, row, n);
        values.ahead = 0;
    }
}

/* All rows over one part: sums, totals and best are those of the part afterwards. */
static void attend_over(struct attend_state *state, size_t part, size_t last)
{
    const struct attend *job = state->job;
    size_t page = part * (ATTEND_PART / KV_PAGE), end = page + ATTEND_PART / KV_PAGE;
    size_t pages = (last + KV_PAGE - 1) / KV_PAGE;
    memset(state->sums, 0, job->rows * state->stride * sizeof *state->sums);
    memset(state->totals, 0, job->rows * V_LANES * sizeof *state->totals);
    for (size_t r = 0; r < job->rows; r++)
        state->best[r] = -INFINITY;
    for (end = end < pages ? end : pages; page < end; page++)
        attend_page(state, page, page + 1 < end ? page + 1 : page);
}

/* Does a row see anything of a part? */
static bool attend_sees(const struct attend *job, size_t row, size_t part)
{
    return job->first[row] / ATTEND_PART <= part && (job->visible[row] - 1) / ATTEND_PART >= part;
}

static void attend_span(const struct attend *job, size_t *first, size_t *last)
{
    *first = SIZE_MAX;
    *last = 0;
    for (size_t r = 0; r < job->rows; r++) {
        *first = job->first[r] < *first ? job->first[r] : *first;
        *last = job->visible[r] > *last ? job->visible[r] : *last;
    }
}

/* sums, total and best of the parts so far are joined by those of one more. */
static void attend_fold(float *sums, float *total, float *best, const float *more, float more_total,
                        float more_best, size_t dim)
{
    bool higher = more_best > *best;
    float factor = expf(higher ? *best - more_best : more_best - *best);
    vf left = vf_set1(higher ? factor : 1), right = vf_set1(higher ? 1 : factor);
    size_t i = 0;
    for (; i + V_LANES <= dim; i += V_LANES)
        vf_store(sums + i, vf_fma(vf_load(more + i), right, vf_mul(vf_load(sums + i), left)));
    if (i < dim)
        vf_store_n(sums + i, vf_fma(vf_load_n(more + i, dim - i), right,
                                    vf_mul(vf_load_n(sums + i, dim - i), left)), dim - i);
    *total = higher ? fmaf(*total, factor, more_total) : fmaf(more_total, factor, *total);
    *best = higher ? more_best : *best;
}

static void attend_finish(float *out, float total, float best, const float *sink, size_t dim)
{
    if (sink)                   /* infinite where the sink takes all there is */
        total += expf(*sink - best);
    for (size_t i = 0; i < dim; i++)
        out[i] /= total;
}

static void attend(const struct attend *job)
{
    struct attend_state state;
    float total[ATTEND_ROWS_MAX] = {0}, best[ATTEND_ROWS_MAX];
    size_t first, last;
    attend_begin(&state, job);
    attend_span(job, &first, &last);
    for (size_t r = 0; r < job->rows; r++) {
        memset(job->out[r], 0, state.dim * sizeof *job->out[r]);
        best[r] = -INFINITY;
    }
    for (size_t part = first / ATTEND_PART; part * ATTEND_PART < last; part++) {
        attend_over(&state, part, last);
        for (size_t r = 0; r < job->rows; r++) {
            if (attend_sees(job, r, part))
                attend_fold(job->out[r], &total[r], &best[r], state.sums + r * state.stride,
                            vf_sum(vf_load(state.totals + r * V_LANES)), state.best[r], state.dim);
        }
    }
    for (size_t r = 0; r < job->rows; r++)
        attend_finish(job->out[r], total[r], best[r], job->sinks ? &job->sinks[r] : NULL,
                      state.dim);
}

static void attend_part(const struct attend *job, size_t part, float *to)
{
    struct attend_state state;
    size_t first, last;
    attend_begin(&state, job);
    attend_span(job, &first, &last);
    attend_over(&state, part, last);
    for (size_t r = 0; r < job->rows; r++, to += ATTEND_PART_FLOATS(state.dim)) {
        if (!attend_sees(job, r, part))
            continue;
        memcpy(to, state.sums + r * state.stride, state.dim * sizeof *to);
        to[state.dim] = vf_sum(vf_load(state.totals + r * V_LANES));
        to[state.dim + 1] = state.best[r];
    }
}

static void attend_merge(float *out, const float *parts, size_t stride, size_t n, size_t dim,
                         const float *sink)
{
    float total = 0, best = -INFINITY;
    memset(out, 0, dim * sizeof *out);
    for (size_t i = 0; i < n; i++, parts += stride)
        attend_fold(out, &total, &best, parts, parts[dim], parts[dim + 1], dim);
    attend_finish(out, total, best, sink, dim);
}
