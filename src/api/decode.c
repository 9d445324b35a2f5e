/* decode.c - takes JSON values by the rules in tables, and words what is wrong with them.
 *
 * The hard thing is what a client may size: names and tags that it wrote come back in messages, so
 * they are cut at whole characters before they are formatted. */
#include "api/decode.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"

enum { PATH_BYTES = 160, CLIENT_NAME_BYTES = 64, TAG_LIST_BYTES = 100 };

static struct str client_name(struct str s)
{
    return utf8_cut(s, CLIENT_NAME_BYTES);
}

/* Prints the steps from the root down; returns the length, always below size. */
static size_t path_print(const struct path *at, bool tags, char *out, size_t size)
{
    if (!at)
        return 0;
    size_t n = path_print(at->parent, tags, out, size);
    if (at->step == STEP_TAG && !tags)
        return n;
    const char *dot = n ? "." : "";
    const struct str name = client_name(at->name);
    const int more = at->step == STEP_INDEX
                         ? snprintf(out + n, size - n, "%s%zu", dot, at->index)
                         : snprintf(out + n, size - n, "%s%.*s", dot, STR_ARG(name));
    n += more > 0 ? (size_t)more : 0;
    return n < size ? n : size - 1;
}

struct str path_text(struct arena *arena, const struct path *at, bool tags)
{
    char text[PATH_BYTES];

    return arena_str(arena, (struct str){text, path_print(at, tags, text, sizeof text)});
}

static bool say(struct err *err, const struct path *at, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

static bool say(struct err *err, const struct path *at, const char *format, va_list args)
{
    char path[PATH_BYTES], text[sizeof err->text];

    vsnprintf(text, sizeof text, format, args);
    const size_t n = path_print(at, true, path, sizeof path);
    return err_set(err, ERR_INVALID, "%.*s%s%s", (int)n, path, n ? ": " : "", text);
}

bool decode_fail(struct decoder *decoder, const struct path *at, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(decoder->err, at, format, args);
    va_end(args);
    return false;
}

bool decode_refuse(struct decoder *decoder, const struct path *at, const char *format, ...)
{
    va_list args;

    decoder->refused_more = true;
    if (decoder->refused)
        return true;
    struct err *refused = arena_alloc(decoder->arena, sizeof *refused);
    va_start(args, format);
    say(refused, at, format, args);
    va_end(args);
    decoder->refused = refused;
    return true;
}

bool take_any(struct decoder *decoder, const struct path *at, yyjson_val *value, const void *rule,
              void *out)
{
    return true;
}

bool take_extra(struct decoder *decoder, const struct path *at, yyjson_val *value,
                const void *rule, void *out)
{
    return decode_fail(decoder, at, "Extra inputs are not permitted");
}

bool take_present(struct decoder *decoder, const struct path *at, yyjson_val *value,
                  const void *rule, void *out)
{
    *(bool *)out = true;
    return true;
}

bool take_bool(struct decoder *decoder, const struct path *at, yyjson_val *value, const void *rule,
               void *out)
{
    if (!yyjson_is_bool(value))
        return decode_fail(decoder, at, "Input should be a valid boolean");
    if (out)
        *(bool *)out = yyjson_get_bool(value);
    return true;
}

static bool int_below(struct decoder *decoder, const struct path *at, int64_t min)
{
    return decode_fail(decoder, at, "Input should be greater than or equal to %lld",
                       (long long)min);
}

static bool int_above(struct decoder *decoder, const struct path *at, int64_t max)
{
    return decode_fail(decoder, at, "Input should be less than or equal to %lld", (long long)max);
}

/* A number with a point or an exponent is no integer, 1.0 neither. Digits that no 64 bits hold come
 * out of the parser as a real, and are told apart by their size. */
bool take_int(struct decoder *decoder, const struct path *at, yyjson_val *value, const void *rule,
              void *out)
{
    const struct int_rule *bounds = rule;

    if (yyjson_is_real(value) && yyjson_get_real(value) >= 0x1p64)
        return int_above(decoder, at, bounds->max);
    if (yyjson_is_real(value) && yyjson_get_real(value) <= -0x1p63)
        return int_below(decoder, at, bounds->min);
    if (!yyjson_is_int(value))
        return decode_fail(decoder, at, "Input should be a valid integer");
    if (yyjson_is_uint(value) && yyjson_get_uint(value) > (uint64_t)INT64_MAX)
        return int_above(decoder, at, bounds->max);
    const int64_t number = yyjson_get_sint(value);
    if (number < bounds->min)
        return int_below(decoder, at, bounds->min);
    if (number > bounds->max)
        return int_above(decoder, at, bounds->max);
    if (out)
        *(int64_t *)out = number;
    return true;
}

bool take_number(struct decoder *decoder, const struct path *at, yyjson_val *value,
                 const void *rule, void *out)
{
    const struct number_rule *bounds = rule;

    if (!yyjson_is_num(value))
        return decode_fail(decoder, at, "Input should be a valid number");
    const double number = yyjson_get_num(value);
    if (!(number >= bounds->min))
        return decode_fail(decoder, at, "Input should be greater than or equal to %g", bounds->min);
    if (!(number <= bounds->max))
        return decode_fail(decoder, at, "Input should be less than or equal to %g", bounds->max);
    if (out)
        *(double *)out = number;
    return true;
}

static bool is_identifier(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        const char c = s.s[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_' || c == '-'))
            return false;
    }
    return true;
}

static size_t characters(struct str s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++)
        n += (s.s[i] & 0xC0) != 0x80;
    return n;
}

