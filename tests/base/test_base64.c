/* test_base64.c - the vectors of RFC 4648, section 10, both ways; and one form alone is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/base64.h"
#include "base/random.h"

static void test_vectors(void **state)
{
    static const char *const cases[][2] = {
        {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf text = {0}, bytes = {0};
        base64_put(&text, cases[i][0], strlen(cases[i][0]));
        assert_true(str_is(buf_view(&text), cases[i][1]));
        assert_true(base64_take(&bytes, str_of(cases[i][1])));
        assert_true(str_is(buf_view(&bytes), cases[i][0]));
        buf_release(&text);
        buf_release(&bytes);
    }
}

static void test_all_bytes(void **state)
{
    unsigned char random[300];

    random_bytes(random, sizeof random);
    for (size_t n = 0; n <= sizeof random; n++) {
        struct buf text = {0}, bytes = {0};
        base64_put(&text, random, n);
        assert_true(base64_take(&bytes, buf_view(&text)));
        assert_int_equal(bytes.n, n);
        assert_true(n == 0 || memcmp(bytes.data, random, n) == 0);
        buf_release(&text);
        buf_release(&bytes);
    }
}

static void test_refused(void **state)
{
    static const char *const bad[] = {"Z", "Zg", "Zg=", "Zh==", "Zm9=", "Zg==Zg==", "====", "Z===", "Zm 9",
                                      "Zm-_", "=Zm9"};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf bytes = {0};
        if (base64_take(&bytes, str_of(bad[i])))
            fail_msg("%s was read", bad[i]);
        buf_release(&bytes);
    }
    struct buf bytes = {0};
    assert_false(base64_take(&bytes, STR("Zm\0v")));
    buf_release(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_all_bytes),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
