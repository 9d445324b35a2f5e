/* decode.h - the vocabulary in which a request's rules are written: tables of fields.
 *
 * An object's shape is a table of struct field, one row a key. A row names the function that takes
 * the value, the rule that function applies, and where the result goes. Rows are worked through in
 * the table's order, not the client's, so which of several broken rules is reported doesn't depend
 * on how a client orders its keys; a key that occurs twice is refused.
 *
 * Every take function returns false after filling the decoder's err with `path: text`. `out` may
 * be NULL: check only. */
#ifndef PENSIEVE_API_DECODE_H
#define PENSIEVE_API_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/request.h"
#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

enum {
    DECODE_FIELDS_MAX = 40,             /* rows of one table */
};

/* Where in the body we are: a list from the value up to the root, on the callers' stacks. */
enum step { STEP_KEY, STEP_INDEX, STEP_TAG };

struct path {
    const struct path *parent;
    struct str name;                    /* KEY; TAG: a union's, which schema errors alone show */
    size_t index;
    enum step step;
};

static inline struct path path_key(const struct path *parent, struct str key)
{
    return (struct path){.parent = parent, .name = key, .step = STEP_KEY};
}

static inline struct path path_tag(const struct path *parent, const char *tag)
{
    return (struct path){.parent = parent, .name = str_of(tag), .step = STEP_TAG};
}

static inline struct path path_index(const struct path *parent, size_t index)
{
    return (struct path){.parent = parent, .index = index, .step = STEP_INDEX};
}

/* One cache_control, in the order of the prompt. */
struct decode_mark {
    struct str path;                    /* without tags */
    bool hour;                          /* ttl 1h */
};

struct decoder {
    struct arena *arena;
    const struct request_options *options;
    struct err *err;
    const struct err *refused;          /* the first thing that isn't offered here, or NULL */
    bool refused_more;                  /* there is one, and not only images */
    struct decode_mark marks[REQUEST_MARKS_MAX];
    size_t marks_n;                     /* counts on beyond the maximum */
};

/* ERR_INVALID, "path: text"; with an empty path the text alone. Returns false. */
bool decode_fail(struct decoder *decoder, const struct path *at, const char *format, ...)
    __attribute__((format(printf, 3, 4), nonnull(3)));
/* The same of what is legal but not offered by this server, kept in `refused`. Returns true: the
 * request may be for another. */
bool decode_refuse(struct decoder *decoder, const struct path *at, const char *format, ...)
    __attribute__((format(printf, 3, 4), nonnull(3)));
struct str path_text(struct arena *arena, const struct path *at, bool tags);

typedef bool take_fn(struct decoder *decoder, const struct path *at, yyjson_val *value,
                     const void *rule, void *out);

enum field_flags {
    REQUIRED = 1,
    NULLABLE = 2,                       /* null is the same as absent */
    V23_ONLY = 4,                       /* strict: an unknown field under V26 */
    GENERATE_ONLY = 8,                  /* count_tokens: ignored, or unknown if strict */
};

struct field {
    const char *name;
    take_fn *take;
    const void *rule;
    unsigned flags;
    size_t into;                        /* INTO(...); 0: the result goes nowhere */
};

#define INTO(type, member) (offsetof(type, member) + 1)
#define TABLE(rows) (rows), sizeof(rows) / sizeof *(rows)

struct shape {
    const struct field *fields;
    size_t n;
    bool open;                          /* other keys are fine, also when strict */
    /* Looks at the whole once its fields are taken; may be NULL. */
    bool (*check)(struct decoder *decoder, const struct path *at, void *out);
};

/* Objects told apart by the string at `type`. */
struct variant {
    const char *tag;
    struct shape shape;
    unsigned facts;                     /* the table owner's own */
};

struct tagged_union {
    const struct variant *variants;
    size_t n;
    size_t into;                        /* INTO(type, const struct variant * member), or 0 */
};

struct list_rule {
    take_fn *item;
    const void *rule;
    size_t item_bytes;                  /* 0: items are checked and not kept */
    size_t min, max;                    /* max 0: no limit but the body's */
};

struct list {
    void *items;
    size_t n;
};

struct string_rule {
    size_t min, max;                    /* characters; max 0: none */
    bool identifier;                    /* letters, digits, _ and - alone */
};

struct int_rule {
    int64_t min, max;
};

struct number_rule {
    double min, max;
};

/* rule -> out: */
take_fn take_any;               /* nothing */
take_fn take_extra;             /* never legal here, in either mode */
take_fn take_present;           /* -> bool: true; the value is not looked at */
take_fn take_bool;              /* -> bool */
take_fn take_int;               /* struct int_rule -> int64_t */
take_fn take_number;            /* struct number_rule -> double */
take_fn take_string;            /* struct string_rule or NULL -> struct str */
take_fn take_enum;              /* const char *const[], NULL-terminated -> int: which */
take_fn take_dictionary;        /* any object */
take_fn take_json;              /* any object -> struct str: its text, compact, keys in order */
take_fn take_object;            /* struct shape -> the object's struct */
take_fn take_union;             /* struct tagged_union -> the union's struct */
take_fn take_list;              /* struct list_rule -> struct list */

#endif
