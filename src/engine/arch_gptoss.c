/* arch_gptoss.c - gpt-oss, out of GGUF: mixtures of experts with biases everywhere, a sink in each
 * head, every second layer sees a window, YaRN.
 *
 * The folders of its makers pack the experts in a way of their own, which is not read yet. */
#include "engine/arch.h"

enum { WINDOW_PERIOD = 2 };

static const struct weight_rule rules[] = {
    RULES_ENDS,
    {"attn_norm.weight", LAYER(attn_norm), .cols = DIM_HIDDEN, .norm = true},
    {"post_attention_norm.weight", LAYER(ffn_norm), .cols = DIM_HIDDEN, .norm = true},
    RULES_ATTENTION,
    {"attn_q.bias", LAYER(q_bias), .cols = DIM_QUERY},
    {"attn_k.bias", LAYER(k_bias), .cols = DIM_KV},
    {"attn_v.bias", LAYER(v_bias), .cols = DIM_KV},
    {"attn_output.bias", LAYER(o_bias), .cols = DIM_HIDDEN},
    {"attn_sinks.weight", LAYER(sinks), .cols = DIM_HEADS},
    RULES_EXPERTS,
    {"ffn_gate_inp.bias", LAYER(router_bias), .cols = DIM_EXPERTS},
    {"ffn_gate_exps.bias", LAYER(experts_gate_bias), .cols = DIM_EXPERT_FFN, .experts = true},
    {"ffn_up_exps.bias", LAYER(experts_up_bias), .cols = DIM_EXPERT_FFN, .experts = true},
    {"ffn_down_exps.bias", LAYER(experts_down_bias), .cols = DIM_HIDDEN, .experts = true},
};

static bool check(struct hparams *h, const struct gguf *file, struct arena *arena, struct err *err)
{
    h->activation = ACTIVATION_SWIGLU_CLAMPED;
    h->experts_norm = true;
    h->ropes[0].ramp_exact = true;
    arch_set_windows(h, WINDOW_PERIOD, arena);
    return arch_check_mixed(h, file, arena, err);
}

static const char *const model_types[] = {NULL};

const struct arch arch_gptoss = {
    .name = "gpt-oss",
    .model_types = model_types,
    .rules = rules,
    .rules_n = sizeof rules / sizeof *rules,
    .check = check,
};
