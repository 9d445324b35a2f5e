/* arch_qwen3moe.c - Qwen 3's mixtures of experts: its attention, and a router in each layer. */
#include "engine/arch.h"

static const struct weight_rule rules[] = {
    RULES_ENDS,
    RULES_NORMS,
    RULES_ATTENTION,
    RULES_HEAD_NORMS,
    RULES_FEED_FORWARD,
    RULES_EXPERTS,
};

static bool check(struct hparams *h, const struct gguf *file, struct arena *arena, struct err *err)
{
    if (file)
        h->experts_norm = true;                 /* GGUF does not say, a folder's config does */
    return arch_check_mixed(h, file, arena, err);
}

static const char *const model_types[] = {"qwen3_moe", NULL};

const struct arch arch_qwen3moe = {
    .name = "qwen3moe",
    .model_types = model_types,
    .rules = rules,
    .rules_n = sizeof rules / sizeof *rules,
    .check = check,
};
