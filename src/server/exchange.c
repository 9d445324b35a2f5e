/* exchange.c - from "this is the answer" to bytes on a connection, and the exchange's own end.
 *
 * The hard thing is that an answer can end from four sides: the route finishes it, the backend
 * fails it, the client goes, the server is cut short. Each only marks what happened; freeing is
 * exchange_settle's alone. */
#include "server/exchange.h"

#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "api/errors.h"
#include "api/response.h"
#include "backend/backend.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "server/connection.h"
#include "server/router.h"
#include "server/state.h"
#include "server/trace.h"

enum { ARENA_FIRST_BYTES = 1024, HEAD_BYTES_MAX = 2048 };

struct exchange *exchange_new(struct server *server, struct connection *connection,
                              const struct http_reader *head)
{
    struct arena *arena = arena_new(ARENA_FIRST_BYTES);
    struct exchange *ex = arena_alloc(arena, sizeof *ex);

    ex->server = server;
    ex->connection = connection;
    ex->head = head;
    ex->arena = arena;
    ex->started_ns = clock_ns();
    random_id(ex->id_text, sizeof ex->id_text, "req_");
    ex->request_id = str_of(ex->id_text);
    ex->must_close = connection_over_limit(connection);
    ex->trace = trace_open(server->options.trace_dir, ex->request_id);
    return ex;
}

/* --- the answer's bytes --- */

static const char *reason_of(int status)
{
    static const struct { int status; const char *reason; } reasons[] = {
        {200, "OK"}, {204, "No Content"}, {400, "Bad Request"}, {401, "Unauthorized"},
        {403, "Forbidden"}, {404, "Not Found"}, {405, "Method Not Allowed"},
        {408, "Request Timeout"}, {409, "Conflict"}, {413, "Content Too Large"},
        {417, "Expectation Failed"}, {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"}, {500, "Internal Server Error"},
        {501, "Not Implemented"}, {503, "Service Unavailable"}, {504, "Gateway Timeout"},
        {529, "Overloaded"},
    };

    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Unknown";
}

/* What a browser page of an allowed origin may do and read. */
static void cors_headers(const struct exchange *ex, struct buf *head)
{
    if (!ex->cors_origin.n)
        return;
    buf_printf(head,
               "access-control-allow-origin: %.*s\r\n"
               "access-control-expose-headers: request-id, pensieve-cache, retry-after, "
               "x-should-retry, pensieve-backend\r\n"
               "vary: origin\r\n",
               STR_ARG(ex->cors_origin));
    if (ex->head && ex->head->method == METHOD_OPTIONS)
        buf_cstr(head,
                 "access-control-allow-methods: GET, POST, DELETE, OPTIONS\r\n"
                 "access-control-allow-headers: *, authorization, x-api-key, content-type, "
                 "anthropic-version, anthropic-beta, anthropic-dangerous-direct-browser-access\r\n"
                 "access-control-max-age: 600\r\n");
}

/* Seconds, as the backend sees its queue; when there was no model in question, soon. */
static uint32_t retry_after_s(const struct exchange *ex)
{
    struct backend_status status = {0};

    if (ex->backend)
        ex->backend->ops->status(ex->backend, &status);
    return status.retry_after_s ? status.retry_after_s : 1;
}

static void start_head(struct exchange *ex, struct buf *head, int status)
{
    char date[40];
    struct tm utc;
    const time_t now = time(NULL);

    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &utc));
    buf_printf(head, "HTTP/1.1 %d %s\r\ndate: %s\r\nrequest-id: %.*s\r\nconnection: %s\r\n", status,
               reason_of(status), date, STR_ARG(ex->request_id),
               ex->keep_alive ? "keep-alive" : "close");
    cors_headers(ex, head);
    if (ex->allow)
        buf_printf(head, "allow: %s\r\n", ex->allow);
    if (ex->reuse.known)
        buf_printf(head, "pensieve-cache: memory=%u, disk=%u, computed=%u\r\n", ex->reuse.memory,
                   ex->reuse.disk, ex->reuse.computed);
    if (ex->served_by)
        buf_printf(head, "pensieve-backend: %s\r\n", ex->served_by);
    if (status == 429 || status == 529)
        buf_printf(head, "retry-after: %u\r\n", retry_after_s(ex));
    if (ex->final)                              /* some clients would try ten times */
        buf_cstr(head, "x-should-retry: false\r\n");
    ex->status = status;
}

