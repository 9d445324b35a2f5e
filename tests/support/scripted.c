/* scripted.c - the real server with a model that is played: a program for tests of whole clients.
 *
 *     scripted SCRIPT.json [CONTEXT]
 *
 * A model small enough for tests can't plan, so that what an agent does with its calls, and what it
 * sends back, would never be seen. Here all is real but the model: decoding and checking of
 * requests, the parser that makes blocks of what a model writes, the writer of answers. What the
 * model writes comes from the script (script.h), a few characters at a time.
 *
 * Standard output: "... ready on URL", then a line of JSON for each request. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "backend/backends.h"
#include "backend/telling.h"
#include "base/io.h"
#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "chat/blocks.h"
#include "script.h"
#include "server/server.h"

#define MODEL "scripted-model"
#define KEY "pensieve-local-token"
#define TEMPLATE "<tool_call> <think></think>"  /* Hermes and Qwen: what a dialect is known by */

enum { PIECE_BYTES = 7, SCRIPT_BYTES_MAX = 1 << 20, CONTEXT = 200000, BYTES_A_TOKEN = 4 };

struct played {
    struct backend backend;             /* first: the backend's ops cast back to it */
    uv_loop_t loop;
    struct script script;
    struct signer signer;
    uint32_t retry_after_s;             /* of the turn that was refused last */
    uint32_t running;
    struct server *server;
};

/* Its memory goes with its timer's handle, after the exchange. */
struct generation {
    struct played *played;
    uv_timer_t timer;
    const struct turn *turn;
    struct blocks blocks;
    struct telling telling;
    size_t at;                          /* so much of the text was fed */
    bool started, cancelled, silent;
    uint32_t input_tokens;
};

struct count {
    uv_timer_t timer;
    count_fn *on_count;
    void *context;
    uint32_t tokens;
};

static uint32_t tokens_of(struct str text)
{
    return (uint32_t)(text.n / BYTES_A_TOKEN + 1);
}

/* ---- an answer ---- */

static void on_block(void *context, const struct blocks_event *event)
{
    static const int kinds[] = {[BLOCKS_OPEN] = SAYING_OPEN, [BLOCKS_DELTA] = SAYING_MORE,
                                [BLOCKS_CLOSE] = SAYING_CLOSE};
    struct generation *generation = context;

    telling_say(&generation->telling,
                &(struct saying){.kind = kinds[event->kind], .type = event->type,
                                 .broken = event->broken,
                                 .text = event->kind == BLOCKS_OPEN ? event->name : event->text});
}

static void free_generation(uv_handle_t *handle)
{
    free(handle->data);
}

static void end(struct generation *generation, const struct gen_event *last)
{
    generation->played->running--;
    generation->telling.on_event(generation->telling.context, last);
    telling_release(&generation->telling);
    blocks_release(&generation->blocks);
    uv_close((uv_handle_t *)&generation->timer, free_generation);
}

static void finish(struct generation *generation)
{
    const struct turn *turn = generation->turn;
    struct telling *telling = &generation->telling;

    if (turn->error.code) {
        end(generation, &(struct gen_event){.type = GEN_FAILED, .error = turn->error});
        return;
    }
    blocks_end(&generation->blocks, on_block, generation);
    telling_end(telling);
    end(generation, &(struct gen_event){
        .type = GEN_DONE,
        .stop_reason = turn->cut ? STOP_MAX_TOKENS
                                 : telling->called ? STOP_TOOL_USE : STOP_END_TURN,
        .usage = {.input_tokens = generation->input_tokens,
                  .output_tokens = tokens_of(turn->text)},
    });
}

/* One event or piece a turn of the loop, as a model's tokens come. */
static void on_timer(uv_timer_t *timer)
{
    struct generation *generation = timer->data;
    const struct str text = generation->turn->text;
    struct str piece = {text.s + generation->at, text.n - generation->at};

    if (generation->cancelled) {
        struct gen_event event = {.type = GEN_FAILED};
        err_set(&event.error, ERR_CANCELLED, "cancelled");
        end(generation, &event);
    } else if (!generation->started) {
        generation->started = true;
        generation->telling.on_event(generation->telling.context, &(struct gen_event){
            .type = GEN_STARTED, .usage = {.input_tokens = generation->input_tokens}});
    } else if (piece.n == 0) {
        finish(generation);
    } else {
        piece = utf8_cut(piece, PIECE_BYTES);
        generation->at += piece.n;
        blocks_feed(&generation->blocks, piece, false, on_block, generation);
    }
}

static void start_timer(struct generation *generation, uint64_t ms)
{
    uv_timer_start(&generation->timer, on_timer, ms, 1);
}

static void say_request(const struct played *played, const struct message_request *request,
                        const struct turn *turn)
{
    struct buf line = {0};

    buf_printf(&line, "{\"turn\":%td,\"agent\":", turn ? turn - played->script.turns : -1);
    json_quote(&line, request->caller.agent);
    buf_cstr(&line, ",\"body\":");
    json_quote(&line, request->body);
    buf_cstr(&line, "}\n");
    fwrite(line.data, 1, line.n, stdout);
    fflush(stdout);
    buf_release(&line);
}

