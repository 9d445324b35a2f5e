/* hparams.c - the bounds of a model's numbers: nothing past hparams_check looks at them again. */
#include "engine/hparams.h"

#include <math.h>

#include "kernels/kernels.h"

uint64_t hparams_kv_bytes(const struct hparams *h)
{
    return (uint64_t)h->layers * h->kv_heads * h->head_dim * 2 * sizeof(uint16_t);
}

void hparams_init(struct hparams *h)
{
    *h = (struct hparams){
        .ropes = {{.base = 10000}, {.base = 10000}},
        .embedding_scale = 1, .residual_scale = 1, .logits_scale = 1,
    };
}

static bool check_size(const char *name, uint32_t value, uint32_t max, struct err *err)
{
    return (value >= 1 && value <= max) ||
           err_set(err, ERR_FORMAT, "%s: %u is not within 1 to %u", name, value, max);
}

static bool check_heads(const struct hparams *h, struct err *err)
{
    if (!check_size("heads", h->heads, HEADS_MAX, err) ||
        !check_size("key-value heads", h->kv_heads, HEADS_MAX, err))
        return false;
    if (h->heads % h->kv_heads)
        return err_set(err, ERR_FORMAT, "%u heads do not divide among %u KV heads", h->heads,
                       h->kv_heads);
    if (h->head_dim == 0 || h->head_dim % 8 || h->head_dim > HEAD_DIM_MAX)
        return err_set(err, ERR_FORMAT, "heads of %u numbers are not supported, only multiples of "
                       "8 up to %d", h->head_dim, HEAD_DIM_MAX);
    if (h->heads / h->kv_heads > ATTEND_ROWS_MAX)
        return err_set(err, ERR_FORMAT, "%u heads on one KV head, the limit is %d",
                       h->heads / h->kv_heads, ATTEND_ROWS_MAX);
    return true;
}

static bool check_experts(const struct hparams *h, struct err *err)
{
    if (h->experts == 0)
        return true;
    return check_size("experts", h->experts, EXPERTS_MAX, err) &&
           check_size("experts used", h->experts_used, h->experts, err) &&
           check_size("feed-forward length of an expert", h->expert_ffn, FFN_MAX, err);
}

/* Every multiplier of the forward pass is an ordinary number. */
static bool check_multipliers(const struct hparams *h, struct err *err)
{
    const struct { const char *name; float value; bool zero; } multipliers[] = {
        {"attention scale", h->attention_scale, false},
        {"attention softcap", h->attention_softcap, true},
        {"logits softcap", h->logits_softcap, true},
        {"embedding scale", h->embedding_scale, false},
        {"residual scale", h->residual_scale, false},
        {"logits scale", h->logits_scale, false},
        {"norm epsilon", h->rms_eps, false},
    };

    for (size_t i = 0; i < sizeof multipliers / sizeof *multipliers; i++) {
        const float value = multipliers[i].value;
        if (!isfinite(value) || value < 0 || (value == 0 && !multipliers[i].zero))
            return err_set(err, ERR_FORMAT, "%s: %g is not above 0", multipliers[i].name,
                           (double)value);
    }
    return true;
}

static bool check_factors(const float *factors, uint32_t n, struct err *err)
{
    for (uint32_t i = 0; factors && i < n; i++)
        if (!(factors[i] > 0) || !isfinite(factors[i]))
            return err_set(err, ERR_FORMAT, "position factors: %g is not above 0",
                           (double)factors[i]);
    return true;
}

static bool check_rope(const struct hparams *h, const struct rope *rope, struct err *err)
{
    if (!(rope->base > 0) || !isfinite(rope->base))
        return err_set(err, ERR_FORMAT, "position base: %g is not above 0", (double)rope->base);
    if (!(rope->magnitude >= 0) || !isfinite(rope->magnitude))
        return err_set(err, ERR_FORMAT, "position magnitude: %g", (double)rope->magnitude);
    if (!check_factors(rope->short_factors, h->rotary / 2, err) ||
        !check_factors(rope->long_factors, h->rotary / 2, err) ||
        !check_factors(rope->factors, h->rotary / 2, err))
        return false;
    if (rope->scaling == ROPE_PLAIN)
        return true;
    if (rope->scaling != ROPE_LONGROPE && (!(rope->factor > 0) || !isfinite(rope->factor)))
        return err_set(err, ERR_FORMAT, "scaling of positions by %g", (double)rope->factor);
    if (rope->scaling == ROPE_LINEAR)
        return true;
    if (!check_size("original context", rope->original_context, CONTEXT_MAX, err))
        return false;
    if (rope->scaling == ROPE_LONGROPE)
        return (rope->short_factors && rope->long_factors) ||
               err_set(err, ERR_FORMAT, "longrope without its short and long factors");
    if (!(rope->low > 0) || !(rope->high > 0) || !isfinite(rope->low) || !isfinite(rope->high) ||
        rope->low >= rope->high)
        return err_set(err, ERR_FORMAT, "scaling of positions between %g and %g",
                       (double)rope->low, (double)rope->high);
    return true;
}

bool hparams_check(struct hparams *h, struct arena *arena, struct err *err)
{
    if (!check_size("layers", h->layers, LAYERS_MAX, err) ||
        !check_size("hidden size", h->hidden, HIDDEN_MAX, err) ||
        !check_size("feed-forward length", h->ffn, FFN_MAX, err) ||
        !check_size("context length", h->context_trained, CONTEXT_MAX, err) ||
        !check_heads(h, err) || !check_experts(h, err))
        return false;
    if (h->rotary > h->head_dim)
        return err_set(err, ERR_FORMAT, "%u rotary dimensions in heads of %u", h->rotary,
                       h->head_dim);
    if (h->rotary % 2)
        return err_set(err, ERR_FORMAT, "%u rotary dimensions do not make pairs", h->rotary);
    if (h->attention_scale == 0)
        h->attention_scale = 1.0f / sqrtf((float)h->head_dim);
    if (!h->kinds) {
        struct layer_kind *kinds = arena_array(arena, h->layers, sizeof *kinds);
        for (uint32_t i = 0; i < h->layers; i++)
            kinds[i].windowed = h->window > 0;
        h->kinds = kinds;
    }
    for (uint32_t i = 0; i < h->layers; i++)
        if (h->kinds[i].windowed && h->window == 0)
            return err_set(err, ERR_FORMAT, "layer %u sees a window, but its size is missing", i);
    for (size_t i = 0; i < ROPES_MAX; i++)
        if (!check_rope(h, &h->ropes[i], err))
            return false;
    return check_multipliers(h, err);
}
