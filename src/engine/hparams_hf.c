/* hparams_hf.c - reads the fields of config.json that the forward pass depends on.
 *
 * The hard thing is that transformers' versions spell the same differently: rope_scaling beside
 * rope_theta or rope_parameters around both, for all layers or by kind; windows by layer_types, by
 * a pattern or by a first layer. Each reader takes all spellings of its part. */
#include "engine/hparams_hf.h"

#include <math.h>
#include <stdio.h>

#include "engine/vocab.h"
#include "kernels/kernels.h"

enum { TEXT_MAX = 128 };

/* The first of two spellings that is there. */
static yyjson_val *either(yyjson_val *object, const char *name, const char *other)
{
    yyjson_val *value = yyjson_obj_get(object, name);

    return value ? value : yyjson_obj_get(object, other);
}

static bool read_sizes(struct hparams *h, const struct config *c, struct err *err)
{
    h->context_trained = 2048;
    h->rms_eps = 1e-6f;
    if (!config_u32(c, "num_hidden_layers", 1, LAYERS_MAX, true, &h->layers, err) ||
        !config_u32(c, "hidden_size", 1, HIDDEN_MAX, true, &h->hidden, err) ||
        !config_u32(c, "intermediate_size", 1, FFN_MAX, true, &h->ffn, err) ||
        !config_u32(c, "vocab_size", 1, VOCAB_TOKENS_MAX, true, &h->vocab, err) ||
        !config_u32(c, "max_position_embeddings", 1, CONTEXT_MAX, false, &h->context_trained,
                    err) ||
        !config_float(c, "rms_norm_eps", false, &h->rms_eps, err) ||
        !config_u32(c, "num_attention_heads", 1, HEADS_MAX, true, &h->heads, err))
        return false;
    h->kv_heads = h->heads;
    h->head_dim = h->hidden / h->heads;
    return config_u32(c, "num_key_value_heads", 1, HEADS_MAX, false, &h->kv_heads, err) &&
           config_u32(c, "head_dim", 1, HEAD_DIM_MAX, false, &h->head_dim, err);
}

static bool read_activation(struct hparams *h, const struct config *c, struct err *err)
{
    static const struct { const char *name; enum activation activation; } names[] = {
        {"silu", ACTIVATION_SILU}, {"swish", ACTIVATION_SILU},
        {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH}, {"gelu_new", ACTIVATION_GELU_TANH},
        {"gelu", ACTIVATION_GELU},
    };
    yyjson_val *value = config_get(c, "hidden_activation");     /* Gemma's, which goes before */
    char shown[TEXT_MAX];

    if (json_none(value))
        value = config_get(c, "hidden_act");
    if (json_none(value))
        return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (yyjson_equals_str(value, names[i].name)) {
            h->activation = names[i].activation;
            return true;
        }
    return err_set(err, ERR_FORMAT, "config.json: hidden_act: activation %s is not supported",
                   config_quote(shown, sizeof shown, value));
}

/* A multiplier that is missing leaves *out; what is written must be above 0. */
static bool read_above_0(const struct config *c, const char *field, float *out, struct err *err)
{
    float value = *out;

    if (!config_float(c, field, false, &value, err))
        return false;
    if (value < 0 || (value == 0 && *out != 0))
        return err_set(err, ERR_FORMAT, "config.json: %s: %g is not above 0", field, (double)value);
    *out = value;
    return true;
}

static bool read_multipliers(struct hparams *h, const struct config *c, struct err *err)
{
    float scalar = 0, divisor = 1;

    if (!read_above_0(c, "query_pre_attn_scalar", &scalar, err) ||
        !read_above_0(c, "attention_multiplier", &h->attention_scale, err) ||
        !read_above_0(c, "attn_logit_softcapping", &h->attention_softcap, err) ||
        !read_above_0(c, "final_logit_softcapping", &h->logits_softcap, err) ||
        !read_above_0(c, "embedding_multiplier", &h->embedding_scale, err) ||
        !read_above_0(c, "residual_multiplier", &h->residual_scale, err) ||
        !read_above_0(c, "logits_scaling", &divisor, err))
        return false;
    if (scalar > 0)
        h->attention_scale = 1 / sqrtf(scalar);
    h->logits_scale = 1 / divisor;
    return true;
}

