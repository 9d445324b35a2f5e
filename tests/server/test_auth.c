/* Who is let in, and with which words one is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "server/auth.h"

static const struct str keys[] = {{"pensieve-local-token", 20}, {"second", 6}};

static void test_key_known(void **state)
{
    assert_true(auth_key_known(keys, 2, STR("second")));
    assert_true(auth_key_known(keys, 2, STR("pensieve-local-token")));
    assert_false(auth_key_known(keys, 1, STR("second")));
    assert_false(auth_key_known(keys, 2, STR("")));
    assert_false(auth_key_known(keys, 2, STR("s")));
    assert_false(auth_key_known(keys, 2, STR("secon")));
    assert_false(auth_key_known(keys, 2, STR("secondsecond")));     /* the same bytes, repeated */
    assert_false(auth_key_known(keys, 2, STR("Second")));
    assert_false(auth_key_known((struct str[]){STR("aaaa")}, 1, STR("a")));
    assert_false(auth_key_known(keys, 0, STR("second")));
}

static const char *check(const char *headers, size_t keys_n)
{
    static struct err err;
    struct http_reader reader;
    char text[512];
    struct str input, key;

    snprintf(text, sizeof text, "GET / HTTP/1.1\r\n%s\r\n", headers);
    input = str_of(text);
    err = (struct err){0};
    http_reader_init(&reader, 4096, 0);
    assert_int_equal(http_reader_feed(&reader, &input, &err), HTTP_STEP_HEAD);
    const bool ok = auth_check(&reader, keys, keys_n, &key, &err);
    if (ok)                                     /* which one it was */
        assert_true(keys_n == 0 ? key.n == 0 : auth_key_known(keys, keys_n, key));
    http_reader_release(&reader);
    if (ok)
        return "ok";
    assert_int_equal(err.code, ERR_AUTH);
    assert_null(strstr(err.text, "wrong"));     /* what was sent is not echoed */
    return err.text;
}

static void test_check(void **state)
{
    static const struct { const char *headers, *says; } cases[] = {
        {"x-api-key: second\r\n", "ok"},
        {"Authorization: Bearer second\r\n", "ok"},
        {"Authorization: bearer  second\r\n", "ok"},
        {"AUTHORIZATION: BEARER pensieve-local-token\r\n", "ok"},
        {"x-api-key: wrong\r\n", "invalid x-api-key"},
        {"x-api-key:\r\n", "invalid x-api-key"},
        {"Authorization: Bearer wrong\r\n", "Invalid bearer token"},
        {"Authorization: Bearer \r\n", "Invalid bearer token"},
        {"Authorization: Bearer\r\n", "Invalid bearer token"},
        {"Authorization: Basic second\r\n", "Invalid bearer token"},
        {"Authorization: second\r\n", "Invalid bearer token"},
        {"x-api-key: second\r\nAuthorization: Bearer wrong\r\n", "ok"},
        {"Authorization: Bearer second\r\nx-api-key: wrong\r\n", "invalid x-api-key"},
        {"x-api-key: wrong\r\nx-api-key: second\r\n",
         "a credential header was sent more than once"},
        {"", "x-api-key header is required (or authorization: Bearer KEY)"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(check(cases[i].headers, 2), cases[i].says);
    assert_string_equal(check("x-api-key: wrong\r\n", 0), "ok");    /* no keys: anyone */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_known), cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
