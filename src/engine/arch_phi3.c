/* arch_phi3.c - Phi-3 and Phi-4-mini: q, k and v in one tensor, gate and up in another.
 *
 * The long-context models turn positions by one list of factors in short sequences and by another
 * in long ones (LongRoPE); Phi-4-mini turns only a part of each head. */
#include "engine/arch.h"

static const struct weight_rule rules[] = {
    RULES_ENDS,
    RULES_NORMS,
    {"attn_qkv.weight", LAYER(q), .rows = DIM_QUERY, .cols = DIM_HIDDEN},
    {"attn_qkv.weight", LAYER(k), .rows = DIM_KV, .cols = DIM_HIDDEN},
    {"attn_qkv.weight", LAYER(v), .rows = DIM_KV, .cols = DIM_HIDDEN},
    {"attn_output.weight", LAYER(attn_output), .rows = DIM_HIDDEN, .cols = DIM_QUERY},
    {"ffn_up.weight", LAYER(gate), .rows = DIM_FFN, .cols = DIM_HIDDEN},
    {"ffn_up.weight", LAYER(up), .rows = DIM_FFN, .cols = DIM_HIDDEN},
    {"ffn_down.weight", LAYER(down), .rows = DIM_HIDDEN, .cols = DIM_FFN},
};

static const struct tensor_alias aliases[] = {
    {"self_attn.qkv_proj", "attn_qkv"},
    {"mlp.gate_up_proj", "ffn_up"},
};

static const char *const model_types[] = {"phi3", NULL};

const struct arch arch_phi3 = {
    .name = "phi3",
    .model_types = model_types,
    .rules = rules,
    .rules_n = sizeof rules / sizeof *rules,
    .aliases = aliases,
    .aliases_n = sizeof aliases / sizeof *aliases,
    .check = arch_check_dense,
};
