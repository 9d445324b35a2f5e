/* json.c - yyjson on the arena, and the limits that it lacks.
 *
 * The hard thing is memory: a value may be two bytes of text and takes sixteen of tree, and yyjson
 * grows its tree by reallocation, which an arena can't give back. So the text is measured first,
 * which bounds the tree, and the block that yyjson asks for is made large enough at once; pages
 * that it doesn't reach are never touched. */
#include "base/json.h"

#include <stdlib.h>

struct measure {
    size_t values;              /* at most so many */
    size_t too_deep_at;         /* SIZE_MAX: nowhere */
};

static bool has_byte(uint64_t word, unsigned char byte)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), zeros = word ^ ones * byte;

    return (zeros - ones) & ~zeros & ones << 7;
}

/* Where the string that goes on at `at` has its closing quote, or the end of the text. */
static size_t string_end(struct str text, size_t at)
{
    uint64_t word;

    while (at < text.n) {
        if (text.n - at >= sizeof word) {
            memcpy(&word, text.s + at, sizeof word);
            if (!has_byte(word, '"') && !has_byte(word, '\\')) {
                at += sizeof word;
                continue;
            }
        }
        if (text.s[at] == '"')
            return at;
        at += text.s[at] == '\\' ? 2 : 1;
    }
    return text.n;
}

/* Counts brackets and separators outside strings. What is malformed is yyjson's to report. */
static struct measure json_measure(struct str text)
{
    struct measure m = {.values = 1, .too_deep_at = SIZE_MAX};
    size_t depth = 0;

    for (size_t i = 0; i < text.n; i++) {
        switch (text.s[i]) {
        case '"':
            i = string_end(text, i + 1);
            break;
        case '{':
        case '[':
            m.values++;
            if (++depth > JSON_DEPTH_MAX) {
                m.too_deep_at = i;
                return m;
            }
            break;
        case '}':
        case ']':
            if (depth)
                depth--;
            break;
        case ',':
        case ':':
            m.values++;
            break;
        default:
            break;
        }
    }
    return m;
}

/* yyjson asks for one block for its copy of the text and then for one for the tree, which alone it
 * grows. It frees them only with the document, which we never do: the arena does. */
struct tree_memory {
    struct arena *arena;
    size_t tree_bytes;          /* enough for the tree, its head and yyjson's growth by half */
    int blocks;
};

static void *tree_malloc(void *context, size_t size)
{
    struct tree_memory *memory = context;
    const bool tree = memory->blocks++ == 1;

    if (tree && size > memory->tree_bytes)
        memory->tree_bytes = size;
    return arena_raw(memory->arena, tree ? memory->tree_bytes : size);
}

static void *tree_realloc(void *context, void *old, size_t old_size, size_t size)
{
    struct tree_memory *memory = context;

    return size <= memory->tree_bytes ? old : NULL;     /* which yyjson reports */
}

static void tree_free(void *context, void *p)
{
    (void)context;
    (void)p;
}

/* subject: what the text is, as an error's sentence begins. */
static bool parse(struct arena *arena, struct str text, const char *subject, size_t values_max,
                  enum err_code code, yyjson_val **root, struct err *err)
{
    const struct measure m = json_measure(text);
    struct tree_memory memory = {.arena = arena,
                                 .tree_bytes = (m.values + 16) * sizeof(yyjson_val) / 2 * 3};
    const yyjson_alc allocator = {tree_malloc, tree_realloc, tree_free, &memory};
    yyjson_read_err reason;

    if (text.n == 0)
        return err_set(err, code, "%s is not valid JSON: it is empty", subject);
    if (m.too_deep_at != SIZE_MAX)
        return err_set(err, code, "%s is not valid JSON: nested deeper than %d at byte %zu", subject,
                       JSON_DEPTH_MAX, m.too_deep_at);
    if (m.values > values_max)
        return err_set(err, code, "%s holds more than %zu JSON values", subject, values_max);
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)text.s, text.n, 0, &allocator, &reason);
    if (!doc)
        return err_set(err, code, "%s is not valid JSON: %s at byte %zu", subject, reason.msg,
                       reason.pos);
    *root = yyjson_doc_get_root(doc);
    return true;
}

bool json_parse(struct arena *arena, struct str text, yyjson_val **root, struct err *err)
{
    return parse(arena, text, "The request body", JSON_VALUES_MAX, ERR_INVALID, root, err);
}

bool json_parse_file(struct arena *arena, struct str text, const char *name, size_t values_max,
                     yyjson_val **root, struct err *err)
{
    return parse(arena, text, name, values_max, ERR_FORMAT, root, err);
}

bool json_names(yyjson_val *value, const char *name)
{
    size_t i, n;
    yyjson_val *one;

    yyjson_arr_foreach(value, i, n, one)
        if (yyjson_equals_str(one, name))
            return true;
    return yyjson_equals_str(value, name);
}

bool json_escape(struct buf *out, struct str s)
{
    static const char hex[] = "0123456789abcdef";
    size_t plain = 0;                           /* where the run of ordinary bytes began */

    for (size_t i = 0; i < s.n; i++) {
        const unsigned char c = (unsigned char)s.s[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buf_append(out, s.s + plain, i - plain);
        plain = i + 1;
        switch (c) {
        case '"': buf_cstr(out, "\\\""); break;
        case '\\': buf_cstr(out, "\\\\"); break;
        case '\n': buf_cstr(out, "\\n"); break;
        case '\r': buf_cstr(out, "\\r"); break;
        case '\t': buf_cstr(out, "\\t"); break;
        default: {
            const char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            buf_append(out, escape, sizeof escape);
        }
        }
    }
    return buf_append(out, s.s + plain, s.n - plain);
}

bool json_quote(struct buf *out, struct str s)
{
    buf_char(out, '"');
    json_escape(out, s);
    return buf_char(out, '"');
}

static void put_scalar(struct buf *out, const yyjson_val *value)
{
    size_t n;
    char *text = yyjson_val_write(value, YYJSON_WRITE_NOFLAG, &n);

    if (text)
        buf_append(out, text, n);
    free(text);
}

static void put_string(struct buf *out, struct str s, const struct json_style *style)
{
    if (style->string)
        style->string(out, s);
    else
        json_quote(out, s);
}

static void put_value(struct buf *out, yyjson_val *value, const struct json_style *style)
{
    size_t i, n;
    yyjson_val *key, *inner;

    switch (yyjson_get_type(value)) {
    case YYJSON_TYPE_STR:
        put_string(out, json_str(value), style);
        break;
    case YYJSON_TYPE_ARR:
        buf_char(out, '[');
        yyjson_arr_foreach(value, i, n, inner) {
            buf_cstr(out, i ? style->comma : "");
            put_value(out, inner, style);
        }
        buf_char(out, ']');
        break;
    case YYJSON_TYPE_OBJ:
        buf_char(out, '{');
        yyjson_obj_foreach(value, i, n, key, inner) {
            buf_cstr(out, i ? style->comma : "");
            put_string(out, json_str(key), style);
            buf_cstr(out, style->colon);
            put_value(out, inner, style);
        }
        buf_char(out, '}');
        break;
    default:
        put_scalar(out, value);
        break;
    }
}

void json_put(struct buf *out, yyjson_val *value, const struct json_style *style)
{
    static const struct json_style python = {.comma = ", ", .colon = ": "};

    put_value(out, value, style ? style : &python);
}
