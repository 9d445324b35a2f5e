/* check_attend.c - attention: pages, ranges, head sizes; the formula in double precision. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "kernels/half.h"

enum { PAGES_MAX = 6 };

static double score(const struct attend *job, size_t row, size_t p)
{
    double sum = 0;
    for (size_t i = 0; i < job->head_dim; i++)
        sum += (double)job->q[row][i] *
               half_float(job->k[p / KV_PAGE][p % KV_PAGE * job->head_dim + i]);
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

void check_attend(struct check *check)
{
    size_t dim = 8 * check_random(check, 1, HEAD_DIM_MAX / 8);
    if (check_random(check, 0, 1))
        dim = 64;
    size_t rows = check_random(check, 1, check_random(check, 0, 1) ? 4 : ATTEND_ROWS_MAX);
    size_t positions = check_random(check, 1, PAGES_MAX * KV_PAGE);
    uint32_t first[ATTEND_ROWS_MAX], visible[ATTEND_ROWS_MAX];
    fill_ranges(check, first, visible, rows, positions);
    uint32_t low = UINT32_MAX, high = 0;
    for (size_t r = 0; r < rows; r++) {
        low = first[r] < low ? first[r] : low;
        high = visible[r] > high ? visible[r] : high;
    }

    /* Positions that no row sees hold NaN, pages that no row sees don't exist. */
    uint16_t *k[PAGES_MAX] = {0}, *v[PAGES_MAX] = {0};
    for (size_t p = low / KV_PAGE * KV_PAGE; p < high; p++) {
        if (p % KV_PAGE == 0) {
            k[p / KV_PAGE] = check_alloc(KV_PAGE * dim * sizeof **k);
            v[p / KV_PAGE] = check_alloc(KV_PAGE * dim * sizeof **v);
        }
        for (size_t i = 0; i < dim && p >= low; i++) {
            k[p / KV_PAGE][p % KV_PAGE * dim + i] = float_half(check_uniform(check, 1));
            v[p / KV_PAGE][p % KV_PAGE * dim + i] = float_half(check_uniform(check, 1));
        }
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
    for (size_t r = 0; r < rows; r++)
        check_row(check, &job, r);
    free(job.scratch);
    free(out);
    free(q);
    for (size_t i = 0; i < PAGES_MAX; i++) {
        free(k[i]);
        free(v[i]);
    }
}
