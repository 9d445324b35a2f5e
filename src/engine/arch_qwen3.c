/* arch_qwen3.c - Qwen 3: Llama with a norm on each head of q and k. */
#include "engine/arch.h"

static const struct weight_rule rules[] = {
    RULES_ENDS,
    RULES_NORMS,
    RULES_ATTENTION,
    RULES_HEAD_NORMS,
    RULES_FEED_FORWARD,
};

static const char *const model_types[] = {"qwen3", NULL};

const struct arch arch_qwen3 = {
    .name = "qwen3",
    .model_types = model_types,
    .rules = rules,
    .rules_n = sizeof rules / sizeof *rules,
    .check = arch_check_dense,
};
