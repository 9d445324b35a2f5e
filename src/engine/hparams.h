/* hparams.h - the numbers a model is described by, the same for every container.
 *
 * Containers read them (checkpoint_gguf.c, checkpoint_hf.c), the architecture sets what is its own,
 * hparams_check bounds them: later they size buffers and divide. */
#ifndef PENSIEVE_ENGINE_HPARAMS_H
#define PENSIEVE_ENGINE_HPARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

enum {
    LAYERS_MAX = 1024, HIDDEN_MAX = 1 << 16, FFN_MAX = 1 << 20, HEADS_MAX = 1024,
    CONTEXT_MAX = 1 << 24, EXPERTS_MAX = 1024,
};

enum activation {
    ACTIVATION_SILU, ACTIVATION_GELU_TANH, ACTIVATION_GELU,
    ACTIVATION_SWIGLU_CLAMPED,  /* gpt-oss: see work.c */
};

enum rope_scaling {
    ROPE_PLAIN,
    ROPE_LINEAR,                /* every frequency / factor */
    ROPE_LLAMA3,                /* long waves / factor, short ones kept, a ramp between */
    ROPE_LONGROPE,              /* one list of factors up to original_context, another past it */
    ROPE_YARN,
};

/* How positions turn pairs of numbers: pair i of `rotary` by position * base^(-2i / rotary), scaled. */
struct rope {
    float base;
    enum rope_scaling scaling;
    float factor;               /* LINEAR, LLAMA3, YARN */
    float low, high;            /* LLAMA3: low_freq_factor, high_freq_factor; YARN: beta slow, fast */
    bool ramp_exact;            /* YARN: the ramp's ends are not rounded to whole pairs */
    uint32_t original_context;  /* LLAMA3, LONGROPE, YARN */
    float magnitude;            /* cos and sin are multiplied by it; 0: as the scaling defines */
    const float *short_factors, *long_factors;  /* LONGROPE: [rotary / 2] divisors */
    const float *factors;       /* [rotary / 2] divisors given by the file itself, or NULL */
};

enum { ROPES_MAX = 2 };

/* What differs from layer to layer. */
struct layer_kind {
    bool windowed;              /* attends to the last hparams.window positions only, itself included */
    bool no_rope;
    uint8_t rope;               /* index in hparams.ropes */
    bool dense;                 /* of a mixture of experts: this layer has a plain feed-forward */
};

struct hparams {
    uint32_t layers, hidden, ffn, heads, kv_heads, head_dim, vocab, context_trained;
    uint32_t rotary;            /* numbers of a head that are turned; the rest pass */
    float rms_eps;
    struct rope ropes[ROPES_MAX];
    const struct layer_kind *kinds;     /* [layers] */
    uint32_t window;            /* positions a windowed layer sees; 0: none is windowed */
    bool rope_adjacent;         /* pairs are neighbours (GGUF's llama), not halves */
    bool norm_all_heads;        /* norms of q and k are over all heads at once, not over each (OLMo 2) */
    bool norm_plus_one;         /* norms are stored as w and mean 1 + w (Gemma outside GGUF) */
    enum activation activation;

    float attention_scale;      /* q.k is multiplied by it */
    float attention_softcap, logits_softcap;    /* c * tanh(x / c); 0: none */
    float embedding_scale, residual_scale, logits_scale;    /* multipliers; 1: none */

    uint32_t experts, experts_used, expert_ffn; /* experts 0: dense */
    bool experts_norm;          /* the weights of the chosen experts are made to sum to 1 */
};

/* Of the keys and values of one position in all layers. */
uint64_t hparams_kv_bytes(const struct hparams *hparams);
/* Before a container reads: what most models mean by saying nothing. */
void hparams_init(struct hparams *hparams);
/* Fills kinds where the reader left NULL (all layers windowed, if there is a window), bounds
 * everything. ERR_FORMAT in plain words. */
bool hparams_check(struct hparams *hparams, struct arena *arena, struct err *err);

#endif
