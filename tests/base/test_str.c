/* test_str.c - lengths rule: NUL bytes are bytes, and an empty string needs no memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"

static const struct str empty = {NULL, 0};

static void test_equal(void **state)
{
    assert_true(str_equal(STR("abc"), str_of("abc")));
    assert_false(str_equal(STR("abc"), STR("abd")));
    assert_false(str_equal(STR("abc"), STR("ab")));
    assert_true(str_equal(empty, STR("")));
    assert_false(str_equal((struct str){"a\0b", 3}, (struct str){"a\0c", 3}));
    assert_true(str_is(STR("x"), "x"));
    assert_false(str_is((struct str){"x\0", 2}, "x"));
}

static void test_ends(void **state)
{
    assert_true(str_starts(STR("abc"), STR("ab")));
    assert_true(str_starts(STR("abc"), empty));
    assert_true(str_starts(empty, empty));
    assert_false(str_starts(STR("ab"), STR("abc")));
    assert_true(str_ends(STR("abc"), STR("bc")));
    assert_true(str_ends(STR("abc"), empty));
    assert_false(str_ends(STR("abc"), STR("b")));
    assert_false(str_ends(empty, STR("a")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
