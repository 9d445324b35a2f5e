/* test_err.c - a sentence is never longer than its place and never ends in half a character. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/utf8.h"

enum { TEXT_MAX = sizeof((struct err){0}.text) - 1 };

static void test_set(void **state)
{
    struct err err = {0};

    assert_false(err_set(&err, ERR_INVALID, "%s: %d", "x", 5));
    assert_int_equal(err.code, ERR_INVALID);
    assert_string_equal(err.text, "x: 5");
    assert_false(err_set(NULL, ERR_INVALID, "nobody asked"));
    assert_false(err_prefix(NULL, "nobody"));
}

static void test_prefix(void **state)
{
    struct err err = {0};

    err_set(&err, ERR_IO, "no such file");
    assert_false(err_prefix(&err, "%s", "model.gguf"));
    assert_int_equal(err.code, ERR_IO);
    assert_string_equal(err.text, "model.gguf: no such file");
}

static void test_cut_at_a_character(void **state)
{
    static const char *const characters[] = {"x", "\xC3\xA4", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"};

    for (size_t c = 0; c < 4; c++)
        for (size_t shift = 0; shift < 5; shift++) {
            char text[2048] = "";
            struct err err = {0};
            for (size_t i = 0; i < shift; i++)
                strcat(text, "-");
            while (strlen(text) < 1000)
                strcat(text, characters[c]);
            err_set(&err, ERR_INVALID, "%s", text);
            const size_t n = strlen(err.text);
            assert_true(n <= TEXT_MAX && n + 3 >= TEXT_MAX);
            assert_memory_equal(err.text, text, n);
            assert_true(utf8_valid((struct str){err.text, n}));

            err_prefix(&err, "%s", "somewhere");
            assert_true(strlen(err.text) <= TEXT_MAX);
            assert_true(utf8_valid(str_of(err.text)));
            err_prefix(&err, "%s", text);
            assert_true(utf8_valid(str_of(err.text)));
        }
}

static void test_exactly_full(void **state)
{
    char text[TEXT_MAX + 1];
    struct err err = {0};

    memset(text, 'a', TEXT_MAX);
    text[TEXT_MAX] = '\0';
    memcpy(text + TEXT_MAX - 3, "\xE2\x82\xAC", 3);
    err_set(&err, ERR_INVALID, "%s", text);
    assert_string_equal(err.text, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_cut_at_a_character),
        cmocka_unit_test(test_exactly_full),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
