/* body_attend.h - attention over half-float pages, in the vocabulary of a simd_*.h file.
 *
 * Each page of keys and of values is read once, for all query rows. For many rows it is made floats
 * first: keys turned to [dim][position], so that a vector is a run of positions and scores never
 * need adding across lanes; values stay [position][dim]. Both products are then tiles of
 * V_TILE_ROWS rows by 4 vectors held in registers. For one tile of rows (decoding) that would not
 * pay: it takes the half floats as they lie. The softmax streams: a row keeps its maximum and total
 * so far, and what it gathered is shrunk when a page brings a higher maximum.
 *
 * The hard thing is what lies outside a row's range: scores there are replaced before anyone looks
 * at them, and values there are never multiplied (memory that holds no position yet may hold NaN).
 */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/kernels.h"

enum { V_STEP = 4 * V_LANES };

struct attend_state {
    size_t rows, dim, dim_padded;
    bool few;                   /* one tile of rows, and a dim of whole tiles */
    float *page;                /* keys [dim][KV_PAGE] or values [KV_PAGE][dim_padded] */
    float *q;                   /* [rows][dim], scaled */
    float *sums;                /* [rows][dim_padded] */
    float *scores;              /* [rows][KV_PAGE] */
    float softcap;
    float best[ATTEND_ROWS_MAX], total[ATTEND_ROWS_MAX];
};

/* Rows are worked on by the tile: a row past the last is computed and dropped. */
static size_t attend_rows_padded(size_t rows)
{
    return (rows + V_TILE_ROWS - 1) / V_TILE_ROWS * V_TILE_ROWS;
}

static void attend_begin(struct attend_state *state, const struct attend *job)
{
    size_t rows = attend_rows_padded(job->rows), dim = job->head_dim;
    state->rows = job->rows;
    state->dim = dim;
    state->dim_padded = (dim + V_STEP - 1) / V_STEP * V_STEP;
    state->few = job->rows <= V_TILE_ROWS && dim % V_STEP == 0;
    state->page = job->scratch;
    state->q = state->page + KV_PAGE * state->dim_padded;
    state->sums = state->q + rows * state->dim_padded;
    state->scores = state->sums + rows * state->dim_padded;
    state->softcap = job->softcap;
    memset(state->q, 0, rows * dim * sizeof *state->q);
    memset(state->sums, 0, rows * state->dim_padded * sizeof *state->sums);
    memset(state->scores, 0, rows * KV_PAGE * sizeof *state->scores);
    for (size_t r = 0; r < job->rows; r++) {
        for (size_t i = 0; i < dim; i++)
            state->q[r * dim + i] = job->q[r][i] * job->scale;
        state->best[r] = -INFINITY;
        state->total[r] = 0;
    }
}

static void attend_keys(struct attend_state *state, const uint16_t *page, size_t end)
{
    for (size_t p = 0; p < end; p += 8) {
        for (size_t i = 0; i < state->dim; i += 8)
            simd_transpose8_half(state->page + i * KV_PAGE + p, KV_PAGE,
                                 page + p * state->dim + i, state->dim);
    }
}

static void attend_values(struct attend_state *state, const uint16_t *page, size_t begin,
                          size_t end)
{
    for (size_t p = begin; p < end; p++)
        f16_to_f32(state->page + p * state->dim_padded, page + p * state->dim, state->dim);
}

/* to[r][0..V_STEP) (+)= sum over i of a[r][i] * b[i][0..V_STEP), r < R; b is floats or halves. */
__attribute__((always_inline)) static inline void
attend_tile(float *to, size_t to_stride, const float *a, size_t a_stride, const void *b,
            size_t b_stride, size_t n, const bool accumulate, const bool halves, const size_t R)
{
    vf sums[V_TILE_ROWS][4];
    for (size_t r = 0; r < R; r++) {
        for (size_t j = 0; j < 4; j++)
            sums[r][j] = accumulate ? vf_load(to + r * to_stride + j * V_LANES) : vf_zero();
    }
    for (size_t i = 0; i < n; i++) {
        vf left[V_TILE_ROWS];
        for (size_t r = 0; r < R; r++)
            left[r] = vf_set1(a[r * a_stride + i]);
        for (size_t j = 0; j < 4; j++) {
            size_t at = i * b_stride + j * V_LANES;
            vf right = halves ? vf_load_half((const uint16_t *)b + at)
                              : vf_load((const float *)b + at);
            for (size_t r = 0; r < R; r++)
                sums[r][j] = vf_fma(left[r], right, sums[r][j]);
        }
    }
    for (size_t r = 0; r < R; r++) {
        for (size_t j = 0; j < 4; j++)
            vf_store(to + r * to_stride + j * V_LANES, sums[r][j]);
    }
}

/* Scores of R rows at positions [begin, end), four at a time, straight from the page. */
__attribute__((always_inline)) static inline void
attend_scores_few(struct attend_state *state, const uint16_t *page, size_t begin, size_t end,
                  const size_t R)
{
    for (size_t p = begin / 4 * 4; p < end; p += 4) {
        vf sums[V_TILE_ROWS][4];
        for (size_t r = 0; r < R; r++) {
            for (size_t j = 0; j < 4; j++)
                sums[r][j] = vf_zero();
        }
        for (size_t i = 0; i < state->dim; i += V_LANES) {
            for (size_t j = 0; j < 4; j++) {
                vf key = vf_load_half(page + (p + j) * state->dim + i);
                for (size_t r = 0; r < R; r++)
                    sums[r][j] = vf_fma(vf_load(state->q + r * state->dim + i), key, sums[r][j]);
            }
        }
        for (size_t r = 0; r < R; r++)
            vf_store_sums4(state->scores + r * KV_PAGE + p, sums[r]);
    }
}

