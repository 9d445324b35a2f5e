/* experts.c - a mixture of experts: each row is done by the few that its router chooses.
 *
 * The step's rows are sorted by expert, so that an expert's matrices are read once for all rows
 * that chose it. The hard thing is that a row's sum may not depend on who shares its step or on
 * which thread is done first: each expert's part is written to a place of its own, and the parts
 * are added in the order of the router's choice. Of equally wanted experts the one of the lower
 * number wins. */
#include <math.h>
#include <string.h>

#include "engine/work.h"

struct experts_job {
    struct forward *f;
    const struct layer_weights *w;
    uint32_t tile, tiles;       /* of one expert's matrix */
};

/* ---- the router ---- */

static void router_task(void *context, size_t task, unsigned thread)
{
    const struct experts_job *job = context;
    struct forward *f = job->f;
    const uint32_t begin = (uint32_t)task * job->tile;
    const struct matrix w = tile_of(&job->w->router, begin, job->tile);

    multiply(f, f->experts.router + begin, f->hparams->experts, &w, &f->acts_hidden, thread);
}

/* The highest number that is not taken, which -infinity marks: no two choices of a row are one
 * expert, whatever the numbers are. */
static uint32_t highest(const float *x, uint32_t n)
{
    uint32_t best = n;

    for (uint32_t i = 0; i < n; i++)
        if (x[i] != -INFINITY && (best == n || x[i] > x[best]))
            best = i;
    return best;
}

/* Each row's experts and what part of the sum they have: softmax over all of them, then, if the
 * model norms it, over the chosen. */
static void choose_rows(struct forward *f, const void *argument, uint32_t begin, uint32_t end)
{
    const struct layer_weights *w = argument;
    const uint32_t n = f->hparams->experts, used = f->hparams->experts_used;
    const struct experts *x = &f->experts;

    for (uint32_t r = begin; r < end; r++) {
        float *scores = x->router + (size_t)r * n, *share = x->share + (size_t)r * used, sum = 0;
        if (w->router_bias)
            f->kernels->add(scores, w->router_bias, n);
        const float all = f->kernels->softmax_exp(scores, n);
        for (uint32_t i = 0; i < used; i++) {
            const uint32_t expert = highest(scores, n);
            x->chosen[(size_t)r * used + i] = expert;
            share[i] = scores[expert];
            sum += scores[expert];
            scores[expert] = -INFINITY;
        }
        for (uint32_t i = 0; i < used; i++)
            share[i] *= f->hparams->residual_scale / (f->hparams->experts_norm ? sum : all);
    }
}

/* ---- runs ---- */

/* Sorts the rows' choices by expert, in order of rows. */
static void plan_runs(struct forward *f)
{
    const uint32_t used = f->hparams->experts_used, places = f->rows * used;
    struct experts *x = &f->experts;
    uint32_t next[EXPERTS_MAX] = {0}, begin = 0;
    size_t in = 0, gated = 0;

    for (uint32_t i = 0; i < places; i++)
        next[x->chosen[i]]++;
    x->runs_n = x->longest = 0;
    for (uint32_t e = 0; e < f->hparams->experts; e++) {
        const uint32_t n = next[e];
        if (n == 0)
            continue;
        struct expert_run *run = &x->runs[x->runs_n++];
        *run = (struct expert_run){.expert = e, .begin = begin, .n = n};
        acts_init(&run->in, x->acts_in + in, f->hparams->hidden, n);
        acts_init(&run->gated, x->acts_gated + gated, f->hparams->expert_ffn, n);
        run->in.f32 = x->in + (size_t)begin * f->hparams->hidden;
        run->gated.f32 = x->gated + (size_t)begin * f->hparams->expert_ffn;
        in += acts_bytes(f->hparams->hidden, n);
        gated += acts_bytes(f->hparams->expert_ffn, n);
        x->longest = n > x->longest ? n : x->longest;
        next[e] = begin;
        begin += n;
    }
    for (uint32_t i = 0; i < places; i++) {
        x->place[i] = next[x->chosen[i]]++;
        x->row_of[x->place[i]] = i / used;
    }
}

/* A task is one run: its rows are gathered and made ready for matmul. */
static void gather_task(void *context, size_t task, unsigned thread)
{
    const struct experts_job *job = context;
    struct forward *f = job->f;
    struct expert_run *run = &f->experts.runs[task];
    const size_t hidden = f->hparams->hidden;

    for (uint32_t i = run->begin; i < run->begin + run->n; i++)
        memcpy(f->experts.in + i * hidden, f->normed + f->experts.row_of[i] * hidden,
               hidden * sizeof *f->normed);
    f->kernels->acts_quantize(&run->in, 0, run->n);
}

