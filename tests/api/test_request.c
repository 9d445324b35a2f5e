/* test_request.c - what a decoded request holds, and bodies made to hurt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/request.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/utf8.h"

#define MODEL "\"model\":\"m\",\"max_tokens\":5"
#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

struct fixture {
    struct arena *arena;
    struct buf body;
    struct request_options options;
    struct err err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    f->arena = arena_new(4096);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    arena_free(f->arena);
    buf_release(&f->body);
    free(f);
    return 0;
}

static const struct message_request *decode(struct fixture *f)
{
    f->err = (struct err){0};
    const struct message_request *request =
        request_decode(f->arena, buf_view(&f->body), &f->options, &f->err);
    if (request)
        assert_int_equal(f->err.code, ERR_NONE);
    else
        assert_true(utf8_valid(str_of(f->err.text)));
    return request;
}

static const struct message_request *decode_text(struct fixture *f, const char *body)
{
    buf_reset(&f->body);
    buf_cstr(&f->body, body);
    return decode(f);
}

static void refused(struct fixture *f, const char *text)
{
    assert_null(decode(f));
    assert_int_equal(f->err.code, ERR_INVALID);
    assert_string_equal(f->err.text, text);
}

static void repeat(struct buf *buf, const char *piece, size_t times, const char *between)
{
    for (size_t i = 0; i < times; i++) {
        if (i)
            buf_cstr(buf, between);
        buf_cstr(buf, piece);
    }
}

static void block_is(const struct content_block *block, const char *text, bool cached)
{
    assert_int_equal(block->type, BLOCK_TEXT);
    assert_int_equal(block->text.n, strlen(text));
    assert_memory_equal(block->text.s, text, block->text.n);
    assert_int_equal(block->cache_seconds, cached ? REQUEST_SECONDS_5M : 0);
}

static void str_eq(struct str s, const char *text)
{
    assert_int_equal(s.n, strlen(text));
    assert_memory_equal(s.s, text, s.n);
}

/* ---- meaning ---- */

static void test_everything_once(void **state)
{
    struct fixture *f = *state;
    const struct message_request *r = decode_text(
        f, "{\"model\":\"claude-3-sonnet-20240229\",\"max_tokens\":15,\"stream\":true," HI
           ",\"temperature\":0.25,\"top_p\":0.5,\"top_k\":40,\"stop_sequences\":[\"a\",\"b c\"],"
           "\"metadata\":{\"user_id\":\"u1\"},\"diagnostics\":{\"previous_message_id\":null},"
           "\"context_management\":{\"edits\":[]},\"system\":\"Be brief.\"}");

    assert_non_null(r);
    str_eq(r->model, "claude-3-sonnet-20240229");
    assert_int_equal(r->max_tokens, 15);
    assert_true(r->stream && r->has_temperature && r->has_top_p && r->has_top_k);
    assert_true(r->temperature == 0.25 && r->top_p == 0.5);
    assert_int_equal(r->top_k, 40);
    assert_int_equal(r->stop_sequences_n, 2);
    str_eq(r->stop_sequences[0], "a");
    str_eq(r->stop_sequences[1], "b c");
    str_eq(r->user_id, "u1");
    assert_true(r->diagnostics && r->context_management);
    assert_int_equal(r->system_n, 1);
    block_is(&r->system[0], "Be brief.", false);
    assert_int_equal(r->messages_n, 1);
    assert_int_equal(r->messages[0].role, ROLE_USER);
    assert_int_equal(r->messages[0].blocks_n, 1);
    block_is(&r->messages[0].blocks[0], "hi", false);
    assert_false(r->prefill);
}

static void test_nothing_given(void **state)
{
    struct fixture *f = *state;
    const struct message_request *r = decode_text(f, "{" MODEL "," HI "}");

    assert_non_null(r);
    assert_false(r->stream || r->has_temperature || r->has_top_p || r->has_top_k);
    assert_false(r->diagnostics || r->context_management || r->prefill);
    assert_int_equal(r->system_n, 0);
    assert_int_equal(r->stop_sequences_n, 0);
    assert_int_equal(r->user_id.n, 0);
}

