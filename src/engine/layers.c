/* layers.c - a forward pass in pieces: each cuts its work into tasks and waits for all of them.
 *
 * The hard thing is to wait seldom. A decode step of a small model is a few milliseconds, so each
 * parallel_for counts: what comes out of a matmul is used in the same task (normed, turned, stored,
 * added), and work on whole rows stays on the calling thread while there are few. */
#include "engine/layers.h"

#include <string.h>

#include "engine/work.h"

/* ---- the pieces ---- */

static void multiply_by(float *x, size_t n, float scale)
{
    for (size_t i = 0; scale != 1 && i < n; i++)
        x[i] *= scale;
}

static void embed_rows(struct forward *f, const void *argument, uint32_t begin, uint32_t end)
{
    const struct hparams *h = f->hparams;
    const struct matrix *table = &f->weights->embedding;
    const uint32_t half = h->rotary / 2;

    for (uint32_t r = begin; r < end; r++) {
        const struct batch_row *in = &f->batch[r];
        float *x = f->x + (size_t)r * h->hidden;
        f->kernels->dequant[table->quant](x, table, (size_t)in->token);
        multiply_by(x, h->hidden, h->embedding_scale);
        for (uint32_t i = 0; i < f->ropes_n; i++)
            rope_angles(&f->ropes[i][in->table->variant], h->rotary, in->position,
                        f->cos[i] + (size_t)r * half, f->sin[i] + (size_t)r * half);
    }
}

/* x = the embeddings of the step's tokens; the angles of their positions. */
static void embed(struct forward *f)
{
    for_rows(f, embed_rows, NULL);
    layers_plan_attention(f);
}

static void norm_rows(struct forward *f, const void *weight, uint32_t begin, uint32_t end)
{
    const uint32_t hidden = f->hparams->hidden;

    for (uint32_t r = begin; r < end; r++) {
        const size_t at = (size_t)r * hidden;
        if (weight)
            f->kernels->rmsnorm(f->normed + at, f->x + at, weight, hidden, f->hparams->rms_eps);
        else
            memcpy(f->normed + at, f->x + at, hidden * sizeof *f->x);
    }
    f->kernels->acts_quantize(&f->acts_hidden, begin, end);
}

/* normed = rmsnorm(x) * weight, or x itself if weight is NULL; made ready for matmul. */
static void norm_stream(struct forward *f, const float *weight)
{
    f->acts_hidden.columns = f->rows;
    for_rows(f, norm_rows, weight);
}

struct qkv_job {
    struct forward *f;
    const struct layer_weights *w;
    uint32_t layer;
};

/* A head of one row into its place: values in a run, a key's numbers one to each line of its page. */
static void store(struct forward *f, const float *x, uint32_t row, uint32_t layer, uint32_t head,
                  bool values)
{
    const struct batch_row *in = &f->batch[row];
    const uint32_t page = in->table->pages[in->position / KV_PAGE], n = f->hparams->head_dim;
    const uint32_t at = in->position % KV_PAGE;
    uint16_t halves[HEAD_DIM_MAX], *to;

    if (values) {
        f->kernels->f32_to_f16(kv_page_v(f->cache, page, layer, head) + (size_t)at * n, x, n);
        return;
    }
    f->kernels->f32_to_f16(halves, x, n);
    to = kv_page_k(f->cache, page, layer, head) + at;
    for (uint32_t i = 0; i < n; i++)
        to[(size_t)i * KV_PAGE] = halves[i];
}

static void turn(struct forward *f, float *x, uint32_t row, const struct layer_kind *kind)
{
    const struct hparams *h = f->hparams;
    const size_t at = (size_t)row * (h->rotary / 2);

    if (!kind->no_rope)
        f->kernels->rope(x, f->cos[kind->rope] + at, f->sin[kind->rope] + at, h->rotary,
                         h->rope_adjacent);
}

/* A head of q, k or v of every row, out of the matmul: biased, normed, turned (kind: not NULL). */
static void finish_head(struct forward *f, float *x, size_t stride, const float *bias,
                        const float *norm, const struct layer_kind *kind)
{
    const struct hparams *h = f->hparams;
    const uint32_t n = h->head_dim;

    for (uint32_t r = 0; r < f->rows; r++, x += stride) {
        if (bias)
            f->kernels->add(x, bias, n);
        if (norm)
            f->kernels->rmsnorm(x, x, norm, n, h->rms_eps);
        if (kind)
            turn(f, x, r, kind);
    }
}

