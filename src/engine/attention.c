/* attention.c - the attention of a step, cut into tasks.
 *
 * A task is one KV head and some rows of one sequence. The hard thing is balance: three KV heads on
 * two threads would leave one of them idle for a third of the time, and a long conversation beside
 * short ones for more. So a run of rows that costs more than its share is cut into parts of its
 * positions, at borders that depend on nothing but the positions; the kernels take each softmax in
 * the same parts, so that a row has the same bits however its step was cut. */
#include <stdlib.h>

#include "engine/work.h"

enum {
    TASKS_PER_THREAD = 8,       /* at least, where there is enough to do */
    QUERIES_MIN = 12,           /* rows of a kernel call that are worth a task of their own */
    MERGE_ALONE = 1 << 14,      /* fewer numbers are merged before a worker would have joined in */
};

/* ---- the plan ---- */

static uint32_t ceil_div(uint32_t a, uint32_t b)
{
    return (a + b - 1) / b;
}

static const struct batch_row *row_of(const struct forward *f, uint32_t row)
{
    return &f->batch[f->rows_of[row]];
}

/* The first position that a row at `position` sees. */
static uint32_t first_seen(const struct hparams *h, bool windowed, uint32_t position)
{
    return windowed && position >= h->window ? position + 1 - h->window : 0;
}

/* Rows of a run: as many as a kernel call takes, unless threads would go without. */
static uint32_t run_rows(const struct forward *f)
{
    const uint32_t group = f->hparams->heads / f->hparams->kv_heads;
    const uint32_t most = ATTEND_ROWS_MAX / group, least = ceil_div(QUERIES_MIN, group);
    const uint32_t fair = ceil_div(f->rows * f->hparams->kv_heads,
                                   pool_threads(f->pool) * TASKS_PER_THREAD);
    const uint32_t rows = fair > least ? fair : least;

    return rows < most ? rows : most;
}

/* The end of the run of rows that begins at `row`. */
static uint32_t run_end(const struct forward *f, uint32_t row, uint32_t rows_max)
{
    uint32_t end = row + 1;

    while (end < f->rows && end < row + rows_max && row_of(f, end)->table == row_of(f, row)->table)
        end++;
    return end;
}

static uint64_t run_cost(const struct forward *f, bool windowed, uint32_t row, uint32_t end)
{
    uint64_t cost = 0;

    for (; row < end; row++) {
        const uint32_t position = row_of(f, row)->position;
        cost += position + 1 - first_seen(f->hparams, windowed, position);
    }
    return cost;
}

/* One KV head of a run becomes a task, or one for each part if that is more than is fair. */
static void plan_run(struct forward *f, bool windowed, uint32_t head, uint32_t row, uint32_t end,
                     uint64_t cost, uint64_t fair)
{
    const struct hparams *h = f->hparams;
    struct attend_plan *plan = &f->plans[windowed];
    const size_t lines = (size_t)(end - row) * (h->heads / h->kv_heads);
    const uint32_t seen = first_seen(h, windowed, row_of(f, row)->position);
    const uint32_t last = row_of(f, end - 1)->position / ATTEND_PART;
    struct attend_task task = {head, row, end - row, seen / ATTEND_PART, plan->parts_n, cost};

    if (cost <= fair || task.part == last ||
        (last - task.part + 1) * lines > f->parts_max - plan->parts_n) {
        task.part = ATTEND_WHOLE;
        plan->tasks[plan->tasks_n++] = task;
        return;
    }
    plan->splits[plan->splits_n++] =
        (struct attend_split){head, row, end - row, task.part, task.at};
    for (; task.part <= last; task.part++, task.at += lines) {
        const uint32_t begin = task.part * ATTEND_PART, visible = row_of(f, end - 1)->position + 1;
        const uint32_t from = seen > begin ? seen : begin;
        const uint32_t to = task.part == last ? visible : begin + ATTEND_PART;
        task.cost = (uint64_t)(to - from) * (end - row);
        plan->tasks[plan->tasks_n++] = task;
    }
    plan->parts_n = task.at;
}

static int compare_costs(const void *left, const void *right)
{
    const struct attend_task *a = left, *b = right;

    return (a->cost < b->cost) - (a->cost > b->cost);
}

static void plan_layers(struct forward *f, bool windowed)
{
    struct attend_plan *plan = &f->plans[windowed];
    const uint32_t rows_max = run_rows(f), heads = f->hparams->kv_heads;
    const unsigned threads = pool_threads(f->pool);
    const uint64_t all = run_cost(f, windowed, 0, f->rows) * heads;
    const uint64_t fair = threads > 1 ? all / (threads * TASKS_PER_THREAD) : all;
    uint32_t end;

    plan->tasks_n = plan->splits_n = 0;
    plan->parts_n = 0;
    for (uint32_t row = 0; row < f->rows; row = end) {
        end = run_end(f, row, rows_max);
        const uint64_t cost = run_cost(f, windowed, row, end);
        for (uint32_t head = 0; head < heads; head++)
            plan_run(f, windowed, head, row, end, cost, fair);
    }
    qsort(plan->tasks, plan->tasks_n, sizeof *plan->tasks, compare_costs);
}

