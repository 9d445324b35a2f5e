/* The native backend on a real loop with a tiny real model: every generation tells its story in the
 * right order and ends exactly once, whatever is done to it and whenever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "backend/backend.h"
#include "backend/memory.h"
#include "base/random.h"
#include "base/utf8.h"
#include "pensieve/engine.h"
#include "support/folder.h"
#include "support/golden.h"

enum { CONTEXT = 256 };

/* ---- the world: a loop, an engine, the backend ---- */

static const char *cache_dir;           /* of the worlds that are opened; NULL: none */

struct world {
    struct arena *arena;
    uv_loop_t loop;
    struct engine *engine;
    struct memory *memory;
    struct backend *backend;
    struct engine_options options;      /* lazy: of what is opened when it is asked for */
    int opened;
    bool broken;
};

static void world_open_seeded(struct world *world, uint32_t sequences_max, uint32_t queue_max,
                              uint64_t seed)
{
    struct err err = {0};

    world->arena = arena_new(4096);
    const struct engine_options options = {
        .model_path = golden_path(world->arena, TINY "llama_tied/f16.gguf"), .threads = 2,
        .context = CONTEXT, .prefill_chunk = 32, .sequences_max = sequences_max,
        .queue_max = queue_max,
    };
    assert_int_equal(uv_loop_init(&world->loop), 0);
    world->engine = engine_open(&options, &err);
    if (!world->engine)
        fail_msg("%s", err.text);
    world->memory = memory_new(&world->loop, 0, 0);
    const struct native_options native = {
        .card = {.id = STR("tiny"), .display_name = STR("tiny")}, .engine = world->engine,
        .seeded = seed != 0, .seed = seed, .cache_dir = cache_dir,
    };
    world->backend = native_new(&world->loop, world->memory, &native, &err);
    assert_non_null(world->backend);
}

static void world_open(struct world *world, uint32_t sequences_max, uint32_t queue_max)
{
    world_open_seeded(world, sequences_max, queue_max, 0);
}

static struct engine *open_lazily(void *context, struct err *err)
{
    struct world *world = context;

    world->opened++;
    if (!world->broken)
        return world->engine = engine_open(&world->options, err);
    err_set(err, ERR_FORMAT, "tiny.gguf: byte 7: no");
    return NULL;
}

/* The model is not there before somebody asks, and goes as soon as the loop sees it idle. */
static void world_open_lazy(struct world *world)
{
    struct err err = {0};

    *world = (struct world){.arena = arena_new(4096)};
    world->options = (struct engine_options){
        .model_path = golden_path(world->arena, TINY "llama_tied/f16.gguf"), .threads = 2,
        .context = CONTEXT,
    };
    assert_int_equal(uv_loop_init(&world->loop), 0);
    world->memory = memory_new(&world->loop, 0, 1);
    char id[] = "tiny";
    const struct native_options native = {
        .card = {.id = str_of(id), .display_name = STR("Tiny")}, .open = open_lazily,
        .context = world, .bytes = 1,
    };
    world->backend = native_new(&world->loop, world->memory, &native, &err);
    assert_non_null(world->backend);
    id[0] = 'x';
    assert_true(str_is(world->backend->card.id, "tiny"));       /* copied */
}

static struct backend_status status_of(struct world *world)
{
    struct backend_status status;

    world->backend->ops->status(world->backend, &status);
    return status;
}

/* Runs until nothing is under way: an idle backend keeps no loop from returning. */
static void world_run(struct world *world)
{
    uv_run(&world->loop, UV_RUN_DEFAULT);
}

static void world_close(struct world *world)
{
    struct backend_status status;

    world_run(world);
    for (int i = 0; i < 2000; i++) {            /* published after the last step */
        world->backend->ops->status(world->backend, &status);
        if (status.kv_bytes_used == 0)
            break;
        uv_sleep(1);
    }
    assert_int_equal(status.kv_bytes_used, 0);
    assert_int_equal(status.queued, 0);
    world->backend->ops->free(world->backend);
    memory_free(world->memory);
    world_run(world);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    arena_free(world->arena);
}

/* ---- a client: one generation, its story written down and checked as it comes ---- */

