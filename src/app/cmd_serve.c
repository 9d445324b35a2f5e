/* cmd_serve.c - the server's life: open its models, listen, say so, and end in order.
 *
 * The order of ending is the hard thing: the server first lets go of its connections and the loop
 * returns by itself; only then may the backends, and with them the engine, be freed, which leaves
 * closing handles on the loop for one last turn. */
#include "app/app.h"

#include <stdlib.h>
#include <uv.h>

#include "app/serve_models.h"
#include "backend/memory.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/server.h"

struct serve {
    uv_loop_t loop;
    uv_signal_t signals[2];
    struct memory *memory;
    struct backends *backends;
    struct server *server;
};

static void on_signal(uv_signal_t *handle, int signum)
{
    struct serve *serve = handle->data;
    log_event(LOG_INFO, "shutdown", "signal=%s", signum == SIGTERM ? "SIGTERM" : "SIGINT");
    server_drain(serve->server);
}

static bool signals_start(struct serve *serve, struct err *err)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < 2; i++) {
        uv_signal_init(&serve->loop, &serve->signals[i]);
        serve->signals[i].data = serve;
        int rc = uv_signal_start(&serve->signals[i], on_signal, numbers[i]);
        if (rc != 0) {
            return err_set(err, ERR_IO, "signals: %s", uv_strerror(rc));
        }
        uv_unref((uv_handle_t *)&serve->signals[i]);    /* they alone keep nothing running */
    }
    return true;
}

static struct server_options server_options(const struct config *config)
{
    return (struct server_options){
        .host = config->host,
        .port = (uint16_t)config->port,
        .keys = config->keys.items,
        .keys_n = config->require_key ? config->keys.n : 0,
        .keys_configured = config->require_key && config->keys_configured,
        .allowed_hosts = config->allowed_hosts.items,
        .allowed_hosts_n = config->allowed_hosts.n,
        .allowed_origins = config->allowed_origins.items,
        .allowed_origins_n = config->allowed_origins.n,
        .cache_shared = config->cache_shared,
        .strict = config->strict,
        .head_bytes_max = (uint32_t)config->head_bytes_max,
        .connections_max = (uint32_t)config->connections_max,
        .body_bytes_max = config->body_bytes_max,
        .head_timeout_ms = (uint32_t)config->head_timeout_ms,
        .body_timeout_ms = (uint32_t)config->body_timeout_ms,
        .idle_timeout_ms = (uint32_t)config->idle_timeout_ms,
        .ping_ms = (uint32_t)config->ping_ms,
        .keepalive_content_ms = (uint32_t)config->keepalive_ms,
        .drain_ms = (uint32_t)config->drain_ms,
        .trace_dir = config->trace_dir[0] ? config->trace_dir : NULL,
        .version = PENSIEVE_VERSION,
    };
}

struct str app_url(const struct config *config, struct arena *arena, uint16_t port)
{
    const char *host = config->host;
    if (strcmp(host, "0.0.0.0") == 0) {
        host = "127.0.0.1";
    } else if (strcmp(host, "::") == 0) {
        host = "::1";
    }
    bool six = strchr(host, ':') != NULL;
    return arena_printf(arena, "http://%s%s%s:%u", six ? "[" : "", host, six ? "]" : "", port);
}

/* The most used weight format: what a person calls the model's quantisation. */
static struct str main_type(struct str types)
{
    const char *space = types.n > 0 ? memchr(types.s, ' ', types.n) : NULL;
    return (struct str){types.s, space ? (size_t)(space - types.s) : types.n};
}

