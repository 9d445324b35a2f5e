/* test_request_tools.c - what a decoded request holds of tools, calls, documents and thoughts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/json.h"
#include "requests.h"

static void test_tools(void **state)
{
    struct fixture *f = *state;
    const struct message_request *r = decode_text(
        f, "{" MODEL "," HI ",\"tools\":[{\"name\":\"get\",\"description\":\"Gets.\","
           "\"input_schema\": {\"type\" : \"object\", \"z\":1, \"a\":[ ] },\"strict\":true,"
           "\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"1h\"}},"
           "{\"type\":\"custom\",\"name\":\"later\",\"input_schema\":{\"type\":\"object\"},"
           "\"defer_loading\":true},{\"type\":\"bash_20250124\",\"name\":\"bash\"}],"
           "\"tool_choice\":{\"type\":\"tool\",\"name\":\"bash\","
           "\"disable_parallel_tool_use\":true}}");

    assert_non_null(r);
    assert_true(r->has_tools);
    assert_int_equal(r->tools_n, 3);
    str_eq(r->tools[0].name, "get");
    str_eq(r->tools[0].description, "Gets.");
    str_eq(r->tools[0].schema, "{\"type\":\"object\",\"z\":1,\"a\":[]}");
    assert_string_equal(r->tools[0].path, "tools.0.custom.input_schema");
    assert_true(r->tools[0].strict && !r->tools[0].deferred);
    assert_int_equal(r->tools[0].cache_seconds, REQUEST_SECONDS_1H);
    assert_true(r->tools[1].deferred && !r->tools[1].strict);
    assert_int_equal(r->tools[1].description.n, 0);
    assert_string_equal(r->tools[2].path, "tools.2.bash_20250124");
    assert_int_equal(r->tool_choice.kind, CHOICE_TOOL);
    assert_int_equal(r->tool_choice.tool, 2);
    assert_true(r->tool_choice.one);

    r = decode_text(f, "{" MODEL "," HI "}");
    assert_non_null(r);
    assert_int_equal(r->tool_choice.kind, CHOICE_NONE);
    r = decode_text(f, "{" MODEL "," HI ",\"tools\":[{\"name\":\"a\",\"input_schema\":"
                       "{\"type\":\"object\"}}]}");
    assert_non_null(r);
    assert_int_equal(r->tool_choice.kind, CHOICE_AUTO);
    assert_false(r->tool_choice.one);
}

/* The server's search finds all, so that it has nothing to do. */
static void test_search_shows_all(void **state)
{
    struct fixture *f = *state;
    const struct message_request *r = decode_text(
        f, "{" MODEL "," HI ",\"tools\":[{\"name\":\"a\",\"input_schema\":{\"type\":\"object\"}},"
           "{\"type\":\"tool_search_tool_bm25_20251119\",\"name\":\"tool_search_tool_bm25\","
           "\"cache_control\":{\"type\":\"ephemeral\"}},"
           "{\"name\":\"b\",\"input_schema\":{\"type\":\"object\"},\"defer_loading\":true}],"
           "\"tool_choice\":{\"type\":\"tool\",\"name\":\"b\"}}");

    assert_non_null(r);
    assert_int_equal(r->tools_n, 2);
    assert_int_equal(r->tools[0].cache_seconds, REQUEST_SECONDS_5M);
    str_eq(r->tools[1].name, "b");
    assert_string_equal(r->tools[1].path, "tools.2.custom.input_schema");
    assert_false(r->tools[1].deferred);
    assert_int_equal(r->tool_choice.tool, 1);

    r = decode_text(f, "{" MODEL "," HI ",\"tools\":[{\"type\":\"tool_search_tool_regex\","
                       "\"name\":\"tool_search_tool_regex\"}],\"tool_choice\":{\"type\":\"any\"}}");
    assert_non_null(r);
    assert_false(r->has_tools);
    assert_int_equal(r->tool_choice.kind, CHOICE_NONE);
}

