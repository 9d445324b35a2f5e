/* The MLX backend on a real loop with real processes, which run a script in place of a model: they answer
 * as each request's text says, and stall, die and babble as it says. Every request ends exactly
 * once, whatever they do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <signal.h>
#include <cmocka.h>

#include "backend/mlx.h"
#include "support/folder.h"

enum { LIMIT_MS = 60000, FILE_BYTES = 1 << 16 };

/* ---- the world: a loop, the backend, a folder in place of a model ---- */

struct world {
    struct arena *arena;
    const char *folder;
    uv_loop_t loop;
    uv_timer_t limit;
    struct backend *backend;
};

static void too_slow(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("a request did not end in a minute");
}

static void world_open(struct world *world, struct mlx_options options)
{
    struct err err;
    const char *tests = getenv("PENSIEVE_TESTS");

    assert_non_null(tests);
    world->arena = arena_new(4096);
    world->folder = folder_new(world->arena);
    assert_int_equal(uv_loop_init(&world->loop), 0);
    uv_timer_init(&world->loop, &world->limit);
    uv_timer_start(&world->limit, too_slow, LIMIT_MS, 0);
    uv_unref((uv_handle_t *)&world->limit);
    options.card.id = options.card.display_name = STR("scripted");
    options.model_path = world->folder;
    if (!options.python)
        options.python = getenv("PENSIEVE_TEST_PYTHON");
    options.script = arena_printf(world->arena, "%s/support/bridge_scripted.py", tests).s;
    world->backend = mlx_new(&world->loop, &options, &err);
    if (!world->backend)
        fail_msg("%s", err.text);
}

static void world_run(struct world *world)
{
    uv_run(&world->loop, UV_RUN_DEFAULT);
}

static const char *note_of(struct world *world, const char *name)
{
    char *text = arena_alloc(world->arena, FILE_BYTES);
    FILE *file = fopen(arena_printf(world->arena, "%s/%s", world->folder, name).s, "r");

    if (file) {
        text[fread(text, 1, FILE_BYTES - 1, file)] = '\0';
        fclose(file);
    }
    return text;
}

static int times(const char *text, const char *word)
{
    int n = 0;

    for (; (text = strstr(text, word)); text += strlen(word))
        n++;
    return n;
}

/* A line that was sent is read some time after. */
static void assert_asked(struct world *world, const char *word, int n)
{
    for (int i = 0; i < 1000 && times(note_of(world, "requests"), word) < n; i++)
        uv_sleep(5);
    assert_int_equal(times(note_of(world, "requests"), word), n);
}

/* How many processes ran so far. */
static int started(struct world *world)
{
    return times(note_of(world, "pids"), "\n");
}

/* Nothing is left of any process. */
static void world_close(struct world *world)
{
    world_run(world);
    world->backend->ops->free(world->backend);
    uv_close((uv_handle_t *)&world->limit, NULL);
    world_run(world);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    for (char *pids = (char *)(uintptr_t)note_of(world, "pids"); *pids;) {
        const long pid = strtol(pids, &pids, 10);
        assert_int_equal(kill((pid_t)pid, 0), -1);
        assert_int_equal(errno, ESRCH);
        pids += *pids == '\n';
    }
    folder_remove(world->folder);
    arena_free(world->arena);
}

/* ---- a client: one request, its story written down ---- */

struct client {
    struct world *world;
    struct arena *arena;
    const struct message_request *request;
    struct generation *generation;
    /* "S" started, "[" "]" a block's borders ("[~" a thought's, "[NAME:" a call's), "." done, "!" failed */
    struct buf story;
    struct err error;
    struct usage usage;
    enum stop_reason stop_reason;
    uint32_t deltas, counted;
    bool ended;
    bool go_at_delta, cancel_at_start, cancel_at_delta, pause_at_delta;
    bool stays_paused;                  /* at the first delta, until the test goes on */
    uv_timer_t timer;
};

static void on_resume(uv_timer_t *timer)
{
    struct client *client = timer->data;

    buf_char(&client->story, '>');
    client->world->backend->ops->resume(client->generation);
    uv_close((uv_handle_t *)timer, NULL);
}

