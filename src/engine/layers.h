/* layers.h - a forward pass over kernels.h and pool.h.
 *
 * One step computes `rows` rows of activations together: a prefill chunk, the next tokens of
 * several sequences, or both. Shapes stand beside the fields. */
#ifndef PENSIEVE_ENGINE_LAYERS_H
#define PENSIEVE_ENGINE_LAYERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/kvcache.h"
#include "engine/model.h"
#include "engine/rope.h"
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

/* A KV head, with all the heads that share it, and a run of rows of one sequence: all that they see,
 * or one part of it. */
struct attend_task {
    uint32_t kv_head, row, rows;
    uint32_t part;              /* of ATTEND_PART positions; ATTEND_WHOLE: all */
    size_t at;                  /* of a part: where in struct attend_plan.parts its rows' sums go */
    uint64_t cost;              /* pairs of a row and a position */
};

enum { ATTEND_WHOLE = UINT32_MAX };

/* A run of which each part is a task: then those are merged. */
struct attend_split {
    uint32_t kv_head, row, rows, part;  /* part: the first */
    size_t at;
};

struct attend_plan {
    struct attend_task *tasks;  /* [tasks_n], the longest first */
    struct attend_split *splits;        /* [splits_n] */
    uint32_t tasks_n, splits_n;
    size_t parts_n;             /* of all splits' parts and rows */
};

/* The rows that one expert has to do: places [begin, begin + n) of the lists in struct experts. */
struct expert_run {
    uint32_t expert, begin, n;
    struct acts in, gated;      /* made ready for matmul; their numbers are experts.in and .gated */
};

/* Scratch of a mixture of experts; places are rows * experts_used, sorted by expert. */
struct experts {
    float *router;              /* [rows][experts] */
    uint32_t *chosen;           /* [rows][used]: experts, the most wanted first, */
    float *share;               /* [rows][used]: what each gives, */
    uint32_t *place;            /* [rows][used]: and where it is done */
    uint32_t *row_of;           /* [places] */
    float *in;                  /* [places][hidden]: normed rows, later what experts make of them */
    float *gated;               /* [places][expert_ffn] */
    char *acts_in, *acts_gated; /* carved into by the runs */
    struct expert_run *runs;    /* [runs_n], at most one an expert */
    uint32_t runs_n, longest;   /* longest: rows of a run at most */
};

struct forward {
    const struct hparams *hparams;
    const struct weights *weights;
    const struct kernels *kernels;
    struct pool *pool;
    struct kv_cache *cache;
    uint32_t rows_max, pages_max, ropes_n;
    void *storage;              /* all of what follows */

    struct thread_scratch *threads;     /* [pool_threads] */
    float *x;                   /* [rows][hidden]: the residual stream */
    float *normed;              /* [rows][hidden]: also a product before it is normed */
    float *q;                   /* [rows][heads * head_dim] */
    float *attended;            /* [rows][heads * head_dim] */
    float *gated;               /* [rows][ffn] */
    float *cos[ROPES_MAX], *sin[ROPES_MAX];     /* [rows][rotary / 2]: by each row's position */
    struct rope_table ropes[ROPES_MAX][ROPE_VARIANTS];
    struct acts acts_hidden, acts_attended, acts_gated;     /* the same, ready for matmul */
    struct experts experts;

    /* The step. */
    const struct batch_row *batch;      /* [rows], at the step's beginning */
    uint32_t *rows_of;          /* [rows] -> index in batch; not all of them in the last layer */
    uint32_t rows;
    struct attend_plan plans[2];        /* of layers without a window and with one */
    float *parts;               /* [parts_max][ATTEND_PART_FLOATS(head_dim)] */
    size_t parts_max;
};

/* A whole pass: keys and values of all the step's rows into their pages, and the wanted logits. What
 * a model has of the optional (biases, norms before and after, windows, caps, experts) is in its
 * hparams and weights. */
void layers_decoder(struct forward *f);
/* attended = softmax(q . k) . v over what each row sees of its sequence so far; planned once for all
 * layers of a step, and again when there are fewer rows: attention.c. */
void layers_plan_attention(struct forward *f);
void layers_attention(struct forward *f, const struct layer_weights *w, uint32_t layer);
/* The feed-forward of one layer by the experts that each row's router chooses: experts.c. */
void layers_experts(struct forward *f, const struct layer_weights *w);

#endif
