/* json_fields.h - fields of a JSON object out of a file, with their types checked. */
#ifndef PENSIEVE_ENGINE_JSON_FIELDS_H
#define PENSIEVE_ENGINE_JSON_FIELDS_H

#include "base/json.h"

/* Each: ERR_FORMAT "KEY is missing", "KEY is not a string". With `otherwise` a missing or null
 * field is that. Strings lie in the document. */
bool field_str(yyjson_val *object, const char *key, struct str *out, struct err *err);
bool field_bool(yyjson_val *object, const char *key, bool otherwise, bool *out, struct err *err);
/* 0 to max. */
bool field_size(yyjson_val *object, const char *key, size_t max, size_t *out, struct err *err);
bool field_object(yyjson_val *object, const char *key, yyjson_val **out, struct err *err);
bool field_array(yyjson_val *object, const char *key, yyjson_val **out, struct err *err);

#endif