static void test_zero_is_given(void **state)
{
    struct fixture *f = *state;
    const struct message_request *r =
        decode_text(f, "{" MODEL "," HI ",\"temperature\":0,\"top_p\":0,\"top_k\":0}");

    assert_non_null(r);
    assert_true(r->has_temperature && r->has_top_p && r->has_top_k);
    assert_true(r->temperature == 0 && r->top_p == 0 && r->top_k == 0);
}

static void test_count_ignores_generation_fields(void **state)
{
    struct fixture *f = *state;

    f->options.count_tokens = true;
    const struct message_request *r = decode_text(
        f, "{\"model\":\"m\"," HI ",\"stream\":true,\"max_tokens\":9,\"temperature\":0.5,"
           "\"stop_sequences\":[\"x\"]}");
    assert_non_null(r);
    assert_false(r->stream || r->has_temperature);
    assert_int_equal(r->max_tokens, 0);
    assert_int_equal(r->stop_sequences_n, 0);
}

static void test_neighbours_of_one_role_are_merged(void **state)
{
    struct fixture *f = *state;
    const struct message_request *r = decode_text(
        f, "{" MODEL ",\"messages\":["
           "{\"role\":\"user\",\"content\":\"a\"},"
           "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"b\","
           "\"cache_control\":{\"type\":\"ephemeral\"}},{\"type\":\"text\",\"text\":\"c\"}]},"
           "{\"role\":\"system\",\"content\":\"s1\"},{\"role\":\"system\",\"content\":\"s2\"},"
           "{\"role\":\"assistant\",\"content\":\"d\"},"
           "{\"role\":\"assistant\",\"content\":\"e\"}]}");

    assert_non_null(r);
    assert_int_equal(r->messages_n, 3);
    assert_int_equal(r->messages[0].blocks_n, 3);
    block_is(&r->messages[0].blocks[0], "a", false);
    block_is(&r->messages[0].blocks[1], "b", true);
    block_is(&r->messages[0].blocks[2], "c", false);
    assert_int_equal(r->messages[1].role, ROLE_SYSTEM);
    assert_int_equal(r->messages[1].blocks_n, 2);
    block_is(&r->messages[1].blocks[1], "s2", false);
    assert_int_equal(r->messages[2].blocks_n, 2);
    assert_true(r->prefill);

    /* They keep the places that the client knows. */
    assert_int_equal(r->messages[0].blocks[2].place.message, 1);
    assert_int_equal(r->messages[0].blocks[2].place.block, 1);
    assert_int_equal(r->messages[2].blocks[1].place.message, 5);
    assert_int_equal(r->messages[2].blocks[1].place.block, 0);
}

static void test_dropped_blocks_leave_no_trace(void **state)
{
    struct fixture *f = *state;
    const struct message_request *r = decode_text(
        f, "{" MODEL ",\"messages\":["
           "{\"role\":\"user\",\"content\":\"a\"},"
           "{\"role\":\"assistant\",\"content\":[{\"type\":\"redacted_thinking\",\"data\":\"x\"}]},"
           "{\"role\":\"user\",\"content\":\"b\"},"
           "{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"t\","
           "\"signature\":\"s\"},{\"type\":\"text\",\"text\":\"c\"}]},"
           "{\"role\":\"user\",\"content\":\"d\"},"
           "{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"t\","
           "\"signature\":\"s\"}]}]}");

    assert_non_null(r);
    assert_int_equal(r->messages_n, 3);
    assert_int_equal(r->messages[0].blocks_n, 2);
    block_is(&r->messages[0].blocks[1], "b", false);
    assert_int_equal(r->messages[1].role, ROLE_ASSISTANT);
    assert_int_equal(r->messages[1].blocks_n, 2);
    assert_int_equal(r->messages[1].blocks[0].type, BLOCK_THINKING);
    block_is(&r->messages[1].blocks[1], "c", false);
    assert_int_equal(r->messages[2].role, ROLE_USER);       /* behind it: thoughts, and no answer */
    assert_false(r->prefill);

    /* The same in the middle; and the empty text of a keepalive. */
    r = decode_text(
        f, "{" MODEL ",\"messages\":["
           "{\"role\":\"user\",\"content\":\"a\"},"
           "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"\"},"
           "{\"type\":\"thinking\",\"thinking\":\"t\",\"signature\":\"s\"}]},"
           "{\"role\":\"user\",\"content\":\"b\"},"
           "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"\"}]}]}");
    assert_non_null(r);
    assert_int_equal(r->messages_n, 1);
    assert_int_equal(r->messages[0].blocks_n, 2);
    block_is(&r->messages[0].blocks[0], "a", false);
    block_is(&r->messages[0].blocks[1], "b", false);
    assert_false(r->prefill);
}