/* What answers where nobody asks for another: "NAME TYPE, N tokens, ...", or who gets it. */
static struct str default_text(const struct config *config, struct arena *arena,
                               const struct serve_default *model)
{
    struct backend *backend = model->backend;
    struct str id = backend->card.id, text;
    struct backend_member member;
    if (model->engine) {
        const struct model_info *info = engine_info(model->engine);
        text = main_type(info->types);
        return arena_printf(arena, "%.*s %.*s, %u tokens, %u threads, %s", STR_ARG(id),
                            STR_ARG(text), info->context, app_threads(config),
                            engine_cpu(model->engine));
    }
    text = arena_printf(arena, "%.*s, %s", STR_ARG(id), backend->ops->kind);
    for (size_t i = 0; backend->ops->member && backend->ops->member(backend, i, &member); i++) {
        text = arena_printf(arena, "%.*s%s%s", STR_ARG(text), i ? ", " : " of ", member.name);
    }
    return text;
}

static void say_ready(const struct config *config, struct arena *arena, uint16_t port,
                      const struct serve_default *model, double seconds)
{
    struct str url = app_url(config, arena, port);
    struct str text = default_text(config, arena, model);
    printf("pensieve %s ready on %s - %.*s, loaded in %.0f ms\n", PENSIEVE_VERSION, url.s,
           STR_ARG(text), seconds * 1e3);
    /* A key of the person's own is not written to a terminal or a log. */
    const char *key = config->keys_configured ? "YOUR-KEY" : config->keys.items[0].s;
    struct str header = config->require_key
                            ? arena_printf(arena, "-H 'Authorization: Bearer %s' ", key)
                            : STR("");
    printf("curl -N %s/v1/messages %.*s-H 'Content-Type: application/json' \\\n"
           "  -d '{\"model\":\"claude-3-sonnet-20240229\",\"max_tokens\":15,\"stream\":true,"
           "\"messages\":[{\"role\":\"user\",\"content\":\"Count to 3\"}]}'\n",
           url.s, STR_ARG(header));
    if (model->more) {
        printf("%zu more: %s/v1/models lists them\n", model->more, url.s);
    }
    fflush(stdout);
}

/* Everything between an initialised loop and its end; what it made is freed by the caller. */
static bool serve_run(struct serve *serve, const struct config *config, struct arena *arena,
                      struct err *err)
{
    uint64_t start = clock_ns();
    struct serve_default model;
    serve->memory = memory_new(&serve->loop, serve_memory_max(config), config->model_idle_ms);
    serve->backends = backends_new();
    if (!serve_models(config, arena, &serve->loop, serve->memory, serve->backends, &model, err)) {
        return false;
    }
    struct server_options chosen = server_options(config);
    serve->server = server_new(&serve->loop, serve->backends, &chosen, err);
    if (!serve->server || !signals_start(serve, err)) {
        return false;
    }
    say_ready(config, arena, server_port(serve->server), &model, clock_seconds_since(start));
    uv_run(&serve->loop, UV_RUN_DEFAULT);
    log_event(LOG_INFO, "stopped", "version=%s", PENSIEVE_VERSION);
    return true;
}

static void close_signal(uv_handle_t *handle, void *context)
{
    if (handle->type == UV_SIGNAL && !uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

bool cmd_serve(const struct config *config, struct arena *arena, struct err *err)
{
    struct serve serve = {0};
    int rc = uv_loop_init(&serve.loop);
    if (rc != 0) {
        return err_set(err, ERR_IO, "event loop: %s", uv_strerror(rc));
    }
    bool served = serve_run(&serve, config, arena, err);
    if (serve.server && !served) {
        server_drain(serve.server);     /* twice: at once */
        server_drain(serve.server);
        uv_run(&serve.loop, UV_RUN_DEFAULT);
    }
    if (serve.server) {
        server_free(serve.server);
    }
    if (serve.backends) {
        backends_free(serve.backends);
    }
    memory_free(serve.memory);
    uv_walk(&serve.loop, close_signal, NULL);
    uv_run(&serve.loop, UV_RUN_DEFAULT);
    rc = uv_loop_close(&serve.loop);
    if (served && rc != 0) {
        return err_set(err, ERR_INTERNAL, "event loop at the end: %s", uv_strerror(rc));
    }
    return served;
}
