/* http.c - llhttp behind our limits and our idea of HTTP.
 *
 * llhttp calls back in pieces, so names and values are collected in one buffer and known by their
 * offsets (it may move while it grows). It takes a bare-LF line without a version for HTTP/0.9,
 * parses HTTP/2.0, leaves Host, Expect, foreign transfer codings and upgrades to its user, and
 * would count header bytes for ever: all that is decided here. It is stopped by pausing it, once
 * after the head and once after the message, so that the caller is never called back. */
#include "server/http.h"

#include <stdlib.h>
#include <strings.h>

#include "server/limits.h"

static struct http_reader *reader_of(llhttp_t *parser)
{
    return parser->data;
}

/* What a callback returns to stop the parser with an error of ours. */
static int fail(struct http_reader *reader, enum err_code code, const char *text)
{
    err_set(&reader->err, code, "%s", text);
    return HPE_USER;
}

static int append_text(struct http_reader *reader, const char *bytes, size_t n, bool lower)
{
    if (!buf_append(&reader->text, bytes, n))
        return fail(reader, ERR_HEAD_TOO_LARGE, "the request's head is too large");
    if (lower) {
        char *at = reader->text.data + reader->text.n - n;
        for (size_t i = 0; i < n; i++)
            if (at[i] >= 'A' && at[i] <= 'Z')
                at[i] = (char)(at[i] | 0x20);
    }
    return 0;
}

/* Trailers and chunk extensions mean nothing to us, but must not come for ever. */
static int count_frill(struct http_reader *reader, size_t n)
{
    if (n > reader->head_bytes_max - reader->frill_n)
        return fail(reader, ERR_TOO_LARGE, "trailers or chunk extensions are too large");
    reader->frill_n += (uint32_t)n;
    return 0;
}

static int on_url(llhttp_t *parser, const char *at, size_t n)
{
    struct http_reader *reader = reader_of(parser);

    if (n > HTTP_TARGET_BYTES_MAX - reader->target_n) {
        err_set(&reader->err, ERR_HEAD_TOO_LARGE, "the request target is longer than %d bytes",
                HTTP_TARGET_BYTES_MAX);
        return HPE_USER;
    }
    reader->target_n += (uint32_t)n;
    return append_text(reader, at, n, false);
}

static bool headers_grow(struct http_reader *reader)
{
    const uint32_t capacity = reader->headers_capacity ? reader->headers_capacity * 2 : 16;
    struct header_span *headers = realloc(reader->headers, capacity * sizeof *headers);

    if (!headers)
        return false;
    reader->headers = headers;
    reader->headers_capacity = capacity;
    return true;
}

static int on_field(llhttp_t *parser, const char *at, size_t n)
{
    struct http_reader *reader = reader_of(parser);

    if (reader->head_done)
        return count_frill(reader, n);
    struct header_span *last = reader->headers_n ? &reader->headers[reader->headers_n - 1] : NULL;
    if (!last || last->value_at) {              /* the one before is complete: a new line */
        if (reader->headers_n == HTTP_HEADERS_MAX) {
            err_set(&reader->err, ERR_HEAD_TOO_LARGE, "more than %d header lines",
                    HTTP_HEADERS_MAX);
            return HPE_USER;
        }
        if (reader->headers_n == reader->headers_capacity && !headers_grow(reader))
            return fail(reader, ERR_OVERLOADED, "no memory for the request's head");
        last = &reader->headers[reader->headers_n++];
        *last = (struct header_span){.name_at = (uint32_t)reader->text.n};
    }
    last->name_n += (uint32_t)n;
    return append_text(reader, at, n, true);
}

static int on_field_complete(llhttp_t *parser)
{
    struct http_reader *reader = reader_of(parser);

    if (!reader->head_done && reader->headers_n)
        reader->headers[reader->headers_n - 1].value_at = (uint32_t)reader->text.n;
    return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t n)
{
    struct http_reader *reader = reader_of(parser);

    if (reader->head_done)
        return count_frill(reader, n);
    reader->headers[reader->headers_n - 1].value_n += (uint32_t)n;
    return append_text(reader, at, n, false);
}

static int on_extension(llhttp_t *parser, const char *at, size_t n)
{
    (void)at;
    return count_frill(reader_of(parser), n);
}

