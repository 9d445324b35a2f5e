/* config_json.c - typed fields of config.json, and what model types mean by leaving one out. */
#include "engine/config_json.h"

#include <float.h>
#include <math.h>

#include "base/log.h"

/* What the configurations of transformers say where a file says nothing (the fields that published
 * models of these types do leave out). */
static const struct { const char *model_type, *field; double value; } defaults[] = {
    {"gemma3_text", "num_attention_heads", 8},
    {"gemma3_text", "num_key_value_heads", 4},
    {"gemma3_text", "head_dim", 256},
    {"gemma3_text", "rms_norm_eps", 1e-6},
    {"gemma3_text", "max_position_embeddings", 131072},
    {"gemma3_text", "query_pre_attn_scalar", 256},
    {"gemma3_text", "rope_theta", 1e6},
    {"gemma3_text", "rope_local_base_freq", 1e4},
    {"gemma3_text", "sliding_window", 4096},
    {"gemma3_text", "sliding_window_pattern", 6},
    {"gemma3_text", "vocab_size", 262208},
    {"gemma2", "head_dim", 256},
    {"gemma2", "sliding_window", 4096},
    {"gemma2", "sliding_window_pattern", 2},
    {"gemma2", "query_pre_attn_scalar", 256},
    {"gemma2", "attn_logit_softcapping", 50},
    {"gemma2", "final_logit_softcapping", 30},
    {"mistral", "sliding_window", 4096},
    {"smollm3", "no_rope_layer_interval", 4},
    {"gpt_oss", "head_dim", 64},
    {"gpt_oss", "sliding_window", 128},
    {"gpt_oss", "sliding_window_pattern", 2},
    {"gpt_oss", "rope_theta", 150000},
    {"qwen3", "head_dim", 128},
};

static bool find_default(const struct config *config, const char *field, double *out)
{
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        if (str_is(config->model_type, defaults[i].model_type) &&
            strcmp(field, defaults[i].field) == 0) {
            *out = defaults[i].value;
            return true;
        }
    return false;
}

bool config_init(struct config *config, yyjson_val *root, struct err *err)
{
    yyjson_val *text = yyjson_obj_get(root, "text_config");

    if (!yyjson_is_obj(root))
        return err_set(err, ERR_FORMAT, "config.json: not a JSON object");
    *config = (struct config){.root = root, .text = yyjson_is_obj(text) ? text : root};
    yyjson_val *type = config_get(config, "model_type");
    if (!yyjson_is_str(type))
        return err_set(err, ERR_FORMAT, "config.json: model_type is missing");
    config->model_type = json_str(type);
    /* A wrapper's own type, where its text_config has none. */
    if (str_is(config->model_type, "gemma3"))
        config->model_type = STR("gemma3_text");
    return true;
}

yyjson_val *config_get(const struct config *config, const char *field)
{
    yyjson_val *value = yyjson_obj_get(config->text, field);

    return value ? value : yyjson_obj_get(config->root, field);
}

bool config_take_u32(yyjson_val *value, const char *where, uint32_t min, uint32_t max, bool needed,
                     uint32_t *out, struct err *err)
{
    if (json_none(value))
        return !needed || err_set(err, ERR_FORMAT, "config.json: %s is missing", where);
    if (!yyjson_is_uint(value) || yyjson_get_uint(value) < min || yyjson_get_uint(value) > max)
        return err_set(err, ERR_FORMAT, "config.json: %s is not an integer from %u to %u", where,
                       min, max);
    *out = (uint32_t)yyjson_get_uint(value);
    return true;
}

bool config_take_float(yyjson_val *value, const char *where, bool needed, float *out,
                       struct err *err)
{
    if (json_none(value))
        return !needed || err_set(err, ERR_FORMAT, "config.json: %s is missing", where);
    const double number = yyjson_get_num(value);
    if (!yyjson_is_num(value) || !(fabs(number) <= (double)FLT_MAX))
        return err_set(err, ERR_FORMAT, "config.json: %s is not a number", where);
    *out = (float)number;
    return true;
}

bool config_take_bool(yyjson_val *value, const char *where, bool *out, struct err *err)
{
    if (json_none(value))
        return true;
    if (!yyjson_is_bool(value))
        return err_set(err, ERR_FORMAT, "config.json: %s is neither true nor false", where);
    *out = yyjson_get_bool(value);
    return true;
}

bool config_u32(const struct config *config, const char *field, uint32_t min, uint32_t max,
                bool needed, uint32_t *out, struct err *err)
{
    yyjson_val *value = config_get(config, field);
    double otherwise;

    if (!value && find_default(config, field, &otherwise)) {
        *out = (uint32_t)otherwise;
        return true;
    }
    return config_take_u32(value, field, min, max, needed, out, err);
}

bool config_float(const struct config *config, const char *field, bool needed, float *out,
                  struct err *err)
{
    yyjson_val *value = config_get(config, field);
    double otherwise;

    if (!value && find_default(config, field, &otherwise)) {
        *out = (float)otherwise;
        return true;
    }
    return config_take_float(value, field, needed, out, err);
}

bool config_bool(const struct config *config, const char *field, bool *out, struct err *err)
{
    return config_take_bool(config_get(config, field), field, out, err);
}

const char *config_quote(char *out, size_t size, yyjson_val *value)
{
    if (!yyjson_is_str(value))
        return "(no word)";
    return log_quote_word(out, size, json_str(value));
}
