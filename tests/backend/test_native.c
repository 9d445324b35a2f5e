/* The native backend on a real loop with a tiny real model: what a generation says, and what it makes of
 * its conversation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/json.h"
#include "base/utf8.h"
#include "native_world.h"
#include "support/folder.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_story),
        cmocka_unit_test(test_count_is_usage),
        cmocka_unit_test(test_stop_sequences),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_seed),
        cmocka_unit_test(test_a_conversation_is_never_computed_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