/* ---- tools and thoughts ---- */

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

static void test_billing_line(void **state)
{
    struct fixture *f = *state;
    const char *const line = "x-anthropic-billing-header: cc_version=2.1.197.abc;";
    char body[512];

    snprintf(body, sizeof body,
             "{" MODEL "," HI ",\"system\":[{\"type\":\"text\",\"text\":\"%s\"},"
             "{\"type\":\"text\",\"text\":\"You are.\"}]}", line);
    const struct message_request *r = decode_text(f, body);
    assert_non_null(r);
    assert_int_equal(r->system_n, 1);
    block_is(&r->system[0], "You are.", false);

    /* Not first, or no block of its own: it is the client's text. */
    snprintf(body, sizeof body,
             "{" MODEL "," HI ",\"system\":[{\"type\":\"text\",\"text\":\"You are.\"},"
             "{\"type\":\"text\",\"text\":\"%s\"}]}", line);
    r = decode_text(f, body);
    assert_non_null(r);
    assert_int_equal(r->system_n, 2);
    snprintf(body, sizeof body, "{" MODEL "," HI ",\"system\":\"%s\"}", line);
    r = decode_text(f, body);
    assert_non_null(r);
    assert_int_equal(r->system_n, 1);
}

/* Where the prompt is to be kept: explicit marks, the automatic one, and one on a block that is
 * dropped. */
static void test_cache_marks_are_kept_with_their_time(void **state)
{
#define MARK(ttl) "\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"" ttl "\"}"
    struct fixture *f = *state;
    const struct message_request *r = decode_text(
        f, "{" MODEL ",\"system\":[{\"type\":\"text\",\"text\":\"s\"," MARK("1h") "}],"
           "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"," MARK("5m")
           "},{\"type\":\"text\",\"text\":\"b\"}]}]}");
    assert_non_null(r);
    assert_int_equal(r->system[0].cache_seconds, REQUEST_SECONDS_1H);
    assert_int_equal(r->messages[0].blocks[0].cache_seconds, REQUEST_SECONDS_5M);
    assert_int_equal(r->messages[0].blocks[1].cache_seconds, 0);

    r = decode_text(f, "{" MODEL "," HI "," MARK("1h") "}");
    assert_non_null(r);
    assert_int_equal(r->messages[0].blocks[0].cache_seconds, REQUEST_SECONDS_1H);

    /* The last block can't carry one: it goes to the one before. */
    r = decode_text(f, "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
                       "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"b\"},"
                       "{\"type\":\"redacted_thinking\",\"data\":\"x\"}]}]," MARK("5m") "}");
    assert_non_null(r);
    assert_int_equal(r->messages[0].blocks[0].cache_seconds, 0);
    assert_int_equal(r->messages[1].blocks[0].cache_seconds, REQUEST_SECONDS_5M);

    r = decode_text(f, "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
                       "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"b\"},"
                       "{\"type\":\"mcp_tool_use\"," MARK("1h") "}]},"
                       "{\"role\":\"user\",\"content\":\"c\"}]}");
    assert_non_null(r);
    assert_int_equal(r->messages[1].blocks[0].cache_seconds, REQUEST_SECONDS_1H);

    /* Of two at one place the longer counts. */
    r = decode_text(f, "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
                       "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"b\"," MARK("1h") "},"
                       "{\"type\":\"mcp_tool_use\"," MARK("5m") "}]},"
                       "{\"role\":\"user\",\"content\":\"c\"}]}");
    assert_non_null(r);
    assert_int_equal(r->messages[1].blocks[0].cache_seconds, REQUEST_SECONDS_1H);
#undef MARK
}

