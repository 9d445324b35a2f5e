/* http.h - bytes to requests, without a socket: one reader per connection.
 *
 * The caller feeds what it has and is told what happened, one step at a time:
 *     HTTP_STEP_HEAD      the head is complete and sane; look at it, then feed on
 *     HTTP_STEP_MESSAGE   the body is there too; http_reader_next() before feeding on
 *     HTTP_STEP_MORE      all input is taken, more is needed
 *     HTTP_STEP_FAILED    not a request we take; err says why; the reader is dead
 * Head and body live in the reader until http_reader_next. */
#ifndef PENSIEVE_SERVER_HTTP_H
#define PENSIEVE_SERVER_HTTP_H

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum method { METHOD_OTHER, METHOD_GET, METHOD_HEAD, METHOD_POST, METHOD_DELETE, METHOD_OPTIONS };

enum http_step { HTTP_STEP_MORE, HTTP_STEP_HEAD, HTTP_STEP_MESSAGE, HTTP_STEP_FAILED };

struct header_span { uint32_t name_at, name_n, value_at, value_n; };    /* in http_reader.text */

struct http_reader {
    llhttp_t parser;
    uint32_t head_bytes_max;
    uint64_t body_bytes_max;            /* may be lowered after HTTP_STEP_HEAD */
    bool discard;                       /* likewise: count the body, but don't keep it */

    enum method method;
    const char *method_name;
    bool minor_0;                       /* HTTP/1.0 */
    bool keep_alive;                    /* the client's wish; final at HTTP_STEP_MESSAGE */
    bool has_body, has_length;
    uint64_t length;                    /* Content-Length, if has_length */
    uint64_t body_n;                    /* bytes of body seen, kept or not */
    struct buf body;

    enum http_step pending;             /* what the parser's callbacks stopped for */
    bool head_done;
    uint32_t head_n;                    /* raw bytes of the head */
    uint32_t frill_n;                   /* bytes of trailers and chunk extensions */
    struct buf text;                    /* target, then header names (lower case) and values */
    uint32_t target_n;
    struct header_span *headers;
    uint32_t headers_n, headers_capacity;
    struct err err;
};

void http_reader_init(struct http_reader *reader, uint32_t head_bytes_max, uint64_t body_bytes_max);
void http_reader_release(struct http_reader *reader);
/* Takes bytes off the front of input up to the next step. */
enum http_step http_reader_feed(struct http_reader *reader, struct str *input, struct err *err);
/* After HTTP_STEP_MESSAGE: forget that request, its storage too, and be ready for the next one. */
void http_reader_next(struct http_reader *reader, uint64_t body_bytes_max);

/* Of a complete head; the bytes are the reader's. */
struct str http_path(const struct http_reader *reader);
struct str http_query(const struct http_reader *reader);        /* without the `?` */
struct str http_header_name(const struct http_reader *reader, size_t i);    /* in lower case */
struct str http_header_value(const struct http_reader *reader, size_t i);
/* The only line of that name (lower case), or an empty str. false: there are several. */
bool http_header_one(const struct http_reader *reader, const char *name, struct str *value);
size_t http_header_count(const struct http_reader *reader, const char *name);

#endif