struct client {
    struct world *world;
    struct arena *arena;
    const struct message_request *request;
    struct generation *generation;
    struct buf text;
    uint32_t deltas, events_after_pause;
    bool started, open, closed, ended;
    struct usage usage;
    struct reuse reuse;
    enum gen_event_type last;
    enum stop_reason stop_reason;
    char stop_sequence[64];
    struct err error;
    struct str prompt;
    /* What to do when. */
    bool cancel_at_start, cancelled, paused;
    uint32_t cancel_at_delta, pause_at_delta;
    uv_timer_cb after_pause;            /* some time after it, however slow the machine is */
    uv_timer_t timer;
};

static void after(struct client *client, uint64_t ms, uv_timer_cb call)
{
    uv_timer_init(&client->world->loop, &client->timer);
    client->timer.data = client;
    uv_timer_start(&client->timer, call, ms, 0);
}

static void client_cancel(struct client *client)
{
    client->cancelled = true;
    client->world->backend->ops->cancel(client->generation);
}

static void client_pause(struct client *client)
{
    client->paused = true;
    client->world->backend->ops->pause(client->generation);
    after(client, 60, client->after_pause);
}

static void on_started(struct client *client, const struct gen_event *event)
{
    assert_false(client->started);
    client->started = true;
    client->usage = event->usage;
    assert_true(event->prompt.n > 0);
    client->prompt = arena_str(client->arena, event->prompt);
    if (client->cancel_at_start)
        client_cancel(client);
}

static void on_delta(struct client *client, const struct gen_event *event)
{
    assert_true(client->open && !client->closed);
    assert_int_equal(event->block_index, 0);
    assert_true(event->text.n > 0);
    assert_true(utf8_valid(event->text));
    assert_false(client->cancelled);
    buf_str(&client->text, event->text);
    client->deltas++;
    client->events_after_pause += client->paused;
    if (client->deltas == client->cancel_at_delta)
        client_cancel(client);
    if (client->deltas == client->pause_at_delta)
        client_pause(client);
}

static void on_done(struct client *client, const struct gen_event *event)
{
    assert_true(client->started);
    assert_int_equal(client->open, client->closed);
    assert_int_equal(event->usage.input_tokens, client->usage.input_tokens);
    client->usage = event->usage;
    client->reuse = event->reuse;
    client->stop_reason = event->stop_reason;
    snprintf(client->stop_sequence, sizeof client->stop_sequence, "%.*s",
             STR_ARG(event->stop_sequence));
}

static void on_event(void *context, const struct gen_event *event)
{
    struct client *client = context;

    assert_false(client->ended);
    client->last = event->type;
    switch (event->type) {
    case GEN_STARTED:
        on_started(client, event);
        break;
    case GEN_BLOCK_START:
        assert_true(client->started && !client->open);
        assert_int_equal(event->block_type, BLOCK_TEXT);
        client->open = true;
        break;
    case GEN_DELTA:
        on_delta(client, event);
        break;
    case GEN_BLOCK_STOP:
        assert_true(client->open && !client->closed && client->text.n > 0);
        client->closed = true;
        break;
    case GEN_DONE:
        client->ended = true;
        on_done(client, event);
        break;
    case GEN_PASS:
        fail();
        break;
    case GEN_FAILED:
        client->ended = true;
        client->error = event->error;
        break;
    }
}

static const struct message_request *decode(struct arena *arena, const char *body)
{
    struct err err;
    const struct request_options options = {.version = API_V23};
    const struct message_request *request =
        request_decode(arena, arena_str(arena, str_of(body)), &options, &err);

    if (!request)
        fail_msg("%s: %s", body, err.text);
    return request;
}

static void client_start(struct client *client, struct world *world, const char *body)
{
    struct err err;

    client->world = world;
    client->arena = arena_new(4096);
    client->request = decode(client->arena, body);
    client->generation = world->backend->ops->generate(world->backend, client->arena,
                                                       client->request, on_event, client, &err);
    assert_non_null(client->generation);
    assert_int_equal(client->last, 0);
    assert_false(client->started);
}

static void client_free(struct client *client)
{
    assert_true(client->ended);
    buf_release(&client->text);
    arena_free(client->arena);
}

/* A greedy request; `rest` is more JSON. */
static const char *body_of(struct arena *arena, const char *content, int max_tokens,
                           const char *rest)
{
    return arena_printf(arena, "{\"model\":\"tiny\",\"max_tokens\":%d,\"temperature\":0,%s"
                        "\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}", max_tokens, rest,
                        content).s;
}

/* ---- what a generation says ---- */