static bool identifier_fits(struct decoder *decoder, const struct path *at,
                            const struct string_rule *rule, struct str s)
{
    if (is_identifier(s) && s.n >= rule->min && (!rule->max || s.n <= rule->max))
        return true;
    if (rule->max)
        return decode_fail(decoder, at, "String should match pattern '^[a-zA-Z0-9_-]{%zu,%zu}$'",
                           rule->min, rule->max);
    return decode_fail(decoder, at, "String should match pattern '^[a-zA-Z0-9_-]+$'");
}

bool take_string(struct decoder *decoder, const struct path *at, yyjson_val *value,
                 const void *rule, void *out)
{
    const struct string_rule *limits = rule;

    if (!yyjson_is_str(value))
        return decode_fail(decoder, at, "Input should be a valid string");
    const struct str s = json_str(value);
    if (limits && limits->identifier) {
        if (!identifier_fits(decoder, at, limits, s))
            return false;
    } else if (limits) {
        const size_t n = characters(s);
        if (n < limits->min)
            return decode_fail(decoder, at, "String should have at least %zu character%s",
                               limits->min, limits->min == 1 ? "" : "s");
        if (limits->max && n > limits->max)
            return decode_fail(decoder, at, "String should have at most %zu character%s",
                               limits->max, limits->max == 1 ? "" : "s");
    }
    if (out)
        *(struct str *)out = s;
    return true;
}

bool take_enum(struct decoder *decoder, const struct path *at, yyjson_val *value, const void *rule,
               void *out)
{
    const char *const *choices = rule;
    char list[TAG_LIST_BYTES] = "";
    size_t n = 0;

    for (int i = 0; choices[i]; i++) {
        if (yyjson_is_str(value) && str_is(json_str(value), choices[i])) {
            if (out)
                *(int *)out = i;
            return true;
        }
        const char *join = i == 0 ? "" : choices[i + 1] ? ", " : " or ";
        const int more = snprintf(list + n, sizeof list - n, "%s'%s'", join, choices[i]);
        assert(more > 0 && (size_t)more < sizeof list - n);      /* the table's choices are short */
        n += (size_t)more;
    }
    return decode_fail(decoder, at, "Input should be %s", list);
}

bool take_dictionary(struct decoder *decoder, const struct path *at, yyjson_val *value,
                     const void *rule, void *out)
{
    return yyjson_is_obj(value) || decode_fail(decoder, at, "Input should be a valid dictionary");
}

/* The keys keep the client's order: for a schema, that is the order of the answer's. */
bool take_json(struct decoder *decoder, const struct path *at, yyjson_val *value, const void *rule,
               void *out)
{
    size_t n = 0;

    if (!take_dictionary(decoder, at, value, NULL, NULL))
        return false;
    if (!out)
        return true;
    char *text = yyjson_val_write(value, YYJSON_WRITE_NOFLAG, &n);
    if (!text)
        return decode_fail(decoder, at, "The value can't be written as JSON text");
    *(struct str *)out = arena_str(decoder->arena, (struct str){text, n});
    free(text);
    return true;
}

/* An object's members sorted into the rows of its table. */
struct members {
    yyjson_val *found[DECODE_FIELDS_MAX];
    yyjson_val *unknown;                /* the key of the first without a row */
    bool tag_seen;
};

static size_t field_find(const struct shape *shape, struct str key)
{
    for (size_t i = 0; i < shape->n; i++)
        if (key.s[0] == shape->fields[i].name[0] && str_is(key, shape->fields[i].name))
            return i;
    return shape->n;
}

static bool members_sort(struct decoder *decoder, const struct path *at, yyjson_val *object,
                         const struct shape *shape, bool tagged, struct members *members)
{
    yyjson_obj_iter iterator = yyjson_obj_iter_with(object);

    assert(shape->n <= DECODE_FIELDS_MAX);
    *members = (struct members){0};
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&iterator));) {
        const struct str name = json_str(key);
        const size_t i = field_find(shape, name);
        const bool tag = tagged && str_is(name, "type");

        if (tag ? members->tag_seen : i < shape->n && members->found[i]) {
            const struct path here = path_key(at, name);
            return decode_fail(decoder, &here, "The key occurs more than once");
        }
        if (tag) {
            members->tag_seen = true;
        } else if (i < shape->n) {
            members->found[i] = yyjson_obj_iter_get_val(key);
        } else {
            members->unknown = members->unknown ? members->unknown : key;
            if (!at && !decoder->options->strict && decoder->options->on_unknown)
                decoder->options->on_unknown(decoder->options->context, name);
        }
    }
    return true;
}

/* What a row means under this version, mode and endpoint. */
enum standing { STANDS, IGNORED, UNKNOWN };

