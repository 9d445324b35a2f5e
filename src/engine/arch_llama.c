/* arch_llama.c - Llama and its kin: RMSNorm, rotary positions, grouped-query attention, SwiGLU.
 *
 * GGUF's "llama" also holds Mistral, SmolLM2 and others of that shape. The converter permutes the
 * rows of q and k so that the numbers turned together are adjacent. */
#include "engine/arch.h"

#define MODEL(member) offsetof(struct weights, member)
#define LAYER(member) offsetof(struct layer_weights, member), .per_layer = true

static const struct weight_rule rules[] = {
    {"token_embd.weight", MODEL(embedding), .rows = DIM_VOCAB, .cols = DIM_HIDDEN},
    {"output.weight", MODEL(output), .rows = DIM_VOCAB, .cols = DIM_HIDDEN, .optional = true},
    {"output_norm.weight", MODEL(output_norm), .cols = DIM_HIDDEN},
    {"rope_freqs.weight", MODEL(rope_factors), .cols = DIM_ROTARY_HALF, .optional = true},
    {"attn_norm.weight", LAYER(attn_norm), .cols = DIM_HIDDEN},
    {"attn_q.weight", LAYER(q), .rows = DIM_QUERY, .cols = DIM_HIDDEN},
    {"attn_k.weight", LAYER(k), .rows = DIM_KV, .cols = DIM_HIDDEN},
    {"attn_v.weight", LAYER(v), .rows = DIM_KV, .cols = DIM_HIDDEN},
    {"attn_output.weight", LAYER(attn_output), .rows = DIM_HIDDEN, .cols = DIM_QUERY},
    {"ffn_norm.weight", LAYER(ffn_norm), .cols = DIM_HIDDEN},
    {"ffn_gate.weight", LAYER(gate), .rows = DIM_FFN, .cols = DIM_HIDDEN},
    {"ffn_up.weight", LAYER(up), .rows = DIM_FFN, .cols = DIM_HIDDEN},
    {"ffn_down.weight", LAYER(down), .rows = DIM_HIDDEN, .cols = DIM_FFN},
};

static bool check(struct hparams *h, const struct gguf *file, struct arena *arena, struct err *err)
{
    uint32_t experts = 0;

    h->rope_adjacent = file != NULL;            /* the converter permutes, other containers don't */
    if (file && gguf_has(file, "llama.expert_count") &&
        !gguf_u32(file, "llama.expert_count", &experts, err))
        return false;
    return experts == 0 || err_set(err, ERR_FORMAT, "key llama.expert_count: %u: mixtures of "
                                   "experts are not supported", experts);
}

static void forward(struct forward *f)
{
    const struct weights *w = f->weights;
    const uint32_t last = f->hparams->layers - 1;

    layers_embed(f);
    for (uint32_t i = 0; i <= last; i++) {
        const struct layer_weights *layer = &w->layers[i];

        layers_norm(f, layer->attn_norm);
        layers_project_qkv(f, layer, i);
        if (i == last && !layers_keep_wanted(f))
            return;                             /* a prefill chunk that is not the last one */
        layers_attend(f, i);
        layers_add_attended(f, &layer->attn_output);

        layers_norm(f, layer->ffn_norm);
        layers_feed_forward(f, layer);
    }
    layers_norm(f, w->output_norm);
    layers_logits(f, &w->output);
}

static const char *const model_types[] = {"llama", "mistral", "smollm3", NULL};

const struct arch arch_llama = {
    .name = "llama",
    .model_types = model_types,
    .rules = rules,
    .rules_n = sizeof rules / sizeof *rules,
    .check = check,
    .forward = forward,
};