static void test_story(void **state)
{
    struct world world;
    struct client client = {0};

    world_open(&world, 8, 0);
    client_start(&client, &world, body_of(world.arena, "Count to 3", 30, ""));
    world_run(&world);
    assert_int_equal(client.last, GEN_DONE);
    assert_true(client.closed);
    assert_int_equal(client.stop_reason, STOP_MAX_TOKENS);
    assert_int_equal(client.usage.output_tokens, 30);
    assert_int_equal(client.usage.cache_read, 0);
    assert_true(client.usage.input_tokens > 5);
    assert_non_null(memmem(client.prompt.s, client.prompt.n, "Count to 3", 10));
    /* Each token as it is sampled: the loop had nothing else to do, so next to none were joined. */
    assert_true(client.deltas >= 10);
    client_free(&client);
    world_close(&world);
}

static void on_count(void *context, uint32_t input_tokens, const struct err *error)
{
    assert_null(error);
    *(uint32_t *)context = input_tokens;
}

static void test_count_is_usage(void **state)
{
    static const char *const contents[] = {"a", "Count to 3", "<|im_end|> stays text",
                                           "d\\u00e9j\\u00e0 \\ud83d\\ude00 vu\\n\\n  x"};
    struct world world;
    struct err err;

    world_open(&world, 8, 0);
    for (size_t i = 0; i < 4; i++) {
        struct client client = {0};
        uint32_t counted = 0;
        struct arena *arena = arena_new(4096);
        const char *body = body_of(arena, contents[i], 1, "\"system\":\"Be brief.\",");
        assert_true(world.backend->ops->count(world.backend, arena, decode(arena, body), on_count,
                                              &counted, &err));
        client_start(&client, &world, body);
        world_run(&world);
        assert_true(counted > 0);
        assert_int_equal(client.usage.input_tokens, counted);
        client_free(&client);
        arena_free(arena);
    }
    world_close(&world);
}

static struct str reference(struct world *world, const char *content, int max_tokens)
{
    struct client client = {0};

    client_start(&client, world, body_of(world->arena, content, max_tokens, ""));
    world_run(world);
    assert_int_equal(client.last, GEN_DONE);
    const struct str text = arena_str(world->arena, buf_view(&client.text));
    client_free(&client);
    return text;
}

/* Every place of a known answer as a stop sequence: what comes is the answer up to its first
 * occurrence, and nothing of it. */
static void test_stop_sequences(void **state)
{
    struct world world;

    world_open(&world, 8, 0);
    const struct str whole = reference(&world, "Tell me", 40);
    assert_true(whole.n > 40);
    for (size_t at = 1; at + 12 < whole.n; at += 5) {
        struct client client = {0};
        struct str stop = {whole.s + at, 1 + at % 9};
        struct buf rest = {0};
        while (stop.n && utf8_incomplete_tail(stop))
            stop.n--;
        if (stop.n == 0 || !utf8_valid(stop) || strspn(stop.s, " \t\r\n") >= stop.n)
            continue;
        const char *found = memmem(whole.s, whole.n, stop.s, stop.n);
        buf_cstr(&rest, "\"stop_sequences\":[\"~never~\",");
        json_quote(&rest, stop);
        buf_cstr(&rest, "],");
        buf_char(&rest, '\0');
        client_start(&client, &world, body_of(world.arena, "Tell me", 40, rest.data));
        world_run(&world);
        assert_int_equal(client.last, GEN_DONE);
        assert_int_equal(client.stop_reason, STOP_STOP_SEQUENCE);
        assert_true(str_is(stop, client.stop_sequence));
        assert_true(str_equal(buf_view(&client.text),
                              (struct str){whole.s, (size_t)(found - whole.s)}));
        client_free(&client);
        buf_release(&rest);
    }
    world_close(&world);
}