static enum standing field_standing(const struct request_options *options,
                                    const struct field *field)
{
    if (field->flags & GENERATE_ONLY && options->count_tokens)
        return options->strict ? UNKNOWN : IGNORED;
    if (field->flags & V23_ONLY && options->version != API_V23 && options->strict)
        return UNKNOWN;
    return STANDS;
}

static bool field_take(struct decoder *decoder, const struct path *at, const struct field *field,
                       yyjson_val *value, void *out)
{
    if (!value && !(field->flags & REQUIRED))
        return true;
    const struct path here = path_key(at, str_of(field->name));
    const enum standing standing = field_standing(decoder->options, field);

    if (standing == IGNORED || (!value && standing == UNKNOWN))
        return true;
    if (standing == UNKNOWN)
        return take_extra(decoder, &here, value, NULL, NULL);
    if (!value)
        return decode_fail(decoder, &here, "Field required");
    if (yyjson_is_null(value) && field->flags & NULLABLE)
        return true;
    void *into = field->into && out ? (char *)out + field->into - 1 : NULL;
    return field->take(decoder, &here, value, field->rule, into);
}

static bool take_members(struct decoder *decoder, const struct path *at, yyjson_val *value,
                         const struct shape *shape, bool tagged, void *out)
{
    struct members members;

    if (!members_sort(decoder, at, value, shape, tagged, &members))
        return false;
    for (size_t i = 0; i < shape->n; i++)
        if (!field_take(decoder, at, &shape->fields[i], members.found[i], out))
            return false;
    if (members.unknown && decoder->options->strict && !shape->open) {
        const struct path here = path_key(at, json_str(members.unknown));
        return take_extra(decoder, &here, members.unknown, NULL, NULL);
    }
    return !shape->check || shape->check(decoder, at, out);
}

bool take_object(struct decoder *decoder, const struct path *at, yyjson_val *value,
                 const void *rule, void *out)
{
    return take_dictionary(decoder, at, value, NULL, NULL) &&
           take_members(decoder, at, value, rule, false, out);
}

/* "'text', 'image', ..." as far as it fits. */
static void list_tags(const struct tagged_union *variants, char *out, size_t size)
{
    static const char more[] = ", \u2026";
    size_t n = 0;

    for (size_t i = 0; i < variants->n; i++) {
        const char *tag = variants->variants[i].tag;
        if (n + strlen(tag) + 4 + sizeof more > size) {
            snprintf(out + n, size - n, "%s", more);
            return;
        }
        n += (size_t)snprintf(out + n, size - n, "%s'%s'", i ? ", " : "", tag);
    }
}

bool take_union(struct decoder *decoder, const struct path *at, yyjson_val *value,
                const void *rule, void *out)
{
    const struct tagged_union *variants = rule;

    if (!take_dictionary(decoder, at, value, NULL, NULL))
        return false;
    yyjson_val *type = yyjson_obj_get(value, "type");
    if (!type)
        return decode_fail(decoder, at, "Unable to extract tag using discriminator 'type'");
    for (size_t i = 0; i < variants->n; i++) {
        const struct variant *variant = &variants->variants[i];
        if (!yyjson_equals_str(type, variant->tag))
            continue;
        const struct path here = path_tag(at, variant->tag);
        if (variants->into && out)
            *(const struct variant **)((char *)out + variants->into - 1) = variant;
        return take_members(decoder, &here, value, &variant->shape, true, out);
    }
    char tags[TAG_LIST_BYTES];
    list_tags(variants, tags, sizeof tags);
    const struct str wrong = client_name(yyjson_is_str(type) ? json_str(type) : STR("?"));
    return decode_fail(decoder, at,
                       "Input tag '%.*s' found using 'type' does not match any of the expected "
                       "tags: %s",
                       STR_ARG(wrong), tags);
}

bool take_list(struct decoder *decoder, const struct path *at, yyjson_val *value, const void *rule,
               void *out)
{
    const struct list_rule *list = rule;
    struct list taken = {.n = yyjson_arr_size(value)};

    if (!yyjson_is_arr(value))
        return decode_fail(decoder, at, "Input should be a valid list");
    if (taken.n < list->min)
        return decode_fail(decoder, at,
                           "List should have at least %zu item%s after validation, not %zu",
                           list->min, list->min == 1 ? "" : "s", taken.n);
    if (list->max && taken.n > list->max)
        return decode_fail(decoder, at,
                           "List should have at most %zu items after validation, not %zu",
                           list->max, taken.n);
    if (list->item_bytes)
        taken.items = arena_array(decoder->arena, taken.n, list->item_bytes);

    yyjson_arr_iter iterator = yyjson_arr_iter_with(value);
    size_t i = 0;
    for (yyjson_val *item; (item = yyjson_arr_iter_next(&iterator)); i++) {
        const struct path here = path_index(at, i);
        void *into = taken.items ? (char *)taken.items + i * list->item_bytes : NULL;
        if (!list->item(decoder, &here, item, list->rule, into))
            return false;
    }
    if (out)
        *(struct list *)out = taken;
    return true;
}
