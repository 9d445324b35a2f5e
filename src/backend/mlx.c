/* mlx.c - the processes that run an MLX model, as a backend: which of them there are, what each of their
 * lines means, and who gets the next request. docs/mlx-protocol.md is what they speak.
 *
 * A conversation goes to the process that has its keys and values, unless that one has more to do than
 * another. The model's template comes from the process as well, so that the server never reads the
 * model's folder: until one was ready once, requests wait. */
#include "backend/mlx.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "backend/mlx_parts.h"
#include "base/log.h"
#include "chat/dialect.h"

enum { PATH_BYTES_MAX = 4096, MORE_TO_DO = 2 };

/* Relative to the program's folder: installed, and as it lies in the folder it was built in. */
static const char *const script_places[] = {
    "../share/pensieve/mlx_inference.py",
    "../../../../bridge/mlx_inference.py",
};

bool mlx_script(char *out, size_t size, struct err *err)
{
    char program[PATH_BYTES_MAX];
    size_t n = sizeof program;
    const int rc = uv_exepath(program, &n);

    if (rc)
        return err_set(err, ERR_IO, "where this program lies: %s", uv_strerror(rc));
    const size_t folder = n - str_last_part((struct str){program, n}).n;
    for (size_t i = 0; i < sizeof script_places / sizeof *script_places; i++) {
        const int written = snprintf(out, size, "%.*s%s", (int)folder, program, script_places[i]);
        if (written > 0 && (size_t)written < size && access(out, R_OK) == 0)
            return true;
    }
    return err_set(err, ERR_IO, "mlx_inference.py is neither in %.*s../share/pensieve nor in the "
                   "source tree", (int)folder, program);
}

/* ---- who gets a request ---- */

bool mlx_hopes(const struct mlx *mlx)
{
    for (uint32_t i = 0; i < mlx->options.processes; i++)
        if (!mlx->bridges[i].broken)
            return true;
    return false;
}

struct bridge *mlx_choose(struct mlx *mlx, uint64_t flow, bool answers)
{
    struct bridge *home = &mlx->bridges[flow % mlx->options.processes], *best = NULL;
    const uint32_t room = answers ? mlx->options.sequences_max : UINT32_MAX;

    for (uint32_t i = 0; i < mlx->options.processes; i++) {
        struct bridge *bridge = &mlx->bridges[i];
        if (child_state(bridge->child) == CHILD_READY && bridge->running < room &&
            (!best || bridge->running < best->running))
            best = bridge;
    }
    if (best && child_state(home->child) == CHILD_READY && home->running < room &&
        home->running < best->running + MORE_TO_DO)
        return home;
    return best;
}

/* ---- what a process says ---- */

/* The first one tells what the model is; those after it run the same folder. */
static bool learn(struct mlx *mlx, const struct mlx_line *ready, struct err *err)
{
    struct model_card *card = &mlx->backend.card;
    struct str open, close;

    if (mlx->known)
        return true;
    if (ready->chat_template.n) {
        mlx->tmpl = template_new(ready->chat_template, ready->bos, ready->eos, err);
        if (!mlx->tmpl)
            return err_prefix(err, "chat template");
    }
    card->thinks = dialect_thinks(template_dialect(mlx->tmpl), &open, &close);
    card->effort = template_has_efforts(mlx->tmpl);
    mlx->context = ready->context;
    if (card->max_input_tokens == 0)
        card->max_input_tokens = ready->context;
    if (card->max_tokens == 0)
        card->max_tokens = ready->context;
    mlx->known = true;
    return true;
}

static bool take_ready(struct bridge *bridge, const struct mlx_line *line, struct err *err)
{
    if (line->protocol != MLX_PROTOCOL)
        return err_set(err, ERR_FORMAT, "it speaks protocol %u, and not %d", line->protocol,
                       MLX_PROTOCOL);
    if (child_state(bridge->child) != CHILD_STARTING)
        return err_set(err, ERR_FORMAT, "it is ready a second time");
    if (!learn(bridge->mlx, line, err))
        return false;
    bridge->broken = false;
    bridge->was_ready = true;
    child_ready(bridge->child);
    log_event(LOG_INFO, "mlx_ready", "name=%s context=%u", bridge->name, line->context);
    uv_async_send(&bridge->mlx->wake);
    return true;
}

