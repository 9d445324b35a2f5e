/* weights.h - the weights of a model, bound by name to where they lie in the file.
 *
 * Matrices stay in the file's own layout. Vectors (norms, biases) are small, may lie unaligned and
 * in any float type, so they are copied as f32. An architecture says in a table of rules what it
 * needs; weights_bind checks that every tensor is there, of the shape the hparams ask for, and that
 * the file has no others. */
#ifndef PENSIEVE_ENGINE_WEIGHTS_H
#define PENSIEVE_ENGINE_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "engine/hparams.h"
#include "engine/tensors.h"
#include "kernels/kernels.h"

/* What a rule of the architecture's does not name, or the file need not have, is zero. */
struct layer_weights {
    const float *attn_norm, *ffn_norm; /* [hidden]: before attention, before feed-forward */
    const float *post_attn_norm, *post_ffn_norm;    /* [hidden]: of what they add to the stream */
    struct matrix q, k, v;                      /* [heads or kv_heads * head_dim][hidden] */
    const float *q_bias, *k_bias, *v_bias;      /* as many as rows */
    const float *q_norm, *k_norm;               /* [head_dim], or as many as rows (OLMo 2) */
    const float *sinks;                         /* [heads]: a logit each that attends to nothing */
    struct matrix attn_output;                  /* [hidden][heads * head_dim] */
    const float *o_bias;                        /* [hidden] */
    struct matrix gate, up;                     /* [ffn][hidden] */
    struct matrix down;                         /* [hidden][ffn] */
    struct matrix router;                       /* [experts][hidden] */
    const float *router_bias;                   /* [experts] */
    struct matrix *experts_gate, *experts_up;   /* [experts] of [expert_ffn][hidden] */
    struct matrix *experts_down;                /* [experts] of [hidden][expert_ffn] */
    const float *experts_gate_bias, *experts_up_bias;   /* [experts][expert_ffn] */
    const float *experts_down_bias;             /* [experts][hidden] */
};

struct weights {
    struct matrix embedding;                    /* [vocab][hidden] */
    struct matrix output; /* [vocab][hidden]; the embedding where it is tied */
    const float *output_norm;                   /* [hidden] */
    const float *rope_factors;                  /* [rotary / 2]: struct rope's factors; or NULL */
    struct layer_weights *layers;               /* [layers] */
};

/* The sizes that shapes are made of. DIM_NONE: no such dimension. */
enum weight_dim {
    DIM_NONE, DIM_HIDDEN, DIM_FFN, DIM_QUERY, DIM_KV, DIM_VOCAB, DIM_ROTARY_HALF, DIM_HEAD,
    DIM_HEADS, DIM_EXPERTS, DIM_EXPERT_FFN
};

/* Which layers a per-layer rule is for. */
enum weight_layers {
    LAYERS_ALL,
    LAYERS_DENSE,               /* those with one feed-forward: all of a model without experts */
    LAYERS_MIXED,               /* those with experts */
};

/* Rules of one name are a fused tensor: each takes the next of its rows (numbers, of a vector), in
 * the table's order. A field that an earlier rule has filled needs no tensor, so that a table can
 * have "attn_qkv.weight" as optional first and "attn_q.weight" after it. */
struct weight_rule {
    const char *name;           /* of a tensor; per_layer: "blk.N." stands before it */
    size_t field; /* offset in struct weights, or per_layer in struct layer_weights, */
    enum weight_dim rows, cols; /* of a struct matrix, or of a float pointer if rows is DIM_NONE */
    bool per_layer;
    bool optional;              /* left zero if the file has no such tensor */
    bool norm;                  /* 1 is added where the file stores it without: norm_plus_one */
    /* The field points to one matrix an expert, from a tensor that stacks them,
     * "ffn_up_exps.weight", or from one tensor each, "ffn_up.0.weight" and so on; or to vectors,
     * stacked. Only mixed layers have such. */
    bool experts;
    enum weight_layers layers;
};

bool weights_bind(struct weights *weights, const struct tensors *tensors,
                  const struct hparams *hparams, const struct weight_rule *rules, size_t rules_n,
                  struct arena *arena, struct err *err);

/* The length of a row of the tensor NAME ("blk.3.attn_q.weight"), by the rules; 0: they know no
 * such. */
uint64_t weights_cols(const struct weight_rule *rules, size_t rules_n,
                      const struct hparams *hparams, struct str name);

#endif