/* A task is one head of q, of k or of v: finished and stored while it is in the cache. */
static void qkv_task(void *context, size_t task, unsigned thread)
{
    const struct qkv_job *job = context;
    struct forward *f = job->f;
    const struct hparams *h = f->hparams;
    const struct layer_weights *lw = job->w;
    const struct layer_kind *kind = &h->kinds[job->layer];
    const uint32_t n = h->head_dim;

    if (task < h->heads) {
        const struct matrix w = tile_of(&lw->q, (uint32_t)task * n, n);
        const size_t stride = (size_t)h->heads * n;
        multiply(f, f->q + task * n, stride, &w, &f->acts_hidden, thread);
        finish_head(f, f->q + task * n, stride, nth_vector(lw->q_bias, task, n), lw->q_norm, kind);
        return;
    }
    const bool values = task >= h->heads + h->kv_heads;
    const uint32_t head = ((uint32_t)task - h->heads) % h->kv_heads;
    const struct matrix w = tile_of(values ? &lw->v : &lw->k, head * n, n);
    float *tile = f->threads[thread].tile;
    multiply(f, tile, n, &w, &f->acts_hidden, thread);
    finish_head(f, tile, n, nth_vector(values ? lw->v_bias : lw->k_bias, head, n),
                values ? NULL : lw->k_norm, values ? NULL : kind);
    for (uint32_t r = 0; r < f->rows; r++)
        store(f, tile + r * n, r, job->layer, head, values);
}

/* The same where a norm needs all heads: a task leaves a head as the matmul made it, k's in the
 * place of what attention will write, and whole rows are finished after. */
static void raw_qkv_task(void *context, size_t task, unsigned thread)
{
    const struct qkv_job *job = context;
    struct forward *f = job->f;
    const struct hparams *h = f->hparams;
    const uint32_t n = h->head_dim, head = (uint32_t)task % h->heads;
    const bool keys = task >= h->heads;
    const struct matrix w = tile_of(keys ? &job->w->k : &job->w->q, head * n, n);
    const size_t stride = (size_t)h->heads * n;

    multiply(f, (keys ? f->attended : f->q) + (size_t)head * n, stride, &w, &f->acts_hidden,
             thread);
}

static void finish_rows(struct forward *f, const void *argument, uint32_t begin, uint32_t end)
{
    const struct qkv_job *job = argument;
    const struct hparams *h = f->hparams;
    const struct layer_kind *kind = &h->kinds[job->layer];
    const uint32_t n = h->head_dim;

    for (uint32_t r = begin; r < end; r++) {
        float *q = f->q + (size_t)r * h->heads * n, *k = f->attended + (size_t)r * h->heads * n;
        f->kernels->rmsnorm(q, q, job->w->q_norm, (size_t)h->heads * n, h->rms_eps);
        f->kernels->rmsnorm(k, k, job->w->k_norm, (size_t)h->kv_heads * n, h->rms_eps);
        for (uint32_t head = 0; head < h->heads; head++)
            turn(f, q + (size_t)head * n, r, kind);
        for (uint32_t head = 0; head < h->kv_heads; head++) {
            turn(f, k + (size_t)head * n, r, kind);
            store(f, k + (size_t)head * n, r, job->layer, head, false);
        }
    }
}

static void values_task(void *context, size_t task, unsigned thread)
{
    const struct qkv_job *job = context;

    qkv_task(context, job->f->hparams->heads + job->f->hparams->kv_heads + task, thread);
}

/* q, k, v from normed, with their biases and norms; q and k turned by their positions; k and v into
 * the sequence's pages. */
static void project_qkv(struct forward *f, const struct layer_weights *w, uint32_t layer)
{
    const uint32_t heads = f->hparams->heads, kv_heads = f->hparams->kv_heads;
    struct qkv_job job = {f, w, layer};

    if (!f->hparams->norm_all_heads) {
        parallel_for(f->pool, heads + 2 * kv_heads, qkv_task, &job);
        return;
    }
    parallel_for(f->pool, heads + kv_heads, raw_qkv_task, &job);
    parallel_for(f->pool, kv_heads, values_task, &job);
    for_rows(f, finish_rows, &job);
}

/* From here on the step is only the rows whose logits are wanted; false if there are none. */
static bool keep_wanted(struct forward *f)
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
    layers_plan_attention(f);
    return kept > 0;
}

struct matmul_job {
    struct forward *f;
    const struct matrix *w, *up;        /* up: of the feed-forward only */
    const float *bias;
    const struct acts *x;
    uint32_t tile;
    bool kept;                          /* the product is for norm_product, not for the stream */
};

/* x += acts * w^T, or that product alone, for one tile of w's rows. */
static void add_task(void *context, size_t task, unsigned thread)
{
    const struct matmul_job *job = context;
    struct forward *f = job->f;
    const uint32_t begin = (uint32_t)task * job->tile, hidden = f->hparams->hidden;
    const struct matrix w = tile_of(job->w, begin, job->tile);
    float *tile = f->threads[thread].tile;

    multiply(f, tile, w.rows, &w, job->x, thread);
    for (uint32_t r = 0; r < f->rows; r++) {
        float *product = tile + (size_t)r * w.rows;
        const size_t at = (size_t)r * hidden + begin;
        if (job->bias)
            f->kernels->add(product, job->bias + begin, w.rows);
        multiply_by(product, w.rows, f->hparams->residual_scale);
        if (job->kept)
            memcpy(f->normed + at, product, w.rows * sizeof *product);
        else
            f->kernels->add(f->x + at, product, w.rows);
    }
}

