/* arch_llama.c - Llama and its kin: RMSNorm, rotary positions, grouped-query attention, SwiGLU.
 *
 * GGUF's "llama" also holds Mistral, SmolLM2 and others of that shape. The converter permutes the
 * rows of q and k so that the numbers turned together are adjacent, and leaves Mistral's window
 * out; folders say it and get it. */
#include "engine/arch.h"

static const struct weight_rule rules[] = {
    RULES_ENDS,
    {"rope_freqs.weight", MODEL(rope_factors), .cols = DIM_ROTARY_HALF, .optional = true},
    RULES_NORMS,
    RULES_ATTENTION,
    {"attn_q.bias", LAYER(q_bias), .cols = DIM_QUERY, .optional = true},
    {"attn_k.bias", LAYER(k_bias), .cols = DIM_KV, .optional = true},
    {"attn_v.bias", LAYER(v_bias), .cols = DIM_KV, .optional = true},
    {"attn_output.bias", LAYER(o_bias), .cols = DIM_HIDDEN, .optional = true},
    RULES_FEED_FORWARD,
};

static bool check(struct hparams *h, const struct gguf *file, struct arena *arena, struct err *err)
{
    h->rope_adjacent = file != NULL;            /* the converter permutes, other containers don't */
    return arch_check_dense(h, file, arena, err);
}

static const char *const model_types[] = {"llama", "mistral", NULL};

const struct arch arch_llama = {
    .name = "llama",
    .model_types = model_types,
    .rules = rules,
    .rules_n = sizeof rules / sizeof *rules,
    .check = check,
};