static void test_caller_and_betas(void **state)
{
    struct fixture *f = *state;
    static const char scoped[] =
        "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\","
        "\"cache_control\":{\"type\":\"ephemeral\",\"scope\":\"global\"}}]}]}";
    const struct str betas[] = {STR("claude-code-20250219"), STR("prompt-caching-scope-2026-01-05")};

    f->options.strict = true;
    buf_reset(&f->body);
    buf_cstr(&f->body, scoped);
    refused(f, "messages.0.content.0.text.cache_control.scope: Extra inputs are not permitted");
    f->options.betas = betas;
    f->options.betas_n = 2;
    f->options.caller = (struct request_caller){.owner = 1, .space = 2, .session = STR("s")};
    const struct message_request *r = decode_text(f, scoped);
    assert_non_null(r);
    assert_int_equal(r->caller.owner, 1);
    assert_int_equal(r->caller.space, 2);
    str_eq(r->caller.session, "s");
    assert_false(r->has_tools);
    assert_true(request_beta(&f->options, "claude-code-"));
    assert_false(request_beta(&f->options, "interleaved-thinking-"));
}

static void test_nul_stays_in_text(void **state)
{
    struct fixture *f = *state;
    const struct message_request *r = decode_text(
        f, "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":\"a\\u0000b\"}]}");

    assert_non_null(r);
    assert_int_equal(r->messages[0].blocks[0].text.n, 3);
    assert_memory_equal(r->messages[0].blocks[0].text.s, "a\0b", 3);
}

static void test_thread_has_its_own_code(void **state)
{
    struct fixture *f = *state;

    assert_null(decode_text(f, "{" MODEL "," HI ",\"thread\":{\"type\":\"create\"}}"));
    assert_int_equal(f->err.code, ERR_THREAD);
}

static void note_key(void *context, struct str key)
{
    struct buf *keys = context;

    buf_str(keys, key);
    buf_char(keys, ' ');
}

static void test_unknown_keys_are_told(void **state)
{
    struct fixture *f = *state;
    struct buf keys = {0};
    const char *const body =
        "{\"new\":1," MODEL ",\"messages\":[{\"role\":\"user\",\"content\":\"hi\",\"id\":1}],"
        "\"x\":2}";

    f->options.on_unknown = note_key;
    f->options.context = &keys;
    assert_non_null(decode_text(f, body));
    str_eq(buf_view(&keys), "new x ");          /* the top level's alone */
    buf_reset(&keys);
    f->options.strict = true;
    assert_null(decode_text(f, body));
    assert_int_equal(keys.n, 0);
    buf_release(&keys);
}

/* ---- hostile ---- */

static void test_nested_100000_deep(void **state)
{
    struct fixture *f = *state;

    buf_cstr(&f->body, "{" MODEL ",\"x\":");
    const size_t begin = f->body.n;
    repeat(&f->body, "[", 100000, "");
    repeat(&f->body, "]", 100000, "");
    buf_cstr(&f->body, "}");
    char expected[128];
    snprintf(expected, sizeof expected,
             "The request body is not valid JSON: nested deeper than 128 at byte %zu", begin + 127);
    refused(f, expected);

    buf_reset(&f->body);
    repeat(&f->body, "{\"a\":", 100000, "");
    refused(f, "The request body is not valid JSON: nested deeper than 128 at byte 640");
}

static void test_depth_at_the_limit(void **state)
{
    struct fixture *f = *state;

    buf_cstr(&f->body, "{" MODEL "," HI ",\"x\":");
    repeat(&f->body, "[", JSON_DEPTH_MAX - 1, "");
    repeat(&f->body, "]", JSON_DEPTH_MAX - 1, "");
    buf_cstr(&f->body, "}");
    assert_non_null(decode(f));
}

static void test_brackets_in_strings_are_text(void **state)
{
    struct fixture *f = *state;

    buf_cstr(&f->body, "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":\"\\\\\\\"");
    repeat(&f->body, "[{\\\"", 100000, "");
    buf_cstr(&f->body, "\"}]}");
    const struct message_request *r = decode(f);
    assert_non_null(r);
    assert_int_equal(r->messages[0].blocks[0].text.n, 2 + 300000);
}

