/* layers.h - the pieces that a forward pass is written in, over kernels.h and pool.h.
 *
 * One step computes `rows` rows of activations together: a prefill chunk, the next tokens of several
 * sequences, or both. Each function below reads and writes the step's activations in struct forward
 * and returns when all threads are done with it. Shapes stand beside the fields. */
#ifndef PENSIEVE_ENGINE_LAYERS_H
#define PENSIEVE_ENGINE_LAYERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/kvcache.h"
#include "engine/model.h"
#include "engine/weights.h"
#include "kernels/kernels.h"
#include "kernels/pool.h"

/* What one thread needs for itself. */
struct thread_scratch {
    void *matmul;
    float *attend;
    float *tile;                /* [rows][weight rows]: a task's matmul output before it is used */
    const uint16_t **k, **v;    /* [pages_max]: a sequence's pages, for one layer and KV head */
};

struct forward {
    const struct model *model;
    const struct hparams *hparams;
    const struct weights *weights;
    const struct kernels *kernels;
    struct pool *pool;
    struct kv_cache *cache;
    uint32_t rows_max, pages_max;
    void *storage;              /* all of what follows */

    struct thread_scratch *threads;     /* [pool_threads] */
    float *x;                   /* [rows][hidden]: the residual stream */
    float *normed;              /* [rows][hidden] */
    float *q;                   /* [rows][heads * head_dim] */
    float *attended;            /* [rows][heads * head_dim] */
    float *gated;               /* [rows][ffn] */
    float *cos, *sin;           /* [rows][rotary / 2]: by each row's position */
    double *frequencies;        /* [rotary / 2] */
    struct acts acts_hidden, acts_attended, acts_gated;     /* the same, ready for matmul */

    /* The step. */
    const struct batch_row *batch;      /* [batch_n] */
    uint32_t batch_n;
    uint32_t *rows_of;          /* [rows] -> index in batch; not all of them in the last layer */
    uint32_t rows;
    struct attend_task *tasks;  /* [tasks_n] */
    uint32_t tasks_n;
};

/* x = the embeddings of the step's tokens; the angles of their positions. */
void layers_embed(struct forward *f);
/* normed = rmsnorm(x) * weight, made ready for matmul. */
void layers_norm(struct forward *f, const float *weight);
/* q, k, v from normed; q and k turned by their positions; k and v into the sequence's pages. */
void layers_project_qkv(struct forward *f, const struct layer_weights *w, uint32_t layer);
/* From here on the step is only the rows whose logits are wanted; false if there are none. */
bool layers_keep_wanted(struct forward *f);
/* attended = softmax(q . k) . v over each row's sequence so far. */
void layers_attend(struct forward *f, uint32_t layer);
/* x += attended * w^T. */
void layers_add_attended(struct forward *f, const struct matrix *w);
/* gated = silu(normed * gate^T) * (normed * up^T), then x += gated * down^T. */
void layers_feed_forward(struct forward *f, const struct layer_weights *w);
/* The wanted logits = normed * output^T. */
void layers_logits(struct forward *f, const struct matrix *output);

#endif
