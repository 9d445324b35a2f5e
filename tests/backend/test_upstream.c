/* test_upstream.c - which addresses and options are refused, and that whatever is asked of a server that is not
 * there ends exactly once, or not at all once the backend is freed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backend/upstream.h"
#include "base/log.h"

#define NOWHERE "http://127.0.0.1:1"

static struct upstream_options options_of(const char *url)
{
    return (struct upstream_options){.card = {.id = STR("m"), .display_name = STR("M")},
                                     .name = "far", .base_url = url};
}

/* err.text of what upstream_new says; "": it takes it. */
static void expect_new(const struct upstream_options *options, const char *word)
{
    struct err err = {0};
    uv_loop_t loop;

    uv_loop_init(&loop);
    struct backend *backend = upstream_new(&loop, options, &err);
    if (word[0]) {
        assert_null(backend);
        assert_int_equal(err.code, ERR_USAGE);
        if (!strstr(err.text, word))
            fail_msg("%s: %s", options->base_url, err.text);
    } else {
        assert_non_null(backend);
        backend->ops->free(backend);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_addresses(void **state)
{
    static const struct { const char *url, *word; bool insecure; } cases[] = {
        {"http://127.example.org", "TLS", false}, {"http://127.0.0.1.5", "TLS", false},
        {"http://127.1", "", false},
        {NOWHERE, "", false}, {"http://localhost:8000/base/", "", false}, {"http://[::1]:80", "", false},
        {"https://far.example", "", false}, {"http://10.0.0.5:8000", "TLS", false},
        {"http://localhost.example", "TLS", false}, {"http://far.example", "", true},
        {"ftp://127.0.0.1", "neither http", false}, {"http://u:p@127.0.0.1", "no user", false},
        {"http://127.0.0.1?key=1", "no user", false}, {"http://127.0.0.1#x", "no user", false},
        {"http://", "not an address", false}, {"", "not an address", false}, {NULL, "not an address", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct upstream_options options = options_of(cases[i].url);
        options.insecure = cases[i].insecure;
        expect_new(&options, cases[i].word);
    }
}

static void test_extra(void **state)
{
    struct upstream_options options = options_of(NOWHERE);

    (void)state;
    options.extra = "{\"a\":1}";
    expect_new(&options, "");
    options.kind = UPSTREAM_ANTHROPIC;
    expect_new(&options, "OpenAI");
    options.kind = UPSTREAM_OPENAI;
    options.extra = "[1]";
    expect_new(&options, "object");
    options.extra = "{";
    expect_new(&options, "object");
}

/* ---- nobody is there ---- */

struct world {
    uv_loop_t loop;
    struct arena *arena;
    struct backend *backend;
    struct generation *generation;
    int ends, probes, counts;
    enum err_code code;
};

static struct message_request request = {.body = {"{\"model\":\"m\"}", 13}, .max_tokens = 1};

static void open_world(struct world *world, enum upstream_kind kind, uint32_t retries)
{
    struct upstream_options options = options_of(NOWHERE);
    struct err err;

    *world = (struct world){.arena = arena_new(1024)};
    uv_loop_init(&world->loop);
    options.kind = kind;
    options.retries = retries;
    world->backend = upstream_new(&world->loop, &options, &err);
    assert_non_null(world->backend);
}

static void close_world(struct world *world)
{
    world->backend->ops->free(world->backend);
    uv_run(&world->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    arena_free(world->arena);
}

static void on_event(void *context, const struct gen_event *event)
{
    struct world *world = context;

    assert_int_equal(event->type, GEN_FAILED);
    world->ends++;
    world->code = event->error.code;
}

static void on_probe(void *context, const struct err *error)
{
    struct world *world = context;

    world->probes++;
    world->code = error ? error->code : ERR_NONE;
}

static void on_count(void *context, uint32_t tokens, const struct err *error)
{
    struct world *world = context;

    assert_int_equal(tokens, 0);
    world->counts++;
    world->code = error->code;
}

static void generate(struct world *world)
{
    struct err err;

    world->generation = world->backend->ops->generate(world->backend, world->arena, &request,
                                                      on_event, world, &err);
    assert_non_null(world->generation);
    assert_int_equal(world->ends, 0);
}

static void test_nobody_there(void **state)
{
    struct world world;
    struct err err;

    (void)state;
    for (int kind = UPSTREAM_OPENAI; kind <= UPSTREAM_ANTHROPIC; kind++) {
        open_world(&world, kind, 1);
        generate(&world);
        uv_run(&world.loop, UV_RUN_DEFAULT);
        assert_int_equal(world.ends, 1);
        assert_int_equal(world.code, ERR_IO);
        assert_true(world.backend->ops->count(world.backend, world.arena, &request, on_count, &world, &err));
        uv_run(&world.loop, UV_RUN_DEFAULT);
        assert_int_equal(world.counts, 1);
        assert_int_equal(world.code, ERR_IO);
        close_world(&world);
    }
}

/* At once, while it waits for its connection, and while it waits to be asked again. */
static void test_cancelled(void **state)
{
    (void)state;
    for (int turns = 0; turns < 6; turns++) {
        struct world world;
        open_world(&world, UPSTREAM_OPENAI, 2);
        generate(&world);
        world.backend->ops->pause(world.generation);
        for (int i = 0; i < turns; i++)
            uv_run(&world.loop, UV_RUN_NOWAIT);
        world.backend->ops->resume(world.generation);
        assert_int_equal(world.ends, 0);
        world.backend->ops->cancel(world.generation);
        world.backend->ops->cancel(world.generation);
        assert_int_equal(world.ends, 0);        /* never from within a call */
        uv_run(&world.loop, UV_RUN_DEFAULT);
        assert_int_equal(world.ends, 1);
        assert_int_equal(world.code, ERR_CANCELLED);
        close_world(&world);
    }
}

static void nothing(uv_timer_t *timer)
{
    (void)timer;
}

static void test_probes(void **state)
{
    struct world world;
    struct err err;
    uv_timer_t alive;

    (void)state;
    open_world(&world, UPSTREAM_OPENAI, 0);
    assert_true(world.backend->ops->probe(world.backend, on_probe, &world, &err));
    assert_int_equal(uv_run(&world.loop, UV_RUN_DEFAULT), 0);   /* it keeps no loop */
    uv_timer_init(&world.loop, &alive);
    uv_timer_start(&alive, nothing, 1, 1);
    for (int i = 0; i < 5000 && !world.probes; i++)
        uv_run(&world.loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&alive, NULL);
    assert_int_equal(world.probes, 1);
    assert_int_equal(world.code, ERR_IO);
    assert_true(world.backend->ops->probe(world.backend, on_probe, &world, &err));
    close_world(&world);
    assert_int_equal(world.probes, 1);
}

int main(void)
{
    log_set_level(LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses), cmocka_unit_test(test_extra),
        cmocka_unit_test(test_nobody_there), cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_probes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
