/* arch_olmo2.c - OLMo 2: what attention and feed-forward add is normed, what goes into them is not;
 * q and k are normed over all heads at once. */
#include "engine/arch.h"

static const struct weight_rule rules[] = {
    RULES_ENDS,
    RULES_POST_NORMS,
    RULES_ATTENTION,
    {"attn_q_norm.weight", LAYER(q_norm), .cols = DIM_QUERY, .norm = true},
    {"attn_k_norm.weight", LAYER(k_norm), .cols = DIM_KV, .norm = true},
    RULES_FEED_FORWARD,
};

static const struct tensor_alias aliases[] = {
    {"post_attention_layernorm", "post_attention_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
};

static bool check(struct hparams *h, const struct gguf *file, struct arena *arena, struct err *err)
{
    h->norm_all_heads = true;
    return arch_check_dense(h, file, arena, err);
}

static const char *const model_types[] = {"olmo2", NULL};

const struct arch arch_olmo2 = {
    .name = "olmo2",
    .model_types = model_types,
    .rules = rules,
    .rules_n = sizeof rules / sizeof *rules,
    .aliases = aliases,
    .aliases_n = sizeof aliases / sizeof *aliases,
    .check = check,
};
