/* test_buf.c - growth, and the ceiling: reached exactly, never passed, an append whole or not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"

static void holds(const struct buf *buf, const char *text)
{
    assert_int_equal(buf->n, strlen(text));
    assert_memory_equal(buf->data, text, buf->n);
}

static void test_every_way_in(void **state)
{
    struct buf buf = {0};

    assert_true(buf_append(&buf, NULL, 0));
    assert_true(buf_cstr(&buf, "ab"));
    assert_true(buf_char(&buf, '\0'));
    assert_true(buf_str(&buf, STR("cd")));
    assert_true(buf_printf(&buf, "%d%s", 12, ""));
    assert_true(buf_printf(&buf, "%s", ""));
    assert_int_equal(buf.n, 7);
    assert_memory_equal(buf.data, "ab\0cd12", 7);
    buf_release(&buf);
    assert_null(buf.data);
    assert_int_equal(buf.n, 0);
}

static void test_ceiling(void **state)
{
    struct buf buf;

    buf_init(&buf, 5);
    assert_true(buf_cstr(&buf, "abc"));
    assert_false(buf_cstr(&buf, "def"));
    assert_true(buf.overflow);
    holds(&buf, "abc");
    assert_false(buf_char(&buf, 'd'));          /* once over, nothing more: no holes */
    holds(&buf, "abc");
    buf_reset(&buf);
    assert_false(buf.overflow);
    assert_true(buf_cstr(&buf, "abcde"));
    assert_true(buf_append(&buf, "", 0));
    assert_false(buf_char(&buf, 'f'));
    holds(&buf, "abcde");
    buf_release(&buf);
    assert_int_equal(buf.ceiling, 5);
}

static void test_printf_up_to_the_ceiling(void **state)
{
    for (size_t ceiling = 1; ceiling < 200; ceiling++) {
        struct buf buf;
        buf_init(&buf, ceiling);
        assert_true(buf_printf(&buf, "%*d", (int)ceiling, 7));
        assert_int_equal(buf.n, ceiling);
        assert_int_equal(buf.data[ceiling - 1], '7');
        assert_false(buf_printf(&buf, "%d", 1));
        assert_int_equal(buf.n, ceiling);
        buf_release(&buf);
    }
}

static void test_sizes_that_wrap(void **state)
{
    struct buf buf = {0};

    assert_true(buf_char(&buf, 'a'));
    assert_false(buf_reserve(&buf, SIZE_MAX));
    assert_true(buf.overflow);
    holds(&buf, "a");
    buf_release(&buf);
}

static void test_consume(void **state)
{
    struct buf buf = {0};

    buf_cstr(&buf, "abcdef");
    buf_consume(&buf, 0);
    holds(&buf, "abcdef");
    buf_consume(&buf, 2);
    holds(&buf, "cdef");
    buf_consume(&buf, 100);
    holds(&buf, "");
    buf_consume(&buf, 1);
    buf_release(&buf);
}

static void test_grows(void **state)
{
    struct buf buf = {0};

    for (int i = 0; i < 100000; i++)
        assert_true(buf_char(&buf, (char)('a' + i % 26)));
    for (int i = 0; i < 100000; i++)
        assert_int_equal(buf.data[i], 'a' + i % 26);
    buf_release(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_way_in),
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_printf_up_to_the_ceiling),
        cmocka_unit_test(test_sizes_that_wrap),
        cmocka_unit_test(test_consume),
        cmocka_unit_test(test_grows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