static void test_limits(void **state)
{
    struct world world;
    struct client nothing = {0}, full = {0}, longest = {0}, too_long = {0};
    char content[2000];

    world_open(&world, 8, 0);
    client_start(&nothing, &world, body_of(world.arena, "Count", 0, ""));
    world_run(&world);
    assert_int_equal(nothing.last, GEN_DONE);
    assert_int_equal(nothing.stop_reason, STOP_MAX_TOKENS);
    assert_int_equal(nothing.usage.output_tokens, 0);
    assert_false(nothing.open);

    client_start(&full, &world, body_of(world.arena, "Count", 1000000, ""));
    world_run(&world);
    assert_int_equal(full.last, GEN_DONE);
    if (full.stop_reason != STOP_END_TURN) {
        assert_int_equal(full.stop_reason, STOP_CONTEXT_WINDOW);
        assert_int_equal(full.usage.input_tokens + full.usage.output_tokens, CONTEXT);
    }

    /* Characters the tiny vocabulary knows only as bytes: a token each. */
    const uint32_t frame = full.usage.input_tokens;
    uint32_t counted = 0;
    struct err err;
    size_t n = 0;
    while (counted < CONTEXT - 1) {
        content[n++] = '~';
        content[n] = '\0';
        struct arena *arena = arena_new(4096);
        assert_true(world.backend->ops->count(world.backend, arena,
                                              decode(arena, body_of(arena, content, 1, "")),
                                              on_count, &counted, &err));
        world_run(&world);
        arena_free(arena);
    }
    assert_true(frame < CONTEXT);
    assert_int_equal(counted, CONTEXT - 1);
    client_start(&longest, &world, body_of(world.arena, content, 9, ""));
    world_run(&world);
    assert_int_equal(longest.last, GEN_DONE);
    assert_int_equal(longest.usage.input_tokens, CONTEXT - 1);
    assert_int_equal(longest.usage.output_tokens, 1);
    content[n++] = '~';
    content[n] = '\0';
    client_start(&too_long, &world, body_of(world.arena, content, 9, ""));
    world_run(&world);
    assert_int_equal(too_long.last, GEN_FAILED);
    assert_false(too_long.started);
    assert_int_equal(too_long.error.code, ERR_INVALID);
    assert_string_equal(too_long.error.text, "prompt is too long: 256 tokens > 255 maximum");
    client_free(&nothing);
    client_free(&full);
    client_free(&longest);
    client_free(&too_long);
    world_close(&world);
}

static void test_seed(void **state)
{
    static const char body[] = "{\"model\":\"tiny\",\"max_tokens\":40,"
                               "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}";
    struct world world;
    struct client clients[4] = {0};

    for (int i = 0; i < 4; i++) {
        if (i % 2 == 0)
            world_open_seeded(&world, 8, 0, i == 2 ? 99 : 0);
        client_start(&clients[i], &world, body);
        world_run(&world);
        if (i == 1)
            world_close(&world);
    }
    assert_false(str_equal(buf_view(&clients[0].text), buf_view(&clients[1].text)));
    assert_true(str_equal(buf_view(&clients[2].text), buf_view(&clients[3].text)));
    for (int i = 0; i < 4; i++)
        client_free(&clients[i]);
    world_close(&world);
}

/* ---- a conversation ---- */

/* The tiny model says random tokens, which no tokenizer would cut its text into. */
static void add_turn(struct buf *messages, const char *role, struct str text)
{
    buf_printf(messages, "%s{\"role\":\"%s\",\"content\":", messages->n ? "," : "", role);
    json_quote(messages, text);
    buf_char(messages, '}');
}

static const char *talk_body(struct arena *arena, const struct buf *messages, uint32_t max_tokens,
                             const char *rest)
{
    return arena_printf(arena, "{\"model\":\"tiny\",\"max_tokens\":%u,%s\"messages\":[%.*s]}",
                        max_tokens, rest, (int)messages->n, messages->data).s;
}

static uint32_t count_of(struct world *world, const struct buf *messages)
{
    struct arena *arena = arena_new(4096);
    uint32_t counted = 0;
    struct err err;

    assert_true(world->backend->ops->count(world->backend, arena,
                                           decode(arena, talk_body(arena, messages, 1, "")),
                                           on_count, &counted, &err));
    world_run(world);
    arena_free(arena);
    return counted;
}

/* What one more turn of the user's costs behind an answer. */
static uint32_t turn_cost(struct world *world)
{
    struct buf messages = {0};

    add_turn(&messages, "user", STR("?"));
    add_turn(&messages, "assistant", STR("!"));
    const uint32_t begun = count_of(world, &messages);
    add_turn(&messages, "user", STR("And?"));
    const uint32_t all = count_of(world, &messages);
    buf_release(&messages);
    return all - begun;
}

/* Each prompt is, to the token, the one before, what was sampled, and the new turn; and what is computed
 * is the new turn and at most one page. Also when the client begins the answers; and what was sampled is
 * known to a new server, too. */
