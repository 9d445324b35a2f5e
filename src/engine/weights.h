/* weights.h - the weights of a model, bound by name to where they lie in the file.
 *
 * Matrices stay in the file's own layout. Vectors (norms) are small and may lie unaligned, so they
 * are copied. An architecture says in a table of rules what it needs; weights_bind checks that every
 * tensor is there, of the shape the hparams ask for, and that the file has no others. */
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

struct layer_weights {
    const float *attn_norm, *ffn_norm;          /* [hidden] */
    struct matrix q, k, v;                      /* [heads or kv_heads * head_dim][hidden] */
    struct matrix attn_output;                  /* [hidden][heads * head_dim] */
    struct matrix gate, up;                     /* [ffn][hidden] */
    struct matrix down;                         /* [hidden][ffn] */
};

struct weights {
    struct matrix embedding;                    /* [vocab][hidden] */
    struct matrix output;                       /* [vocab][hidden]; the embedding where it is tied */
    const float *output_norm;                   /* [hidden] */
    const float *rope_factors;                  /* [rotary / 2]: divide the frequencies; or NULL */
    struct layer_weights *layers;               /* [layers] */
};

/* The sizes that shapes are made of. DIM_NONE: no such dimension. */
enum weight_dim {
    DIM_NONE, DIM_HIDDEN, DIM_FFN, DIM_QUERY, DIM_KV, DIM_VOCAB, DIM_ROTARY_HALF
};

struct weight_rule {
    const char *name;           /* of a tensor; per_layer: "blk.N." stands before it */
    size_t field;               /* offset in struct weights, or per_layer in struct layer_weights, */
    enum weight_dim rows, cols; /* of a struct matrix, or of a float pointer if rows is DIM_NONE */
    bool per_layer;
    bool optional;              /* left zero if the file has no such tensor */
};

bool weights_bind(struct weights *weights, const struct tensors *tensors, const struct hparams *hparams,
                  const struct weight_rule *rules, size_t rules_n, struct arena *arena,
                  struct err *err);

#endif