static void test_too_many_messages(void **state)
{
    struct fixture *f = *state;
    const char *const message = "{\"role\":\"user\",\"content\":\"a\"}";

    buf_cstr(&f->body, "{" MODEL ",\"messages\":[");
    repeat(&f->body, message, REQUEST_MESSAGES_MAX, ",");
    buf_cstr(&f->body, "]}");
    const struct message_request *r = decode(f);
    assert_non_null(r);
    assert_int_equal(r->messages_n, 1);
    assert_int_equal(r->messages[0].blocks_n, REQUEST_MESSAGES_MAX);

    buf_reset(&f->body);
    buf_cstr(&f->body, "{" MODEL ",\"messages\":[");
    repeat(&f->body, message, REQUEST_MESSAGES_MAX + 1, ",");
    buf_cstr(&f->body, "]}");
    refused(f, "messages: List should have at most 100000 items after validation, not 100001");
}

static void test_too_many_values(void **state)
{
    struct fixture *f = *state;

    buf_cstr(&f->body, "{" MODEL "," HI ",\"x\":[");
    repeat(&f->body, "{}", JSON_VALUES_MAX, ",");
    buf_cstr(&f->body, "]}");
    refused(f, "The request body holds more than 2097152 JSON values");
}

static void test_many_empty_blocks(void **state)
{
    struct fixture *f = *state;

    buf_cstr(&f->body, "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":[");
    repeat(&f->body, "{}", REQUEST_BLOCKS_MAX, ",");
    buf_cstr(&f->body, "]}]}");
    refused(f, "messages.0.content.0: Unable to extract tag using discriminator 'type'");

    buf_reset(&f->body);
    buf_cstr(&f->body, "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":[");
    repeat(&f->body, "{}", 500000, ",");
    buf_cstr(&f->body, "]}]}");
    refused(f, "messages.0.content: List should have at most 100000 items after validation, not "
               "500000");
}

/* As many calls as a message takes, and their results the other way round. */
static void test_many_calls(void **state)
{
    enum { CALLS = 50000 };
    struct fixture *f = *state;

    buf_cstr(&f->body, "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
                       "{\"role\":\"assistant\",\"content\":[");
    for (int i = 0; i < CALLS; i++)
        buf_printf(&f->body, "%s{\"type\":\"tool_use\",\"id\":\"t%d\",\"name\":\"f\",\"input\":{}}",
                   i ? "," : "", i);
    buf_cstr(&f->body, "]},{\"role\":\"user\",\"content\":[");
    for (int i = CALLS; i-- > 0;)
        buf_printf(&f->body, "{\"type\":\"tool_result\",\"tool_use_id\":\"t%d\"}%s", i, i ? "," : "");
    const size_t all = f->body.n;
    buf_cstr(&f->body, "]}]}");
    const struct message_request *r = decode(f);
    assert_non_null(r);
    assert_int_equal(r->messages[2].blocks_n, CALLS);

    f->body.n = all - strlen("{\"type\":\"tool_result\",\"tool_use_id\":\"t0\"}") - 1;
    buf_cstr(&f->body, "]}]}");
    refused(f, "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: "
               "t0. Each `tool_use` block must have a corresponding `tool_result` block in the next "
               "message.");
}

static void test_many_keys(void **state)
{
    struct fixture *f = *state;

    buf_cstr(&f->body, "{" MODEL "," HI ",");
    repeat(&f->body, "\"k\":0", 400000, ",");
    buf_cstr(&f->body, "}");
    assert_non_null(decode(f));
    f->options.strict = true;
    refused(f, "k: Extra inputs are not permitted");
}

static void test_tool_limits(void **state)
{
    struct fixture *f = *state;

    buf_cstr(&f->body, "{" MODEL "," HI ",\"tools\":[");
    repeat(&f->body, "{}", REQUEST_TOOLS_MAX + 1, ",");
    buf_cstr(&f->body, "]}");
    refused(f, "tools: List should have at most 10000 items after validation, not 10001");
}

static void test_stop_sequence_limits(void **state)
{
    struct fixture *f = *state;

    buf_cstr(&f->body, "{" MODEL "," HI ",\"stop_sequences\":[");
    repeat(&f->body, "\"x\"", REQUEST_STOP_SEQUENCES_MAX + 1, ",");
    buf_cstr(&f->body, "]}");
    refused(f, "stop_sequences: List should have at most 64 items after validation, not 65");

    for (size_t more = 0; more <= 1; more++) {
        buf_reset(&f->body);
        buf_cstr(&f->body, "{" MODEL "," HI ",\"stop_sequences\":[\"a\",\"");
        repeat(&f->body, "x", REQUEST_STOP_SEQUENCE_BYTES_MAX + more, "");
        buf_cstr(&f->body, "\"]}");
        if (!more)
            assert_non_null(decode(f));
    }
    refused(f, "stop_sequences.1: String should have at most 4096 bytes");
}

static void test_bytes_that_are_not_utf8(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {
        "\xFF", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF0\x9F\x98",
        "\x80", "\xC3",
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        buf_reset(&f->body);
        buf_cstr(&f->body, "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":\"");
        const size_t at = f->body.n;
        buf_cstr(&f->body, bad[i]);
        buf_cstr(&f->body, "\"}]}");
        char expected[128];
        snprintf(expected, sizeof expected,
                 "The request body is not valid JSON: invalid UTF-8 encoding in string at byte %zu",
                 at);
        refused(f, expected);
    }
}

static void test_lone_surrogates(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text, *reason;
    } rows[] = {
        {"\\ud83d", "no low surrogate in string"},
        {"\\ud83dx", "no low surrogate in string"},
        {"\\ud83d\\ud83d", "invalid low surrogate in string"},
        {"\\ud83d\\n", "no low surrogate in string"},
        {"\\ude00", "invalid high surrogate in string"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char expected[128];
        buf_reset(&f->body);
        buf_cstr(&f->body, "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":\"");
        buf_printf(&f->body, "%s\"}]}", rows[i].text);
        assert_null(decode(f));
        snprintf(expected, sizeof expected, "The request body is not valid JSON: %s at byte ",
                 rows[i].reason);
        assert_memory_equal(f->err.text, expected, strlen(expected));
    }
}

/* ---- what another server may be able to do ---- */

static void test_refused_is_whole_all_the_same(void **state)
{
    struct fixture *f = *state;
    const char *body =
        "{" MODEL ",\"tools\":[{\"type\":\"web_search_20250305\",\"name\":\"web_search\",\"a\":[1]}],"
        "\"tool_choice\":{\"type\":\"tool\",\"name\":\"web_search\"},\"container\":\"c\","
        "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\","
        "\"source\":{\"type\":\"url\",\"url\":\"u\"}}]}]}";
    const struct message_request *r = decode_text(f, body);

    assert_non_null(r);
    assert_non_null(r->refused);
    assert_int_equal(r->refused->code, ERR_INVALID);
    assert_string_equal(r->refused->text,
                        "tools.0: tool type 'web_search_20250305' is not available on this server");
    str_eq(r->body, body);
    assert_int_equal(r->messages_n, 1);
    assert_int_equal(r->tool_choice.kind, CHOICE_TOOL);
    assert_null(decode_text(f, "{" MODEL "," HI "}")->refused);
}

static void test_only_images(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *block;
        bool only;
    } rows[] = {
        {"{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"u\"}}", true},
        {"{\"type\":\"image\",\"source\":{\"type\":\"file\",\"file_id\":\"u\"}}", false},
        {"{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"u\"}},"
         "{\"type\":\"document\",\"source\":{\"type\":\"url\",\"url\":\"u\"}}", false},
        {"{\"type\":\"document\",\"source\":{\"type\":\"content\",\"content\":["
         "{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"u\"}}]}}", false},
        {"{\"type\":\"text\",\"text\":\"a\"}", false},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buf_reset(&f->body);
        buf_printf(&f->body, "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":[%s]}]}",
                   rows[i].block);
        const struct message_request *r = decode(f);
        assert_non_null(r);
        assert_true(r->only_images == rows[i].only);
        if (rows[i].only) {
            assert_int_equal(r->messages[0].blocks[0].type, BLOCK_IMAGE);
            str_eq(r->messages[0].blocks[0].text, "u");
        }
    }
}

