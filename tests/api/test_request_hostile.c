/* test_request_hostile.c - bodies made to hurt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/json.h"
#include "requests.h"

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
#define T(name) cmocka_unit_test_setup_teardown(name, requests_open, requests_close)
    const struct CMUnitTest tests[] = {
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
        T(test_no_json_at_all),
        T(test_long_names_are_cut_between_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
