/* test_json_close.c - every beginning of a JSON text becomes one, and the whole stays as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/json_close.h"

static void closes_as(const char *text, const char *rest)
{
    struct buf out = {0};

    if (!json_close(&out, str_of(text)))
        fail_msg("%s can't be closed", text);
    buf_char(&out, '\0');
    assert_string_equal(out.data, rest);
    buf_release(&out);
}

static void test_what_is_missing(void **state)
{
    static const char *const cases[][2] = {
        {"", "{}"}, {" ", "{}"}, {"{", "}"}, {"{}", ""}, {"{\"a\": [1, {", "}]}"},
        {"{\"path\": \"/tmp/fo", "\"}"}, {"{\"pa", "\":null}"}, {"{\"pa\"", ":null}"},
        {"{\"a\":", "null}"}, {"{\"a\":1,", "\"\":null}"}, {"[1,", "null]"}, {"[", "]"},
        {"[tr", "ue]"}, {"[nul", "l]"}, {"[-", "0]"}, {"[1.", "0]"}, {"[1e+", "0]"}, {"[12", "]"},
        {"[12 ", "]"}, {"[\"a\\", "\\\"]"}, {"[\"a\\n", "\"]"}, {"[\"\\u", "0000\"]"},
        {"[\"\\u20a", "0\"]"}, {"[\"\\ud83d", "\\udc00\"]"}, {"[\"\\ud8", "00\\udc00\"]"},
        {"[\"\\ud83d\\", "udc00\"]"}, {"[\"\\ud83d\\ude", "00\"]"}, {"[\"\\ud83d\\ude00", "\"]"},
        {"[\"\\\"", "\"]"}, {"[\"}", "\"]"}, {"[\"\\\\", "\"]"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        closes_as(cases[i][0], cases[i][1]);
}

static void test_every_beginning(void **state)
{
    static const char text[] =
        " {\"a\" : [ 1, -2.5e-3 ,true,false,null,\"\", [], {} ],\n \"b\\u00e9\\ud83d\\ude00\\\\\\/\\\"\": "
        "{\"c\": {\"d\":[[[{\"e\":0}]]]}, \"f\": \"\\uD83D\\uDE00 \\t} ]:,\"} } ";

    for (size_t n = 0; n < sizeof text; n++) {
        struct buf whole = {0}, out = {0};
        struct arena *arena = arena_new(1024);
        yyjson_val *root;
        struct err err = {0};
        assert_true(json_close(&out, (struct str){text, n}));
        buf_append(&whole, text, n);
        buf_str(&whole, buf_view(&out));
        if (!json_parse(arena, buf_view(&whole), &root, &err))
            fail_msg("%.*s: %s", STR_ARG(buf_view(&whole)), err.text);
        arena_free(arena);
        buf_release(&whole);
        buf_release(&out);
    }
}

static void test_what_begins_no_json(void **state)
{
    static const char *const bad[] = {"}", "[}", "{1", "{\"a\" 1", "[1 2", "[\"\\ud83dx", "[\"\\x", "[truth",
                                      "[01", "[\"\\ud83d\\uab"};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf out = {0};
        buf_cstr(&out, "before");
        if (json_close(&out, str_of(bad[i])))
            fail_msg("%s was closed: %.*s", bad[i], STR_ARG(buf_view(&out)));
        assert_true(str_is(buf_view(&out), "before"));
        buf_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_missing),
        cmocka_unit_test(test_every_beginning),
        cmocka_unit_test(test_what_begins_no_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
