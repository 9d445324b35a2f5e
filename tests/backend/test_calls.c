/* Calls by the native backend with a tiny real model, whose words mean nothing: at every length of
 * an answer, in every pace of its reader, what comes out are whole calls or calls that were cut and
 * closed. */
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
#include "backend/telling.h"
#include "backend/voice.h"
#include "base/json.h"
#include "base/queue.h"
#include "pensieve/engine.h"
#include "support/golden.h"

enum { BLOCKS_MAX = 32 };

struct world {
    struct arena *arena;
    uv_loop_t loop;
    struct memory *memory;
    struct backend *backend;
};

static void world_open(struct world *world)
{
    struct err err = {0};

    world->arena = arena_new(4096);
    const struct engine_options options = {
        .model_path = golden_path(world->arena, TINY "llama_tied/f16.gguf"), .threads = 2,
        .context = 1024,
    };
    assert_int_equal(uv_loop_init(&world->loop), 0);
    struct engine *engine = engine_open(&options, &err);
    if (!engine)
        fail_msg("%s", err.text);
    world->memory = memory_new(&world->loop, 0, 0);
    const struct native_options native = {
        .card = {.id = STR("tiny"), .display_name = STR("tiny")}, .engine = engine,
        .seeded = true, .seed = 11,
    };
    world->backend = native_new(&world->loop, world->memory, &native, &err);
    assert_non_null(world->backend);
}

