/* connection.c - the socket's side of a request: reading in turn, writing under a ceiling, ending.
 *
 * The hard thing is who may free what, when: uv_close answers later, a backend may still read the
 * request of a client that is gone, and an answer may be complete before the call that started it
 * returns. So a connection's memory goes when both its handles have reported closed AND it has no
 * exchange; an exchange is only ever freed at the end of an event; and writing never calls back:
 * a broken socket closes from the timer, in the loop's next turn. */
#include "server/connection.h"

#include <assert.h>
#include <stdlib.h>
#include <uv.h>

#include "base/buf.h"
#include "base/log.h"
#include "server/exchange.h"
#include "server/http.h"
#include "server/router.h"
#include "server/state.h"

enum phase {
    PHASE_IDLE,                         /* between requests */
    PHASE_HEAD, PHASE_BODY,             /* reading one, each under a total time */
    PHASE_ANSWER,                       /* the exchange has it; bytes sent ahead are kept */
    PHASE_LINGER,                       /* the answer is out and we close; bytes are dropped */
};

struct connection {
    uv_tcp_t tcp;
    uv_timer_t timer;                   /* one for all phases: they exclude each other */
    uv_shutdown_t shutdown;
    struct server *server;
    struct connection *prev, *next;
    struct exchange *exchange;          /* of the request in hand */
    struct http_reader reader;
    struct buf ahead;                   /* bytes read while an answer was being made */
    uint64_t body_counted;              /* of the reader's body, in server->bodies_bytes */
    uint64_t moved_ms;                  /* when the backlog last shrank */
    size_t backlog_seen;
    enum phase phase;
    unsigned handles_open;              /* close callbacks still to come */
    bool over_limit, closing, broken, eof, processing, throttled;
};

struct write {
    uv_write_t req;
    size_t n;
    char bytes[];
};

static void process_ahead(struct connection *c);
static void on_timer(uv_timer_t *timer);

static uv_stream_t *stream_of(struct connection *c)
{
    return (uv_stream_t *)&c->tcp;
}

/* --- ends --- */

static void free_if_over(struct connection *c)
{
    struct server *server = c->server;

    if (c->handles_open || c->exchange)
        return;
    if (c->prev)
        c->prev->next = c->next;
    else
        server->connections = c->next;
    if (c->next)
        c->next->prev = c->prev;
    server->bodies_bytes -= c->body_counted;
    http_reader_release(&c->reader);
    buf_release(&c->ahead);
    free(c);
    server_connection_freed(server);
}

static void on_closed(uv_handle_t *handle)
{
    struct connection *c = handle->data;

    if (--c->handles_open == 0)
        c->server->connections_open--;
    free_if_over(c);
}

void connection_close(struct connection *c)
{
    if (c->closing)
        return;
    c->closing = true;
    uv_close((uv_handle_t *)&c->tcp, on_closed);
    uv_close((uv_handle_t *)&c->timer, on_closed);
    if (c->exchange)
        exchange_gone(c->exchange);
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    struct connection *c = req->data;

    if (c->closing)
        return;
    if (c->eof || status < 0)
        connection_close(c);
    else
        uv_timer_start(&c->timer, on_timer, LINGER_MS, 0);
}

/* Closing a socket with unread bytes makes the kernel send RST, which can destroy the answer before
 * the client reads it. So our half is closed first and what still comes is dropped for a while. */
static void linger(struct connection *c)
{
    if (c->phase == PHASE_LINGER || c->closing)
        return;
    c->phase = PHASE_LINGER;
    buf_release(&c->ahead);
    c->shutdown.data = c;
    if (c->broken || uv_shutdown(&c->shutdown, stream_of(c), on_shutdown) != 0) {
        uv_timer_start(&c->timer, on_timer, 0, 0);
        return;
    }
    uv_timer_start(&c->timer, on_timer, c->server->options.idle_timeout_ms, 0);
}

/* --- bytes out --- */

