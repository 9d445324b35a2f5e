/* layers.c - the pieces of a forward pass: each cuts its work into tasks and waits for all of them.
 *
 * The hard thing is to wait seldom and share fairly. A decode step of a small model is a few
 * milliseconds, so each parallel_for counts: what comes out of a matmul is used in the same task
 * (turned, stored, added), and work on whole rows stays on the calling thread while there are few.
 * Weight rows are cut into tiles large enough to stream and small enough to balance. */
#include "engine/layers.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/arch.h"

enum {
    FORWARD_ROWS_MAX = 1 << 14,
    TILE_ROWS = 8 * MATMUL_ROWS,        /* weight rows of a task at most, */
    TASKS_PER_THREAD = 4,
    COLUMNS_FEW = 4,            /* ... but where a step has so few rows, reading weights is all, */
    TILE_ROWS_FEW = 40 * MATMUL_ROWS,   /* and one long run a thread reads fastest */
    ROWS_ALONE = 8,             /* fewer whole rows are done before a worker would have joined in */
    ROWS_PER_TASK = 16,         /* a panel of acts, so that tasks don't share its cache lines */
    ALIGNMENT = 64,
};

/* A KV head, with all the heads that share it, and a run of rows of one sequence. */
struct attend_task {
    uint32_t kv_head, row, rows;
};

/* ---- scratch ---- */

struct carver {
    char *base;                 /* NULL: only measures */
    size_t used;
};