static void test_a_conversation_is_never_computed_twice(void **state)
{
    enum { PAGE = 64, TURNS = 4, TOKENS = 24 };

    struct arena *arena = arena_new(256);

    cache_dir = folder_new(arena);
    for (int begun = 0; begun < 2; begun++) {
        struct world world;
        struct buf messages = {0};
        uint32_t told = 0, total = 0;
        world_open_seeded(&world, 8, 0, 7 + (uint64_t)begun);
        const uint32_t cost = turn_cost(&world);
        add_turn(&messages, "user", STR("Count"));
        for (int turn = 0; turn < TURNS; turn++) {
            if (turn == TURNS / 2) {            /* a new server */
                world_close(&world);
                world_open_seeded(&world, 8, 0, 9);
                total = 0;
            }
            struct client client = {0};
            struct buf asked = {0}, answer = {0};
            const uint32_t prompt = count_of(&world, &messages);
            assert_true(turn == 0 || prompt == told + cost);
            buf_str(&asked, buf_view(&messages));
            if (begun) {
                buf_cstr(&answer, "Well: ");
                buf_cstr(&answer, "this");
                add_turn(&asked, "assistant", buf_view(&answer));
            }
            client_start(&client, &world, talk_body(world.arena, &asked, TOKENS, ""));
            world_run(&world);
            assert_int_equal(client.last, GEN_DONE);
            assert_true(client.reuse.known);
            assert_true(client.reuse.memory + PAGE >= total);
            assert_int_equal(client.reuse.memory + client.reuse.computed,
                             client.usage.input_tokens);
            total = client.usage.input_tokens + client.usage.output_tokens;
            told = total - (client.stop_reason == STOP_END_TURN);
            buf_str(&answer, buf_view(&client.text));
            assert_true(client.text.n > 0);
            add_turn(&messages, "assistant", buf_view(&answer));
            add_turn(&messages, "user", STR("And?"));
            client_free(&client);
            buf_release(&asked);
            buf_release(&answer);
        }
        buf_release(&messages);
        world_close(&world);
    }
    folder_remove(cache_dir);
    cache_dir = NULL;
    arena_free(arena);
    (void)state;
}

/* ---- what is done to it ---- */

static void check_cancelled(const struct client *client)
{
    assert_true(client->ended);
    if (client->last == GEN_FAILED)
        assert_int_equal(client->error.code, ERR_CANCELLED);
    assert_true(client->cancelled || client->last == GEN_DONE);
}

static void test_cancel_from_within(void **state)
{
    struct world world;

    world_open(&world, 8, 0);
    for (uint32_t k = 0; k < 40; k++) {
        struct client client = {.cancel_at_start = k == 0, .cancel_at_delta = k};
        client_start(&client, &world, body_of(world.arena, "Go on", 40, ""));
        world_run(&world);
        check_cancelled(&client);
        if (client.cancelled)
            assert_int_equal(client.deltas, k);
        client_free(&client);
    }
    world_close(&world);
}

static void cancel_timer(uv_timer_t *timer)
{
    struct client *client = timer->data;

    if (!client->ended)
        client_cancel(client);
    uv_close((uv_handle_t *)timer, NULL);
}

/* At once, while it is tokenised, queued, prefilled, decoded. One slot, so that most are queued. */
static void test_cancel_at_any_time(void **state)
{
    struct world world;
    struct client clients[24] = {0};

    world_open(&world, 1, 0);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 24; i++) {
            memset(&clients[i], 0, sizeof clients[i]);
            client_start(&clients[i], &world, body_of(world.arena, "Some words to begin", 60, ""));
            if (i % 4 == 0)
                client_cancel(&clients[i]);
            else
                after(&clients[i], (uint64_t)(round * 3 + i % 9), cancel_timer);
        }
        world_run(&world);
        for (int i = 0; i < 24; i++) {
            check_cancelled(&clients[i]);
            if (i % 4 == 0)
                assert_false(clients[i].started);
            client_free(&clients[i]);
        }
    }
    world_close(&world);
}

static void resume_timer(uv_timer_t *timer)
{
    struct client *client = timer->data;

    assert_false(client->ended);
    assert_int_equal(client->events_after_pause, 0);
    client->paused = false;
    client->world->backend->ops->resume(client->generation);
    uv_close((uv_handle_t *)timer, NULL);
}