void layers_plan_attention(struct forward *f)
{
    plan_layers(f, false);
    if (f->hparams->window)
        plan_layers(f, true);
}

/* ---- the tasks ---- */

struct attend_job {
    struct forward *f;
    const struct layer_weights *w;
    const struct attend_plan *plan;
    uint32_t layer;
    bool windowed;
};

static float *part_at(const struct forward *f, size_t at)
{
    return f->parts + at * ATTEND_PART_FLOATS(f->hparams->head_dim);
}

/* The pages that hold positions [begin, end) of the task's sequence. */
static void find_pages(const struct attend_job *job, const struct attend_task *t, uint32_t begin,
                       uint32_t end, struct thread_scratch *own)
{
    const struct forward *f = job->f;
    const struct kv_table *table = row_of(f, t->row)->table;

    for (uint32_t p = begin / KV_PAGE; p * KV_PAGE < end; p++) {
        own->k[p] = kv_page_k(f->cache, table->pages[p], job->layer, t->kv_head);
        own->v[p] = kv_page_v(f->cache, table->pages[p], job->layer, t->kv_head);
    }
}

static void attend_task(void *context, size_t task, unsigned thread)
{
    const struct attend_job *job = context;
    struct forward *f = job->f;
    const struct hparams *h = f->hparams;
    const uint32_t n = h->head_dim, group = h->heads / h->kv_heads;
    const struct attend_task *t = &job->plan->tasks[task];
    struct thread_scratch *own = &f->threads[thread];
    const float *q[ATTEND_ROWS_MAX];
    float *out[ATTEND_ROWS_MAX], sinks[ATTEND_ROWS_MAX];
    uint32_t first[ATTEND_ROWS_MAX], visible[ATTEND_ROWS_MAX], rows = 0;

    for (uint32_t r = t->row; r < t->row + t->rows; r++)
        for (uint32_t i = 0; i < group; i++, rows++) {
            const uint32_t head = t->kv_head * group + i, position = row_of(f, r)->position;
            const size_t at = ((size_t)r * h->heads + head) * n;
            q[rows] = f->q + at;
            out[rows] = f->attended + at;
            first[rows] = first_seen(h, job->windowed, position);
            visible[rows] = position + 1;
            sinks[rows] = job->w->sinks ? job->w->sinks[head] : 0;
        }
    const struct attend call = {
        .rows = rows, .head_dim = n, .q = q, .out = out, .first = first, .visible = visible,
        .k = own->k, .v = own->v, .scale = h->attention_scale, .softcap = h->attention_softcap,
        .sinks = job->w->sinks ? sinks : NULL, .scratch = own->attend,
    };
    if (t->part == ATTEND_WHOLE) {
        find_pages(job, t, first[0], visible[rows - 1], own);
        f->kernels->attend(&call);
        return;
    }
    const uint32_t begin = t->part * ATTEND_PART, end = begin + ATTEND_PART;
    find_pages(job, t, first[0] > begin ? first[0] : begin,
               visible[rows - 1] < end ? visible[rows - 1] : end, own);
    f->kernels->attend_part(&call, t->part, part_at(f, t->at));
}

static void merge_task(void *context, size_t task, unsigned thread)
{
    const struct attend_job *job = context;
    struct forward *f = job->f;
    const struct hparams *h = f->hparams;
    const struct attend_split *split = &job->plan->splits[task];
    const uint32_t group = h->heads / h->kv_heads, n = h->head_dim;
    const size_t lines = (size_t)split->rows * group;

    for (uint32_t r = 0; r < split->rows; r++) {
        const uint32_t position = row_of(f, split->row + r)->position;
        const uint32_t part = first_seen(h, job->windowed, position) / ATTEND_PART;
        const size_t at = split->at + (part - split->part) * lines + (size_t)r * group;
        for (uint32_t i = 0; i < group; i++) {
            const uint32_t head = split->kv_head * group + i;
            float *out = f->attended + ((size_t)(split->row + r) * h->heads + head) * n;
            f->kernels->attend_merge(out, part_at(f, at + i), lines * ATTEND_PART_FLOATS(n),
                                     position / ATTEND_PART - part + 1, n,
                                     job->w->sinks ? &job->w->sinks[head] : NULL);
        }
    }
}

void layers_attention(struct forward *f, const struct layer_weights *w, uint32_t layer)
{
    const bool windowed = f->hparams->kinds[layer].windowed;
    const struct attend_plan *plan = &f->plans[windowed];
    struct attend_job job = {f, w, plan, layer, windowed};

    parallel_for(f->pool, plan->tasks_n, attend_task, &job);
    if (plan->parts_n * f->hparams->head_dim > MERGE_ALONE) {
        parallel_for(f->pool, plan->splits_n, merge_task, &job);
        return;
    }
    for (uint32_t i = 0; i < plan->splits_n; i++)
        merge_task(&job, i, 0);
}
