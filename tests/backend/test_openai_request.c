/* test_openai_request.c - requests of our API, decoded as the server does it, as OpenAI's API has them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backend/openai_request.h"
#include "base/json.h"

#define HEAD "{\"model\":\"m\",\"max_tokens\":9,\"messages\":["
#define USER "{\"role\":\"user\",\"content\":\"hi\"}"
#define TOOLS ",\"tools\":[{\"name\":\"t\",\"description\":\"d\",\"input_schema\":{\"type\":\"object\"}}," \
    "{\"name\":\"u\",\"input_schema\":{\"type\":\"object\"}}]"
#define TOOLS_OUT ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"t\",\"description\":\"d\"," \
    "\"parameters\":{\"type\":\"object\"}}},{\"type\":\"function\",\"function\":{\"name\":\"u\"," \
    "\"parameters\":{\"type\":\"object\"}}}]"

/* What stands before and behind the messages of each. */
#define OUT(messages, rest) "{\"model\":\"far \\\"x\\\"\",\"max_tokens\":9,\"stream\":true," \
    "\"stream_options\":{\"include_usage\":true},\"messages\":[" messages "]" rest ",\"seed\":7}"

static const struct { const char *what, *request, *expected; } cases[] = {
    {"plain", HEAD USER "]}", OUT("{\"role\":\"user\",\"content\":\"hi\"}", "")},
    {"system and paragraphs",
     HEAD "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\\n\"}]}],"
     "\"system\":[{\"type\":\"text\",\"text\":\"one\"},{\"type\":\"text\",\"text\":\"two\"}]}",
     OUT("{\"role\":\"system\",\"content\":\"one\\n\\ntwo\"},{\"role\":\"user\",\"content\":\"a\\n\\nb\\n\"}", "")},
    {"sampling and stops",
     HEAD USER "],\"temperature\":0.5,\"top_p\":0.25,\"top_k\":3,\"stop_sequences\":[\"a\\n\",\"END\"]}",
     OUT("{\"role\":\"user\",\"content\":\"hi\"}",
         ",\"temperature\":0.5,\"top_p\":0.25,\"top_k\":3,\"stop\":[\"a\\n\",\"END\"]")},
    {"an answer that is begun", HEAD USER ",{\"role\":\"assistant\",\"content\":\"well\"}]}",
     OUT("{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"well\"}",
         ",\"add_generation_prompt\":false,\"continue_final_message\":true")},
    {"a call and its result",
     HEAD USER ",{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"t\","
     "\"input\":{\"a\":\"\\\"\"}}]},{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_1\","
     "\"is_error\":true,\"content\":\"no\"},{\"type\":\"text\",\"text\":\"so?\"}]}]" TOOLS "}",
     OUT("{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":["
         "{\"type\":\"function\",\"id\":\"toolu_1\",\"function\":{\"name\":\"t\",\"arguments\":"
         "\"{\\\"a\\\":\\\"\\\\\\\"\\\"}\"}}]},{\"role\":\"tool\",\"content\":\"Error:\\n\\nno\","
         "\"tool_call_id\":\"toolu_1\"},{\"role\":\"user\",\"content\":\"so?\"}",
         TOOLS_OUT ",\"tool_choice\":\"auto\"")},
    {"one tool, one call", HEAD USER "],\"tool_choice\":{\"type\":\"tool\",\"name\":\"u\","
     "\"disable_parallel_tool_use\":true}" TOOLS "}",
     OUT("{\"role\":\"user\",\"content\":\"hi\"}", TOOLS_OUT
         ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"u\"}},\"parallel_tool_calls\":false")},
    {"any tool", HEAD USER "],\"tool_choice\":{\"type\":\"any\"}" TOOLS "}",
     OUT("{\"role\":\"user\",\"content\":\"hi\"}", TOOLS_OUT ",\"tool_choice\":\"required\"")},
    {"no tool", HEAD USER "],\"tool_choice\":{\"type\":\"none\"}" TOOLS "}",
     OUT("{\"role\":\"user\",\"content\":\"hi\"}", TOOLS_OUT ",\"tool_choice\":\"none\"")},
    {"images",
     HEAD "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image\",\"source\":"
     "{\"type\":\"base64\",\"media_type\":\"image/png\",\"data\":\"AA==\"}},{\"type\":\"text\",\"text\":\"b\"},"
     "{\"type\":\"text\",\"text\":\"c\"}]}]}",
     OUT("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image_url\",\"image_url\":"
         "{\"url\":\"data:image/png;base64,AA==\"}},{\"type\":\"text\",\"text\":\"b\\n\\nc\"}]}", "")},
    {"a result's image",
     HEAD USER ",{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"t\","
     "\"input\":{}}]},{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_1\","
     "\"content\":[{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"http://a/\\u0022\"}}]},"
     "{\"type\":\"text\",\"text\":\"so?\"}]}]}",
     OUT("{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":["
         "{\"type\":\"function\",\"id\":\"toolu_1\",\"function\":{\"name\":\"t\",\"arguments\":\"{}\"}}]},"
         "{\"role\":\"tool\",\"content\":\"(an image: see below)\",\"tool_call_id\":\"toolu_1\"},{\"role\":\"user\","
         "\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"http://a/\\\"\"}},"
         "{\"type\":\"text\",\"text\":\"so?\"}]}", "")},
    {"a format", HEAD USER "],\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\"}}}}",
     OUT("{\"role\":\"user\",\"content\":\"hi\"}", ",\"response_format\":{\"type\":\"json_schema\","
         "\"json_schema\":{\"name\":\"answer\",\"strict\":true,\"schema\":{\"type\":\"object\"}}}")},
};

static void write_case(const char *body, bool prompt, struct buf *out)
{
    struct arena *arena = arena_new(4096);
    const struct openai_target target = {STR("far \"x\""), STR("\"seed\":7")};
    const struct request_options options = {0};
    struct err err = {0};
    const struct message_request *request = request_decode(arena, str_of(body), &options, &err);

    if (!request)
        fail_msg("%s", err.text);
    (prompt ? openai_write_prompt : openai_write_request)(out, &target, request);
    buf_char(out, 0);
    arena_free(arena);
}

static void test_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = {0};
        write_case(cases[i].request, false, &out);
        assert_string_equal(out.data, cases[i].expected);
        buf_release(&out);
    }
}

