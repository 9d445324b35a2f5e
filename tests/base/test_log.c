/* test_log.c - one event, one line, whatever is in it and whoever else writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/utf8.h"

enum { THREADS = 4, LINES = 500 };

/* Standard error goes into a file from capture_begin to capture_end, which returns its text. */
static int saved_stderr, capture;

static void capture_begin(void)
{
    char path[] = "/tmp/pensieve-log-XXXXXX";

    capture = mkstemp(path);
    assert_true(capture >= 0);
    unlink(path);
    fcntl(capture, F_SETFL, O_APPEND);
    saved_stderr = dup(STDERR_FILENO);
    dup2(capture, STDERR_FILENO);
}

static char *capture_end(void)
{
    const off_t size = lseek(capture, 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1);

    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    assert_int_equal(pread(capture, text, (size_t)size, 0), size);
    close(capture);
    return text;
}

static void test_line(void **state)
{
    int year, month, day, hour, minute, second, ms;

    capture_begin();
    log_set_level(LOG_INFO);
    log_event(LOG_DEBUG, "unseen", "a=%d", 1);
    log_event(LOG_WARN, "request_done", "status=%d ms=%d", 200, 7);
    char *text = capture_end();
    int n = 0;
    assert_int_equal(sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ%n", &year, &month, &day, &hour,
                            &minute, &second, &ms, &n), 7);
    assert_string_equal(text + n, " warn request_done status=200 ms=7\n");
    free(text);
}

static void test_levels(void **state)
{
    enum log_level level;

    assert_true(log_level_parse(STR("debug"), &level) && level == LOG_DEBUG);
    assert_true(log_level_parse(STR("off"), &level) && level == LOG_OFF);
    assert_false(log_level_parse(STR("Debug"), &level));
    assert_false(log_level_parse(STR(""), &level));
    log_set_level(LOG_OFF);
    assert_false(log_enabled(LOG_ERROR));
    log_set_level(LOG_ERROR);
    assert_true(log_enabled(LOG_ERROR));
    assert_false(log_enabled(LOG_WARN));
    log_set_level(LOG_INFO);
}

static void test_long_line_is_cut_at_a_character(void **state)
{
    char value[4096] = "";

    for (size_t n = 0; n + 3 < sizeof value; n += 3)
        memcpy(value + n, "\xE2\x82\xAC", 4);
    for (int shift = 0; shift < 3; shift++) {
        capture_begin();
        log_event(LOG_ERROR, "long", "%.*s%s", shift, "--", value);
        char *text = capture_end();
        const size_t n = strlen(text);
        assert_true(n < 2048 && n > 2000);
        assert_ptr_equal(strchr(text, '\n'), text + n - 1);
        assert_true(utf8_valid(str_of(text)));
        free(text);
    }
}

static void *write_lines(void *letter)
{
    for (int i = 0; i < LINES; i++)
        log_event(LOG_INFO, "threads", "%.*s", 60, (const char *)letter);
    return NULL;
}

static void test_lines_do_not_mix(void **state)
{
    static char letters[THREADS][61];
    pthread_t threads[THREADS];
    int lines = 0;

    capture_begin();
    for (int i = 0; i < THREADS; i++) {
        memset(letters[i], 'a' + i, 60);
        pthread_create(&threads[i], NULL, write_lines, letters[i]);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    char *text = capture_end(), *next;
    for (char *line = text; *line; line = next + 1, lines++) {
        next = strchr(line, '\n');
        assert_non_null(next);
        *next = '\0';
        const char *value = strstr(line, " info threads ");
        assert_non_null(value);
        value += strlen(" info threads ");
        assert_int_equal(strspn(value, (char[]){*value, '\0'}), 60);
        assert_int_equal(strlen(value), 60);
    }
    assert_int_equal(lines, THREADS * LINES);
    free(text);
}

static void quoted(struct str s, size_t size, const char *expected)
{
    char *out = malloc(size + 1);

    out[size] = '#';
    assert_string_equal(log_quote(out, size, s), expected);
    assert_int_equal(out[size], '#');
    free(out);
}

static void test_quote(void **state)
{
    quoted(STR("plain"), 64, "\"plain\"");
    quoted(STR(""), 64, "\"\"");
    quoted(STR("a b=\"c\"\\\n"), 64, "\"a b=\\x22c\\x22\\x5c\\x0a\"");
    quoted((struct str){"\0\x1b[2J\x7f", 6}, 64, "\"\\x00\\x1b[2J\\x7f\"");
    quoted(STR("\xC3\xA4\xF0\x9F\x98\x80"), 64, "\"\xC3\xA4\xF0\x9F\x98\x80\"");
    quoted(STR("\xC2\x9B" "1m\xFF\xC3"), 64, "\"\\xc2\\x9b1m\\xff\\xc3\"");
    quoted(STR("abcdef"), 6, "\"abc\"");
    quoted(STR("ab\xE2\x82\xAC"), 7, "\"ab\"");
    quoted(STR("ab\xE2\x82\xAC"), 8, "\"ab\xE2\x82\xAC\"");
    quoted(STR("\n"), 6, "\"\"");
    quoted(STR("\n"), 7, "\"\\x0a\"");
    quoted(STR("abc"), 3, "\"\"");
    quoted(STR("abc"), 2, "");
    quoted(STR("abc"), 1, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_long_line_is_cut_at_a_character),
        cmocka_unit_test(test_lines_do_not_mix),
        cmocka_unit_test(test_quote),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
