/* Sets of texts: what is in them, what is in them twice, and those of nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/names.h"

static void test_have(void **state)
{
    static const char *const some[] = {"b", "abc", "", "ab", "z\xc3\xa4"};
    struct arena *arena = arena_new(256);
    struct names names = names_new(arena, 6);

    for (size_t i = 0; i < 5; i++)
        names_add(&names, str_of(some[i]));
    names_sort(&names);
    for (size_t i = 0; i < 5; i++)
        assert_true(names_have(&names, str_of(some[i])));
    assert_false(names_have(&names, STR("a")));
    assert_false(names_have(&names, STR("abcd")));
    assert_true(names_are_unique(&names));
    names_add(&names, STR("abc"));
    names_sort(&names);
    assert_false(names_are_unique(&names));
    arena_free(arena);
    (void)state;
}

static void test_of_nothing(void **state)
{
    struct arena *arena = arena_new(64);
    struct names names = names_new(arena, 0);

    names_sort(&names);
    assert_false(names_have(&names, STR("")));
    assert_true(names_are_unique(&names));
    arena_free(arena);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_have),
        cmocka_unit_test(test_of_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