/* Divisors, one for each pair of turned numbers. */
static bool read_factors(yyjson_val *list, const char *where, uint32_t n, struct arena *arena,
                         const float **out, struct err *err)
{
    yyjson_arr_iter numbers;
    uint32_t i = 0;

    if (!yyjson_is_arr(list) || yyjson_arr_size(list) != n)
        return err_set(err, ERR_FORMAT, "config.json: %s is not a list of %u numbers", where, n);
    float *factors = arena_array(arena, n, sizeof *factors);
    yyjson_arr_iter_init(list, &numbers);
    for (yyjson_val *number; (number = yyjson_arr_iter_next(&numbers)); i++)
        if (!config_take_float(number, where, true, &factors[i], err))
            return false;
    *out = factors;
    return true;
}

/* All that one kind of scaling may say; where: "rope_scaling" or "rope_parameters". */
struct scaling_reader {
    struct hparams *h;
    const struct config *config;
    struct arena *arena;
    yyjson_val *object;
    const char *where;
};

static bool take_float(const struct scaling_reader *r, const char *field, bool needed, float *out,
                       struct err *err)
{
    char where[TEXT_MAX];

    snprintf(where, sizeof where, "%s.%s", r->where, field);
    return config_take_float(yyjson_obj_get(r->object, field), where, needed, out, err);
}

/* In the scaling, beside it, or else what the model was trained for. */
static bool read_original_context(const struct scaling_reader *r, struct rope *rope,
                                  struct err *err)
{
    static const char field[] = "original_max_position_embeddings";
    yyjson_val *value = yyjson_obj_get(r->object, field);

    rope->original_context = r->h->context_trained;
    return config_take_u32(json_none(value) ? config_get(r->config, field) : value, field, 1,
                           CONTEXT_MAX, false, &rope->original_context, err);
}

static bool read_linear(const struct scaling_reader *r, struct rope *rope, struct err *err)
{
    return take_float(r, "factor", true, &rope->factor, err);
}

static bool read_llama3(const struct scaling_reader *r, struct rope *rope, struct err *err)
{
    return take_float(r, "factor", true, &rope->factor, err) &&
           take_float(r, "low_freq_factor", true, &rope->low, err) &&
           take_float(r, "high_freq_factor", true, &rope->high, err) &&
           read_original_context(r, rope, err);
}

static bool read_longrope(const struct scaling_reader *r, struct rope *rope, struct err *err)
{
    const uint32_t n = r->h->rotary / 2;

    return read_factors(yyjson_obj_get(r->object, "short_factor"), "short_factor", n, r->arena,
                        &rope->short_factors, err) &&
           read_factors(yyjson_obj_get(r->object, "long_factor"), "long_factor", n, r->arena,
                        &rope->long_factors, err) &&
           take_float(r, "attention_factor", false, &rope->magnitude, err) &&
           read_original_context(r, rope, err);
}

static float yarn_magnitude(float factor, float mscale)
{
    return factor <= 1 ? 1 : 0.1f * mscale * logf(factor) + 1;
}

static bool read_yarn(const struct scaling_reader *r, struct rope *rope, struct err *err)
{
    float mscale = 0, mscale_all = 0;
    bool rounded = true;

    rope->low = 1, rope->high = 32;
    if (!take_float(r, "factor", true, &rope->factor, err) ||
        !take_float(r, "beta_slow", false, &rope->low, err) ||
        !take_float(r, "beta_fast", false, &rope->high, err) ||
        !take_float(r, "mscale", false, &mscale, err) ||
        !take_float(r, "mscale_all_dim", false, &mscale_all, err) ||
        !take_float(r, "attention_factor", false, &rope->magnitude, err) ||
        !config_take_bool(yyjson_obj_get(r->object, "truncate"), "truncate", &rounded, err) ||
        !read_original_context(r, rope, err))
        return false;
    rope->ramp_exact = !rounded;
    if (rope->magnitude == 0 && mscale > 0 && mscale_all > 0)
        rope->magnitude = yarn_magnitude(rope->factor, mscale) /
                          yarn_magnitude(rope->factor, mscale_all);
    return true;
}

static const struct {
    const char *name;
    enum rope_scaling scaling;
    bool (*read)(const struct scaling_reader *r, struct rope *rope, struct err *err);
} scalings[] = {
    {"default", ROPE_PLAIN, NULL}, {"linear", ROPE_LINEAR, read_linear},
    {"llama3", ROPE_LLAMA3, read_llama3}, {"longrope", ROPE_LONGROPE, read_longrope},
    {"su", ROPE_LONGROPE, read_longrope}, {"yarn", ROPE_YARN, read_yarn},
};

