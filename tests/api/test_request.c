/* test_request.c - what a decoded request holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "requests.h"

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

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, requests_open, requests_close)
    const struct CMUnitTest tests[] = {
        T(test_everything_once),
        T(test_nothing_given),
        T(test_zero_is_given),
        T(test_count_ignores_generation_fields),
        T(test_neighbours_of_one_role_are_merged),
        T(test_dropped_blocks_leave_no_trace),
        T(test_billing_line),
        T(test_cache_marks_are_kept_with_their_time),
        T(test_caller_and_betas),
        T(test_nul_stays_in_text),
        T(test_thread_has_its_own_code),
        T(test_unknown_keys_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
