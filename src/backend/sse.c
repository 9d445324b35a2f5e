/* sse.c - see sse.h. A line that lies whole in the bytes that came is read where it lies. */
#include "backend/sse.h"

void sse_init(struct sse *sse)
{
    *sse = (struct sse){0};
    buf_init(&sse->line, SSE_EVENT_BYTES_MAX);
    buf_init(&sse->data, SSE_EVENT_BYTES_MAX);
}

void sse_release(struct sse *sse)
{
    buf_release(&sse->line);
    buf_release(&sse->data);
}

static void field(struct sse *sse, struct str name, struct str value)
{
    if (str_is(name, "data")) {
        if (sse->has_data)
            buf_char(&sse->data, '\n');
        buf_str(&sse->data, value);
        sse->has_data = true;
    } else if (str_is(name, "event")) {
        sse->name_n = value.n <= SSE_NAME_BYTES_MAX ? value.n : 0;
        if (sse->name_n)
            memcpy(sse->name, value.s, sse->name_n);
    }
}

/* An empty line: what was gathered is an event, if it has data. */
static bool dispatch(struct sse *sse, sse_fn *on_event, void *context)
{
    const bool go_on = !sse->has_data || on_event(context, (struct str){sse->name, sse->name_n},
                                                  buf_view(&sse->data));

    buf_reset(&sse->data);
    sse->has_data = false;
    sse->name_n = 0;
    return go_on;
}

static bool take_line(struct sse *sse, struct str line, sse_fn *on_event, void *context)
{
    static const char mark[] = "\xef\xbb\xbf";

    if (!sse->begun && str_starts(line, STR(mark)))
        line = (struct str){line.s + 3, line.n - 3};
    sse->begun = true;
    if (line.n == 0)
        return dispatch(sse, on_event, context);
    const char *colon = memchr(line.s, ':', line.n);
    const size_t name_n = colon ? (size_t)(colon - line.s) : line.n;
    struct str value = {line.s + name_n + (colon != NULL), line.n - name_n - (colon != NULL)};
    if (value.n && value.s[0] == ' ')
        value = (struct str){value.s + 1, value.n - 1};
    field(sse, (struct str){line.s, name_n}, value);
    return true;
}

static size_t line_end(struct str bytes)
{
    const char *lf = memchr(bytes.s, '\n', bytes.n);
    const size_t n = lf ? (size_t)(lf - bytes.s) : bytes.n;
    const char *cr = memchr(bytes.s, '\r', n);

    return cr ? (size_t)(cr - bytes.s) : n;
}

static bool too_long(struct err *err)
{
    return err_set(err, ERR_FORMAT, "an event of its answer is longer than %d bytes",
                   SSE_EVENT_BYTES_MAX);
}

bool sse_feed(struct sse *sse, struct str bytes, sse_fn *on_event, void *context, struct err *err)
{
    while (bytes.n) {
        if (sse->after_cr && bytes.s[0] == '\n')
            bytes = (struct str){bytes.s + 1, bytes.n - 1};
        sse->after_cr = false;
        const size_t n = line_end(bytes);
        if (n == bytes.n) {
            return buf_append(&sse->line, bytes.s, n) || too_long(err);
        }
        struct str line = {bytes.s, n};
        if (sse->line.n) {
            if (!buf_append(&sse->line, bytes.s, n))
                return too_long(err);
            line = buf_view(&sse->line);
        }
        const bool go_on = take_line(sse, line, on_event, context);
        buf_reset(&sse->line);
        if (sse->data.overflow)
            return too_long(err);
        if (!go_on)
            return false;
        sse->after_cr = bytes.s[n] == '\r';
        bytes = (struct str){bytes.s + n + 1, bytes.n - n - 1};
    }
    return true;
}