/* A prompt is what the answer's request says of messages and tools, and nothing that asks for an answer. */
static void test_prompt(void **state)
{
    struct buf out = {0};

    (void)state;
    write_case(HEAD USER "],\"temperature\":1" TOOLS "}", true, &out);
    assert_string_equal(out.data, "{\"model\":\"far \\\"x\\\"\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
                        TOOLS_OUT ",\"seed\":7}");
    buf_release(&out);
}

/* A tool that is deferred is shown once a result speaks of it. */
static void test_deferred(void **state)
{
    struct tool tools[] = {{.name = STR("a"), .schema = STR("{}")},
                           {.name = STR("b"), .schema = STR("{}"), .deferred = true},
                           {.name = STR("c"), .schema = STR("{}"), .deferred = true}};
    struct content_block reference = {.type = BLOCK_TOOL_REFERENCE, .name = STR("c")};
    struct content_block result = {.type = BLOCK_TOOL_RESULT, .id = STR("i"), .content = &reference,
                                   .content_n = 1};
    struct message message = {.role = ROLE_USER, .blocks = &result, .blocks_n = 1};
    const struct message_request request = {.messages = &message, .messages_n = 1, .tools = tools,
                                            .tools_n = 3};
    const struct openai_target target = {.model = STR("m")};
    struct buf out = {0};

    (void)state;
    openai_write_prompt(&out, &target, &request);
    buf_char(&out, 0);
    assert_non_null(strstr(out.data, "\"name\":\"a\""));
    assert_null(strstr(out.data, "\"name\":\"b\""));
    assert_non_null(strstr(out.data, "\"name\":\"c\""));
    assert_non_null(strstr(out.data, "This tool can be called now: c"));
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_prompt),
        cmocka_unit_test(test_deferred),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
