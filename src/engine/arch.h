/* arch.h - what an architecture is, and the inside of a model, for the files that make up both.
 *
 * To add one: write arch_x.c with a weight table and what its hparams mean, and a line in archs[] of
 * arch.c. The forward pass, layers_decoder, does what the hparams and the weights that are there
 * ask for. */
#ifndef PENSIEVE_ENGINE_ARCH_H
#define PENSIEVE_ENGINE_ARCH_H

#include "engine/checkpoint.h"
#include "engine/gguf.h"
#include "engine/layers.h"
#include "engine/model.h"
#include "engine/weights.h"

/* A name of another container for one of the weight table's; see tensors_hf.c for the common ones. */
struct tensor_alias {
    /* "self_attn.dense", "attn_output": what stands between the layer's number and .weight. In both
     * '#' stands for a number: "mlp.experts.#.w1", "ffn_gate.#". */
    const char *theirs, *ours;
};

struct arch {
    const char *name;           /* general.architecture in GGUF */
    const char *const *model_types;     /* model_type in config.json, NULL-terminated */
    const struct weight_rule *rules;
    size_t rules_n;
    const struct tensor_alias *aliases; /* before the common ones; NULL: none */
    size_t aliases_n;
    /* After a container has read what it holds: sets what is this architecture's own and refuses
     * what its forward pass doesn't do. file: NULL unless the container is GGUF. */
    bool (*check)(struct hparams *hparams, const struct gguf *file, struct arena *arena,
                  struct err *err);
};

/* NULL, ERR_FORMAT with what is supported. place: "byte 12" or "config.json: model_type". */
const struct arch *arch_of_gguf(struct str name, const char *place, struct err *err);
const struct arch *arch_of_model_type(struct str model_type, const char *place, struct err *err);

extern const struct arch arch_gemma2, arch_gemma3, arch_gptoss, arch_granite, arch_llama,
    arch_olmo2, arch_phi3, arch_qwen2, arch_qwen3, arch_qwen3moe, arch_smollm3;

/* The check of an architecture that has nothing of its own but no experts. */
bool arch_check_dense(struct hparams *hparams, const struct gguf *file, struct arena *arena,
                      struct err *err);
/* The same, but it has nothing without them. */
bool arch_check_mixed(struct hparams *hparams, const struct gguf *file, struct arena *arena,
                      struct err *err);
/* Where the container has not said which layers see a window: all but each period-th. */
void arch_set_windows(struct hparams *hparams, uint32_t period, struct arena *arena);

/* Rows that most tables of weights are made of. */
#define MODEL(member) offsetof(struct weights, member)
#define LAYER(member) offsetof(struct layer_weights, member), .per_layer = true
#define RULES_ENDS                                                                                 \
    {"token_embd.weight", MODEL(embedding), .rows = DIM_VOCAB, .cols = DIM_HIDDEN},                \
    {"output.weight", MODEL(output), .rows = DIM_VOCAB, .cols = DIM_HIDDEN, .optional = true},     \
    {"output_norm.weight", MODEL(output_norm), .cols = DIM_HIDDEN, .norm = true}
#define RULES_NORMS                                                                                \
    {"attn_norm.weight", LAYER(attn_norm), .cols = DIM_HIDDEN, .norm = true},                      \
    {"ffn_norm.weight", LAYER(ffn_norm), .cols = DIM_HIDDEN, .norm = true}
#define RULES_POST_NORMS                                                                           \
    {"post_attention_norm.weight", LAYER(post_attn_norm), .cols = DIM_HIDDEN, .norm = true},       \
    {"post_ffw_norm.weight", LAYER(post_ffn_norm), .cols = DIM_HIDDEN, .norm = true}
#define RULES_ATTENTION                                                                            \
    {"attn_q.weight", LAYER(q), .rows = DIM_QUERY, .cols = DIM_HIDDEN},                            \
    {"attn_k.weight", LAYER(k), .rows = DIM_KV, .cols = DIM_HIDDEN},                               \
    {"attn_v.weight", LAYER(v), .rows = DIM_KV, .cols = DIM_HIDDEN},                               \
    {"attn_output.weight", LAYER(attn_output), .rows = DIM_HIDDEN, .cols = DIM_QUERY}
#define RULES_HEAD_NORMS                                                                           \
    {"attn_q_norm.weight", LAYER(q_norm), .cols = DIM_HEAD, .norm = true},                         \
    {"attn_k_norm.weight", LAYER(k_norm), .cols = DIM_HEAD, .norm = true}
#define RULES_FEED_FORWARD                                                                         \
    {"ffn_gate.weight", LAYER(gate), .rows = DIM_FFN, .cols = DIM_HIDDEN, .layers = LAYERS_DENSE}, \
    {"ffn_up.weight", LAYER(up), .rows = DIM_FFN, .cols = DIM_HIDDEN, .layers = LAYERS_DENSE},     \
    {"ffn_down.weight", LAYER(down), .rows = DIM_HIDDEN, .cols = DIM_FFN, .layers = LAYERS_DENSE}
#define RULES_EXPERTS                                                                              \
    {"ffn_gate_inp.weight", LAYER(router), .rows = DIM_EXPERTS, .cols = DIM_HIDDEN,                \
     .layers = LAYERS_MIXED},                                                                      \
    {"ffn_gate_exps.weight", LAYER(experts_gate), .rows = DIM_EXPERT_FFN, .cols = DIM_HIDDEN,      \
     .experts = true},                                                                             \
    {"ffn_up_exps.weight", LAYER(experts_up), .rows = DIM_EXPERT_FFN, .cols = DIM_HIDDEN,          \
     .experts = true},                                                                             \
    {"ffn_down_exps.weight", LAYER(experts_down), .rows = DIM_HIDDEN, .cols = DIM_EXPERT_FFN,      \
     .experts = true}

struct model {
    struct arena *arena;
    struct checkpoint *checkpoint;
    const struct arch *arch;
    struct hparams hparams;
    struct weights weights;
    struct vocab *vocab;
    struct str types;
};

/* Makes a model of an opened checkpoint, which it takes over, also on failure. */
struct model *model_load(struct checkpoint *checkpoint, struct err *err);

#endif
