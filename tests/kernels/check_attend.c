/* check_attend.c - attention: pages, ranges, head sizes; the formula in double precision, and that a
 * row's bits are the same in any company and in parts. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "kernels/half.h"

enum { PAGES_FEW = 6, PAGES_MAX = 2 * ATTEND_PART / KV_PAGE + 4 };

static double score(const struct attend *job, size_t row, size_t p)
{
    double sum = 0;
    for (size_t i = 0; i < job->head_dim; i++)
        sum += (double)job->q[row][i] *
               half_float(job->k[p / KV_PAGE][i * KV_PAGE + p % KV_PAGE]);
    sum *= job->scale;
    return job->softcap > 0 ? job->softcap * tanh(sum / job->softcap) : sum;
}

static void check_row(struct check *check, const struct attend *job, size_t row)
{
    size_t first = job->first[row], visible = job->visible[row];
    double weights[PAGES_MAX * KV_PAGE], best = -INFINITY, total = 0;
    for (size_t p = first; p < visible; p++) {
        weights[p] = score(job, row, p);
        best = weights[p] > best ? weights[p] : best;
    }
    for (size_t p = first; p < visible; p++)
        total += weights[p] = exp(weights[p] - best);
    if (job->sinks)
        total += exp(job->sinks[row] - best);
    for (size_t i = 0; i < job->head_dim; i++) {
        double want = 0;
        for (size_t p = first; p < visible; p++)
            want += weights[p] / total *
                    half_float(job->v[p / KV_PAGE][p % KV_PAGE * job->head_dim + i]);
        /* Values are within +-1. A score of size s is off by s * 2^-24 or so, and so is its
         * weight's relative error; scores here reach 30. */
        check_near(check, job->out[row][i], want, 1e-5,
                   "attend, %zu rows, dim %zu: row %zu sees %zu..%zu, number %zu", job->rows,
                   job->head_dim, row, first, visible, i);
    }
}

/* Ranges as a causal prefill has them, as batched verification may have them, or anything. */
static void fill_ranges(struct check *check, uint32_t *first, uint32_t *visible, size_t rows,
                        size_t positions)
{
    bool causal = check_random(check, 0, 1);
    for (size_t r = 0; r < rows; r++) {
        size_t queries = rows < positions ? rows : positions;
        visible[r] = (uint32_t)(causal ? positions - queries + 1 + r * queries / rows
                                       : check_random(check, 1, positions));
        first[r] =
            (uint32_t)(check_random(check, 0, 2) ? 0 : check_random(check, 0, visible[r] - 1));
    }
}

static bool sees(const struct attend *job, size_t row, size_t position)
{
    return job->first[row] <= position && position < job->visible[row];
}

/* The n rows that order names, at once or part by part, into their places in out. */
static void attend_some(struct check *check, const struct attend *job, const size_t *order,
                        size_t n, float *const *out)
{
    const float *q[ATTEND_ROWS_MAX];
    float *to[ATTEND_ROWS_MAX], sinks[ATTEND_ROWS_MAX];
    uint32_t first[ATTEND_ROWS_MAX], visible[ATTEND_ROWS_MAX];
    size_t dim = job->head_dim, size = ATTEND_PART_FLOATS(dim);
    struct attend some = *job;
    some.rows = n;
    some.q = q, some.out = to, some.first = first, some.visible = visible;
    some.sinks = job->sinks ? sinks : NULL;
    for (size_t i = 0; i < n; i++) {
        q[i] = job->q[order[i]];
        to[i] = out[order[i]];
        first[i] = job->first[order[i]];
        visible[i] = job->visible[order[i]];
        sinks[i] = job->sinks ? job->sinks[order[i]] : 0;
    }
    if (check_random(check, 0, 1)) {
        check->table->attend(&some);
        return;
    }
    size_t parts_n = (PAGES_MAX * KV_PAGE + ATTEND_PART - 1) / ATTEND_PART;
    float *parts = check_alloc(parts_n * n * size * sizeof *parts);
    for (size_t part = 0; part < parts_n; part++)
        check->table->attend_part(&some, part, parts + part * n * size);
    for (size_t i = 0; i < n; i++) {
        size_t begin = first[i] / ATTEND_PART, end = (visible[i] - 1) / ATTEND_PART + 1;
        check->table->attend_merge(to[i], parts + (begin * n + i) * size, n * size, end - begin,
                                   dim, some.sinks ? &sinks[i] : NULL);
    }
    free(parts);
}