static struct generation *generate(struct backend *backend, struct arena *arena,
                                   const struct message_request *request, gen_event_fn *on_event,
                                   void *context, struct err *err)
{
    struct played *played = (struct played *)backend;
    const struct turn *turn = script_turn(&played->script, request);

    say_request(played, request, turn);
    played->retry_after_s = turn ? turn->retry_after_s : 0;
    if (!turn) {
        err_set(err, ERR_INVALID, "the script has no turn for this request");
        return NULL;
    }
    if (turn->error.code && turn->text.n == 0) {
        *err = turn->error;
        return NULL;
    }
    struct generation *generation = calloc(1, sizeof *generation);
    *generation = (struct generation){
        .played = played, .turn = turn, .input_tokens = tokens_of(request->body),
        .telling = {.arena = arena, .signer = &played->signer, .on_event = on_event,
                    .context = context, .omitted = request->thinking.omitted},
    };
    generation->telling.silent = &generation->silent;
    blocks_init(&generation->blocks, &(struct blocks_options){
        .dialect = dialect_find(STR(TEMPLATE)),
        .tools = request->tools_n > 0 && request->tool_choice.kind != CHOICE_NONE});
    uv_timer_init(&played->loop, &generation->timer);
    generation->timer.data = generation;
    start_timer(generation, turn->delay_ms);
    played->running++;
    return generation;
}

static void pause_generation(struct generation *generation)
{
    uv_timer_stop(&generation->timer);
}

static void resume_generation(struct generation *generation)
{
    start_timer(generation, 0);
}

static void cancel_generation(struct generation *generation)
{
    generation->cancelled = generation->silent = true;
    start_timer(generation, 0);
}

/* ---- the rest of a backend ---- */

static void on_count_timer(uv_timer_t *timer)
{
    struct count *count = timer->data;

    count->on_count(count->context, count->tokens, NULL);
    uv_close((uv_handle_t *)timer, free_generation);
}

static bool count(struct backend *backend, struct arena *arena,
                  const struct message_request *request, count_fn *on_count, void *context,
                  struct err *err)
{
    struct count *count = calloc(1, sizeof *count);

    *count = (struct count){.on_count = on_count, .context = context,
                            .tokens = tokens_of(request->body)};
    uv_timer_init(&((struct played *)backend)->loop, &count->timer);
    count->timer.data = count;
    uv_timer_start(&count->timer, on_count_timer, 0, 0);
    return true;
}

static void status(struct backend *backend, struct backend_status *out)
{
    const struct played *played = (const struct played *)backend;

    *out = (struct backend_status){.ready = true, .state = "ready", .kind = "scripted",
                                   .running = played->running, .sequences_max = 64,
                                   .retry_after_s = played->retry_after_s};
}

static void free_backend(struct backend *backend)
{
}

static const struct backend_ops ops = {
    .kind = "scripted", .generate = generate, .count = count, .pause = pause_generation,
    .resume = resume_generation, .cancel = cancel_generation, .status = status,
    .free = free_backend,
};

/* ---- the program ---- */

static void on_signal(uv_signal_t *handle, int number)
{
    struct played *played = handle->data;

    server_drain(played->server);
    server_drain(played->server);       /* twice: at once */
    uv_close((uv_handle_t *)handle, NULL);
}

static bool read_script(struct arena *arena, const char *path, struct script *out, struct err *err)
{
    char *bytes = arena_alloc(arena, SCRIPT_BYTES_MAX);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? -1 : io_read(fd, bytes, SCRIPT_BYTES_MAX, 0);

    if (fd >= 0)
        close(fd);
    return n < 0 ? err_set(err, ERR_IO, "%s: %s", path, strerror(errno))
                 : script_read(arena, (struct str){bytes, (size_t)n}, out, err);
}

static bool serve(struct played *played, struct err *err)
{
    static const struct str keys[] = {{KEY, sizeof KEY - 1}};
    static const struct hash_key secret[2] = {{1, 2}, {3, 4}};
    const struct server_options options = {
        .host = "127.0.0.1", .keys = keys, .keys_n = 1, .head_bytes_max = 64 << 10,
        .connections_max = 256, .body_bytes_max = 32 << 20, .head_timeout_ms = 10000,
        .body_timeout_ms = 60000, .idle_timeout_ms = 300000, .ping_ms = 5000,
        .keepalive_content_ms = 20000, .drain_ms = 1000, .version = "scripted",
    };
    struct backends *backends = backends_new();
    uv_signal_t ending;

    signer_init(&played->signer, secret);
    backends_add(backends, &played->backend);
    played->server = server_new(&played->loop, backends, &options, err);
    if (played->server) {
        uv_signal_init(&played->loop, &ending);
        ending.data = played;
        uv_signal_start(&ending, on_signal, SIGTERM);
        printf("scripted ready on http://127.0.0.1:%u\n", server_port(played->server));
        fflush(stdout);
        uv_run(&played->loop, UV_RUN_DEFAULT);
        server_free(played->server);
    }
    backends_free(backends);
    return played->server != NULL;
}

int main(int argc, char **argv)
{
    const uint32_t context = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : CONTEXT;
    struct played played = {
        .backend = {.ops = &ops, .card = {.id = STR(MODEL), .display_name = STR("Scripted"),
                                          .max_input_tokens = context, .max_tokens = context}},
    };
    struct arena *arena = arena_new(1 << 16);
    struct err err = {0};

    uv_loop_init(&played.loop);
    bool served = argc > 1 ? read_script(arena, argv[1], &played.script, &err)
                           : err_set(&err, ERR_USAGE, "usage: scripted SCRIPT.json [CONTEXT]");
    served = served && serve(&played, &err);
    if (!served)
        fprintf(stderr, "scripted: %s\n", err.text);
    arena_free(arena);
    return uv_loop_close(&played.loop) == 0 && served ? 0 : 1;
}