static void test_pause(void **state)
{
    struct world world;

    world_open(&world, 8, 0);
    const struct str whole = reference(&world, "Slowly", 50);
    for (uint32_t k = 0; k < 12; k += 3) {
        struct client client = {.pause_at_delta = k, .after_pause = resume_timer};
        client_start(&client, &world, body_of(world.arena, "Slowly", 50, ""));
        if (k == 0)                             /* before anything is known of it */
            client_pause(&client);
        world_run(&world);
        assert_int_equal(client.last, GEN_DONE);
        assert_false(client.paused);            /* the pause came, and ended */
        assert_true(str_equal(buf_view(&client.text), whole));
        client_free(&client);
    }
    struct client client = {.pause_at_delta = 2, .after_pause = cancel_timer};  /* while paused */
    client_start(&client, &world, body_of(world.arena, "Slowly", 50, ""));
    world_run(&world);
    check_cancelled(&client);
    assert_int_equal(client.deltas, 2);
    client_free(&client);
    world_close(&world);
}

static void test_many_at_once(void **state)
{
    enum { MANY = 64 };
    struct world world;
    struct client *clients = calloc(MANY, sizeof *clients);

    world_open(&world, 16, 0);
    const struct str whole = reference(&world, "Everybody", 32);
    for (int i = 0; i < MANY; i++)
        client_start(&clients[i], &world, body_of(world.arena, "Everybody", 32, ""));
    struct backend_status status;
    world.backend->ops->status(world.backend, &status);
    assert_true(status.ready);
    assert_string_equal(status.kind, "native");
    assert_int_equal(status.sequences_max, 16);
    world_run(&world);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(clients[i].last, GEN_DONE);
        assert_true(str_equal(buf_view(&clients[i].text), whole));
        client_free(&clients[i]);
    }
    world.backend->ops->status(world.backend, &status);
    assert_true(status.output_tokens >= MANY);
    free(clients);
    world_close(&world);
}

static void test_queue_full(void **state)
{
    struct world world;
    struct client clients[12] = {0};
    int refused = 0;

    world_open(&world, 1, 2);
    for (int i = 0; i < 12; i++)
        client_start(&clients[i], &world, body_of(world.arena, "Me too", 40, ""));
    world_run(&world);
    for (int i = 0; i < 12; i++) {
        if (clients[i].last == GEN_FAILED) {
            assert_int_equal(clients[i].error.code, ERR_OVERLOADED);
            assert_false(clients[i].started);
            refused++;
        }
        client_free(&clients[i]);
    }
    assert_in_range(refused, 1, 11);
    world_close(&world);
}

/* Everything at once, by chance. */
static void nudge(uv_timer_t *timer)
{
    static struct rng rng = {{1, 2, 3, 4}};
    struct client *client = timer->data;
    const struct backend_ops *ops = client->world->backend->ops;
    const uint64_t dice = rng_next(&rng) % 10;

    if (client->ended) {
        uv_close((uv_handle_t *)timer, NULL);
        return;
    }
    if (dice < 3)
        ops->pause(client->generation);
    else if (dice < 9)
        ops->resume(client->generation);
    else
        client_cancel(client);
    uv_timer_start(timer, nudge, dice % 4, 0);
}

static void test_by_chance(void **state)
{
    enum { MANY = 100 };
    struct world world;
    struct client *clients = calloc(MANY, sizeof *clients);

    world_open(&world, 6, 0);
    for (int i = 0; i < MANY; i++) {
        client_start(&clients[i], &world, body_of(world.arena, "By chance", i, ""));
        after(&clients[i], (uint64_t)i % 20, nudge);
    }
    world_run(&world);
    for (int i = 0; i < MANY; i++) {
        check_cancelled(&clients[i]);
        client_free(&clients[i]);
    }
    free(clients);
    world_close(&world);
}

static const char hello[] = "{\"model\":\"tiny\",\"max_tokens\":3,\"temperature\":0,"
                            "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}";

static void on_counted(void *context, uint32_t tokens, const struct err *error)
{
    *(int64_t *)context = error ? -(int64_t)error->code : (int64_t)tokens;
}

static void nothing(uv_idle_t *idle) {}