static bool read_scaling(const struct scaling_reader *r, struct rope *rope, struct err *err)
{
    yyjson_val *type = either(r->object, "rope_type", "type");
    char shown[TEXT_MAX];

    if (json_none(r->object) || json_none(type))
        return true;
    for (size_t i = 0; i < sizeof scalings / sizeof *scalings; i++)
        if (yyjson_equals_str(type, scalings[i].name)) {
            rope->scaling = scalings[i].scaling;
            return !scalings[i].read || scalings[i].read(r, rope, err);
        }
    return err_set(err, ERR_FORMAT,
                   "config.json: %s: scaling %s of positions is not supported, these "
                   "are: linear, llama3, longrope, yarn",
                   r->where, config_quote(shown, sizeof shown, type));
}

/* How much of a head is turned: what rope_parameters says, or the field beside it. */
static bool read_rotary(struct hparams *h, const struct config *c, yyjson_val *parameters,
                        struct err *err)
{
    static const char field[] = "partial_rotary_factor";
    yyjson_val *value = yyjson_obj_get(parameters, field);
    float part = 1;

    if (!config_take_float(json_none(value) ? config_get(c, field) : value, field, false, &part,
                           err))
        return false;
    if (!(part > 0) || part > 1)
        return err_set(err, ERR_FORMAT, "config.json: %s: %g is not within 0 to 1", field,
                       (double)part);
    h->rotary = (uint32_t)((float)h->head_dim * part);
    return true;
}

/* transformers 5: base and scaling in one object, or one such object for each kind of layer. */
static bool read_parameters(struct hparams *h, const struct config *c, yyjson_val *parameters,
                            struct arena *arena, struct err *err)
{
    static const char *const kinds[ROPES_MAX] = {"full_attention", "sliding_attention"};
    const bool apart = yyjson_is_obj(yyjson_obj_get(parameters, kinds[0]));

    for (size_t i = 0; i < (apart ? ROPES_MAX : 1); i++) {
        yyjson_val *object = apart ? yyjson_obj_get(parameters, kinds[i]) : parameters;
        const struct scaling_reader r = {.h = h, .config = c, .arena = arena, .object = object,
                                         .where = "rope_parameters"};
        if ((i == 0 && !read_rotary(h, c, object, err)) ||
            !take_float(&r, "rope_theta", false, &h->ropes[i].base, err) ||
            !read_scaling(&r, &h->ropes[i], err))
            return false;
    }
    return true;
}

static bool read_ropes(struct hparams *h, const struct config *c, struct arena *arena,
                       struct err *err)
{
    yyjson_val *parameters = config_get(c, "rope_parameters");
    yyjson_val *scaling = config_get(c, "rope_scaling");

    if (!config_float(c, "rope_theta", false, &h->ropes[0].base, err) ||
        !config_float(c, "rope_local_base_freq", false, &h->ropes[1].base, err))
        return false;
    if (yyjson_is_obj(parameters))
        return read_parameters(h, c, parameters, arena, err);
    if (!json_none(scaling) && !yyjson_is_obj(scaling))
        return err_set(err, ERR_FORMAT, "config.json: rope_scaling is not an object");
    const struct scaling_reader r = {.h = h, .config = c, .arena = arena, .object = scaling,
                                     .where = "rope_scaling"};
    return read_rotary(h, c, NULL, err) && read_scaling(&r, &h->ropes[0], err);
}

static bool read_layer_types(struct layer_kind *kinds, uint32_t layers, yyjson_val *types,
                             struct err *err)
{
    char shown[TEXT_MAX];

    if (!yyjson_is_arr(types) || yyjson_arr_size(types) < layers)
        return err_set(err, ERR_FORMAT, "config.json: layer_types is not a list of %u words",
                       layers);
    for (uint32_t i = 0; i < layers; i++) {
        yyjson_val *type = yyjson_arr_get(types, i);
        kinds[i].windowed = yyjson_equals_str(type, "sliding_attention");
        if (!kinds[i].windowed && !yyjson_equals_str(type, "full_attention"))
            return err_set(err, ERR_FORMAT, "config.json: layer_types: %s in layer %u is not "
                           "supported", config_quote(shown, sizeof shown, type), i);
    }
    return true;
}