static bool take_line(struct bridge *bridge, struct str text, const struct mlx_line *line,
                      struct err *err)
{
    switch (line->type) {
    case MLX_READY:
        return take_ready(bridge, line, err);
    case MLX_FATAL:
        return err_set(err, ERR_FORMAT, "%.*s", STR_ARG(line->message));
    case MLX_ALIVE:
        return true;
    default:
        return answers_line(bridge, text, line, err);
    }
}

static void on_line(void *context, struct str text)
{
    struct bridge *bridge = context;
    struct mlx_line line;
    struct err err;

    arena_reset(bridge->mlx->line);
    if (!mlx_line_read(bridge->mlx->line, text, &line, &err) ||
        !take_line(bridge, text, &line, &err))
        child_end(bridge->child, "%s", err.text);
}

static void on_down(void *context, const char *why)
{
    struct bridge *bridge = context;
    struct mlx *mlx = bridge->mlx;

    snprintf(bridge->why, sizeof bridge->why, "%s", why);
    mlx->why = bridge->why;
    bridge->failed++;
    bridge->broken = !bridge->was_ready;
    bridge->was_ready = false;
    answers_lost(bridge, why);
    uv_async_send(&mlx->wake);
}

/* ---- the backend ---- */

static void mlx_status(struct backend *backend, struct backend_status *status)
{
    const struct mlx *mlx = mlx_of(backend);
    const struct mlx_options *options = &mlx->options;

    *status = (struct backend_status){
        .ready = mlx_hopes(mlx), .state = "loading", .kind = backend->ops->kind,
        .queued = mlx->answers_waiting, .queue_max = options->queue_max,
        .sequences_max = options->processes * options->sequences_max,
        .prompt_tokens = mlx->prompt_tokens, .cached_tokens = mlx->cached_tokens,
        .output_tokens = mlx->output_tokens, .prefill_tokens = mlx->prefill_tokens,
    };
    for (uint32_t i = 0; i < options->processes; i++) {
        status->running += mlx->bridges[i].running;
        if (child_state(mlx->bridges[i].child) == CHILD_READY)
            status->state = "ready";
    }
}

static bool mlx_member(struct backend *backend, size_t i, struct backend_member *out)
{
    static const char *const states[] = {
        [CHILD_STARTING] = "trying", [CHILD_READY] = "ready", [CHILD_ENDING] = "trying",
        [CHILD_RESTING] = "resting",
    };
    const struct mlx *mlx = mlx_of(backend);

    if (i >= mlx->options.processes)
        return false;
    const struct bridge *bridge = &mlx->bridges[i];
    *out = (struct backend_member){
        .name = bridge->name, .kind = backend->ops->kind,
        .state = states[child_state(bridge->child)], .retry_ms = child_rests_ms(bridge->child),
        .running = bridge->running, .served = bridge->served, .failed = bridge->failed,
        .why = bridge->why[0] ? bridge->why : NULL,
    };
    return true;
}

static void closed(uv_handle_t *wake)
{
    struct mlx *mlx = wake->data;

    template_free(mlx->tmpl);
    arena_free(mlx->line);
    arena_free(mlx->arena);             /* mlx lies in it */
}

static void mlx_free(struct backend *backend)
{
    struct mlx *mlx = mlx_of(backend);

    assert(mlx->alive == 0);
    for (uint32_t i = 0; i < mlx->options.processes; i++)
        child_free(mlx->bridges[i].child);
    uv_close((uv_handle_t *)&mlx->wake, closed);
}

static const struct backend_ops mlx_ops = {
    .kind = "mlx", .generate = mlx_generate, .count = mlx_count, .pause = mlx_pause,
    .resume = mlx_resume, .cancel = mlx_cancel, .status = mlx_status, .member = mlx_member,
    .free = mlx_free,
};

static const char *number(struct arena *arena, uint64_t n)
{
    return arena_printf(arena, "%llu", (unsigned long long)n).s;
}