static void test_refused_breaks_no_rule(void **state)
{
    struct fixture *f = *state;

    assert_null(decode_text(f, "{" MODEL "," HI ",\"temperature\":2,\"tools\":"
                               "[{\"type\":\"web_search_20250305\",\"name\":\"web_search\"}]}"));
    assert_string_equal(f->err.text, "temperature: Input should be less than or equal to 1");
}

/* What a hosted tool was at in the middle of is its server's to go on with, thoughts and all. */
static void test_refused_is_an_answer_that_a_hosted_tool_ends(void **state)
{
    struct fixture *f = *state;
    const char *const answers[] = {
        "{\"type\":\"text\",\"text\":\"so \"},{\"type\":\"server_tool_use\",\"id\":\"s\"}",
        "{\"type\":\"server_tool_use\",\"id\":\"s\"},{\"type\":\"text\",\"text\":\"so \"}",
    };

    for (size_t i = 0; i < 2; i++) {
        buf_reset(&f->body);
        buf_printf(&f->body,
                   "{\"model\":\"m\",\"max_tokens\":2000,\"thinking\":{\"type\":\"enabled\","
                   "\"budget_tokens\":1024},\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},"
                   "{\"role\":\"assistant\",\"content\":[%s]}]}",
                   answers[i]);
        const struct message_request *r = decode(f);
        assert_true(i == 0 ? r && r->refused : !r);
        assert_string_equal(i == 0 ? r->refused->text : f->err.text,
                            "messages: final assistant content cannot end with trailing "
                            "whitespace");
    }
}