/* Scores of one row in one page become weights; [begin, end) is what the row may see of it. */
static void attend_softmax(struct attend_state *state, size_t row, size_t begin, size_t end)
{
    float *scores = state->scores + row * KV_PAGE;
    if (begin >= end) {
        memset(scores, 0, KV_PAGE * sizeof *scores);
        return;
    }
    if (state->softcap > 0)
        softcap(scores + begin, end - begin, state->softcap);
    for (size_t p = 0; p < begin; p++)
        scores[p] = -INFINITY;
    for (size_t p = end; p < KV_PAGE; p++)
        scores[p] = -INFINITY;
    vf top = vf_load(scores);
    for (size_t p = V_LANES; p < KV_PAGE; p += V_LANES)
        top = vf_max(top, vf_load(scores + p));
    float best = vf_top(top);
    if (best > state->best[row]) {
        float shrink = expf(state->best[row] - best), *sums = state->sums + row * state->dim_padded;
        for (size_t i = 0; i < state->dim_padded; i += V_LANES)
            vf_store(sums + i, vf_mul(vf_load(sums + i), vf_set1(shrink)));
        state->total[row] *= shrink;
        state->best[row] = best;
    }
    vf most = vf_set1(state->best[row]), total = vf_zero();
    for (size_t p = 0; p < KV_PAGE; p += V_LANES) {
        vf weight = vf_exp(vf_sub(vf_load(scores + p), most));
        vf_store(scores + p, weight);
        total = vf_add(total, weight);
    }
    state->total[row] += vf_sum(total);
}

/* What of page number `page` rows [row, row + n) may see, as positions in it. */
static void attend_range(const struct attend *job, size_t row, size_t n, size_t page, size_t *begin,
                         size_t *end)
{
    size_t start = page * KV_PAGE, first = SIZE_MAX, last = 0;
    for (size_t r = row; r < row + n && r < job->rows; r++) {
        size_t from = job->first[r] > start ? job->first[r] : start;
        size_t to = job->visible[r] < start + KV_PAGE ? job->visible[r] : start + KV_PAGE;
        if (from < to) {
            first = from < first ? from : first;
            last = to > last ? to : last;
        }
    }
    *begin = first < last ? first - start : 0;
    *end = first < last ? last - start : 0;
}

static void attend_page_few(struct attend_state *state, const struct attend *job, size_t page)
{
    size_t begin, end, first, last, dim = state->dim;
    attend_range(job, 0, job->rows, page, &begin, &end);
    if (begin >= end)
        return;
    if (job->rows == 1)
        attend_scores_few(state, job->k[page], begin, end, 1);
    else
        attend_scores_few(state, job->k[page], begin, end, V_TILE_ROWS);
    for (size_t r = 0; r < job->rows; r++) {
        attend_range(job, r, 1, page, &first, &last);
        attend_softmax(state, r, first, last);
    }
    const float *weights = state->scores + begin;
    for (size_t i = 0; i < dim; i += V_STEP) {
        const uint16_t *values = job->v[page] + begin * dim + i;
        if (job->rows == 1)
            attend_tile(state->sums + i, dim, weights, KV_PAGE, values, dim, end - begin, true,
                        true, 1);
        else
            attend_tile(state->sums + i, dim, weights, KV_PAGE, values, dim, end - begin, true,
                        true, V_TILE_ROWS);
    }
}

static void attend_page(struct attend_state *state, const struct attend *job, size_t page)
{
    size_t begin, end, from, to;
    attend_range(job, 0, job->rows, page, &begin, &end);
    if (begin >= end)
        return;
    attend_keys(state, job->k[page], end);
    for (size_t row = 0; row < job->rows; row += V_TILE_ROWS) {
        attend_range(job, row, V_TILE_ROWS, page, &from, &to);
        for (size_t p = from / V_STEP * V_STEP; p < to; p += V_STEP)
            attend_tile(state->scores + row * KV_PAGE + p, KV_PAGE, state->q + row * state->dim,
                        state->dim, state->page + p, KV_PAGE, state->dim, false, false,
                        V_TILE_ROWS);
        for (size_t r = row; from < to && r < row + V_TILE_ROWS && r < job->rows; r++) {
            size_t first, last;
            attend_range(job, r, 1, page, &first, &last);
            attend_softmax(state, r, first, last);
        }
    }
    attend_values(state, job->v[page], begin, end);
    for (size_t row = 0; row < job->rows; row += V_TILE_ROWS) {
        attend_range(job, row, V_TILE_ROWS, page, &from, &to);
        if (from >= to)
            continue;
        for (size_t i = 0; i < state->dim_padded; i += V_STEP)
            attend_tile(state->sums + row * state->dim_padded + i, state->dim_padded,
                        state->scores + row * KV_PAGE + from, KV_PAGE,
                        state->page + from * state->dim_padded + i, state->dim_padded, to - from,
                        true, false, V_TILE_ROWS);
    }
}

static void attend(const struct attend *job)
{
    struct attend_state state;
    attend_begin(&state, job);
    size_t first = SIZE_MAX, last = 0;
    for (size_t r = 0; r < job->rows; r++) {
        first = job->first[r] < first ? job->first[r] : first;
        last = job->visible[r] > last ? job->visible[r] : last;
    }
    for (size_t page = first / KV_PAGE; page * KV_PAGE < last; page++)
        (state.few ? attend_page_few : attend_page)(&state, job, page);
    for (size_t r = 0; r < job->rows; r++) {
        if (job->sinks)         /* infinite where the sink takes all there is */
            state.total[r] += expf(job->sinks[r] - state.best[r]);
        for (size_t i = 0; i < state.dim; i++)
            job->out[r][i] = state.sums[r * state.dim_padded + i] / state.total[r];
    }
}
