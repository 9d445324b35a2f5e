/* arch_gemma2.c - Gemma 2: norms before and after attention and feed-forward, every second layer
 * sees a window, and both scores and logits are capped. */
#include "engine/arch.h"

#include <math.h>

enum { LAYERS_27B = 46 };

static const struct weight_rule rules[] = {
    RULES_ENDS,
    RULES_NORMS,
    {"post_attention_norm.weight", LAYER(post_attn_norm), .cols = DIM_HIDDEN, .norm = true},
    {"post_ffw_norm.weight", LAYER(post_ffn_norm), .cols = DIM_HIDDEN, .norm = true},
    RULES_ATTENTION,
    RULES_FEED_FORWARD,
};

static const struct tensor_alias aliases[] = {
    {"post_attention_layernorm", "post_attention_norm"},
    {"pre_feedforward_layernorm", "ffn_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
};

static bool check(struct hparams *h, const struct gguf *file, struct arena *arena, struct err *err)
{
    h->activation = ACTIVATION_GELU_TANH;
    h->embedding_scale = sqrtf((float)h->hidden);
    h->norm_plus_one = file == NULL;
    if (file && h->layers == LAYERS_27B)        /* the one size whose scale is not the head's, */
        h->attention_scale = 1 / sqrtf((float)h->hidden / (float)h->heads);     /* unsaid in GGUF */
    if (!h->kinds) {
        struct layer_kind *kinds = arena_array(arena, h->layers, sizeof *kinds);
        for (uint32_t i = 0; i < h->layers; i += 2)
            kinds[i].windowed = true;
        h->kinds = kinds;
    }
    return arch_check_dense(h, file, arena, err);
}

static const char *const model_types[] = {"gemma2", NULL};

const struct arch arch_gemma2 = {
    .name = "gemma2",
    .model_types = model_types,
    .rules = rules,
    .rules_n = sizeof rules / sizeof *rules,
    .aliases = aliases,
    .aliases_n = sizeof aliases / sizeof *aliases,
    .check = check,
    .forward = layers_decoder,
};