static void decide_keep_alive(struct exchange *ex)
{
    ex->keep_alive = ex->head && ex->head->keep_alive && !ex->must_close && !ex->server->draining;
}

static bool send_parts(struct exchange *ex, const struct str *parts, size_t n)
{
    trace_response(ex->trace, parts, n);
    ex->sent_ms = uv_now(ex->server->loop);
    return connection_write(ex->connection, parts, n);
}

static void end_answer(struct exchange *ex)
{
    ex->ended = true;
    buf_release(&ex->out);
    connection_answered(ex->connection, ex->keep_alive && !ex->server->draining);
}

void exchange_reply(struct exchange *ex, int status, const char *content_type, struct str body)
{
    struct buf head;
    const bool no_body = status == 204 || (ex->head && ex->head->method == METHOD_HEAD);

    if (ex->ended || ex->gone)
        return;
    decide_keep_alive(ex);
    buf_init(&head, HEAD_BYTES_MAX);
    start_head(ex, &head, status);
    if (status != 204)
        buf_printf(&head, "content-type: %s\r\ncontent-length: %zu\r\n", content_type, body.n);
    buf_cstr(&head, "\r\n");
    send_parts(ex, (const struct str[]){buf_view(&head), body}, no_body ? 1 : 2);
    buf_release(&head);
    end_answer(ex);
}

void exchange_stream(struct exchange *ex)
{
    ex->streaming = true;
    ex->server->metrics.streams++;
}

/* HTTP/1.0 knows no chunks: its stream ends with the connection. */
static bool is_chunked(const struct exchange *ex)
{
    return !ex->head->minor_0;
}

bool exchange_flush(struct exchange *ex)
{
    struct buf head;
    char size[24];

    if (ex->ended || ex->gone || !ex->streaming || ex->out.n == 0)
        return true;
    buf_init(&head, HEAD_BYTES_MAX);
    if (!ex->status) {
        ex->must_close |= !is_chunked(ex);
        decide_keep_alive(ex);
        start_head(ex, &head, 200);
        buf_printf(&head, "content-type: text/event-stream; charset=utf-8\r\n"
                          "cache-control: no-cache\r\n%s\r\n",
                   is_chunked(ex) ? "transfer-encoding: chunked\r\n" : "");
    }
    buf_append(&head, size, is_chunked(ex) ? (size_t)snprintf(size, sizeof size, "%zx\r\n",
                                                              ex->out.n) : 0);
    const struct str parts[] = {buf_view(&head), buf_view(&ex->out), STR("\r\n")};
    const bool keeps_up = send_parts(ex, parts, is_chunked(ex) ? 3 : 2);
    buf_release(&head);
    buf_reset(&ex->out);
    return keeps_up;
}

void exchange_finish(struct exchange *ex)
{
    static const struct str last_chunk = {"0\r\n\r\n", 5};

    if (ex->ended || ex->gone)
        return;
    exchange_flush(ex);
    if (is_chunked(ex))
        send_parts(ex, &last_chunk, 1);
    end_answer(ex);
}

