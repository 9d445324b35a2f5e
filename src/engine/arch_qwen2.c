/* arch_qwen2.c - Qwen 2 and 2.5: Llama with biases on q, k and v. */
#include "engine/arch.h"

static const struct weight_rule rules[] = {
    RULES_ENDS,
    RULES_NORMS,
    RULES_ATTENTION,
    {"attn_q.bias", LAYER(q_bias), .cols = DIM_QUERY},
    {"attn_k.bias", LAYER(k_bias), .cols = DIM_KV},
    {"attn_v.bias", LAYER(v_bias), .cols = DIM_KV},
    RULES_FEED_FORWARD,
};

static const char *const model_types[] = {"qwen2", NULL};

const struct arch arch_qwen2 = {
    .name = "qwen2",
    .model_types = model_types,
    .rules = rules,
    .rules_n = sizeof rules / sizeof *rules,
    .check = arch_check_dense,
};