static void world_close(struct world *world)
{
    world->backend->ops->free(world->backend);
    memory_free(world->memory);
    uv_run(&world->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    arena_free(world->arena);
}

/* One answer, as it was heard. */
struct client {
    struct world *world;
    struct arena *arena;
    struct generation *generation;
    struct content_block blocks[BLOCKS_MAX];
    struct buf texts[BLOCKS_MAX];
    size_t n;
    bool open, ended, slow, called;
    uv_timer_t timer;
    struct usage usage;
    enum stop_reason stop_reason;
    struct err error;
};

static void go_on(uv_timer_t *timer)
{
    struct client *client = timer->data;

    uv_close((uv_handle_t *)timer, NULL);
    client->world->backend->ops->resume(client->generation);
}

static void on_event(void *context, const struct gen_event *event)
{
    struct client *client = context;

    switch (event->type) {
    case GEN_STARTED:
        if (!client->slow)
            break;
        client->world->backend->ops->pause(client->generation);
        uv_timer_init(&client->world->loop, &client->timer);
        client->timer.data = client;
        uv_timer_start(&client->timer, go_on, 50, 0);
        break;
    case GEN_BLOCK_START:
        assert_true(!client->open && client->n < BLOCKS_MAX);
        assert_int_equal(event->block_index, client->n);
        client->open = true;
        client->blocks[client->n++] = (struct content_block){
            .type = event->block_type, .id = arena_str(client->arena, event->tool_id),
            .name = arena_str(client->arena, event->tool_name),
        };
        break;
    case GEN_DELTA:
        assert_true(client->open && event->text.n > 0);
        assert_int_equal(event->block_index, client->n - 1);
        buf_str(&client->texts[client->n - 1], event->text);
        break;
    case GEN_BLOCK_STOP:
        assert_true(client->open);
        client->open = false;
        break;
    case GEN_DONE:
        client->usage = event->usage;
        client->stop_reason = event->stop_reason;
        client->ended = true;
        break;
    case GEN_PASS:
        fail();
        break;
    case GEN_FAILED:
        client->error = event->error;
        client->ended = true;
        break;
    }
}

/* more: of the body, before its end. */
static void ask(struct client *client, struct world *world, int max_tokens, const char *more)
{
    const struct request_options options = {.version = API_V26};
    struct err err;

    client->world = world;
    client->arena = arena_new(4096);
    const struct str body = arena_printf(client->arena, "{\"model\":\"tiny\",\"max_tokens\":%d,"
                                         "\"messages\":[{\"role\":\"user\",\"content\":\"Go %d.\"}],%s}",
                                         max_tokens, max_tokens, more);
    const struct message_request *request = request_decode(client->arena, body, &options, &err);
    if (!request)
        fail_msg("%s", err.text);
    client->generation = world->backend->ops->generate(world->backend, client->arena, request,
                                                       on_event, client, &err);
    if (!client->generation)
        fail_msg("%s", err.text);
    uv_run(&world->loop, UV_RUN_DEFAULT);
    assert_true(client->ended && !client->open);
}

static void client_free(struct client *client)
{
    for (size_t i = 0; i < client->n; i++)
        buf_release(&client->texts[i]);
    arena_free(client->arena);
}

#define TOOLS                                                                                      \
    "\"tools\":[{\"name\":\"see\",\"input_schema\":{\"type\":\"object\",\"properties\":"             \
    "{\"far\":{\"type\":\"boolean\"},\"what\":{\"enum\":[\"sun\",\"moon\"]}},"                      \
    "\"required\":[\"far\",\"what\"],\"additionalProperties\":false}},"                             \
    "{\"name\":\"wait\",\"input_schema\":{\"type\":\"object\",\"additionalProperties\":false}}]"

/* Whether it is an object of a tool's: whole, or cut and closed. */
static void check_call(struct client *client, size_t i, bool whole)
{
    yyjson_val *input;
    struct err err;

    assert_int_equal(client->blocks[i].type, BLOCK_TOOL_USE);
    if (!json_parse(client->arena, buf_view(&client->texts[i]), &input, &err))
        fail_msg("%.*s: %s", STR_ARG(buf_view(&client->texts[i])), err.text);
    assert_true(yyjson_is_obj(input));
    if (whole && str_is(client->blocks[i].name, "see")) {
        assert_true(yyjson_is_bool(yyjson_obj_get(input, "far")));
        assert_int_equal(yyjson_obj_size(input), 2);
    } else if (whole) {
        assert_true(str_is(client->blocks[i].name, "wait"));
        assert_int_equal(yyjson_obj_size(input), 0);
    }
    assert_true(str_starts(client->blocks[i].id, STR("toolu_01")));
    for (size_t k = 0; k < i; k++)
        assert_false(str_equal(client->blocks[k].id, client->blocks[i].id));
}

/* There is room for a call, or for some of one. */
static void test_forced_at_every_length(void **state)
{
    struct world world;
    bool cut = false, whole = false;

    world_open(&world);
    for (int max_tokens = 1; max_tokens < 100; max_tokens += 7) {
        struct client client = {.slow = max_tokens % 2};
        ask(&client, &world, max_tokens, "\"tool_choice\":{\"type\":\"any\"}," TOOLS);
        assert_int_equal(client.error.code, ERR_NONE);
        const bool called = client.stop_reason == STOP_TOOL_USE;
        if (!called)
            assert_int_equal(client.stop_reason, STOP_MAX_TOKENS);
        assert_true(client.usage.output_tokens <= (uint32_t)max_tokens);
        assert_true(client.n > 0 || !called);
        for (size_t i = 0; i < client.n; i++)
            check_call(&client, i, called || i + 1 < client.n);
        cut |= !called;
        whole |= called;
        client_free(&client);
    }
    assert_true(cut && whole);
    world_close(&world);
}

static void test_one_by_name(void **state)
{
    struct world world;
    struct client client = {0};

    world_open(&world);
    ask(&client, &world, 90, "\"tool_choice\":{\"type\":\"tool\",\"name\":\"wait\","
                             "\"disable_parallel_tool_use\":true}," TOOLS);
    assert_int_equal(client.stop_reason, STOP_TOOL_USE);
    assert_int_equal(client.n, 1);
    check_call(&client, 0, true);
    assert_true(str_is(client.blocks[0].name, "wait"));
    client_free(&client);
    world_close(&world);
}

static void test_none(void **state)
{
    struct world world;
    struct client client = {0};

    world_open(&world);
    ask(&client, &world, 20, "\"tool_choice\":{\"type\":\"none\"}," TOOLS);
    assert_int_equal(client.n, 1);
    assert_int_equal(client.blocks[0].type, BLOCK_TEXT);
    assert_int_equal(client.stop_reason, STOP_MAX_TOKENS);
    client_free(&client);
    world_close(&world);
}

/* The one or the other, and then nothing else. */
static void test_a_format_or_a_call(void **state)
{
    struct world world;
    struct client client = {0};
    yyjson_val *value;

    world_open(&world);
    ask(&client, &world, 90, "\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":"
                             "{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"maxItems\":2}}}," TOOLS);
    if (client.stop_reason == STOP_TOOL_USE) {
        for (size_t i = 0; i < client.n; i++)
            check_call(&client, i, true);
    } else {
        assert_int_equal(client.stop_reason, STOP_END_TURN);
        assert_int_equal(client.n, 1);
        assert_true(json_parse(client.arena, buf_view(&client.texts[0]), &value, NULL));
        assert_true(yyjson_is_arr(value));
    }
    client_free(&client);
    world_close(&world);
}

static void test_a_strict_tool_that_cannot_be_held(void **state)
{
    static const char *const choices[] = {"auto", "any"};
    struct world world;

    world_open(&world);
    for (size_t i = 0; i < 2; i++) {
        struct client client = {0};
        ask(&client, &world, 20, arena_printf(world.arena, "\"tool_choice\":{\"type\":\"%s\"},"
            "\"tools\":[{\"name\":\"a\",\"input_schema\":{\"type\":\"object\"}},"
            "{\"name\":\"b\",\"strict\":true,\"input_schema\":{\"type\":\"object\",\"properties\":"
            "{\"x\":{\"type\":\"array\",\"uniqueItems\":true}}}}]", choices[i]).s);
        assert_int_equal(client.error.code, ERR_INVALID);
        assert_string_equal(client.error.text, "tools.1.custom.input_schema: "
                                               "`/properties/x/uniqueItems` is not supported");
        client_free(&client);
    }
    world_close(&world);
}

/* ---- a call that nobody forced ---- */

struct answer {
    struct voice voice;
    struct constraint *later;           /* becomes the plan's when a call was made */
    struct queue *done;
    enum sequence_end end;
};

static bool on_token(void *context, struct sequence *sequence, int32_t id, struct str characters)
{
    struct answer *answer = context;
    struct voice *voice = &answer->voice;
    const bool goes_on = voice_token(voice, sequence, id, characters);

    if (answer->later && voice->speech.type == BLOCK_TOOL_USE && !voice->speech.told) {
        voice->plan.call = answer->later;
        answer->later = NULL;
    }
    return goes_on;
}

static void on_done(void *context, const struct sequence_result *result)
{
    struct answer *answer = context;

    voice_end(&answer->voice, result->tail);
    answer->end = result->end;
    queue_put(answer->done, answer);
}

/* An engine without a backend, and what a request is held to by it. */
struct stage {
    struct arena *arena;
    struct engine *engine;
    const struct dialect *dialect;
    const struct message_request *request;
    struct plan plan;
    struct answer answer;
};

/* template: a piece of one, which names the dialect. more: of the body. */
static void stage_open(struct stage *stage, const char *template, const char *more)
{
    const struct request_options decoding = {.version = API_V26};
    struct err err;

    *stage = (struct stage){.arena = arena_new(4096), .dialect = dialect_find(str_of(template))};
    const struct engine_options options = {
        .model_path = golden_path(stage->arena, TINY "llama_tied/f16.gguf"), .threads = 2,
        .context = 512,
    };
    stage->engine = engine_open(&options, &err);
    assert_non_null(stage->engine);
    stage->request = request_decode(
        stage->arena,
        arena_printf(stage->arena, "{\"model\":\"tiny\",\"max_tokens\":2000,\"messages\":["
                                   "{\"role\":\"user\",\"content\":\"Go.\"}],%s}", more),
        &decoding, &err);
    if (!stage->request)
        fail_msg("%s", err.text);
    const struct plan_needs needs = {
        .engine = stage->engine, .request = stage->request, .dialect = stage->dialect, .room = 150,
    };
    if (!plan_make(&stage->plan, stage->arena, &needs, &err))
        fail_msg("%s", err.text);
}

static void stage_close(struct stage *stage)
{
    voice_release(&stage->answer.voice);
    plan_release(&stage->plan);
    engine_close(stage->engine);
    arena_free(stage->arena);
}

/* start: what the answer begins with. The prompt is one token. */
static void say_under(struct stage *stage, struct constraint *start, enum constraint_after after)
{
    static const int32_t prompt = 1;
    struct answer *answer = &stage->answer;
    struct err err;
    const struct voice_options options = {
        .engine = stage->engine, .plan = &stage->plan,
        .blocks = {.dialect = stage->dialect, .request = stage->request, .tools = true},
    };

    voice_init(&answer->voice, &options);
    answer->done = queue_new(1, NULL, NULL);
    const struct sequence_params params = {
        .tokens = &prompt, .tokens_n = 1, .max_tokens = 300,
        .sampling = {.temperature = 1, .top_p = 1, .seed = 3},
        .constraint = start, .constraint_after = after,
        .context = answer, .on_token = on_token, .on_done = on_done,
    };
    struct sequence *sequence = engine_submit(stage->engine, &params, &err);
    if (!sequence)
        fail_msg("%s", err.text);
    assert_non_null(queue_wait(answer->done, 60000));
    sequence_free(sequence);
    queue_free(answer->done);
}

/* The opening is put into the model's mouth. */
static void say(struct stage *stage, const char *opening)
{
    struct tokens tokens;
    struct err err;

    assert_true(engine_tokenize(stage->engine, stage->arena, str_of(opening), NULL, 0, false,
                                &tokens, &err));
    say_under(stage, engine_constraint_tokens(tokens.ids, tokens.n, &err), CONSTRAINT_THEN_FREE);
}

/* What a client hears of the answer. */
static void hear(struct stage *stage, struct client *client)
{
    const struct signer signer = {0};
    const bool silent = false;
    struct str bytes = buf_view(&stage->answer.voice.sayings.bytes);
    struct saying saying;

    *client = (struct client){.arena = arena_new(4096)};
    struct telling telling = {
        .arena = client->arena, .signer = &signer, .silent = &silent, .on_event = on_event,
        .context = client,
    };
    while (sayings_take(&bytes, &saying))
        telling_say(&telling, &saying);
    telling_end(&telling);
    client->called = telling.called;
    telling_release(&telling);
}

/* From the opening mark on it is held to the grammar, though the constraint that said the mark sets
 * free. */
static void test_held_once_it_has_opened_a_call(void **state)
{
    struct stage stage;
    struct client client;

    stage_open(&stage, "", TOOLS);
    assert_true(stage.plan.call && !stage.plan.start && !stage.plan.answer);
    say(&stage, "Well. <tool_call>");
    assert_int_equal(stage.answer.end, SEQUENCE_END_TOKEN);
    hear(&stage, &client);
    assert_true(client.n >= 2);
    assert_int_equal(client.blocks[0].type, BLOCK_TEXT);
    for (size_t i = 1; i < client.n; i++)
        check_call(&client, i, true);
    client_free(&client);
    stage_close(&stage);
    (void)state;
}

#define INSIDE "\n{\"name\": \"wait\", \"arguments\": {}}\n</tool_call>"
#define CALL "<tool_call>" INSIDE
#define ONE "\"tool_choice\":{\"type\":\"auto\",\"disable_parallel_tool_use\":true},"

/* After a call the grammar lets another begin, unless only one is wanted; and holds that one,
 * too. */
static void test_several_in_one_answer(void **state)
{
    const struct str more = STR(INSIDE "\n<tool_call>");
    struct stage stage;
    struct client client;

    stage_open(&stage, "", ONE TOOLS);
    assert_false(engine_constraint_begin(stage.engine, stage.plan.call, more));
    stage_close(&stage);

    stage_open(&stage, "", TOOLS);
    assert_true(engine_constraint_begin(stage.engine, stage.plan.call, more));
    stage.answer.later = stage.plan.call;
    stage.plan.call = NULL;
    say(&stage, CALL "\n<tool_call>");
    assert_null(stage.answer.later);
    assert_int_equal(stage.answer.end, SEQUENCE_END_TOKEN);
    hear(&stage, &client);
    assert_true(client.n >= 2 && client.called);
    for (size_t i = 0; i < client.n; i++)
        check_call(&client, i, true);
    client_free(&client);
    stage_close(&stage);
    (void)state;
}

/* Where no grammar holds the calls, it is the first whole one that ends an answer that is to have
 * one. */
static void test_one_call_that_no_grammar_holds(void **state)
{
    for (int one = 0; one < 2; one++) {
        struct stage stage;
        struct client client;
        struct replay replay = {0};
        stage_open(&stage, "", one ? ONE TOOLS : TOOLS);
        constraint_free(stage.plan.call);
        stage.plan.call = NULL;
        say(&stage, CALL "\n" CALL);
        hear(&stage, &client);
        assert_true(one ? client.n == 1 : client.n >= 2);
        for (size_t i = 0; i < 2 - (size_t)one; i++)
            check_call(&client, i, true);
        assert_int_equal(stage.answer.end == SEQUENCE_STOPPED, one);
        assert_int_equal(voice_recall(&stage.answer.voice, 2, true, &replay), !one);
        client_free(&client);
        stage_close(&stage);
    }
    (void)state;
}

/* What was sampled of an answer that was cut short is found again only where its text is all of
 * that: a thought without text has marks. */
static void test_marks_are_no_part_of_a_text_that_was_cut(void **state)
{
    static const struct {
        const char *opening;
        bool kept;
    } answers[] = {
        {"Here is what I know of it.", true},
        {"<think>\n\n</think>\n\nHere is what I know of it.", false},
    };

    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct stage stage;
        struct client client;
        struct replay replay = {0};
        stage_open(&stage, "</think>", TOOLS);
        stage.plan.close_n = 0;             /* no budget closes the thought sooner */
        say(&stage, answers[i].opening);
        hear(&stage, &client);
        assert_int_equal(client.blocks[0].type, BLOCK_TEXT);
        assert_true(str_starts(buf_view(&client.texts[0]), STR("Here is what I know of it.")));
        assert_int_equal(voice_recall(&stage.answer.voice, 20, false, &replay), answers[i].kept);
        client_free(&client);
        stage_close(&stage);
    }
    (void)state;
}