size_t connection_backlog(const struct connection *c)
{
    return uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp);
}

/* Too slow to be called alive: nothing of the backlog has moved for WRITE_STALL_MS. */
static bool stalled(struct connection *c)
{
    const size_t backlog = connection_backlog(c);
    const uint64_t now = uv_now(c->server->loop);

    if (backlog == 0 || backlog < c->backlog_seen)
        c->moved_ms = now;
    c->backlog_seen = backlog;
    return now - c->moved_ms > WRITE_STALL_MS;
}

static void break_off(struct connection *c)
{
    c->broken = true;
    uv_timer_start(&c->timer, on_timer, 0, 0);
}

static void on_written(uv_write_t *req, int status)
{
    struct connection *c = req->handle->data;

    free(req->data);
    if (c->closing)
        return;
    if (status < 0) {
        break_off(c);
        return;
    }
    c->moved_ms = uv_now(c->server->loop);
    if (!c->throttled || connection_backlog(c) > WRITE_LOW_WATER_BYTES)
        return;
    c->throttled = false;
    if (c->phase == PHASE_ANSWER && c->exchange)
        exchange_drained(c->exchange);
    else
        process_ahead(c);
}

/* Queues a copy of what is left of the parts after the first `sent` bytes. */
static bool queue_rest(struct connection *c, const struct str *parts, size_t n, size_t sent,
                       size_t total)
{
    struct write *write = malloc(sizeof *write + total - sent);

    if (!write)
        return false;
    write->n = 0;
    write->req.data = write;
    for (size_t i = 0; i < n; i++) {
        const size_t skip = sent < parts[i].n ? sent : parts[i].n;
        sent -= skip;
        if (parts[i].n > skip)
            memcpy(write->bytes + write->n, parts[i].s + skip, parts[i].n - skip);
        write->n += parts[i].n - skip;
    }
    const uv_buf_t buf = uv_buf_init(write->bytes, (unsigned)write->n);
    if (uv_write(&write->req, stream_of(c), &buf, 1, on_written) == 0)
        return true;
    free(write);
    return false;
}

bool connection_write(struct connection *c, const struct str *parts, size_t n)
{
    enum { PARTS_MAX = 4 };
    uv_buf_t bufs[PARTS_MAX];
    size_t total = 0;

    assert(n <= PARTS_MAX);
    if (c->closing || c->broken)
        return true;
    if (connection_backlog(c) == 0)
        c->moved_ms = uv_now(c->server->loop);
    for (size_t i = 0; i < n; i++) {
        bufs[i] = uv_buf_init((char *)(uintptr_t)parts[i].s, (unsigned)parts[i].n);
        total += parts[i].n;
    }
    const int sent = uv_try_write(stream_of(c), bufs, (unsigned)n);
    if (sent < 0 && sent != UV_EAGAIN) {
        break_off(c);
        return true;
    }
    const size_t done = sent > 0 ? (size_t)sent : 0;
    if (done < total && !queue_rest(c, parts, n, done, total)) {
        break_off(c);
        return true;
    }
    if (connection_backlog(c) > WRITE_HIGH_WATER_BYTES)
        c->throttled = true;
    return !c->throttled;
}

/* --- requests in --- */

static void start_phase(struct connection *c, enum phase phase, uint64_t limit_ms)
{
    c->phase = phase;
    uv_timer_start(&c->timer, on_timer, limit_ms, 0);
}

/* Answers what can't be taken with its error, and ends the connection. */
static void refuse(struct connection *c, const struct err *err)
{
    if (!c->exchange)
        c->exchange = exchange_new(c->server, c, NULL);
    exchange_cut(c->exchange, err);
}

/* The reader's body is memory a client sizes: all connections together stay under a ceiling. */
static bool count_body(struct connection *c, struct err *err)
{
    struct server *server = c->server;

    server->bodies_bytes += c->reader.body.n - c->body_counted;
    c->body_counted = c->reader.body.n;
    if (server->bodies_bytes / BODIES_TOTAL_TIMES <= server->options.body_bytes_max)
        return true;
    return err_set(err, ERR_OVERLOADED, "too many large requests at the same time");
}