static void on_delta(struct client *client, struct str text)
{
    const struct backend_ops *ops = client->world->backend->ops;

    buf_str(&client->story, text);
    if (client->deltas++ > 0)
        return;
    if (client->go_at_delta)
        folder_write(client->world->folder, "go", STR(""));
    if (client->cancel_at_delta)
        ops->cancel(client->generation);
    if (client->stays_paused)
        ops->pause(client->generation);
    if (client->pause_at_delta) {
        ops->pause(client->generation);
        buf_char(&client->story, '<');
        uv_timer_init(&client->world->loop, &client->timer);
        client->timer.data = client;
        uv_timer_start(&client->timer, on_resume, 60, 0);
    }
}

static void on_event(void *context, const struct gen_event *event)
{
    static const char marks[] = {
        [GEN_STARTED] = 'S', [GEN_BLOCK_START] = '[', [GEN_BLOCK_STOP] = ']', [GEN_DONE] = '.',
        [GEN_FAILED] = '!',
    };
    struct client *client = context;

    assert_false(client->ended);
    client->ended = event->type == GEN_DONE || event->type == GEN_FAILED;
    if (event->type == GEN_DELTA) {
        on_delta(client, event->text);
        return;
    }
    buf_char(&client->story, marks[event->type]);
    if (event->type == GEN_BLOCK_START && event->block_type == BLOCK_THINKING)
        buf_char(&client->story, '~');
    if (event->type == GEN_BLOCK_START && event->block_type == BLOCK_TOOL_USE)
        buf_printf(&client->story, "%.*s:", STR_ARG(event->tool_name));
    if (event->type == GEN_STARTED || event->type == GEN_DONE)
        client->usage = event->usage;
    client->stop_reason = event->stop_reason;
    client->error = event->error;
    if (event->type == GEN_STARTED && client->cancel_at_start)
        client->world->backend->ops->cancel(client->generation);
}

static void on_count(void *context, uint32_t tokens, const struct err *error)
{
    struct client *client = context;

    assert_false(client->ended);
    client->ended = true;
    client->counted = tokens;
    if (error)
        client->error = *error;
}

static void client_open(struct client *client, struct world *world, const char *text,
                        const char *more)
{
    struct err err;
    const struct request_options options = {.version = API_V23};
    struct arena *arena = arena_new(4096);
    const struct str body = arena_printf(
        arena, "{\"model\":\"m\",\"max_tokens\":100,\"messages\":[{\"role\":\"user\",\"content\":"
        "\"%s\"}]%s}", text, more);

    *client = (struct client){.world = world, .arena = arena};
    client->request = request_decode(arena, body, &options, &err);
    if (!client->request)
        fail_msg("%s: %s", body.s, err.text);
}

static bool client_ask(struct client *client)
{
    struct backend *backend = client->world->backend;

    client->generation = backend->ops->generate(backend, client->arena, client->request, on_event,
                                                client, &client->error);
    return client->generation;
}

static void client_start(struct client *client, struct world *world, const char *text,
                         const char *more)
{
    client_open(client, world, text, more);
    if (!client_ask(client))
        fail_msg("%s", client->error.text);
}

static void client_close(struct client *client, const char *story)
{
    assert_true(client->ended);
    buf_char(&client->story, '\0');
    assert_string_equal(client->story.data, story);
    buf_release(&client->story);
    arena_free(client->arena);
}

/* A whole world for one request, which so many processes were asked in turn. */
static void one_request(const char *text, const char *story, int asked)
{
    struct world world;
    struct client client;

    world_open(&world, (struct mlx_options){.processes = 2, .stall_ms = 500});
    client_start(&client, &world, text, "");
    world_run(&world);
    client_close(&client, story);
    assert_asked(&world, "generate", asked);
    world_close(&world);
}

/* ---- answers ---- */

