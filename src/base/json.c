/* json.c - yyjson on the arena, and the depth limit that it lacks. */
#include "base/json.h"

#include <stdlib.h>

/* yyjson asks for one block for the values and one for the strings; both are the arena's. It frees
 * the second only through the document, which we never free: the arena does. */
static void *arena_malloc(void *context, size_t size)
{
    return arena_alloc(context, size);
}

static void *arena_realloc(void *context, void *old, size_t old_size, size_t size)
{
    if (size <= old_size)
        return old;
    void *p = arena_alloc(context, size);
    if (old && old_size)
        memcpy(p, old, old_size);
    return p;
}

static void arena_nofree(void *context, void *p)
{
    (void)context;
    (void)p;
}

/* Brackets outside strings, counted before parsing: yyjson itself does not recurse, but everyone
 * who walks the tree would. Malformed text is yyjson's to report. */
static bool depth_fits(struct str text, size_t *where)
{
    size_t depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < text.n; i++) {
        const char c = text.s[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_DEPTH_MAX) {
                *where = i;
                return false;
            }
        } else if ((c == '}' || c == ']') && depth) {
            depth--;
        }
    }
    return true;
}

bool json_parse(struct arena *arena, struct str text, yyjson_val **root, struct err *err)
{
    const yyjson_alc allocator = {arena_malloc, arena_realloc, arena_nofree, arena};
    yyjson_read_err reason;
    size_t where;

    if (!depth_fits(text, &where))
        return err_set(err, ERR_INVALID,
                       "The request body is not valid JSON: nested deeper than %d at byte %zu",
                       JSON_DEPTH_MAX, where);
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)text.s, text.n, 0, &allocator, &reason);
    if (!doc)
        return err_set(err, ERR_INVALID, "The request body is not valid JSON: %s at byte %zu",
                       reason.msg, reason.pos);
    *root = yyjson_doc_get_root(doc);
    return true;
}

bool json_quote(struct buf *out, struct str s)
{
    static const char hex[] = "0123456789abcdef";
    size_t plain = 0;                           /* where the run of ordinary bytes began */

    buf_char(out, '"');
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
    buf_append(out, s.s + plain, s.n - plain);
    return buf_char(out, '"');
}