/* Many clients send their whole body before they read. So where the rest is small, it is read and
 * the refusal told after it; where it isn't, or a `100 Continue` is awaited, told now. */
static bool refusal_can_wait(const struct http_reader *reader)
{
    if (!reader->has_body)
        return true;
    return reader->has_length && reader->length <= DISCARD_BYTES_MAX &&
           http_header_count(reader, "expect") == 0;
}

static void on_head(struct connection *c)
{
    static const struct str proceed = {"HTTP/1.1 100 Continue\r\n\r\n", 25};
    struct err err = {0};

    c->exchange = exchange_new(c->server, c, &c->reader);
    if (!router_check(c->exchange, &err)) {
        c->exchange->refusal = err;
        c->reader.discard = true;
        if (!refusal_can_wait(&c->reader)) {
            refuse(c, &err);
            return;
        }
    } else {
        c->reader.body_bytes_max = router_body_max(c->exchange);
        if (c->reader.has_body && !c->reader.minor_0 && http_header_count(&c->reader, "expect"))
            connection_write(c, &proceed, 1);
    }
    start_phase(c, PHASE_BODY, c->server->options.body_timeout_ms);
}

static void on_message(struct connection *c)
{
    c->phase = PHASE_ANSWER;
    uv_timer_stop(&c->timer);
    router_dispatch(c->exchange);       /* may end it, and with it this connection's phase */
}

static bool takes_input(const struct connection *c)
{
    return !c->closing && !c->throttled && c->phase != PHASE_ANSWER && c->phase != PHASE_LINGER;
}

/* Takes requests off input until one must be answered first, or the input is used up. */
static void process(struct connection *c, struct str *input)
{
    struct err err = {0};
    bool again = false;                 /* the reader stopped at a head: go on without input too */

    c->processing = true;
    while (takes_input(c) && (input->n || again)) {
        if (c->phase == PHASE_IDLE)
            start_phase(c, PHASE_HEAD, c->over_limit ? (uint64_t)REFUSED_HEAD_MS
                                                     : c->server->options.head_timeout_ms);
        const enum http_step step = http_reader_feed(&c->reader, input, &err);
        again = step == HTTP_STEP_HEAD;
        if (step == HTTP_STEP_FAILED || !count_body(c, &err))
            refuse(c, &err);
        else if (step == HTTP_STEP_HEAD)
            on_head(c);
        else if (step == HTTP_STEP_MESSAGE)
            on_message(c);
    }
    c->processing = false;
}

static void keep_ahead(struct connection *c, struct str bytes)
{
    if (c->closing || c->phase == PHASE_LINGER || bytes.n == 0)
        return;
    if (c->ahead.n + bytes.n > PIPELINE_BYTES_MAX || !buf_str(&c->ahead, bytes)) {
        log_event(LOG_WARN, "connection_closed", "reason=\"more than %d bytes sent ahead\"",
                  PIPELINE_BYTES_MAX);
        connection_close(c);
    }
}

static void process_ahead(struct connection *c)
{
    if (c->processing || c->ahead.n == 0 || !takes_input(c))
        return;
    struct buf ahead = c->ahead;
    c->ahead = (struct buf){0};
    struct str input = buf_view(&ahead);
    process(c, &input);
    keep_ahead(c, input);
    buf_release(&ahead);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct connection *c = handle->data;

    (void)suggested;
    *buf = uv_buf_init(c->server->read_buffer, READ_BUFFER_BYTES);
}

