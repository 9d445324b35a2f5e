/* arch_gemma3.c - Gemma 3, its text part: norms before and after attention and feed-forward and on
 * the heads of q and k; five layers that see a window for each one that sees everything, the two
 * kinds with positions of their own.
 *
 * GGUF's converter adds the 1 to the norms; folders store them without. */
#include "engine/arch.h"

#include <math.h>

enum { PERIOD = 6, LAYERS_27B = 62 };

static const struct weight_rule rules[] = {
    RULES_ENDS,
    RULES_NORMS,
    {"post_attention_norm.weight", LAYER(post_attn_norm), .cols = DIM_HIDDEN, .norm = true},
    {"post_ffw_norm.weight", LAYER(post_ffn_norm), .cols = DIM_HIDDEN, .norm = true},
    RULES_ATTENTION,
    RULES_HEAD_NORMS,
    RULES_FEED_FORWARD,
};

static const struct tensor_alias aliases[] = {
    {"post_attention_layernorm", "post_attention_norm"},
    {"pre_feedforward_layernorm", "ffn_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
};

/* Windowed layers turn by the second rope. */
static void set_kinds(struct hparams *h, struct arena *arena)
{
    struct layer_kind *kinds = arena_array(arena, h->layers, sizeof *kinds);

    for (uint32_t i = 0; i < h->layers; i++) {
        kinds[i].windowed = h->kinds ? h->kinds[i].windowed : (i + 1) % PERIOD != 0;
        kinds[i].rope = kinds[i].windowed;
    }
    h->kinds = kinds;
}

static bool check(struct hparams *h, const struct gguf *file, struct arena *arena, struct err *err)
{
    h->activation = ACTIVATION_GELU_TANH;
    h->embedding_scale = sqrtf((float)h->hidden);
    h->norm_plus_one = file == NULL;
    if (file && h->layers == LAYERS_27B)        /* the one size whose scale is not the head's, */
        h->attention_scale = 1 / sqrtf((float)h->hidden / (float)h->heads);     /* unsaid in GGUF */
    set_kinds(h, arena);
    return arch_check_dense(h, file, arena, err);
}

static const char *const model_types[] = {"gemma3_text", "gemma3", NULL};

const struct arch arch_gemma3 = {
    .name = "gemma3",
    .model_types = model_types,
    .rules = rules,
    .rules_n = sizeof rules / sizeof *rules,
    .aliases = aliases,
    .aliases_n = sizeof aliases / sizeof *aliases,
    .check = check,
    .forward = layers_decoder,
};