static void an_answer_and_its_usage(void **state)
{
    struct world world;
    struct client client, counter;

    (void)state;
    world_open(&world, (struct mlx_options){0});
    assert_int_equal(world.backend->card.max_input_tokens, 0);
    client_start(&client, &world, "one two @control three", "");
    client_open(&counter, &world, "one two @control three", "");
    assert_true(world.backend->ops->count(world.backend, counter.arena, counter.request, on_count,
                                          &counter, &counter.error));
    world_run(&world);
    assert_int_equal(client.stop_reason, STOP_END_TURN);
    assert_int_equal(client.usage.output_tokens, 4);
    assert_int_equal(client.usage.input_tokens, counter.counted);
    assert_true(counter.counted > 4);
    assert_int_equal(world.backend->card.max_input_tokens, 1000);
    assert_true(world.backend->card.thinks);
    client_close(&client, "S[one two three ].");
    client_close(&counter, "");
    world_close(&world);
}

static void the_first_token_is_told_before_the_second_is_made(void **state)
{
    struct world world;
    struct client client;

    (void)state;
    world_open(&world, (struct mlx_options){0});
    client_start(&client, &world, "one @go two", "");
    client.go_at_delta = true;          /* without it, the second is never made */
    world_run(&world);
    client_close(&client, "S[one two ].");
    world_close(&world);
}

static void several_are_answered_at_once_by_one_process(void **state)
{
    struct world world;
    struct client waits, goes;

    (void)state;
    world_open(&world, (struct mlx_options){0});
    client_start(&waits, &world, "@go one", "");
    client_start(&goes, &world, "two", "");
    goes.go_at_delta = true;
    world_run(&world);
    client_close(&waits, "S[one ].");
    client_close(&goes, "S[two ].");
    assert_int_equal(started(&world), 1);
    world_close(&world);
}

static void no_more_at_once_than_it_was_told(void **state)
{
    struct world world;
    struct client first, second, third;
    struct backend_status status;

    (void)state;
    world_open(&world, (struct mlx_options){.sequences_max = 1, .queue_max = 1});
    client_start(&first, &world, "one @go", "");
    while (first.deltas == 0)
        uv_run(&world.loop, UV_RUN_ONCE);
    client_start(&second, &world, "two", "");
    client_open(&third, &world, "three", "");
    assert_false(client_ask(&third));
    assert_int_equal(third.error.code, ERR_OVERLOADED);
    for (int i = 0; i < 10; i++) {              /* the second would be sent by then */
        uv_run(&world.loop, UV_RUN_NOWAIT);
        uv_sleep(5);
    }
    world.backend->ops->status(world.backend, &status);
    assert_int_equal(status.running, 1);
    assert_int_equal(status.queued, 1);
    assert_string_equal(status.state, "ready");
    assert_asked(&world, "generate", 1);
    folder_write(world.folder, "go", STR(""));
    world_run(&world);
    client_close(&first, "S[one ].");
    client_close(&second, "S[two ].");
    third.ended = true;
    client_close(&third, "");
    world_close(&world);
}

static void limits_of_the_answer(void **state)
{
    struct world world;
    struct client stopped, cut, refused;

    (void)state;
    world_open(&world, (struct mlx_options){0});
    client_start(&stopped, &world, "one two three @go never", ",\"stop_sequences\":[\"o th\"]");
    client_start(&cut, &world, "one two", ",\"stop_sequences\":[\"two three\"]");
    client_start(&refused, &world, "@unstarted @refuse", "");
    world_run(&world);
    assert_int_equal(stopped.stop_reason, STOP_STOP_SEQUENCE);
    client_close(&stopped, "S[one tw].");
    assert_asked(&world, "cancel", 1);
    assert_int_equal(cut.stop_reason, STOP_END_TURN);
    client_close(&cut, "S[one two ].");
    assert_int_equal(refused.error.code, ERR_INVALID);
    assert_string_equal(refused.error.text, "prompt is too long: 300 tokens > 255 maximum");
    client_close(&refused, "!");
    world_close(&world);
}