static void on_end(struct connection *c, bool orderly)
{
    const bool answered = c->phase == PHASE_IDLE || c->phase == PHASE_LINGER;

    c->eof = true;
    if (orderly && answered && connection_backlog(c) && !c->broken)
        linger(c);                      /* it may still read what we owe it */
    else
        connection_close(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct connection *c = stream->data;

    if (n == 0 || c->closing)
        return;
    if (n < 0) {
        on_end(c, n == UV_EOF);
        return;
    }
    struct str input = {buf->base, (size_t)n};
    if (takes_input(c) && c->ahead.n == 0)
        process(c, &input);
    keep_ahead(c, input);
}

/* --- time --- */

static void on_timer(uv_timer_t *timer)
{
    struct connection *c = timer->data;
    struct err err;

    if (c->closing)
        return;
    if (c->broken) {
        connection_close(c);
        return;
    }
    switch (c->phase) {
    case PHASE_IDLE:
    case PHASE_LINGER:
        connection_close(c);
        return;
    case PHASE_HEAD:
        if (c->reader.head_n <= 2) {            /* a stray CRLF, no request */
            connection_close(c);
            return;
        }
        /* fall through */
    case PHASE_BODY:
        err_set(&err, ERR_TIMEOUT_CLIENT, "the request's %s took too long to arrive",
                c->phase == PHASE_HEAD ? "head" : "body");
        refuse(c, &err);
        return;
    case PHASE_ANSWER:
        if (stalled(c))
            connection_close(c);
        else if (c->exchange)
            exchange_tick(c->exchange);
        return;
    }
}

void connection_tick(struct connection *c, uint64_t delay_ms)
{
    if (!c->closing && !c->broken && c->phase == PHASE_ANSWER)
        uv_timer_start(&c->timer, on_timer, delay_ms, 0);
}

/* --- turns --- */

void connection_answered(struct connection *c, bool keep_alive)
{
    if (!keep_alive)
        linger(c);
}

void connection_exchange_over(struct connection *c)
{
    struct server *server = c->server;

    c->exchange = NULL;
    server->bodies_bytes -= c->body_counted;
    c->body_counted = 0;
    if (c->closing) {
        free_if_over(c);
        return;
    }
    if (c->phase == PHASE_LINGER || c->broken)
        return;
    http_reader_next(&c->reader, server->options.body_bytes_max);
    start_phase(c, PHASE_IDLE, server->options.idle_timeout_ms);
    process_ahead(c);
}

bool connection_over_limit(const struct connection *c)
{
    return c->over_limit;
}

struct connection *connection_next(struct connection *c)
{
    return c->next;
}

void connection_drain(struct connection *c)
{
    if (c->phase == PHASE_IDLE && c->ahead.n == 0)
        on_end(c, true);
}

void connection_cut(struct connection *c, const struct err *reason)
{
    if (c->exchange && !c->closing)
        exchange_cut(c->exchange, reason);
}

bool connection_accept(struct server *server)
{
    struct connection *c = calloc(1, sizeof *c);

    if (!c)
        return false;
    c->server = server;
    c->tcp.data = c->timer.data = c;
    c->handles_open = 2;
    uv_tcp_init(server->loop, &c->tcp);
    uv_timer_init(server->loop, &c->timer);
    http_reader_init(&c->reader, server->options.head_bytes_max, server->options.body_bytes_max);
    c->next = server->connections;
    if (c->next)
        c->next->prev = c;
    server->connections = c;
    c->over_limit = server->connections_open++ >= server->options.connections_max;

    int send_bytes = SOCKET_SEND_BYTES;
    if (uv_accept((uv_stream_t *)&server->listener, stream_of(c)) != 0 ||
        uv_read_start(stream_of(c), on_alloc, on_read) != 0) {
        connection_close(c);
        return false;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    uv_tcp_keepalive(&c->tcp, 1, TCP_KEEPALIVE_S);
    uv_send_buffer_size((uv_handle_t *)&c->tcp, &send_bytes);
    server->metrics.connections_accepted++;
    server->metrics.connections_refused += c->over_limit;
    start_phase(c, PHASE_IDLE, c->over_limit ? (uint64_t)REFUSED_HEAD_MS
                                             : server->options.idle_timeout_ms);
    return true;
}
