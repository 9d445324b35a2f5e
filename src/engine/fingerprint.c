/* fingerprint.c - hashes of everything a model is made of, weights by samples: a file of many
 * gigabytes is not read for its name's sake. Models that differ, differ all over: training moves every
 * weight, another quantisation every block. */
#include "engine/fingerprint.h"

#include <string.h>

#include "base/hash.h"
#include "engine/arch.h"
#include "engine/checkpoint.h"

enum {
    /* To be raised when the same tokens give other bits in a page than before: another layout of
     * pages, another order of sums in a kernel, another way to compute an architecture. */
    ARITHMETIC = 1,
    WHOLE_BYTES = 16 << 10, SAMPLES = 16, SAMPLE_BYTES = 256,
};

static void add(uint64_t state[2], const void *bytes, size_t n)
{
    const uint64_t lo = hash_bytes((struct hash_key){state[0], state[1]}, bytes, n);

    state[1] = hash_bytes((struct hash_key){state[1], ~lo}, bytes, n);
    state[0] = lo;
}

static void add_text(uint64_t state[2], struct str text)
{
    add(state, text.s, text.n);
}

static void add_samples(uint64_t state[2], const void *data, uint64_t n)
{
    const char *bytes = data;

    add(state, &n, sizeof n);
    if (!data || n == 0)
        return;
    if (n <= WHOLE_BYTES) {
        add(state, bytes, n);
        return;
    }
    for (uint64_t i = 0; i < SAMPLES; i++)
        add(state, bytes + (n - SAMPLE_BYTES) / (SAMPLES - 1) * i, SAMPLE_BYTES);
}

static uint64_t float_bytes(enum quant quant)
{
    return quant == QUANT_F32 ? 4 : 2;
}

static void add_tensor(uint64_t state[2], const struct tensor *tensor)
{
    const uint64_t shape[] = {tensor->quant, tensor->dims_n, tensor->scale_quant, tensor->group};
    const uint64_t groups = tensor->group ? tensor->elements / tensor->group : 0;
    const uint64_t scale_bytes = groups * float_bytes(tensor->scale_quant);

    add_text(state, tensor->name);
    add(state, shape, sizeof shape);
    add(state, tensor->dims, sizeof tensor->dims);
    add_samples(state, tensor->data, tensor->bytes);
    add_samples(state, tensor->scales, tensor->scales ? scale_bytes : 0);
    add_samples(state, tensor->biases, tensor->biases ? scale_bytes : 0);
}

static void add_factors(uint64_t state[2], const float *factors, uint32_t rotary)
{
    add_samples(state, factors, factors ? rotary / 2 * sizeof *factors : 0);
}

static void add_rope(uint64_t state[2], const struct rope *rope, uint32_t rotary)
{
    const float floats[] = {rope->base, rope->factor, rope->low, rope->high, rope->magnitude};
    const uint32_t numbers[] = {rope->scaling, rope->ramp_exact, rope->original_context};

    add(state, floats, sizeof floats);
    add(state, numbers, sizeof numbers);
    add_factors(state, rope->short_factors, rotary);
    add_factors(state, rope->long_factors, rotary);
    add_factors(state, rope->factors, rotary);
}

static void add_hparams(uint64_t state[2], const struct hparams *h)
{
    const uint32_t numbers[] = {
        h->layers, h->hidden, h->ffn, h->heads, h->kv_heads, h->head_dim, h->vocab,
        h->context_trained, h->rotary, h->window, h->rope_adjacent, h->norm_all_heads,
        h->norm_plus_one, h->activation, h->experts, h->experts_used, h->expert_ffn,
        h->experts_norm,
    };
    const float floats[] = {
        h->rms_eps, h->attention_scale, h->attention_softcap, h->logits_softcap,
        h->embedding_scale, h->residual_scale, h->logits_scale,
    };

    add(state, numbers, sizeof numbers);
    add(state, floats, sizeof floats);
    for (int i = 0; i < ROPES_MAX; i++)
        add_rope(state, &h->ropes[i], h->rotary);
    for (uint32_t i = 0; i < h->layers; i++) {
        const struct layer_kind *kind = &h->kinds[i];
        const uint8_t bytes[] = {kind->windowed, kind->no_rope, kind->rope, kind->dense};
        add(state, bytes, sizeof bytes);
    }
}

void model_fingerprint(const struct model *model, const char *isa, uint64_t out[2])
{
    const uint32_t version[] = {ARITHMETIC, KV_PAGE};

    out[0] = out[1] = 0;
    add(out, version, sizeof version);
    add_text(out, STR(PENSIEVE_VERSION));
    add_text(out, str_of(isa));
    add_text(out, str_of(model->arch->name));
    add_hparams(out, &model->hparams);
    for (size_t i = 0; i < model->checkpoint->tensors.n; i++)
        add_tensor(out, &model->checkpoint->tensors.list[i]);
}