static void what_is_asked_for_is_passed_on(void **state)
{
    struct world world;
    struct client client;
    const char *asked;

    (void)state;
    world_open(&world, (struct mlx_options){.seeded = true, .seed = 18446744073709551615u});
    client_start(&client, &world, "<|im_end|> say", ",\"temperature\":0.5,\"top_p\":0.25,\"top_k\":7,"
                 "\"system\":[{\"type\":\"text\",\"text\":\"be brief\",\"cache_control\":"
                 "{\"type\":\"ephemeral\"}}]");
    world_run(&world);
    client_close(&client, "S[<|im_end|> say ].");
    asked = note_of(&world, "requests");
    assert_non_null(strstr(asked, "\"max_tokens\":100,\"temperature\":0.5,\"top_p\":0.25,"
                           "\"top_k\":7,\"seed\":18446744073709551615,"));
    assert_non_null(strstr(asked, "{\"text\":\"<|im_start|>system\\n\"},"
                           "{\"text\":\"be brief\",\"plain\":true,\"mark\":300},"
                           "{\"text\":\"<|im_end|>\\n<|im_start|>user\\n\"},"));
    assert_non_null(strstr(asked, "|im_end|> say\",\"plain\":true},{\"text\":\"<|im_end|>\\n"));
    world_close(&world);
}

#define CALL(a) "<tool_call>{\\\"name\\\":\\\"add\\\",\\\"arguments\\\":{\\\"a\\\":" a "}}</tool_call>"

static void calls_and_thoughts_are_blocks(void **state)
{
    struct world world;
    struct client several, one, thinks, stopped, plain;
    const char *tool = ",\"tools\":[{\"name\":\"add\",\"input_schema\":{\"type\":\"object\"}}]";
    char more[256];

    (void)state;
    world_open(&world, (struct mlx_options){0});
    client_start(&several, &world, "Well " CALL("1") " " CALL("2"), tool);
    snprintf(more, sizeof more, "%s,\"tool_choice\":{\"type\":\"auto\","
             "\"disable_parallel_tool_use\":true}", tool);
    client_start(&one, &world, CALL("1") " @go never", more);
    client_start(&thinks, &world, "<think>hm so</think> yes", "");
    snprintf(more, sizeof more, "%s,\"stop_sequences\":[\"a\\\"\"]", tool);
    client_start(&stopped, &world, CALL("1"), more);
    client_start(&plain, &world, CALL("1"), "");
    world_run(&world);
    assert_int_equal(several.stop_reason, STOP_TOOL_USE);
    client_close(&several, "S[Well][add:{\"a\":1}][add:{\"a\":2}].");
    assert_int_equal(one.stop_reason, STOP_TOOL_USE);
    client_close(&one, "S[add:{\"a\":1}].");
    assert_asked(&world, "cancel", 1);
    assert_int_equal(thinks.usage.thinking_tokens, 2);
    assert_int_equal(thinks.usage.output_tokens, 4);
    client_close(&thinks, "S[~hm so][yes ].");
    assert_int_equal(stopped.stop_reason, STOP_TOOL_USE);
    client_close(&stopped, "S[add:{\"a\":1}].");
    client_close(&plain, "S[<tool_call>{\"name\":\"add\",\"arguments\":{\"a\":1}}</tool_call> ].");
    world_close(&world);
}

static void what_mlx_can_not_do_is_refused(void **state)
{
    static const char *const more[] = {
        ",\"tools\":[{\"name\":\"t\",\"input_schema\":{\"type\":\"object\"}}],"
        "\"tool_choice\":{\"type\":\"any\"}",
        ",\"tools\":[{\"name\":\"t\",\"input_schema\":{\"type\":\"object\"}}],"
        "\"tool_choice\":{\"type\":\"tool\",\"name\":\"t\"}",
        ",\"tools\":[{\"name\":\"t\",\"strict\":true,\"input_schema\":{\"type\":\"object\","
        "\"additionalProperties\":false}}]",
        ",\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\","
        "\"properties\":{},\"additionalProperties\":false}}}",
    };
    struct world world;

    (void)state;
    world_open(&world, (struct mlx_options){0});
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        struct client client;
        client_open(&client, &world, "one", more[i]);
        assert_false(client_ask(&client));
        assert_int_equal(client.error.code, ERR_INVALID);
        client.ended = true;
        client_close(&client, "");
    }
    world_close(&world);
}