static enum method method_of(uint8_t llhttp_method)
{
    switch (llhttp_method) {
    case HTTP_GET: return METHOD_GET;
    case HTTP_HEAD: return METHOD_HEAD;
    case HTTP_POST: return METHOD_POST;
    case HTTP_DELETE: return METHOD_DELETE;
    case HTTP_OPTIONS: return METHOD_OPTIONS;
    default: return METHOD_OTHER;
    }
}

static bool is_chunked(struct str value)
{
    return value.n == 7 && strncasecmp(value.s, "chunked", 7) == 0;
}

/* Framing that llhttp lets through and another reader of the same bytes might read otherwise. */
static bool check_framing(struct http_reader *reader)
{
    const llhttp_t *parser = &reader->parser;
    struct str coding;

    if (parser->http_major != 1 || parser->http_minor > 1)
        return err_set(&reader->err, ERR_INVALID, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    if (!http_header_one(reader, "transfer-encoding", &coding))
        return err_set(&reader->err, ERR_INVALID, "more than one Transfer-Encoding header");
    if (http_header_count(reader, "transfer-encoding") == 1) {
        if (!is_chunked(coding))
            return err_set(&reader->err, ERR_UNSUPPORTED,
                           "the only Transfer-Encoding taken here is chunked");
        if (http_header_count(reader, "content-length"))
            return err_set(&reader->err, ERR_INVALID,
                           "Content-Length and Transfer-Encoding exclude each other");
        if (parser->http_minor == 0)
            return err_set(&reader->err, ERR_INVALID, "HTTP/1.0 has no Transfer-Encoding");
    }
    if (http_header_count(reader, "content-length") > 1)
        return err_set(&reader->err, ERR_INVALID, "more than one Content-Length header");
    return true;
}

static bool check_target(struct http_reader *reader)
{
    const struct str path = http_path(reader);

    if (path.n && path.s[0] == '/')
        return true;
    if (reader->method == METHOD_OPTIONS && str_is(path, "*"))
        return true;
    return err_set(&reader->err, ERR_INVALID,
                   "the request target must be a path, as in `GET /health`");
}

static int on_headers_complete(llhttp_t *parser)
{
    struct http_reader *reader = reader_of(parser);

    reader->method = method_of(parser->method);
    reader->method_name = llhttp_method_name(parser->method);
    reader->minor_0 = parser->http_minor == 0;
    reader->keep_alive = llhttp_should_keep_alive(parser) != 0;
    parser->upgrade = 0;                        /* h2c, websocket: offers we don't take up */
    if (!check_framing(reader) || !check_target(reader))
        return HPE_USER;
    reader->has_length = (parser->flags & F_CONTENT_LENGTH) != 0;
    reader->length = reader->has_length ? parser->content_length : 0;
    reader->has_body = (parser->flags & F_CHUNKED) != 0 || reader->length > 0;
    reader->head_done = true;
    reader->pending = HTTP_STEP_HEAD;
    return HPE_PAUSED;
}

static int on_body(llhttp_t *parser, const char *at, size_t n)
{
    struct http_reader *reader = reader_of(parser);

    if (n > reader->body_bytes_max - reader->body_n) {
        err_set(&reader->err, ERR_TOO_LARGE, "the request body is larger than %llu bytes",
                (unsigned long long)reader->body_bytes_max);
        return HPE_USER;
    }
    reader->body_n += n;
    if (!reader->discard && !buf_append(&reader->body, at, n))
        return fail(reader, ERR_OVERLOADED, "no memory for the request's body");
    return 0;
}

static int on_message_complete(llhttp_t *parser)
{
    struct http_reader *reader = reader_of(parser);

    reader->keep_alive = llhttp_should_keep_alive(parser) != 0;
    reader->pending = HTTP_STEP_MESSAGE;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_field_complete = on_field_complete,
    .on_header_value = on_value,
    .on_headers_complete = on_headers_complete,
    .on_chunk_extension_name = on_extension,
    .on_chunk_extension_value = on_extension,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void http_reader_init(struct http_reader *reader, uint32_t head_bytes_max, uint64_t body_bytes_max)
{
    *reader = (struct http_reader){.head_bytes_max = head_bytes_max,
                                   .body_bytes_max = body_bytes_max};
    buf_init(&reader->text, (size_t)head_bytes_max);
    llhttp_init(&reader->parser, HTTP_REQUEST, &settings);
    reader->parser.data = reader;
}

void http_reader_release(struct http_reader *reader)
{
    buf_release(&reader->text);
    buf_release(&reader->body);
    free(reader->headers);
    reader->headers = NULL;
    reader->headers_n = reader->headers_capacity = 0;
}

void http_reader_next(struct http_reader *reader, uint64_t body_bytes_max)
{
    const llhttp_t parser = reader->parser;     /* where it stands between two messages */
    const uint32_t head_bytes_max = reader->head_bytes_max;

    http_reader_release(reader);
    http_reader_init(reader, head_bytes_max, body_bytes_max);
    reader->parser = parser;
}

static enum http_step step_failed(struct http_reader *reader, llhttp_errno_t error, struct err *err)
{
    if (reader->err.code != ERR_NONE)
        *err = reader->err;
    else if (error == HPE_PAUSED_H2_UPGRADE)
        err_set(err, ERR_INVALID, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    else
        err_set(err, ERR_INVALID, "malformed HTTP request: %s",
                reader->parser.reason ? reader->parser.reason : llhttp_errno_name(error));
    return HTTP_STEP_FAILED;
}

enum http_step http_reader_feed(struct http_reader *reader, struct str *input, struct err *err)
{
    const bool in_head = !reader->head_done;
    const char *const start = input->n ? input->s : "";     /* no input: finish what was paused */
    size_t n = input->n;

    if (in_head && n > reader->head_bytes_max - reader->head_n)
        n = reader->head_bytes_max - reader->head_n;
    reader->pending = HTTP_STEP_MORE;
    const llhttp_errno_t error = llhttp_execute(&reader->parser, start, n);
    if (error == HPE_PAUSED) {
        n = (size_t)(llhttp_get_error_pos(&reader->parser) - start);
        llhttp_resume(&reader->parser);
    } else if (error != HPE_OK) {
        return step_failed(reader, error, err);
    }
    if (in_head)
        reader->head_n += (uint32_t)n;
    *input = (struct str){start + n, input->n - n};
    if (reader->pending == HTTP_STEP_MORE && in_head && reader->head_n == reader->head_bytes_max) {
        err_set(err, ERR_HEAD_TOO_LARGE, "the request's head is larger than %u bytes",
                reader->head_bytes_max);
        return HTTP_STEP_FAILED;
    }
    return reader->pending;
}

static struct str span(const struct http_reader *reader, uint32_t at, uint32_t n)
{
    return (struct str){n ? reader->text.data + at : "", n};
}

struct str http_path(const struct http_reader *reader)
{
    struct str target = span(reader, 0, reader->target_n);
    const char *question = target.n ? memchr(target.s, '?', target.n) : NULL;

    if (question)
        target.n = (size_t)(question - target.s);
    return target;
}

struct str http_query(const struct http_reader *reader)
{
    const size_t path_n = http_path(reader).n;

    if (path_n >= reader->target_n)
        return STR("");
    return span(reader, (uint32_t)path_n + 1, reader->target_n - (uint32_t)path_n - 1);
}

struct str http_header_name(const struct http_reader *reader, size_t i)
{
    return span(reader, reader->headers[i].name_at, reader->headers[i].name_n);
}

struct str http_header_value(const struct http_reader *reader, size_t i)
{
    struct str value = span(reader, reader->headers[i].value_at, reader->headers[i].value_n);

    while (value.n && (value.s[value.n - 1] == ' ' || value.s[value.n - 1] == '\t'))
        value.n--;                              /* optional white space is not part of a value */
    return value;
}

size_t http_header_count(const struct http_reader *reader, const char *name)
{
    size_t n = 0;

    for (size_t i = 0; i < reader->headers_n; i++)
        n += str_is(http_header_name(reader, i), name);
    return n;
}

bool http_header_one(const struct http_reader *reader, const char *name, struct str *value)
{
    bool found = false;

    *value = STR("");
    for (size_t i = 0; i < reader->headers_n; i++) {
        if (!str_is(http_header_name(reader, i), name))
            continue;
        if (found)
            return false;
        *value = http_header_value(reader, i);
        found = true;
    }
    return true;
}
