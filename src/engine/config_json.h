/* config_json.h - fields of a model's config.json, taken with bounds.
 *
 * A wrapper of several models keeps the language model's fields in "text_config"; what it leaves
 * out there may stand beside it, and what it leaves out altogether is what the model's type means
 * by that. A field that is null is there and says "none". */
#ifndef PENSIEVE_ENGINE_CONFIG_JSON_H
#define PENSIEVE_ENGINE_CONFIG_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"

enum { CONFIG_BYTES_MAX = 1 << 24, CONFIG_VALUES_MAX = 1 << 20 };

struct config {
    yyjson_val *root;
    yyjson_val *text;           /* the root, or its text_config */
    struct str model_type;
};

/* ERR_FORMAT where it has no object or no model_type. */
bool config_init(struct config *config, yyjson_val *root, struct err *err);
yyjson_val *config_get(const struct config *config, const char *field);         /* NULL: missing */

/* A value, which `where` names in the error's text, as an integer from min to max or a finite
 * number. Missing or null: *out is left; ERR_FORMAT if it must be there. */
bool config_take_u32(yyjson_val *value, const char *where, uint32_t min, uint32_t max, bool needed,
                     uint32_t *out, struct err *err);
bool config_take_float(yyjson_val *value, const char *where, bool needed, float *out,
                       struct err *err);
bool config_take_bool(yyjson_val *value, const char *where, bool *out, struct err *err);

/* The same of a field. A missing one has its model type's default, if there is any. */
bool config_u32(const struct config *config, const char *field, uint32_t min, uint32_t max,
                bool needed, uint32_t *out, struct err *err);
bool config_float(const struct config *config, const char *field, bool needed, float *out,
                  struct err *err);
bool config_bool(const struct config *config, const char *field, bool *out, struct err *err);

/* A value as a word in an error's text: quoted, if it is a word at all. */
const char *config_quote(char *out, size_t size, yyjson_val *value);

#endif