static void a_cancel_is_passed_on(void **state)
{
    struct world world;
    struct client early, at_start, late;

    (void)state;
    world_open(&world, (struct mlx_options){0});
    client_start(&early, &world, "one", "");
    world.backend->ops->cancel(early.generation);
    client_start(&at_start, &world, "@go one", "");
    at_start.cancel_at_start = true;
    client_start(&late, &world, "one @go two", "");
    late.cancel_at_delta = true;
    world_run(&world);
    assert_int_equal(early.error.code, ERR_CANCELLED);
    client_close(&early, "!");
    client_close(&at_start, "S!");
    client_close(&late, "S[one !");
    assert_asked(&world, "cancel", 2);
    assert_asked(&world, "generate", 2);
    world_close(&world);
}

static void a_paused_answer_is_held(void **state)
{
    struct world world;
    struct client client;

    (void)state;
    world_open(&world, (struct mlx_options){0});
    client_start(&client, &world, "one two three", "");
    client.pause_at_delta = true;
    world_run(&world);
    client_close(&client, "S[one <>two three ].");
    world_close(&world);
}

static void a_paused_answer_that_is_whole_makes_room(void **state)
{
    struct world world;
    struct client slow, next;

    (void)state;
    world_open(&world, (struct mlx_options){.sequences_max = 1});
    client_start(&slow, &world, "one two", "");
    slow.stays_paused = true;
    while (slow.deltas == 0)            /* it has the only place, and is paused */
        uv_run(&world.loop, UV_RUN_ONCE);
    client_start(&next, &world, "three", "");
    while (!next.ended)
        uv_run(&world.loop, UV_RUN_ONCE);
    assert_false(slow.ended);
    world.backend->ops->resume(slow.generation);
    world_run(&world);
    client_close(&slow, "S[one two ].");
    client_close(&next, "S[three ].");
    world_close(&world);
}

static void a_paused_answer_may_be_cancelled(void **state)
{
    struct world world;
    struct client client;

    (void)state;
    world_open(&world, (struct mlx_options){0});
    client_start(&client, &world, "one two three", "");
    client.pause_at_delta = client.cancel_at_delta = true;
    world_run(&world);
    client_close(&client, "S[one <!>");
    world_close(&world);
}

/* ---- processes that go wrong ---- */

static void who_dies_before_the_first_token_is_replaced(void **state)
{
    (void)state;
    one_request("@die-once one two", "S[one two ].", 2);
    one_request("@unstarted @die", "!", 3);
}

static void who_dies_after_it_fails_the_answer(void **state)
{
    struct world world;
    struct client client;

    (void)state;
    world_open(&world, (struct mlx_options){0});
    client_start(&client, &world, "one @die two", "");
    world_run(&world);
    assert_int_equal(client.error.code, ERR_INTERNAL);
    assert_string_equal(client.error.text, "the model's process ended in the middle of the answer: "
                        "ended with status 7");
    client_close(&client, "S[one !");
    struct backend_member member;
    assert_true(world.backend->ops->member(world.backend, 0, &member));
    assert_string_equal(member.name, "scripted/0");
    assert_string_equal(member.why, "ended with status 7");
    assert_int_equal(member.failed, 1);
    assert_int_equal(member.running, 0);
    uv_run(&world.loop, UV_RUN_NOWAIT);
    assert_true(world.backend->ops->member(world.backend, 0, &member));
    assert_string_equal(member.state, "resting");
    assert_in_range(member.retry_ms, 1, 250);
    assert_false(world.backend->ops->member(world.backend, 1, &member));
    client_start(&client, &world, "again", "");         /* the next one waits for a new process */
    world_run(&world);
    client_close(&client, "S[again ].");
    assert_true(world.backend->ops->member(world.backend, 0, &member));
    assert_string_equal(member.state, "ready");
    assert_int_equal(member.served, 1);
    assert_int_equal(started(&world), 2);
    world_close(&world);
}

