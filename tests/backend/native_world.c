/* native_world.c - see native_world.h. */
#include "native_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/utf8.h"
#include "support/golden.h"

const char *cache_dir;

void world_open_seeded(struct world *world, uint32_t sequences_max, uint32_t queue_max,
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

void world_open(struct world *world, uint32_t sequences_max, uint32_t queue_max)
{
    world_open_seeded(world, sequences_max, queue_max, 0);
}

void world_run(struct world *world)
{
    uv_run(&world->loop, UV_RUN_DEFAULT);
}

void world_close(struct world *world)
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

void after(struct client *client, uint64_t ms, uv_timer_cb call)
{
    uv_timer_init(&client->world->loop, &client->timer);
    client->timer.data = client;
    uv_timer_start(&client->timer, call, ms, 0);
}

void client_cancel(struct client *client)
{
    client->cancelled = true;
    client->world->backend->ops->cancel(client->generation);
}

void client_pause(struct client *client)
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

const struct message_request *decode(struct arena *arena, const char *body)
{
    struct err err;
    const struct request_options options = {.version = API_V23};
    const struct message_request *request =
        request_decode(arena, arena_str(arena, str_of(body)), &options, &err);

    if (!request)
        fail_msg("%s: %s", body, err.text);
    return request;
}

void client_start(struct client *client, struct world *world, const char *body)
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

void client_free(struct client *client)
{
    assert_true(client->ended);
    buf_release(&client->text);
    arena_free(client->arena);
}

const char *body_of(struct arena *arena, const char *content, int max_tokens, const char *rest)
{
    return arena_printf(arena, "{\"model\":\"tiny\",\"max_tokens\":%d,\"temperature\":0,%s"
                        "\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}", max_tokens, rest,
                        content).s;
}

struct str reference(struct world *world, const char *content, int max_tokens)
{
    struct client client = {0};

    client_start(&client, world, body_of(world->arena, content, max_tokens, ""));
    world_run(world);
    assert_int_equal(client.last, GEN_DONE);
    const struct str text = arena_str(world->arena, buf_view(&client.text));
    client_free(&client);
    return text;
}
