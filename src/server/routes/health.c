/* health.c - GET /health: can it serve, and how busy is it. 200 if so, 503 if not yet.
 * A model that isn't in memory can be served: it is loaded when asked for. */
#include "server/routes/routes.h"

#include <inttypes.h>
#include <uv.h>

#include "backend/backends.h"
#include "base/clock.h"
#include "base/json.h"
#include "server/metrics.h"
#include "server/state.h"

static void put_ranks(struct buf *out, const struct backend_status *status)
{
    static const char *const names[BACKEND_RANKS] = {"main", "agent", "side", "batch"};

    buf_cstr(out, "\"ranks\":{");
    for (size_t i = 0; i < BACKEND_RANKS; i++)
        buf_printf(out, "%s\"%s\":{\"queued\":%u,\"admitted\":%" PRIu64 ",\"waited_ms\":%.0f}",
                   i ? "," : "", names[i], status->ranks[i].queued, status->ranks[i].admitted,
                   status->ranks[i].waited_ms);
    buf_printf(out, "},\"preemptions\":%" PRIu64 ",", status->preemptions);
}

static void put_backend(struct buf *out, const struct backend *backend,
                        const struct backend_status *status)
{
    buf_cstr(out, "{\"id\":");
    json_quote(out, backend->card.id);
    buf_printf(out,
               ",\"ready\":%s,\"state\":\"%s\",\"memory_bytes\":%" PRIu64
               ",\"kind\":\"%s\",\"cpu\":\"%s\",\"queued\":%u,\"queue_max\":%u,"
               "\"running\":%u,\"sequences_max\":%u,",
               status->ready ? "true" : "false", status->state ? status->state : "",
               status->memory_bytes, status->kind ? status->kind : "",
               status->cpu ? status->cpu : "", status->queued, status->queue_max, status->running,
               status->sequences_max);
    put_ranks(out, status);
    buf_printf(out,
               "\"kv_bytes\":{\"total\":%" PRIu64 ",\"used\":%" PRIu64 ",\"cached\":%" PRIu64 "},"
               "\"tokens\":{\"prompt\":%" PRIu64 ",\"cached\":%" PRIu64 ",\"computed\":%" PRIu64
               ",\"output\":%" PRIu64
               ",\"prefill_tps\":%.1f,\"decode_tps\":%.1f},"
               "\"speculation\":{\"steps\":%" PRIu64 ",\"drafted\":%" PRIu64
               ",\"accepted\":%" PRIu64 "},"
               "\"replays\":{\"entries\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"file_bytes\":%" PRIu64
               ",\"found\":%" PRIu64 ",\"missed\":%" PRIu64 "}}",
               status->kv_bytes_total, status->kv_bytes_used, status->kv_bytes_cached,
               status->prompt_tokens, status->cached_tokens, status->prefill_tokens,
               status->output_tokens, status->prefill_tps, status->decode_tps,
               status->decode_steps, status->drafted_tokens, status->accepted_tokens,
               status->replays.entries, status->replays.bytes, status->replays.file_bytes,
               status->replays.found, status->replays.missed);
}

bool health_get(struct exchange *ex, struct err *err)
{
    const struct server *server = ex->server;
    struct buf models = {0};
    bool ready = true;
    size_t rss = 0;

    (void)err;
    for (size_t i = 0; ; i++) {
        struct backend *backend = backends_nth(server->backends, i);
        struct backend_status status = {0};
        if (!backend)
            break;
        backend->ops->status(backend, &status);
        ready &= status.ready;
        if (i)
            buf_char(&models, ',');
        put_backend(&models, backend, &status);
    }
    ready &= models.n > 0;
    uv_resident_set_memory(&rss);
    buf_printf(&ex->out,
               "{\"status\":\"%s\",\"server\":\"pensieve\",\"version\":\"%s\",\"uptime_s\":%.0f,"
               "\"memory\":{\"rss_bytes\":%zu},\"connections\":{\"open\":%u,\"max\":%u,"
               "\"accepted\":%" PRIu64 ",\"refused\":%" PRIu64 "},",
               ready ? "ok" : "loading", server->options.version,
               clock_seconds_since(server->started_ns), rss, server->connections_open,
               server->options.connections_max, server->metrics.connections_accepted,
               server->metrics.connections_refused);
    metrics_json(&ex->out, &server->metrics);
    buf_cstr(&ex->out, ",\"models\":[");
    buf_str(&ex->out, buf_view(&models));
    buf_cstr(&ex->out, "]}\n");
    buf_release(&models);
    exchange_reply(ex, ready ? 200 : 503, "application/json", buf_view(&ex->out));
    return true;
}
