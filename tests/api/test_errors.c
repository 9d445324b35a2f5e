/* test_errors.c - the contract's table of errors, and the body they make. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/errors.h"

static void test_table(void **state)
{
    static const struct {
        enum err_code code;
        int status;
        const char *type;
    } rows[] = {
        {ERR_INVALID, 400, "invalid_request_error"},
        {ERR_THREAD, 400, "invalid_request_error"},
        {ERR_AUTH, 401, "authentication_error"},
        {ERR_FORBIDDEN, 403, "permission_error"},
        {ERR_NOT_FOUND, 404, "not_found_error"},
        {ERR_METHOD, 405, "invalid_request_error"},
        {ERR_TIMEOUT_CLIENT, 408, "invalid_request_error"},
        {ERR_TOO_LARGE, 413, "request_too_large"},
        {ERR_HEAD_TOO_LARGE, 431, "invalid_request_error"},
        {ERR_RATE, 429, "rate_limit_error"},
        {ERR_INTERNAL, 500, "api_error"},
        {ERR_UNSUPPORTED, 501, "api_error"},
        {ERR_TIMEOUT, 504, "timeout_error"},
        {ERR_OVERLOADED, 529, "overloaded_error"},
        {ERR_FORMAT, 500, "api_error"},
        {ERR_IO, 500, "api_error"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct api_error error = api_error_of(rows[i].code);
        assert_int_equal(error.status, rows[i].status);
        assert_string_equal(error.type, rows[i].type);
    }
}

static void test_every_code_has_a_row(void **state)
{
    for (int code = 0; code <= ERR_CODES + 1; code++) {
        const struct api_error error = api_error_of((enum err_code)code);
        assert_in_range(error.status, 400, 599);
        assert_non_null(error.type);
    }
}

static void body_is(const struct err *err, const char *expected)
{
    struct buf out = {0};

    api_error_body(&out, err, STR("req_01AbC"));
    assert_int_equal(out.n, strlen(expected));
    assert_memory_equal(out.data, expected, out.n);
    buf_release(&out);
}

static void test_body(void **state)
{
    body_is(&(struct err){ERR_INVALID, "max_tokens: Field required"},
            "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\","
            "\"message\":\"max_tokens: Field required\"},\"request_id\":\"req_01AbC\"}");
    body_is(&(struct err){ERR_OVERLOADED, "Overloaded"},
            "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\","
            "\"message\":\"Overloaded\"},\"request_id\":\"req_01AbC\"}");
    body_is(&(struct err){ERR_NOT_FOUND, "model: a\"b\\c\nd\x01"},
            "{\"type\":\"error\",\"error\":{\"type\":\"not_found_error\","
            "\"message\":\"model: a\\\"b\\\\c\\nd\\u0001\"},\"request_id\":\"req_01AbC\"}");
}

/* The SDKs' tool runner goes on without `thread` on exactly these details, and on nothing less. */
static void test_thread_details(void **state)
{
    body_is(&(struct err){ERR_THREAD, "thread: no"},
            "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\","
            "\"message\":\"thread: no\",\"details\":{\"error_code\":\"thread_unsupported_request\","
            "\"unsupported\":null}},\"request_id\":\"req_01AbC\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_every_code_has_a_row),
        cmocka_unit_test(test_body),
        cmocka_unit_test(test_thread_details),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