static void acts_rows(struct forward *f, const void *argument, uint32_t begin, uint32_t end)
{
    struct acts *const *x = argument;

    f->kernels->acts_quantize(*x, begin, end);
}

static void norm_product(struct forward *f, const void *weight, uint32_t begin, uint32_t end)
{
    const uint32_t hidden = f->hparams->hidden;

    for (uint32_t r = begin; r < end; r++) {
        float *product = f->normed + (size_t)r * hidden;
        f->kernels->rmsnorm(product, product, weight, hidden, f->hparams->rms_eps);
        f->kernels->add(f->x + (size_t)r * hidden, product, hidden);
    }
}

/* x's source is there: made ready for matmul, multiplied, normed if norm is not NULL, added to the
 * residual stream. */
static void add_product(struct forward *f, struct acts *x, const struct matrix *w,
                        const float *bias, const float *norm)
{
    struct matmul_job job = {.f = f, .w = w, .bias = bias, .x = x, .kept = norm,
                             .tile = tile_rows(f, w->rows, f->rows)};

    x->columns = f->rows;
    for_rows(f, acts_rows, &x);
    parallel_for(f->pool, tiles(w->rows, job.tile), add_task, &job);
    if (norm)
        for_rows(f, norm_product, norm);
}

/* x += norm(attended * w->attn_output^T). */
static void add_attended(struct forward *f, const struct layer_weights *w)
{
    add_product(f, &f->acts_attended, &w->attn_output, w->o_bias, w->post_attn_norm);
}

static void gate_task(void *context, size_t task, unsigned thread)
{
    const struct matmul_job *job = context;
    struct forward *f = job->f;
    const uint32_t begin = (uint32_t)task * job->tile, ffn = f->hparams->ffn;
    const struct matrix gate = tile_of(job->w, begin, job->tile);
    const struct matrix up = tile_of(job->up, begin, job->tile);
    float *tile = f->threads[thread].tile;

    multiply(f, f->gated + begin, ffn, &gate, job->x, thread);
    multiply(f, tile, up.rows, &up, job->x, thread);
    for (uint32_t r = 0; r < f->rows; r++)
        gate_mul(f, f->gated + (size_t)r * ffn + begin, tile + (size_t)r * up.rows, up.rows);
}

/* gated = activation(normed * gate^T) * (normed * up^T), then x += norm(gated * down^T). */
static void feed_forward(struct forward *f, const struct layer_weights *w)
{
    struct matmul_job job = {.f = f, .w = &w->gate, .up = &w->up, .x = &f->acts_hidden,
                             .tile = tile_rows(f, f->hparams->ffn, f->rows)};

    parallel_for(f->pool, tiles(f->hparams->ffn, job.tile), gate_task, &job);
    add_product(f, &f->acts_gated, &w->down, NULL, w->post_ffn_norm);
}

static void logits_task(void *context, size_t task, unsigned thread)
{
    const struct matmul_job *job = context;
    struct forward *f = job->f;
    const struct hparams *h = f->hparams;
    const uint32_t begin = (uint32_t)task * job->tile;
    const struct matrix w = tile_of(job->w, begin, job->tile);
    float *tile = f->rows == 1 ? f->batch[f->rows_of[0]].logits + begin : f->threads[thread].tile;

    multiply(f, tile, w.rows, &w, job->x, thread);
    multiply_by(tile, (size_t)f->rows * w.rows, h->logits_scale);
    if (h->logits_softcap > 0)
        f->kernels->softcap(tile, (size_t)f->rows * w.rows, h->logits_softcap);
    for (uint32_t r = 0; f->rows > 1 && r < f->rows; r++)
        memcpy(f->batch[f->rows_of[r]].logits + begin, tile + (size_t)r * w.rows,
               w.rows * sizeof *tile);
}

/* The wanted logits = normed * output^T. */
static void make_logits(struct forward *f, const struct matrix *output)
{
    struct matmul_job job = {.f = f, .w = output, .x = &f->acts_hidden,
                             .tile = tile_rows(f, output->rows, f->rows)};

    parallel_for(f->pool, tiles(output->rows, job.tile), logits_task, &job);
}

/* ---- the whole ---- */

void layers_decoder(struct forward *f)
{
    const struct weights *w = f->weights;
    const uint32_t last = f->hparams->layers - 1;

    embed(f);
    for (uint32_t i = 0; i <= last; i++) {
        const struct layer_weights *layer = &w->layers[i];

        norm_stream(f, layer->attn_norm);
        project_qkv(f, layer, i);
        if (i == last && !keep_wanted(f))
            return;                             /* a prefill chunk that is not the last one */
        layers_attention(f, layer, i);
        add_attended(f, layer);

        norm_stream(f, layer->ffn_norm);
        if (layer->router.data)
            layers_experts(f, layer);
        else
            feed_forward(f, layer);
    }
    norm_stream(f, w->output_norm);
    make_logits(f, &w->output);
}
