/* json_fields.c - fields of a JSON object out of a file, with their types checked. */
#include "engine/json_fields.h"

static yyjson_val *need(yyjson_val *object, const char *key, bool (*is_type)(yyjson_val *),
                        const char *type, struct err *err)
{
    yyjson_val *value = yyjson_obj_get(object, key);

    if (!value)
        err_set(err, ERR_FORMAT, "%s is missing", key);
    else if (!is_type(value))
        err_set(err, ERR_FORMAT, "%s is not %s", key, type);
    else
        return value;
    return NULL;
}

bool field_str(yyjson_val *object, const char *key, struct str *out, struct err *err)
{
    yyjson_val *value = need(object, key, yyjson_is_str, "a string", err);

    if (value)
        *out = json_str(value);
    return value != NULL;
}

bool field_bool(yyjson_val *object, const char *key, bool otherwise, bool *out, struct err *err)
{
    yyjson_val *value = yyjson_obj_get(object, key);

    *out = otherwise;
    if (json_none(value))
        return true;
    if (!yyjson_is_bool(value))
        return err_set(err, ERR_FORMAT, "%s is not true or false", key);
    *out = yyjson_get_bool(value);
    return true;
}

bool field_size(yyjson_val *object, const char *key, size_t max, size_t *out, struct err *err)
{
    yyjson_val *value = need(object, key, yyjson_is_int, "a whole number", err);

    if (!value)
        return false;
    if (!yyjson_is_uint(value) || yyjson_get_uint(value) > max)
        return err_set(err, ERR_FORMAT, "%s is not within 0 to %zu", key, max);
    *out = (size_t)yyjson_get_uint(value);
    return true;
}

bool field_object(yyjson_val *object, const char *key, yyjson_val **out, struct err *err)
{
    *out = need(object, key, yyjson_is_obj, "an object", err);
    return *out != NULL;
}

bool field_array(yyjson_val *object, const char *key, yyjson_val **out, struct err *err)
{
    *out = need(object, key, yyjson_is_arr, "an array", err);
    return *out != NULL;
}
