/* arch_granite.c - Granite 3: Llama with multipliers on embedding, attention, what layers add, and
 * logits. GGUF's converter permutes the rows of q and k as it does Llama's. */
#include "engine/arch.h"

static const struct weight_rule rules[] = {
    RULES_ENDS,
    RULES_NORMS,
    RULES_ATTENTION,
    RULES_FEED_FORWARD,
};

static bool check(struct hparams *h, const struct gguf *file, struct arena *arena, struct err *err)
{
    h->rope_adjacent = file != NULL;
    return arch_check_dense(h, file, arena, err);
}

static const char *const model_types[] = {"granite", NULL};

const struct arch arch_granite = {
    .name = "granite",
    .model_types = model_types,
    .rules = rules,
    .rules_n = sizeof rules / sizeof *rules,
    .check = check,
};
