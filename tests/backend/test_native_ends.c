/* The native backend on a real loop with a tiny real model: every generation tells its story in the right
 * order and ends exactly once, whatever is done to it and whenever; also while its model is not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/random.h"
#include "native_world.h"
#include "support/golden.h"

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

/* ---- a model that comes and goes ---- */

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
