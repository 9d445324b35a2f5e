/* health.c - GET /health: can it serve, and how busy is it. 200 if any model can be served, 503 if
 * not yet. A model that isn't in memory can be: it is loaded when asked for. One can't be while all
 * who answer for it are away; then the status says "degraded". */
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

/* Those that it chooses from. */
static void put_members(struct buf *out, struct backend *backend)
{
    struct backend_member member;

    if (!backend->ops->member)
        return;
    buf_cstr(out, "\"members\":[");
    for (size_t i = 0; backend->ops->member(backend, i, &member); i++) {
        buf_cstr(out, i ? ",{\"name\":" : "{\"name\":");
        json_quote(out, str_of(member.name));
        buf_printf(out,
                   ",\"kind\":\"%s\",\"state\":\"%s\",\"retry_ms\":%" PRIu64 ",\"running\":%u,"
                   "\"served\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"moved\":%" PRIu64 ",\"why\":",
                   member.kind, member.state, member.retry_ms, member.running, member.served,
                   member.failed, member.moved);
        if (member.why)
            json_quote(out, str_of(member.why));
        else
            buf_cstr(out, "null");
        buf_char(out, '}');
    }
    buf_cstr(out, "],");
}

static void put_backend(struct buf *out, struct backend *backend,
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
    put_members(out, backend);
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
    bool all = true, any = false;
    size_t rss = 0;

    (void)err;
    for (size_t i = 0; ; i++) {
        struct backend *backend = backends_nth(server->backends, i);
        struct backend_status status = {0};
        if (!backend)
            break;
        backend->ops->status(backend, &status);
        all &= status.ready;
        any |= status.ready;
        if (i)
            buf_char(&models, ',');
        put_backend(&models, backend, &status);
    }
    uv_resident_set_memory(&rss);
    buf_printf(&ex->out,
               "{\"status\":\"%s\",\"server\":\"pensieve\",\"version\":\"%s\",\"uptime_s\":%.0f,"
               "\"memory\":{\"rss_bytes\":%zu},\"connections\":{\"open\":%u,\"max\":%u,"
               "\"accepted\":%" PRIu64 ",\"refused\":%" PRIu64 "},",
               !any ? "loading" : all ? "ok" : "degraded", server->options.version,
               clock_seconds_since(server->started_ns), rss, server->connections_open,
               server->options.connections_max, server->metrics.connections_accepted,
               server->metrics.connections_refused);
    metrics_json(&ex->out, &server->metrics);
    buf_cstr(&ex->out, ",\"models\":[");
    buf_str(&ex->out, buf_view(&models));
    buf_cstr(&ex->out, "]}\n");
    buf_release(&models);
    exchange_reply(ex, any ? 200 : 503, "application/json", buf_view(&ex->out));
    return true;
}