void exchange_fail(struct exchange *ex, const struct err *err)
{
    if (ex->ended || ex->gone)
        return;
    if (err->code == ERR_INTERNAL)
        log_event(LOG_ERROR, "request_failed", "id=%s reason=\"%s\"", ex->id_text, err->text);
    if (ex->status) {                           /* an event stream under way */
        const struct gen_event failed = {.type = GEN_FAILED, .error = *err};
        message_writer_event(ex->writer, &ex->out, &failed);
        ex->keep_alive = false;
        exchange_finish(ex);
        return;
    }
    const int status = ex->refusal_status ? ex->refusal_status : api_error_of(err->code).status;
    ex->streaming = false;
    ex->final = api_error_of(err->code).final;
    buf_reset(&ex->out);
    api_error_body(&ex->out, err, ex->request_id);
    exchange_reply(ex, status, "application/json", buf_view(&ex->out));
}

void exchange_cut(struct exchange *ex, const struct err *err)
{
    if (!ex->dispatched)
        trace_request(ex->trace, ex->head);
    ex->must_close = true;
    if (ex->status)
        ex->keep_alive = false;
    exchange_fail(ex, err);
    if (ex->generation && ex->ops && ex->ops->gone)
        ex->ops->gone(ex);
    exchange_settle(ex);
}

/* --- its end --- */

/* Who answered, or was to. */
static struct str served_by_of(const struct exchange *ex)
{
    if (ex->served_by)
        return str_of(ex->served_by);
    return ex->backend ? ex->backend->card.id : STR("-");
}

static void log_exchange(const struct exchange *ex)
{
    char path[160], model[160], reuse[120] = "", served_by[160];
    const struct http_reader *head = ex->head;
    const double ms = clock_seconds_since(ex->started_ns) * 1e3;

    if (!log_enabled(LOG_INFO))
        return;
    log_quote(path, sizeof path, head ? http_path(head) : STR("-"));
    log_quote(model, sizeof model, ex->request ? ex->request->model : STR("-"));
    log_quote(served_by, sizeof served_by, served_by_of(ex));
    if (ex->reuse.known)
        snprintf(reuse, sizeof reuse,
                 " memory_tokens=%u disk_tokens=%u computed_tokens=%u diverged_at=%u",
                 ex->reuse.memory, ex->reuse.disk, ex->reuse.computed, ex->reuse.diverged_at);
    log_event(LOG_INFO, "request",
              "method=%s path=%s status=%d id=%s ms=%.1f stream=%d abandoned=%d input_tokens=%u "
              "output_tokens=%u decode_steps=%u drafted_tokens=%u accepted_tokens=%u%s model=%s "
              "backend=%s",
              head ? head->method_name : "-", path, ex->status, ex->id_text, ms, ex->streaming,
              ex->gone && !ex->ended, ex->input_tokens, ex->output_tokens,
              ex->decoding.steps, ex->decoding.drafted, ex->decoding.accepted, reuse, model,
              served_by);
}

void exchange_settle(struct exchange *ex)
{
    struct connection *connection = ex->connection;

    if ((!ex->ended && !ex->gone) || ex->generation || ex->counting || ex->busy)
        return;
    const bool abandoned = !ex->ended;
    log_exchange(ex);
    metrics_count(&ex->server->metrics,
                  &(struct metrics_exchange){.status = ex->status, .abandoned = abandoned,
                                             .input_tokens = ex->input_tokens,
                                             .output_tokens = ex->output_tokens,
                                             .reuse = ex->reuse});
    trace_close(ex->trace, abandoned ? "the client went away" : "end");
    if (ex->writer)
        message_writer_release(ex->writer);
    buf_release(&ex->out);
    arena_free(ex->arena);                      /* and ex with it */
    connection_exchange_over(connection);
}

void exchange_gone(struct exchange *ex)
{
    ex->gone = true;
    if (ex->generation && ex->ops && ex->ops->gone)
        ex->ops->gone(ex);
    exchange_settle(ex);
}

void exchange_drained(struct exchange *ex)
{
    if (!ex->gone && !ex->ended && ex->ops && ex->ops->drained)
        ex->ops->drained(ex);
}

void exchange_tick(struct exchange *ex)
{
    if (!ex->gone && !ex->ended && ex->ops && ex->ops->tick)
        ex->ops->tick(ex);
}
