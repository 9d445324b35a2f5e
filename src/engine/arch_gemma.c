/* arch_gemma.c - Gemma 2 and 3, its text part: norms before and after attention and feed-forward,
 * layers that see a window between layers that see everything. Gemma 2 caps scores and logits;
 * Gemma 3 norms the heads of q and k, and turns its windowed layers in another way.
 *
 * GGUF's converter adds the 1 to the norms; folders store them without. */
#include "engine/arch.h"

#include <math.h>

enum { GEMMA2_PERIOD = 2, GEMMA3_PERIOD = 6, GEMMA2_LAYERS_27B = 46, GEMMA3_LAYERS_27B = 62 };

#define RULES_GEMMA                                                                                \
    RULES_ENDS, RULES_NORMS, RULES_POST_NORMS, RULES_ATTENTION, RULES_FEED_FORWARD

static const struct weight_rule gemma2_rules[] = {RULES_GEMMA};
static const struct weight_rule gemma3_rules[] = {RULES_GEMMA, RULES_HEAD_NORMS};

static const struct tensor_alias aliases[] = {
    {"post_attention_layernorm", "post_attention_norm"},
    {"pre_feedforward_layernorm", "ffn_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
};

/* layers_27b: of the one size whose attention scale is not the head's, which GGUF leaves unsaid. */
static bool check(struct hparams *h, const struct gguf *file, uint32_t layers_27b, uint32_t period,
                  struct arena *arena, struct err *err)
{
    h->activation = ACTIVATION_GELU_TANH;
    h->embedding_scale = sqrtf((float)h->hidden);
    h->norm_plus_one = file == NULL;
    if (file && h->layers == layers_27b)
        h->attention_scale = 1 / sqrtf((float)h->hidden / (float)h->heads);
    arch_set_windows(h, period, arena);
    return arch_check_dense(h, file, arena, err);
}

static bool gemma2_check(struct hparams *h, const struct gguf *file, struct arena *arena,
                         struct err *err)
{
    return check(h, file, GEMMA2_LAYERS_27B, GEMMA2_PERIOD, arena, err);
}

/* Windowed layers turn by the second rope. */
static bool gemma3_check(struct hparams *h, const struct gguf *file, struct arena *arena,
                         struct err *err)
{
    if (!check(h, file, GEMMA3_LAYERS_27B, GEMMA3_PERIOD, arena, err))
        return false;
    struct layer_kind *kinds = arena_array(arena, h->layers, sizeof *kinds);
    for (uint32_t i = 0; i < h->layers; i++)
        kinds[i] = (struct layer_kind){.windowed = h->kinds[i].windowed,
                                       .rope = h->kinds[i].windowed};
    h->kinds = kinds;
    return true;
}

static const char *const gemma2_types[] = {"gemma2", NULL};
static const char *const gemma3_types[] = {"gemma3_text", "gemma3", NULL};

const struct arch arch_gemma2 = {
    .name = "gemma2",
    .model_types = gemma2_types,
    .rules = gemma2_rules,
    .rules_n = sizeof gemma2_rules / sizeof *gemma2_rules,
    .aliases = aliases,
    .aliases_n = sizeof aliases / sizeof *aliases,
    .check = gemma2_check,
};

const struct arch arch_gemma3 = {
    .name = "gemma3",
    .model_types = gemma3_types,
    .rules = gemma3_rules,
    .rules_n = sizeof gemma3_rules / sizeof *gemma3_rules,
    .aliases = aliases,
    .aliases_n = sizeof aliases / sizeof *aliases,
    .check = gemma3_check,
};
