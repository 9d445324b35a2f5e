/* arch_smollm3.c - SmolLM3: Llama, but every fourth layer knows no positions. */
#include "engine/arch.h"

enum { NO_ROPE_PERIOD = 4 };

static const struct weight_rule rules[] = {
    RULES_ENDS,
    RULES_NORMS,
    RULES_ATTENTION,
    RULES_FEED_FORWARD,
};

/* GGUF does not say which layers; a folder's config does, and then kinds is there. The converter
 * permutes the rows of q and k, as it does Llama's. */
static bool check(struct hparams *h, const struct gguf *file, struct arena *arena, struct err *err)
{
    h->rope_adjacent = file != NULL;
    if (!h->kinds) {
        struct layer_kind *kinds = arena_array(arena, h->layers, sizeof *kinds);
        for (uint32_t i = 0; i < h->layers; i++)
            kinds[i].no_rope = (i + 1) % NO_ROPE_PERIOD == 0;
        h->kinds = kinds;
    }
    return arch_check_dense(h, file, arena, err);
}

static const char *const model_types[] = {"smollm3", NULL};

const struct arch arch_smollm3 = {
    .name = "smollm3",
    .model_types = model_types,
    .rules = rules,
    .rules_n = sizeof rules / sizeof *rules,
    .check = check,
};
