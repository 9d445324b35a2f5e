/* test_clock.c - durations that only grow, and times as RFC 3339 writes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"

static void test_monotonic(void **state)
{
    uint64_t last = clock_ns();
    const uint64_t start = last;

    for (int i = 0; i < 1000; i++) {
        const uint64_t now = clock_ns();
        assert_true(now >= last);
        last = now;
    }
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    const double seconds = clock_seconds_since(start);
    assert_true(seconds >= 0.005 && seconds < 60);
}

static void test_rfc3339(void **state)
{
    static const struct {
        int64_t seconds;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00Z"},
        {951782400, "2000-02-29T00:00:00Z"},
        {1777622400, "2026-05-01T08:00:00Z"},
        {4102444799, "2099-12-31T23:59:59Z"},
        {-1, "1969-12-31T23:59:59Z"},
        {INT64_MAX, "1970-01-01T00:00:00Z"},
        {INT64_MIN, "1970-01-01T00:00:00Z"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[32];
        clock_rfc3339(out, rows[i].seconds);
        assert_string_equal(out, rows[i].text);
    }
}

static void test_now(void **state)
{
    char out[32];
    struct tm tm = {0};
    int ms = -1;

    clock_rfc3339_now_ms(out);
    assert_int_equal(strlen(out), strlen("2026-05-01T08:00:00.000Z"));
    assert_int_equal(out[23], 'Z');
    const char *rest = strptime(out, "%Y-%m-%dT%H:%M:%S", &tm);
    assert_non_null(rest);
    assert_int_equal(sscanf(rest, ".%3dZ", &ms), 1);
    assert_in_range(ms, 0, 999);
    const double away = difftime(timegm(&tm), time(NULL));
    assert_true(away > -60 && away < 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_monotonic),
        cmocka_unit_test(test_rfc3339),
        cmocka_unit_test(test_now),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