/* What a client names by its type alone has a text and a schema that is one. */
static void test_tools_that_clients_run(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *type, *name, *argument;
    } rows[] = {
        {"bash_20250124", "bash", "restart"},
        {"bash_20241022", "bash", "command"},
        {"text_editor_20241022", "str_replace_editor", "view_range"},
        {"text_editor_20250124", "str_replace_editor", "insert_line"},
        {"text_editor_20250429", "str_replace_based_edit_tool", "file_text"},
        {"text_editor_20250728", "str_replace_based_edit_tool", "new_str"},
        {"memory_20250818", "memory", "new_path"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        yyjson_val *schema;
        char body[512];

        snprintf(body, sizeof body, "{" MODEL "," HI ",\"tools\":[{\"type\":\"%s\",\"name\":\"%s\"}]}",
                 rows[i].type, rows[i].name);
        const struct message_request *r = decode_text(f, body);
        assert_non_null(r);
        str_eq(r->tools[0].name, rows[i].name);
        assert_true(r->tools[0].description.n > 20);
        assert_true(json_parse(f->arena, r->tools[0].schema, &schema, &f->err));
        yyjson_val *properties = yyjson_obj_get(schema, "properties");
        assert_true(yyjson_is_obj(yyjson_obj_get(properties, rows[i].argument)));
        yyjson_val *required = yyjson_obj_get(schema, "required"), *name;
        size_t index, n;
        yyjson_arr_foreach(required, index, n, name)
            assert_non_null(yyjson_obj_get(properties, yyjson_get_str(name)));
    }
}

static void test_calls_and_results(void **state)
{
    struct fixture *f = *state;
    const struct message_request *r = decode_text(
        f, "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
           "{\"role\":\"assistant\",\"content\":["
           "{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"sig\"},"
           "{\"type\":\"redacted_thinking\",\"data\":\"x\"},"
           "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"get\",\"input\": {\"b\" : 1, \"a\":\"\\u00e4\"}},"
           "{\"type\":\"tool_use\",\"id\":\"t2\",\"name\":\"get\",\"input\":{}}]},"
           "{\"role\":\"user\",\"content\":["
           "{\"type\":\"tool_result\",\"tool_use_id\":\"t2\",\"content\":\"two\",\"is_error\":true},"
           "{\"type\":\"tool_result\",\"tool_use_id\":\"t1\",\"content\":["
           "{\"type\":\"text\",\"text\":\"one\",\"cache_control\":{\"type\":\"ephemeral\"}},"
           "{\"type\":\"search_result\",\"source\":\"s\",\"title\":\"t\",\"content\":["
           "{\"type\":\"text\",\"text\":\"x\"},{\"type\":\"text\",\"text\":\"y\"}]},"
           "{\"type\":\"tool_reference\",\"tool_name\":\"later\"}]}]}]}");

    assert_non_null(r);
    assert_int_equal(r->messages_n, 3);
    const struct content_block *said = r->messages[1].blocks;
    assert_int_equal(r->messages[1].blocks_n, 3);
    assert_int_equal(said[0].type, BLOCK_THINKING);
    str_eq(said[0].text, "hm");
    str_eq(said[0].signature, "sig");
    assert_int_equal(said[1].type, BLOCK_TOOL_USE);
    str_eq(said[1].id, "t1");
    str_eq(said[1].name, "get");
    str_eq(said[1].text, "{\"b\":1,\"a\":\"\xC3\xA4\"}");
    str_eq(said[2].text, "{}");

    const struct content_block *results = r->messages[2].blocks;
    assert_int_equal(r->messages[2].blocks_n, 2);
    assert_int_equal(results[0].type, BLOCK_TOOL_RESULT);
    str_eq(results[0].id, "t2");
    assert_true(results[0].is_error);
    assert_int_equal(results[0].content_n, 1);
    block_is(&results[0].content[0], "two", false);
    assert_int_equal(results[0].cache_seconds, 0);
    assert_false(results[1].is_error);
    assert_int_equal(results[1].cache_seconds, REQUEST_SECONDS_5M);     /* from the text inside */
    assert_int_equal(results[1].content_n, 3);
    block_is(&results[1].content[0], "one", false);
    block_is(&results[1].content[1], "<search_result>\n<title>t</title>\n<source>s</source>\n"
                                     "x\n\ny\n</search_result>", false);
    assert_int_equal(results[1].content[2].type, BLOCK_TOOL_REFERENCE);
    str_eq(results[1].content[2].name, "later");
    assert_false(r->prefill);
}