static void *carve(struct carver *c, size_t count, size_t size)
{
    void *p = c->base ? c->base + c->used : NULL;

    c->used += (count * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return p;
}

static void carve_acts(struct carver *c, struct acts *acts, size_t k, size_t columns,
                       const float *f32)
{
    void *storage = carve(c, acts_bytes(k, columns), 1);

    if (!storage)
        return;
    acts_init(acts, storage, k, columns);
    acts->f32 = f32;
    acts->stride = k;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Run twice, to measure and to place, so the two can't disagree. */
static size_t lay_out(struct forward *f, char *base)
{
    const struct hparams *h = f->hparams;
    const size_t rows = f->rows_max, query = (size_t)h->heads * h->head_dim;
    const size_t widest = larger(h->ffn, larger(h->hidden, query));
    const size_t tile = larger(rows * larger(TILE_ROWS, h->head_dim), COLUMNS_FEW * TILE_ROWS_FEW);
    const unsigned threads = pool_threads(f->pool);
    struct carver c = {.base = base};

    f->threads = carve(&c, threads, sizeof *f->threads);
    for (unsigned t = 0; t < threads; t++) {
        struct thread_scratch own = {
            .matmul = carve(&c, matmul_scratch_bytes(widest), 1),
            .attend = carve(&c, attend_scratch_floats(h->head_dim), sizeof(float)),
            .tile = carve(&c, tile, sizeof(float)),
            .k = carve(&c, f->pages_max, sizeof *own.k),
            .v = carve(&c, f->pages_max, sizeof *own.v),
        };
        if (base)
            f->threads[t] = own;
    }
    f->x = carve(&c, rows * h->hidden, sizeof *f->x);
    f->normed = carve(&c, rows * h->hidden, sizeof *f->normed);
    f->q = carve(&c, rows * query, sizeof *f->q);
    f->attended = carve(&c, rows * query, sizeof *f->attended);
    f->gated = carve(&c, rows * h->ffn, sizeof *f->gated);
    f->cos = carve(&c, rows * h->rotary / 2, sizeof *f->cos);
    f->sin = carve(&c, rows * h->rotary / 2, sizeof *f->sin);
    f->frequencies = carve(&c, h->rotary / 2, sizeof *f->frequencies);
    f->rows_of = carve(&c, rows, sizeof *f->rows_of);
    f->tasks = carve(&c, rows * h->kv_heads, sizeof *f->tasks);
    carve_acts(&c, &f->acts_hidden, h->hidden, rows, f->normed);
    carve_acts(&c, &f->acts_attended, query, rows, f->attended);
    carve_acts(&c, &f->acts_gated, h->ffn, rows, f->gated);
    return c.used;
}

struct forward *forward_new(const struct model *model, const struct kernels *kernels,
                            struct pool *pool, struct kv_cache *cache, uint32_t rows_max,
                            struct err *err)
{
    const struct hparams *h = &model->hparams;

    if (rows_max < 1 || rows_max > FORWARD_ROWS_MAX) {
        err_set(err, ERR_USAGE, "steps of %u rows are not within 1 to %d", rows_max,
                FORWARD_ROWS_MAX);
        return NULL;
    }
    struct forward *f = calloc(1, sizeof *f);
    if (f) {
        *f = (struct forward){
            .model = model, .hparams = h, .weights = &model->weights, .kernels = kernels,
            .pool = pool, .cache = cache, .rows_max = rows_max,
            .pages_max = (uint32_t)kv_cache_counts(cache).total,
        };
        f->storage = aligned_alloc(ALIGNMENT, lay_out(f, NULL));
    }
    if (!f || !f->storage) {
        free(f);
        err_set(err, ERR_IO, "no memory for steps of %u rows", rows_max);
        return NULL;
    }
    lay_out(f, f->storage);
    for (uint32_t i = 0; i < h->rotary / 2; i++) {
        f->frequencies[i] = pow((double)h->ropes[0].base, -2.0 * i / h->rotary);
        if (f->weights->rope_factors)
            f->frequencies[i] /= (double)f->weights->rope_factors[i];
    }
    return f;
}

void forward_free(struct forward *f)
{
    if (!f)
        return;
    free(f->storage);
    free(f);
}

/* ---- cutting work into tasks ---- */

/* Does rows [begin, end) of the step. */
typedef void rows_fn(struct forward *f, const void *argument, uint32_t begin, uint32_t end);

struct rows_job {
    struct forward *f;
    rows_fn *fn;
    const void *argument;
};

static void rows_task(void *context, size_t task, unsigned thread)
{
    const struct rows_job *job = context;
    const uint32_t begin = (uint32_t)task * ROWS_PER_TASK, rest = job->f->rows - begin;

    job->fn(job->f, job->argument, begin, begin + (rest < ROWS_PER_TASK ? rest : ROWS_PER_TASK));
}

static void for_rows(struct forward *f, rows_fn *fn, const void *argument)
{
    struct rows_job job = {f, fn, argument};

    if (f->rows < ROWS_ALONE)
        fn(f, argument, 0, f->rows);
    else
        parallel_for(f->pool, (f->rows + ROWS_PER_TASK - 1) / ROWS_PER_TASK, rows_task, &job);
}

static uint32_t tiles(uint32_t rows, uint32_t tile)
{
    return (rows + tile - 1) / tile;
}

/* How many of a matrix's rows make one task. Long runs keep the prefetchers of decode busy (measured:
 * a fifth faster than four tasks a thread); in prefill a tile's products stay in the cache. */
static uint32_t tile_rows(const struct forward *f, uint32_t rows)
{
    const bool few = f->rows <= COLUMNS_FEW;
    const uint32_t tasks = pool_threads(f->pool) * (few ? 1 : TASKS_PER_THREAD);
    const uint32_t fair = tiles(rows, tasks), most = few ? TILE_ROWS_FEW : TILE_ROWS;
    const uint32_t tile = tiles(fair, MATMUL_ROWS) * MATMUL_ROWS;

    return tile < most ? tile : most;
}

/* The rows [begin, begin + tile) of a matrix, or what there is of them. */
static struct matrix rows_of_matrix(const struct matrix *w, uint32_t begin, uint32_t tile)
{
    struct matrix part = *w;

    part.data = (const char *)w->data + begin * w->row_bytes;
    if (w->group) {
        part.scales = (const char *)w->scales + begin * w->scale_row_bytes;
        part.biases = (const char *)w->biases + begin * w->scale_row_bytes;
    }
    part.rows = w->rows - begin < tile ? w->rows - begin : tile;
    return part;
}

static void multiply(const struct forward *f, float *out, size_t stride, const struct matrix *w,
                     const struct acts *x, unsigned thread)
{
    f->kernels->matmul[w->quant](out, stride, w, x, 0, w->rows, f->threads[thread].matmul);
}

/* ---- attention's plan ---- */

static void plan_attend(struct forward *f)
{
    const uint32_t group = f->hparams->heads / f->hparams->kv_heads;
    const uint32_t rows_max = ATTEND_ROWS_MAX / group;
    uint32_t end;

    f->tasks_n = 0;
    for (uint32_t row = 0; row < f->rows; row = end) {
        const struct kv_table *table = f->batch[f->rows_of[row]].table;
        end = row + 1;
        while (end < f->rows && end < row + rows_max && f->batch[f->rows_of[end]].table == table)
            end++;
        for (uint32_t head = 0; head < f->hparams->kv_heads; head++)
            f->tasks[f->tasks_n++] = (struct attend_task){head, row, end - row};
    }
}

/* ---- the pieces ---- */

static void embed_rows(struct forward *f, const void *argument, uint32_t begin, uint32_t end)
{
    const struct matrix *table = &f->weights->embedding;
    const uint32_t hidden = f->hparams->hidden, half = f->hparams->rotary / 2;

    for (uint32_t r = begin; r < end; r++) {
        const struct batch_row *in = &f->batch[r];
        f->kernels->dequant[table->quant](f->x + (size_t)r * hidden, table, in->token);
        for (uint32_t i = 0; i < half; i++) {
            const double angle = in->position * f->frequencies[i];
            f->cos[(size_t)r * half + i] = (float)cos(angle);
            f->sin[(size_t)r * half + i] = (float)sin(angle);
        }
    }
}

void layers_embed(struct forward *f)
{
    for_rows(f, embed_rows, NULL);
    plan_attend(f);
}

static void norm_rows(struct forward *f, const void *weight, uint32_t begin, uint32_t end)
{
    const uint32_t hidden = f->hparams->hidden;

    for (uint32_t r = begin; r < end; r++) {
        const size_t at = (size_t)r * hidden;
        f->kernels->rmsnorm(f->normed + at, f->x + at, weight, hidden, f->hparams->rms_eps);
    }
    f->kernels->acts_quantize(&f->acts_hidden, begin, end);
}

void layers_norm(struct forward *f, const float *weight)
{
    f->acts_hidden.columns = f->rows;
    for_rows(f, norm_rows, weight);
}

struct qkv_job {
    struct forward *f;
    const struct layer_weights *w;
    uint32_t layer;
};

static void turn(struct forward *f, float *x, uint32_t row)
{
    const struct hparams *h = f->hparams;
    const size_t at = (size_t)row * (h->rotary / 2);

    f->kernels->rope(x, f->cos + at, f->sin + at, h->rotary, h->rope_adjacent);
}

static void store(struct forward *f, const float *x, uint32_t row, uint32_t layer, uint32_t head,
                  bool values)
{
    const struct batch_row *in = &f->batch[row];
    const uint32_t page = in->table->pages[in->position / KV_PAGE], n = f->hparams->head_dim;
    uint16_t *to = values ? kv_page_v(f->cache, page, layer, head)
                          : kv_page_k(f->cache, page, layer, head);

    f->kernels->f32_to_f16(to + (size_t)(in->position % KV_PAGE) * n, x, n);
}

/* A task is one head of q, of k or of v: turned and stored while it is in the cache. */
static void qkv_task(void *context, size_t task, unsigned thread)
{
    const struct qkv_job *job = context;
    struct forward *f = job->f;
    const struct hparams *h = f->hparams;
    const uint32_t n = h->head_dim;

    if (task < h->heads) {
        const struct matrix w = rows_of_matrix(&job->w->q, (uint32_t)task * n, n);
        const size_t stride = (size_t)h->heads * n;
        float *q = f->q + task * n;
        multiply(f, q, stride, &w, &f->acts_hidden, thread);
        for (uint32_t r = 0; r < f->rows; r++)
            turn(f, q + r * stride, r);
        return;
    }
    const bool values = task >= h->heads + h->kv_heads;
    const uint32_t head = ((uint32_t)task - h->heads) % h->kv_heads;
    const struct matrix w = rows_of_matrix(values ? &job->w->v : &job->w->k, head * n, n);
    float *tile = f->threads[thread].tile;
    multiply(f, tile, n, &w, &f->acts_hidden, thread);
    for (uint32_t r = 0; r < f->rows; r++) {
        if (!values)
            turn(f, tile + r * n, r);
        store(f, tile + r * n, r, job->layer, head, values);
    }
}

void layers_project_qkv(struct forward *f, const struct layer_weights *w, uint32_t layer)
{
    struct qkv_job job = {f, w, layer};

    parallel_for(f->pool, f->hparams->heads + 2 * f->hparams->kv_heads, qkv_task, &job);
}

bool layers_keep_wanted(struct forward *f)
{
    const size_t hidden = f->hparams->hidden;
    const size_t query = (size_t)f->hparams->heads * f->hparams->head_dim;
    uint32_t kept = 0;

    for (uint32_t r = 0; r < f->rows; r++) {
        if (!f->batch[f->rows_of[r]].logits)
            continue;
        if (kept < r) {
            memcpy(f->x + kept * hidden, f->x + r * hidden, hidden * sizeof *f->x);
            memcpy(f->q + kept * query, f->q + r * query, query * sizeof *f->q);
        }
        f->rows_of[kept++] = f->rows_of[r];
    }
    f->rows = kept;
    plan_attend(f);
    return kept > 0;
}

struct attend_job {
    struct forward *f;
    uint32_t layer;
};

static void attend_task(void *context, size_t task, unsigned thread)
{
    const struct attend_job *job = context;
    struct forward *f = job->f;
    const uint32_t n = f->hparams->head_dim, group = f->hparams->heads / f->hparams->kv_heads;
    const struct attend_task *t = &f->tasks[f->tasks_n - 1 - task];     /* the longest first */
    const struct kv_table *table = f->batch[f->rows_of[t->row]].table;
    const uint32_t longest = f->batch[f->rows_of[t->row + t->rows - 1]].position + 1;
    struct thread_scratch *own = &f->threads[thread];
    const float *q[ATTEND_ROWS_MAX];
    float *out[ATTEND_ROWS_MAX];
    uint32_t first[ATTEND_ROWS_MAX], visible[ATTEND_ROWS_MAX], rows = 0;

    for (uint32_t p = 0; p * KV_PAGE < longest; p++) {
        own->k[p] = kv_page_k(f->cache, table->pages[p], job->layer, t->kv_head);
        own->v[p] = kv_page_v(f->cache, table->pages[p], job->layer, t->kv_head);
    }
    for (uint32_t r = t->row; r < t->row + t->rows; r++)
        for (uint32_t head = 0; head < group; head++, rows++) {
            const size_t at = ((size_t)r * f->hparams->heads + t->kv_head * group + head) * n;
            q[rows] = f->q + at;
            out[rows] = f->attended + at;
            first[rows] = 0;
            visible[rows] = f->batch[f->rows_of[r]].position + 1;
        }
    f->kernels->attend(&(struct attend){
        .rows = rows, .head_dim = n, .q = q, .out = out, .first = first, .visible = visible,
        .k = own->k, .v = own->v, .scale = 1.0f / sqrtf((float)n), .scratch = own->attend,
    });
}

void layers_attend(struct forward *f, uint32_t layer)
{
    struct attend_job job = {f, layer};

    parallel_for(f->pool, f->tasks_n, attend_task, &job);
}

struct matmul_job {
    struct forward *f;
    const struct matrix *w, *up;        /* up: of the feed-forward only */
    const struct acts *x;
    uint32_t tile;
};

/* x += acts * w^T, for one tile of w's rows. */
static void add_task(void *context, size_t task, unsigned thread)
{
    const struct matmul_job *job = context;
    struct forward *f = job->f;
    const uint32_t begin = (uint32_t)task * job->tile;
    const struct matrix w = rows_of_matrix(job->w, begin, job->tile);
    float *tile = f->threads[thread].tile;

    multiply(f, tile, w.rows, &w, job->x, thread);
    for (uint32_t r = 0; r < f->rows; r++)
        f->kernels->add(f->x + (size_t)r * f->hparams->hidden + begin, tile + (size_t)r * w.rows,
                        w.rows);
}

static void acts_rows(struct forward *f, const void *argument, uint32_t begin, uint32_t end)
{
    struct acts *const *x = argument;

    f->kernels->acts_quantize(*x, begin, end);
}

/* x's source is there: made ready for matmul, multiplied, added to the residual stream. */
static void add_product(struct forward *f, struct acts *x, const struct matrix *w)
{
    struct matmul_job job = {.f = f, .w = w, .x = x, .tile = tile_rows(f, w->rows)};

    x->columns = f->rows;
    for_rows(f, acts_rows, &x);
    parallel_for(f->pool, tiles(w->rows, job.tile), add_task, &job);
}

void layers_add_attended(struct forward *f, const struct matrix *w)
{
    add_product(f, &f->acts_attended, w);
}

static void gate_task(void *context, size_t task, unsigned thread)
{
    const struct matmul_job *job = context;
    struct forward *f = job->f;
    const uint32_t begin = (uint32_t)task * job->tile, ffn = f->hparams->ffn;
    const struct matrix gate = rows_of_matrix(job->w, begin, job->tile);
    const struct matrix up = rows_of_matrix(job->up, begin, job->tile);
    float *tile = f->threads[thread].tile;

    multiply(f, f->gated + begin, ffn, &gate, job->x, thread);
    multiply(f, tile, up.rows, &up, job->x, thread);
    for (uint32_t r = 0; r < f->rows; r++)
        f->kernels->silu_mul(f->gated + (size_t)r * ffn + begin, tile + (size_t)r * up.rows,
                             up.rows);
}

void layers_feed_forward(struct forward *f, const struct layer_weights *w)
{
    struct matmul_job job = {.f = f, .w = &w->gate, .up = &w->up, .x = &f->acts_hidden,
                             .tile = tile_rows(f, f->hparams->ffn)};

    parallel_for(f->pool, tiles(f->hparams->ffn, job.tile), gate_task, &job);
    add_product(f, &f->acts_gated, &w->down);
}

static void logits_task(void *context, size_t task, unsigned thread)
{
    const struct matmul_job *job = context;
    struct forward *f = job->f;
    const uint32_t begin = (uint32_t)task * job->tile;
    const struct matrix w = rows_of_matrix(job->w, begin, job->tile);
    float *tile = f->threads[thread].tile;

    if (f->rows == 1) {
        multiply(f, f->batch[f->rows_of[0]].logits + begin, w.rows, &w, job->x, thread);
        return;
    }
    multiply(f, tile, w.rows, &w, job->x, thread);
    for (uint32_t r = 0; r < f->rows; r++)
        memcpy(f->batch[f->rows_of[r]].logits + begin, tile + (size_t)r * w.rows,
               w.rows * sizeof *tile);
}

void layers_logits(struct forward *f, const struct matrix *output)
{
    struct matmul_job job = {.f = f, .w = output, .x = &f->acts_hidden,
                             .tile = tile_rows(f, output->rows)};

    parallel_for(f->pool, tiles(output->rows, job.tile), logits_task, &job);
}

void forward_step(struct forward *f, const struct batch_row *rows, uint32_t rows_n)
{
    assert(rows_n <= f->rows_max);
    f->batch = rows;
    f->batch_n = f->rows = rows_n;
    for (uint32_t r = 0; r < rows_n; r++)
        f->rows_of[r] = r;
    if (rows_n > 0)
        f->model->arch->forward(f);
}
