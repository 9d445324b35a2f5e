/* messages.c - POST /v1/messages: one generation, answered as JSON or as an event stream.
 *
 * A stream's head goes out together with message_start, once the backend has admitted the request
 * and before it reads the prompt; what fails earlier keeps its status. Only a model that is still
 * being loaded may take so long that the head goes first, with a ping. */
#include "server/routes/routes.h"

#include "api/response.h"
#include "backend/backends.h"
#include "base/hash.h"
#include "base/log.h"
#include "server/connection.h"
#include "server/identity.h"
#include "server/state.h"
#include "server/trace.h"

/* Lax mode ignores what it doesn't know, and says so once for each name. */
static void on_unknown(void *context, struct str key)
{
    struct server *server = ((struct exchange *)context)->server;
    const uint64_t hash = hash_bytes(hash_process_key(), key.s, key.n);
    char text[SHOWN_BYTES_MAX + 8];

    for (uint32_t i = 0; i < server->unknown_fields_n; i++)
        if (server->unknown_fields[i] == hash)
            return;
    if (server->unknown_fields_n == UNKNOWN_FIELDS_LOGGED_MAX)
        return;
    server->unknown_fields[server->unknown_fields_n++] = hash;
    log_event(LOG_INFO, "unknown_field", "name=%s", log_quote(text, sizeof text, key));
}

bool routes_decode(struct exchange *ex, bool count_tokens, struct err *err)
{
    size_t betas_n;
    const struct str *betas = identity_betas(ex->arena, ex->head, &betas_n);
    const struct request_options options = {
        .version = ex->version,
        .strict = ex->server->options.strict,
        .caller = identity_of(&ex->server->options, ex->head, ex->key),
        .betas = betas,
        .betas_n = betas_n,
        .count_tokens = count_tokens,
        .on_unknown = on_unknown,
        .context = ex,
    };

    ex->request = request_decode(ex->arena, buf_view(&ex->head->body), &options, err);
    if (!ex->request)
        return false;
    ex->backend = backends_find(ex->server->backends, ex->request->model, err);
    return ex->backend && backend_takes(ex->backend, ex->request, err);
}

static void schedule_tick(struct exchange *ex)
{
    const struct server_options *options = &ex->server->options;
    const uint64_t ping_at = ex->sent_ms + options->ping_ms;
    const uint64_t content_at = ex->event_ms + options->keepalive_content_ms;
    const uint64_t at = ping_at < content_at ? ping_at : content_at;
    const uint64_t now = uv_now(ex->server->loop);

    connection_tick(ex->connection, at > now ? at - now : 1);
}

/* A silent stream: a ping for sockets, now and then an event that Claude Code counts. Not on top of
 * a backlog: a reader that stopped would collect them. */
static void on_tick(struct exchange *ex)
{
    const uint64_t now = uv_now(ex->server->loop);
    const bool content = now - ex->event_ms >= ex->server->options.keepalive_content_ms;

    if (content || now - ex->sent_ms >= ex->server->options.ping_ms) {
        if (connection_backlog(ex->connection) == 0) {
            if (!ex->streaming)
                exchange_stream(ex);
            message_writer_keepalive(ex->writer, &ex->out, content);
            exchange_flush(ex);
        }
        ex->sent_ms = now;
        if (content)
            ex->event_ms = now;
    }
    schedule_tick(ex);
}

static void on_drained(struct exchange *ex)
{
    if (!ex->generation || !ex->paused)
        return;
    ex->paused = false;
    ex->backend->ops->resume(ex->generation);
}

static void on_gone(struct exchange *ex)
{
    ex->backend->ops->cancel(ex->generation);
}

static const struct exchange_ops ops = {.drained = on_drained, .gone = on_gone, .tick = on_tick};

/* Whole or not at all: a part that found no memory would leave half an answer. */
static void reply_json(struct exchange *ex)
{
    struct err err;

    if (ex->out.overflow) {
        err_set(&err, ERR_OVERLOADED, "no memory for the answer");
        exchange_fail(ex, &err);
        return;
    }
    exchange_reply(ex, 200, "application/json", buf_view(&ex->out));
}

static void answer_event(struct exchange *ex, const struct gen_event *event)
{
    const bool stream = ex->request->stream;

    if (event->type == GEN_FAILED) {            /* a status if nothing was sent, else an event */
        exchange_fail(ex, &event->error);
        return;
    }
    if (event->type == GEN_STARTED)
        trace_prompt(ex->trace, event->prompt);
    if (event->type == GEN_DONE)
        trace_divergence(ex->trace, event->reuse.diverged_at, event->diverged);
    if (event->type == GEN_STARTED && stream && !ex->streaming)
        exchange_stream(ex);
    message_writer_event(ex->writer, &ex->out, event);
    if (event->type == GEN_DONE) {
        if (stream)
            exchange_finish(ex);
        else
            reply_json(ex);
        return;
    }
    if (!stream)
        return;
    ex->event_ms = uv_now(ex->server->loop);
    if (!exchange_flush(ex) && !ex->paused) {   /* the client reads slower than the model writes */
        ex->paused = true;
        ex->backend->ops->pause(ex->generation);
    }
    if (event->type == GEN_STARTED)
        schedule_tick(ex);
}

static void on_event(void *context, const struct gen_event *event)
{
    struct exchange *ex = context;

    if (event->type == GEN_STARTED || event->type == GEN_DONE) {
        const struct usage *usage = &event->usage;
        ex->input_tokens = usage->input_tokens + usage->cache_read + usage->cache_creation_5m +
                           usage->cache_creation_1h;
        ex->output_tokens = usage->output_tokens;
        ex->reuse = event->reuse;
        ex->decoding = event->decoding;
        ex->served_by = event->served_by;
    }
    if (event->type == GEN_DONE || event->type == GEN_FAILED)
        ex->generation = NULL;                  /* dead from here on */
    if (!ex->gone && !ex->ended)
        answer_event(ex, event);
    exchange_settle(ex);
}

bool messages_post(struct exchange *ex, struct err *err)
{
    if (!routes_decode(ex, false, err))
        return false;
    ex->writer = message_writer_new(ex->arena, ex->request, ex->request_id);
    ex->ops = &ops;
    ex->generation = ex->backend->ops->generate(ex->backend, ex->arena, ex->request, on_event, ex,
                                                err);
    if (!ex->generation)
        return false;
    if (ex->request->stream) {
        ex->sent_ms = ex->event_ms = uv_now(ex->server->loop);
        schedule_tick(ex);
    }
    return true;
}