/* Which layers see a window only. Without a word about it: all of them, if there is a window. */
static bool read_windows(struct hparams *h, const struct config *c, struct layer_kind *kinds,
                         struct err *err)
{
    yyjson_val *types = config_get(c, "layer_types");
    uint32_t period = 0, first = 0;
    bool used = true;

    if (!config_u32(c, "sliding_window", 0, INT32_MAX, false, &h->window, err) ||
        !config_bool(c, "use_sliding_window", &used, err) ||
        !config_u32(c, "sliding_window_pattern", 1, LAYERS_MAX, false, &period, err))
        return false;
    if (!used || h->window == 0) {
        h->window = 0;
        return true;
    }
    if (!json_none(types))
        return read_layer_types(kinds, h->layers, types, err);
    if (config_get(c, "use_sliding_window") &&
        !config_u32(c, "max_window_layers", 0, LAYERS_MAX, false, &first, err))
        return false;
    for (uint32_t i = 0; i < h->layers; i++)
        kinds[i].windowed = period ? (i + 1) % period != 0 : i >= first;
    return true;
}

/* The spelling of SmolLM3: a list of 1 (positions are turned) and 0, or an interval. */
static bool read_no_rope(struct hparams *h, const struct config *c, struct layer_kind *kinds,
                         struct err *err)
{
    yyjson_val *list = config_get(c, "no_rope_layers");
    uint32_t period = 0;

    if (!config_u32(c, "no_rope_layer_interval", 1, LAYERS_MAX, false, &period, err))
        return false;
    if (yyjson_is_arr(list) && yyjson_arr_size(list) > 0) {
        if (yyjson_arr_size(list) < h->layers)
            return err_set(err, ERR_FORMAT,
                           "config.json: no_rope_layers is not a list of %u numbers", h->layers);
        for (uint32_t i = 0; i < h->layers; i++)
            kinds[i].no_rope = yyjson_get_uint(yyjson_arr_get(list, i)) == 0;
    } else if (period) {
        for (uint32_t i = 0; i < h->layers; i++)
            kinds[i].no_rope = (i + 1) % period == 0;
    }
    return true;
}

static bool read_experts(struct hparams *h, const struct config *c, struct layer_kind *kinds,
                         struct err *err)
{
    yyjson_val *dense = config_get(c, "mlp_only_layers");
    yyjson_arr_iter numbers;
    uint32_t step = 1;

    if (!config_u32(c, "num_local_experts", 0, EXPERTS_MAX, false, &h->experts, err) ||
        !config_u32(c, "num_experts", 0, EXPERTS_MAX, false, &h->experts, err))
        return false;
    if (h->experts == 0)
        return true;
    h->expert_ffn = h->ffn;
    if (!config_u32(c, "num_experts_per_tok", 1, h->experts, true, &h->experts_used, err) ||
        !config_u32(c, "moe_intermediate_size", 1, FFN_MAX, false, &h->expert_ffn, err) ||
        !config_bool(c, "norm_topk_prob", &h->experts_norm, err) ||
        !config_u32(c, "decoder_sparse_step", 1, LAYERS_MAX, false, &step, err))
        return false;
    for (uint32_t i = 0; i < h->layers; i++)
        kinds[i].dense = (i + 1) % step != 0;
    yyjson_arr_iter_init(dense, &numbers);
    for (yyjson_val *number; (number = yyjson_arr_iter_next(&numbers));) {
        uint32_t layer = 0;
        if (!config_take_u32(number, "mlp_only_layers", 0, h->layers - 1, true, &layer, err))
            return false;
        kinds[layer].dense = true;
    }
    return true;
}

bool hparams_read_hf(struct hparams *h, const struct config *c, struct arena *arena,
                     struct err *err)
{
    if (!read_sizes(h, c, err))
        return false;
    struct layer_kind *kinds = arena_array(arena, h->layers, sizeof *kinds);
    if (!read_activation(h, c, err) || !read_multipliers(h, c, err) ||
        !read_ropes(h, c, arena, err) || !read_windows(h, c, kinds, err) ||
        !read_no_rope(h, c, kinds, err) || !read_experts(h, c, kinds, err))
        return false;
    h->kinds = kinds;
    return true;
}