/* More tools than a set has room for, and a format beside them. */
static void test_a_format_beside_many_tools(void **state)
{
    enum { MANY = 300 };
    struct buf more = {0};
    struct stage stage;

    buf_cstr(&more, "\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":"
                    "{\"type\":\"null\"}}},\"tools\":[");
    for (int i = 0; i < MANY; i++)
        buf_printf(&more, "%s{\"name\":\"t%d\",\"input_schema\":{\"type\":\"object\"}}",
                   i ? "," : "", i);
    buf_append(&more, "]", 2);
    stage_open(&stage, "", more.data);
    assert_non_null(stage.plan.start);
    stage_close(&stage);
    buf_release(&more);
    (void)state;
}

/* In harmony a format begins behind the header of its message, and that one behind the thought. */
static void test_a_format_behind_a_header(void **state)
{
    static const char *const thinking[] = {"disabled\"", "enabled\",\"budget_tokens\":1024"};

    for (size_t i = 0; i < 2; i++) {
        struct arena *arena = arena_new(1024);
        struct stage stage;
        struct client client;
        struct err err;
        yyjson_val *root;
        stage_open(&stage, "<|channel|><|start|>",
                   arena_printf(arena, "\"thinking\":{\"type\":\"%s},\"output_config\":{\"format\":{"
                                "\"type\":\"json_schema\",\"schema\":{\"enum\":[\"sun\",\"moon\"]}}}",
                                thinking[i]).s);
        assert_true(stage.plan.start && (stage.plan.answer != NULL) == (i == 1));
        struct constraint *start = stage.plan.start;
        stage.plan.start = NULL;
        say_under(&stage, start, stage.plan.start_after);
        assert_int_equal(stage.answer.end, SEQUENCE_END_TOKEN);
        hear(&stage, &client);
        assert_int_equal(client.n, 1 + i);
        assert_int_equal(client.blocks[0].type, i ? BLOCK_THINKING : BLOCK_TEXT);
        assert_int_equal(client.blocks[i].type, BLOCK_TEXT);
        assert_true(json_parse(arena, buf_view(&client.texts[i]), &root, &err));
        assert_true(yyjson_equals_str(root, "sun") || yyjson_equals_str(root, "moon"));
        client_free(&client);
        stage_close(&stage);
        arena_free(arena);
    }
    (void)state;
}

