/* json.h - yyjson behind our limits: hostile JSON in, exact JSON out.
 *
 * yyjson is strict about bytes and numbers but has no limit of depth or of size, and it keeps
 * duplicate keys: the first two are refused here, duplicates by the reader of an object
 * (api/decode.c), because only it knows which keys there are. */
#ifndef PENSIEVE_BASE_JSON_H
#define PENSIEVE_BASE_JSON_H

#include <yyjson.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum {
    JSON_DEPTH_MAX = 128,
    JSON_VALUES_MAX = 2 << 20,  /* keys count too; 16 bytes each, however short they are written */
};

/* Parses all of `text`. The document's memory belongs to the arena, and so do its strings.
 * false: ERR_INVALID, "The request body is not valid JSON: REASON at byte N". */
bool json_parse(struct arena *arena, struct str text, yyjson_val **root, struct err *err);
/* The same of a file's text: ERR_FORMAT, "NAME is not valid JSON: REASON at byte N". Its caller
 * bounds the text's size, and says how many values it may hold. */
bool json_parse_file(struct arena *arena, struct str text, const char *name, size_t values_max,
                     yyjson_val **root, struct err *err);

/* n == 0 for what is no string. */
static inline struct str json_str(yyjson_val *value)
{
    return yyjson_is_str(value) ? (struct str){yyjson_get_str(value), yyjson_get_len(value)}
                                : (struct str){0};
}

/* Missing, or null. */
static inline bool json_none(yyjson_val *value)
{
    return !value || yyjson_is_null(value);
}

/* Whether it is this string or a list that has it: so a JSON Schema says its `type`. */
bool json_names(yyjson_val *value, const char *name);

/* Appends s as the inside of a JSON string, or with its quotes. s must be valid UTF-8. */
bool json_escape(struct buf *out, struct str s);
bool json_quote(struct buf *out, struct str s);

struct json_style {
    const char *comma, *colon;
    void (*string)(struct buf *out, struct str s);      /* NULL: json_quote; keys too */
};

/* Appends a value that json_parse gave as JSON text. style NULL: as Python writes it, with a space behind
 * commas and colons. */
void json_put(struct buf *out, yyjson_val *value, const struct json_style *style);

#endif