static void test_no_json_at_all(void **state)
{
    struct fixture *f = *state;

    refused(f, "The request body is not valid JSON: it is empty");
    buf_cstr(&f->body, " \n");
    refused(f, "The request body is not valid JSON: input data is empty at byte 0");
    buf_reset(&f->body);
    buf_cstr(&f->body, "\xEF\xBB\xBF{" MODEL "," HI "}");
    refused(f, "The request body is not valid JSON: byte order mark (BOM) is not supported "
               "at byte 0");
    buf_reset(&f->body);
    buf_append(&f->body, "{\0}", 3);
    assert_null(decode(f));
}

/* What a client wrote comes back in the message, but never longer than it and never cut in two. */
static void test_long_names_are_cut_between_characters(void **state)
{
    struct fixture *f = *state;

    for (size_t shift = 0; shift < 4; shift++) {
        buf_reset(&f->body);
        buf_cstr(&f->body, "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"");
        repeat(&f->body, "x", shift, "");
        repeat(&f->body, "\U0001F600", 100, "");
        buf_cstr(&f->body, "\"}]}]}");
        assert_null(decode(f));
        const char *const begin = "messages.0.content.0: Input tag 'x";
        assert_memory_equal(f->err.text, begin, shift ? strlen(begin) : strlen(begin) - 1);
        assert_true(strlen(f->err.text) < sizeof f->err.text);
    }
    f->options.strict = true;
    buf_reset(&f->body);
    buf_cstr(&f->body, "{" MODEL "," HI ",\"");
    repeat(&f->body, "\xE2\x82\xAC", 1000, "");
    buf_cstr(&f->body, "\":1}");
    assert_null(decode(f));
    assert_non_null(strstr(f->err.text, ": Extra inputs are not permitted"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_everything_once),
        T(test_nothing_given),
        T(test_zero_is_given),
        T(test_count_ignores_generation_fields),
        T(test_neighbours_of_one_role_are_merged),
        T(test_dropped_blocks_leave_no_trace),
        T(test_tools),
        T(test_search_shows_all),
        T(test_tools_that_clients_run),
        T(test_calls_and_results),
        T(test_documents_are_text),
        T(test_thinking),
        T(test_billing_line),
        T(test_cache_marks_are_kept_with_their_time),
        T(test_caller_and_betas),
        T(test_nul_stays_in_text),
        T(test_thread_has_its_own_code),
        T(test_unknown_keys_are_told),
        T(test_nested_100000_deep),
        T(test_depth_at_the_limit),
        T(test_brackets_in_strings_are_text),
        T(test_too_many_messages),
        T(test_too_many_values),
        T(test_many_empty_blocks),
        T(test_many_calls),
        T(test_many_keys),
        T(test_tool_limits),
        T(test_stop_sequence_limits),
        T(test_bytes_that_are_not_utf8),
        T(test_lone_surrogates),
        T(test_refused_is_whole_all_the_same),
        T(test_only_images),
        T(test_refused_breaks_no_rule),
        T(test_refused_is_an_answer_that_a_hosted_tool_ends),
        T(test_no_json_at_all),
        T(test_long_names_are_cut_between_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