/* The rows again, in another order and other company. */
static void check_company(struct check *check, const struct attend *job, size_t infinite)
{
    size_t order[ATTEND_ROWS_MAX], rows = job->rows, n, bytes = job->head_dim * sizeof(float);
    float *again[ATTEND_ROWS_MAX], *out = check_alloc(rows * bytes);
    for (size_t r = 0; r < rows; r++) {
        size_t other = check_random(check, 0, r);
        order[r] = order[other];
        order[other] = r;
        again[r] = out + r * job->head_dim;
    }
    for (size_t begin = 0; begin < rows; begin += n) {
        n = check_random(check, 1, check_random(check, 0, 1) ? 1 : rows - begin);
        attend_some(check, job, order + begin, n, again);
    }
    for (size_t r = 0; r < rows; r++) {
        if (!sees(job, r, infinite))
            check_true(check, memcmp(job->out[r], again[r], bytes) == 0,
                       "attend, %zu rows, dim %zu: row %zu sees %u..%u: other bits in other company",
                       rows, job->head_dim, r, job->first[r], job->visible[r]);
    }
    free(out);
}

/* Values may be infinite at one position: nothing of them may come to rows that don't see it. */
static void fill_position(struct check *check, uint16_t *k, uint16_t *v, size_t at, size_t dim,
                          bool infinite)
{
    for (size_t i = 0; i < dim; i++) {
        k[i * KV_PAGE + at] = float_half(check_uniform(check, 1));
        v[at * dim + i] = float_half(infinite ? INFINITY : check_uniform(check, 1));
    }
}

void check_attend(struct check *check)
{
    size_t dim = 8 * check_random(check, 1, HEAD_DIM_MAX / 8);
    if (check_random(check, 0, 1))
        dim = 64;
    size_t rows = check_random(check, 1, check_random(check, 0, 1) ? 4 : ATTEND_ROWS_MAX);
    size_t positions =
        check_random(check, 1, KV_PAGE * (check_random(check, 0, 3) ? PAGES_FEW : PAGES_MAX));
    size_t infinite = check_random(check, 0, 2) ? SIZE_MAX : check_random(check, 0, positions - 1);
    uint32_t first[ATTEND_ROWS_MAX], visible[ATTEND_ROWS_MAX];
    fill_ranges(check, first, visible, rows, positions);

    /* Positions that no row sees hold NaN, pages that no row sees don't exist. */
    uint16_t *k[PAGES_MAX] = {0}, *v[PAGES_MAX] = {0};
    for (size_t p = 0; p < positions; p++) {
        bool seen = false;
        for (size_t r = 0; r < rows; r++)
            seen = seen || (first[r] <= p && p < visible[r]);
        if (seen && !k[p / KV_PAGE]) {
            k[p / KV_PAGE] = check_alloc(KV_PAGE * dim * sizeof **k);
            v[p / KV_PAGE] = check_alloc(KV_PAGE * dim * sizeof **v);
        }
        if (seen)
            fill_position(check, k[p / KV_PAGE], v[p / KV_PAGE], p % KV_PAGE, dim, p == infinite);
    }
    float *q = check_alloc(rows * dim * sizeof *q), *out = check_alloc(rows * dim * sizeof *out);
    const float *q_rows[ATTEND_ROWS_MAX];
    float *out_rows[ATTEND_ROWS_MAX];
    float sinks[ATTEND_ROWS_MAX];
    for (size_t r = 0; r < rows; r++) {
        sinks[r] = check_uniform(check, check_random(check, 0, 3) ? 8 : 300);
        q_rows[r] = q + r * dim;
        out_rows[r] = out + r * dim;
        for (size_t i = 0; i < dim; i++)
            q[r * dim + i] = check_uniform(check, 6);
    }
    struct attend job = {
        .rows = rows, .head_dim = dim, .q = q_rows, .out = out_rows, .first = first,
        .visible = visible, .k = (const uint16_t *const *)k, .v = (const uint16_t *const *)v,
        .scale = 1 / sqrtf((float)dim),
        .softcap = check_random(check, 0, 3) ? 0 : 20,
        .sinks = check_random(check, 0, 3) ? NULL : sinks,
        .scratch = check_alloc(attend_scratch_floats(dim) * sizeof(float)),
    };
    check->table->attend(&job);
    for (size_t r = 0; r < rows; r++) {
        if (!sees(&job, r, infinite))
            check_row(check, &job, r);
    }
    check_company(check, &job, infinite);
    free(job.scratch);
    free(out);
    free(q);
    for (size_t i = 0; i < PAGES_MAX; i++) {
        free(k[i]);
        free(v[i]);
    }
}