/* out [columns][stride] = x * w^T + bias for the rows of w from `begin` on. */
static void multiply_biased(struct forward *f, float *out, size_t stride, const struct matrix *w,
                            const float *bias, const struct acts *x, unsigned thread)
{
    multiply(f, out, stride, w, x, thread);
    for (size_t c = 0; bias && c < x->columns; c++)
        f->kernels->add(out + c * stride, bias, w->rows);
}

/* A task is a tile of one expert's gate and up. */
static void expert_gate_task(void *context, size_t task, unsigned thread)
{
    const struct experts_job *job = context;
    struct forward *f = job->f;
    const struct expert_run *run = &f->experts.runs[task / job->tiles];
    const uint32_t begin = (uint32_t)(task % job->tiles) * job->tile, ffn = f->hparams->expert_ffn;
    const struct matrix gate = tile_of(&job->w->experts_gate[run->expert], begin, job->tile);
    const struct matrix up = tile_of(&job->w->experts_up[run->expert], begin, job->tile);
    const float *gate_bias = nth_vector(job->w->experts_gate_bias, run->expert, ffn);
    const float *up_bias = nth_vector(job->w->experts_up_bias, run->expert, ffn);
    float *out = f->experts.gated + (size_t)run->begin * ffn + begin;
    float *tile = f->threads[thread].tile;

    multiply_biased(f, out, ffn, &gate, nth_vector(gate_bias, begin, 1), &run->in, thread);
    multiply_biased(f, tile, up.rows, &up, nth_vector(up_bias, begin, 1), &run->in, thread);
    for (uint32_t i = 0; i < run->n; i++)
        gate_mul(f, out + (size_t)i * ffn, tile + (size_t)i * up.rows, up.rows);
}

static void gated_task(void *context, size_t task, unsigned thread)
{
    const struct experts_job *job = context;
    struct expert_run *run = &job->f->experts.runs[task];

    job->f->kernels->acts_quantize(&run->gated, 0, run->n);
}

/* A task is a tile of one expert's down. Nobody needs its input any more: the output goes there. */
static void expert_down_task(void *context, size_t task, unsigned thread)
{
    const struct experts_job *job = context;
    struct forward *f = job->f;
    const struct expert_run *run = &f->experts.runs[task / job->tiles];
    const uint32_t begin = (uint32_t)(task % job->tiles) * job->tile, hidden = f->hparams->hidden;
    const struct matrix down = tile_of(&job->w->experts_down[run->expert], begin, job->tile);
    const float *bias = nth_vector(job->w->experts_down_bias, run->expert, hidden);

    multiply_biased(f, f->experts.in + (size_t)run->begin * hidden + begin, hidden, &down,
                    nth_vector(bias, begin, 1), &run->gated, thread);
}

static void sum_rows(struct forward *f, const void *argument, uint32_t begin, uint32_t end)
{
    const uint32_t hidden = f->hparams->hidden, used = f->hparams->experts_used;
    const struct experts *x = &f->experts;

    for (uint32_t r = begin; r < end; r++)
        for (uint32_t i = r * used; i < (r + 1) * used; i++) {
            const float *part = x->in + (size_t)x->place[i] * hidden, share = x->share[i];
            float *to = f->x + (size_t)r * hidden;
            for (uint32_t j = 0; j < hidden; j++)
                to[j] += share * part[j];
        }
}

/* ---- the piece ---- */

static void for_tiles(struct experts_job *job, uint32_t rows, task_fn *task)
{
    struct forward *f = job->f;

    job->tile = tile_rows(f, rows, f->experts.longest);
    job->tiles = tiles(rows, job->tile);
    parallel_for(f->pool, (size_t)f->experts.runs_n * job->tiles, task, job);
}

/* Few runs of one row each are sooner done than shared out. */
static void for_runs(struct experts_job *job, task_fn *task)
{
    struct forward *f = job->f;

    if (f->rows > 1) {
        parallel_for(f->pool, f->experts.runs_n, task, job);
        return;
    }
    for (uint32_t i = 0; i < f->experts.runs_n; i++)
        task(job, i, 0);
}

void layers_experts(struct forward *f, const struct layer_weights *w)
{
    const uint32_t n = f->hparams->experts;
    struct experts_job job = {.f = f, .w = w, .tile = tile_rows(f, n, f->rows)};

    parallel_for(f->pool, tiles(n, job.tile), router_task, &job);
    for_rows(f, choose_rows, w);
    plan_runs(f);
    for_runs(&job, gather_task);
    for_tiles(&job, f->hparams->expert_ffn, expert_gate_task);
    for_runs(&job, gated_task);
    for_tiles(&job, f->hparams->hidden, expert_down_task);
    for_rows(f, sum_rows, NULL);
}