/* Harmony's thoughts end by several tokens. A budget that is used up while the model says them closes nothing
 * a second time. */
static void test_a_thought_is_closed_once(void **state)
{
    uint32_t all = UINT32_MAX;

    for (uint32_t less = 0; less < 4; less++) {
        struct stage stage;
        struct client client;
        stage_open(&stage, "<|channel|><|start|>", TOOLS);
        assert_true(stage.plan.close_n > 4);
        stage.plan.budget = all - less;
        say(&stage, "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final"
                    "<|message|>Yes.");
        hear(&stage, &client);
        assert_true(client.n >= 2);
        assert_int_equal(client.blocks[0].type, BLOCK_THINKING);
        assert_true(str_is(buf_view(&client.texts[0]), "Hm."));
        assert_int_equal(client.blocks[1].type, BLOCK_TEXT);
        assert_true(str_starts(buf_view(&client.texts[1]), STR("Yes.")));
        if (less == 0)
            all = stage.answer.voice.thinking_tokens;
        client_free(&client);
        stage_close(&stage);
    }
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forced_at_every_length),
        cmocka_unit_test(test_held_once_it_has_opened_a_call),
        cmocka_unit_test(test_one_call_that_no_grammar_holds),
        cmocka_unit_test(test_marks_are_no_part_of_a_text_that_was_cut),
        cmocka_unit_test(test_a_format_behind_a_header),
        cmocka_unit_test(test_a_format_beside_many_tools),
        cmocka_unit_test(test_a_thought_is_closed_once),
        cmocka_unit_test(test_several_in_one_answer),
        cmocka_unit_test(test_one_by_name),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_a_format_or_a_call),
        cmocka_unit_test(test_a_strict_tool_that_cannot_be_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