static void set_argv(struct mlx *mlx)
{
    const struct mlx_options *options = &mlx->options;
    const char *const argv[] = {
        options->python, options->script, "--serve", "--model-path", options->model_path,
        "--batch", number(mlx->arena, options->sequences_max),
        "--context", number(mlx->arena, options->context),
        "--cache-bytes", number(mlx->arena, options->cache_bytes), NULL,
    };

    _Static_assert(sizeof argv <= sizeof mlx->argv, "room for all arguments");
    memcpy(mlx->argv, argv, sizeof argv);
}

static uint32_t or_default(uint32_t value, uint32_t instead)
{
    return value ? value : instead;
}

/* Copies texts, fills in what was left out. */
static bool take_options(struct mlx *mlx, const struct mlx_options *given, struct err *err)
{
    struct mlx_options *options = &mlx->options;
    struct model_card *card = &mlx->backend.card;
    char script[PATH_BYTES_MAX];

    if (!given->model_path || !*given->model_path)
        return err_set(err, ERR_USAGE, "an MLX model needs a folder");
    if (given->processes > MLX_PROCESSES_MAX)
        return err_set(err, ERR_USAGE, "at most %d processes run one model", MLX_PROCESSES_MAX);
    if (given->sequences_max > MLX_SEQUENCES_MAX)
        return err_set(err, ERR_USAGE, "a process works on at most %d answers at once",
                       MLX_SEQUENCES_MAX);
    if (!given->script && !mlx_script(script, sizeof script, err))
        return false;
    *options = *given;
    options->processes = or_default(given->processes, 1);
    options->sequences_max = or_default(given->sequences_max, MLX_SEQUENCES);
    options->queue_max = or_default(given->queue_max, MLX_QUEUE);
    options->stall_ms = or_default(given->stall_ms, MLX_STALL_MS);
    options->start_ms = or_default(given->start_ms, MLX_START_MS);
    options->model_path = arena_cstr(mlx->arena, str_of(given->model_path));
    options->python = arena_cstr(mlx->arena, str_of(given->python ? given->python : "python3"));
    options->script = arena_cstr(mlx->arena, str_of(given->script ? given->script : script));
    *card = given->card;
    card->id = arena_str(mlx->arena, card->id);
    card->display_name = arena_str(mlx->arena, card->display_name);
    return true;
}

struct backend *mlx_new(uv_loop_t *loop, const struct mlx_options *options, struct err *err)
{
    struct arena *arena = arena_new(sizeof(struct mlx) + 4096);
    struct mlx *mlx = arena_alloc(arena, sizeof *mlx);

    mlx->backend.ops = &mlx_ops;
    mlx->loop = loop;
    mlx->arena = arena;
    if (!take_options(mlx, options, err)) {
        arena_free(arena);
        return NULL;
    }
    if (uv_async_init(loop, &mlx->wake, answers_go_on) != 0) {
        arena_free(arena);
        err_set(err, ERR_IO, "the event loop has no room for the model's backend");
        return NULL;
    }
    mlx->wake.data = mlx;
    uv_unref((uv_handle_t *)&mlx->wake);
    signer_init(&mlx->signer, NULL);
    mlx->line = arena_new(64 << 10);
    set_argv(mlx);
    const uint32_t n = mlx->options.processes;
    mlx->bridges = arena_array(arena, n, sizeof *mlx->bridges);
    for (uint32_t i = 0; i < n; i++) {
        struct bridge *bridge = &mlx->bridges[i];
        bridge->mlx = mlx;
        bridge->name = arena_printf(arena, "%.*s/%u", STR_ARG(mlx->backend.card.id), i).s;
        const struct child_options child = {
            .name = bridge->name, .argv = mlx->argv, .line_bytes_max = MLX_LINE_BYTES_MAX,
            .start_ms = mlx->options.start_ms, .stall_ms = mlx->options.stall_ms,
            .on_line = on_line, .on_down = on_down, .context = bridge,
        };
        bridge->child = child_new(loop, &child);
    }
    return &mlx->backend;
}