static void test_documents_are_text(void **state)
{
    struct fixture *f = *state;
    const struct message_request *r = decode_text(
        f, "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":["
           "{\"type\":\"document\",\"source\":{\"type\":\"text\",\"media_type\":\"text/plain\","
           "\"data\":\"a\\u0000b\"},\"title\":\"T\",\"context\":\"C\","
           "\"cache_control\":{\"type\":\"ephemeral\"}},"
           "{\"type\":\"document\",\"source\":{\"type\":\"content\",\"content\":["
           "{\"type\":\"text\",\"text\":\"x\"},{\"type\":\"text\",\"text\":\"y\"}]}},"
           "{\"type\":\"document\",\"source\":{\"type\":\"content\",\"content\":\"z\"}}]}]}");
    static const char first[] =
        "<document>\n<title>T</title>\n<context>C</context>\na\0b\n</document>";

    assert_non_null(r);
    const struct content_block *blocks = r->messages[0].blocks;
    assert_int_equal(blocks[0].type, BLOCK_TEXT);
    assert_int_equal(blocks[0].text.n, sizeof first - 1);
    assert_memory_equal(blocks[0].text.s, first, sizeof first - 1);
    assert_int_equal(blocks[0].cache_seconds, REQUEST_SECONDS_5M);
    block_is(&blocks[1], "<document>\nx\n\ny\n</document>", false);
    block_is(&blocks[2], "<document>\nz\n</document>", false);
}

static void test_thinking(void **state)
{
    struct fixture *f = *state;
    static const char more_than_all[] = "{" MODEL "," HI ",\"thinking\":{\"type\":\"enabled\","
                                        "\"budget_tokens\":2000,\"display\":\"omitted\"}}";
    const struct str beta = STR("interleaved-thinking-2025-05-14");

    buf_cstr(&f->body, more_than_all);
    refused(f, "`max_tokens` must be greater than `thinking.budget_tokens`");
    f->options.betas = &beta;
    f->options.betas_n = 1;
    const struct message_request *r = decode_text(f, more_than_all);
    assert_non_null(r);
    assert_int_equal(r->thinking.kind, THINKING_ENABLED);
    assert_int_equal(r->thinking.budget, 2000);
    assert_true(r->thinking.omitted);

    r = decode_text(f, "{" MODEL "," HI ",\"thinking\":{\"type\":\"adaptive\"}}");
    assert_non_null(r);
    assert_int_equal(r->thinking.kind, THINKING_ADAPTIVE);
    assert_false(r->thinking.omitted);
    r = decode_text(f, "{" MODEL "," HI ",\"thinking\":{\"type\":\"between_tools\"}}");
    assert_non_null(r);
    assert_int_equal(r->thinking.kind, THINKING_OFF);
    r = decode_text(f, "{" MODEL "," HI "}");
    assert_non_null(r);
    assert_int_equal(r->thinking.kind, THINKING_OFF);
    str_eq(r->body, "{" MODEL "," HI "}");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, requests_open, requests_close)
    const struct CMUnitTest tests[] = {
        T(test_tools),
        T(test_search_shows_all),
        T(test_tools_that_clients_run),
        T(test_calls_and_results),
        T(test_documents_are_text),
        T(test_thinking),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