/* A loop that nothing keeps from returning runs no timers: a server has its listener. */
static void world_until_unloaded(struct world *world)
{
    uv_idle_t alive;

    uv_idle_init(&world->loop, &alive);
    uv_idle_start(&alive, nothing);
    for (int i = 0; i < 5000 && strcmp(status_of(world).state, "unloaded") != 0; i++) {
        uv_run(&world->loop, UV_RUN_NOWAIT);
        uv_sleep(1);
    }
    uv_close((uv_handle_t *)&alive, NULL);
    uv_run(&world->loop, UV_RUN_NOWAIT);
    assert_string_equal(status_of(world).state, "unloaded");
}

/* Several that come at once wait for one load; it goes when idle, and comes again. */
static void test_loaded_when_asked_for(void **state)
{
    struct world world;

    world_open_lazy(&world);
    assert_string_equal(status_of(&world).state, "unloaded");
    assert_true(status_of(&world).ready);
    world_run(&world);
    assert_int_equal(world.opened, 0);
    for (int round = 1; round <= 2; round++) {
        struct client clients[4] = {0};
        int64_t counted = 0;
        struct err err;
        for (int i = 0; i < 4; i++)
            client_start(&clients[i], &world, hello);
        assert_true(world.backend->ops->count(world.backend, world.arena, clients[0].request,
                                              on_counted, &counted, &err));
        assert_int_equal(status_of(&world).queued, 5);
        world_run(&world);
        assert_int_equal(world.opened, round);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(clients[i].last, GEN_DONE);
            assert_int_equal(clients[i].usage.input_tokens, counted);
            client_free(&clients[i]);
        }
        world_until_unloaded(&world);
    }
    world_close(&world);
}

static void test_cannot_be_loaded(void **state)
{
    struct world world;
    struct client first = {0}, second = {0}, gone = {0};
    int64_t counted = 0;
    struct err err;

    world_open_lazy(&world);
    world.broken = true;
    client_start(&first, &world, hello);
    client_start(&gone, &world, hello);
    client_cancel(&gone);
    assert_true(world.backend->ops->count(world.backend, world.arena, first.request, on_counted,
                                          &counted, &err));
    world_run(&world);
    assert_int_equal(first.error.code, ERR_NOT_FOUND);
    assert_string_equal(first.error.text,
                        "model: tiny can't be loaded: tiny.gguf: byte 7: no");
    assert_int_equal(gone.error.code, ERR_CANCELLED);
    assert_int_equal(counted, -ERR_NOT_FOUND);
    world.broken = false;               /* a person has mended it */
    client_start(&second, &world, hello);
    world_run(&world);
    assert_int_equal(second.last, GEN_DONE);
    client_free(&first);
    client_free(&second);
    client_free(&gone);
    world_close(&world);
}

/* Paused while it waits, it must not start to talk when the model is there. */
static void test_cancelled_and_paused_before_the_model_is_there(void **state)
{
    struct world world;
    struct client cancelled = {0}, paused = {0};

    world_open_lazy(&world);
    client_start(&cancelled, &world, hello);
    client_start(&paused, &world, hello);
    world.backend->ops->pause(paused.generation);
    client_cancel(&cancelled);
    while (!cancelled.ended)
        uv_run(&world.loop, UV_RUN_ONCE);
    assert_int_equal(cancelled.error.code, ERR_CANCELLED);
    for (int i = 0, here = 0; here < 200; i++) {        /* and a while longer */
        uv_run(&world.loop, UV_RUN_NOWAIT);
        uv_sleep(1);
        here += strcmp(status_of(&world).state, "ready") == 0;
        assert_true(i < 60000);
    }
    assert_false(paused.ended);
    assert_int_equal(paused.deltas, 0);
    assert_string_equal(status_of(&world).state, "ready");      /* in use: it stays */
    world.backend->ops->resume(paused.generation);
    world_run(&world);
    assert_int_equal(paused.last, GEN_DONE);
    client_free(&cancelled);
    client_free(&paused);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_story),
        cmocka_unit_test(test_count_is_usage),
        cmocka_unit_test(test_stop_sequences),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_seed),
        cmocka_unit_test(test_a_conversation_is_never_computed_twice),
        cmocka_unit_test(test_cancel_from_within),
        cmocka_unit_test(test_cancel_at_any_time),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_queue_full),
        cmocka_unit_test(test_by_chance),
        cmocka_unit_test(test_loaded_when_asked_for),
        cmocka_unit_test(test_cannot_be_loaded),
        cmocka_unit_test(test_cancelled_and_paused_before_the_model_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
