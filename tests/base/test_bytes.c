/* test_bytes.c - numbers as bytes and back, and what is too short for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/bytes.h"

static void test_the_lowest_comes_first(void **state)
{
    static const char expected[] = "\x04\x03\x02\xff\x08\x07\x06\x05\x04\x03\x02\xfe";
    struct buf out = {0};

    bytes_put_u32(&out, 0xff020304u);
    bytes_put_u64(&out, 0xfe02030405060708u);
    assert_int_equal(out.n, 12);
    assert_memory_equal(out.data, expected, 12);
    buf_release(&out);
}

static void test_there_and_back(void **state)
{
    struct buf out = {0};
    uint32_t small;
    uint64_t large;

    bytes_put_u64(&out, UINT64_MAX - 1);
    bytes_put_u32(&out, UINT32_MAX - 1);
    struct str in = buf_view(&out);
    assert_true(bytes_take_u64(&in, &large));
    assert_true(bytes_take_u32(&in, &small));
    assert_true(large == UINT64_MAX - 1 && small == UINT32_MAX - 1);
    assert_int_equal(in.n, 0);
    buf_release(&out);
}

static void test_too_few(void **state)
{
    struct str in = STR("1234567");
    uint32_t small;
    uint64_t large;

    assert_false(bytes_take_u64(&in, &large));
    assert_int_equal(in.n, 7);
    assert_true(bytes_take_u32(&in, &small));
    assert_false(bytes_take_u32(&in, &small));
    assert_true(str_is(in, "567"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_lowest_comes_first),
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_too_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