static void a_request_that_kills_is_not_tried_for_ever(void **state)
{
    struct world world;
    struct client client;

    (void)state;
    world_open(&world, (struct mlx_options){.processes = 3});
    client_start(&client, &world, "@die one", "");
    world_run(&world);
    assert_int_equal(client.error.code, ERR_INTERNAL);
    assert_string_equal(client.error.text, "3 processes of the model ended over this request: "
                        "ended with status 7");
    client_close(&client, "S!");
    world_close(&world);
}

static void who_stalls_is_replaced(void **state)
{
    (void)state;
    one_request("@stall-once one", "S[one ].", 2);
}

static void who_babbles_is_replaced(void **state)
{
    static const char *const texts[] = {
        "@words-once one", "@bytes-once one", "@long-once one", "@foreign-once one",
        "@unasked-once one", "@fatal-once one",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        one_request(texts[i], "S[one ].", 2);
}

static void half_lines_are_put_together(void **state)
{
    (void)state;
    one_request("@halves one", "S[\u20ac one ].", 1);
}

static void who_does_not_start_is_an_error(void **state)
{
    struct world world;
    struct client client;

    (void)state;
    world_open(&world, (struct mlx_options){.python = "/nonexistent/python"});
    client_start(&client, &world, "one", "");
    world_run(&world);
    assert_int_equal(client.error.code, ERR_OVERLOADED);
    assert_string_equal(client.error.text, "the model's process does not start: "
                        "/nonexistent/python can't be started: no such file or directory");
    client_close(&client, "!");
    client_start(&client, &world, "two", "");
    world_run(&world);
    client_close(&client, "!");
    world_close(&world);
}

static void why_it_does_not_start_is_told_until_it_does(void **state)
{
    struct world world;
    struct client client;

    (void)state;
    world_open(&world, (struct mlx_options){0});
    folder_write(world.folder, "broken", STR(""));
    client_start(&client, &world, "one", "");
    world_run(&world);
    assert_string_equal(client.error.text,
                        "the model's process does not start: the folder is broken");
    client_close(&client, "!");
    remove(arena_printf(world.arena, "%s/broken", world.folder).s);
    do {
        client_start(&client, &world, "one", "");
        world_run(&world);
        if (client.error.code)
            client_close(&client, "!");
    } while (client.error.code);
    client_close(&client, "S[one ].");
    world_close(&world);
}

static void options_that_make_no_sense(void **state)
{
    static const struct mlx_options wrong[] = {
        {.model_path = ""},
        {.model_path = "x", .processes = MLX_PROCESSES_MAX + 1},
        {.model_path = "x", .sequences_max = MLX_SEQUENCES_MAX + 1},
    };
    uv_loop_t loop;
    struct err err;

    (void)state;
    uv_loop_init(&loop);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_null(mlx_new(&loop, &wrong[i], &err));
        assert_int_equal(err.code, ERR_USAGE);
    }
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_and_its_usage),
        cmocka_unit_test(the_first_token_is_told_before_the_second_is_made),
        cmocka_unit_test(several_are_answered_at_once_by_one_process),
        cmocka_unit_test(no_more_at_once_than_it_was_told),
        cmocka_unit_test(limits_of_the_answer),
        cmocka_unit_test(what_is_asked_for_is_passed_on),
        cmocka_unit_test(calls_and_thoughts_are_blocks),
        cmocka_unit_test(what_mlx_can_not_do_is_refused),
        cmocka_unit_test(a_cancel_is_passed_on),
        cmocka_unit_test(a_paused_answer_is_held),
        cmocka_unit_test(a_paused_answer_that_is_whole_makes_room),
        cmocka_unit_test(a_paused_answer_may_be_cancelled),
        cmocka_unit_test(who_dies_before_the_first_token_is_replaced),
        cmocka_unit_test(who_dies_after_it_fails_the_answer),
        cmocka_unit_test(a_request_that_kills_is_not_tried_for_ever),
        cmocka_unit_test(who_stalls_is_replaced),
        cmocka_unit_test(who_babbles_is_replaced),
        cmocka_unit_test(half_lines_are_put_together),
        cmocka_unit_test(who_does_not_start_is_an_error),
        cmocka_unit_test(why_it_does_not_start_is_told_until_it_does),
        cmocka_unit_test(options_that_make_no_sense),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
