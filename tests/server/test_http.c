/* The reader without a socket: what it takes, what it refuses, in pieces of every size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/http.h"
#include "server/limits.h"

enum { HEAD_MAX = 16 << 10, BODY_MAX = 4096 };

/* What the reader says about some bytes, written down so that two readings can be compared. */
struct reading {
    char text[32 << 10];
    size_t n;
    enum err_code failed;               /* ERR_NONE: it did not */
    char reason[248];
};

static void note(struct reading *reading, const char *what, struct str s)
{
    reading->n += (size_t)snprintf(reading->text + reading->n, sizeof reading->text - reading->n,
                                   "%s[%.*s]", what, STR_ARG(s));
    assert_true(reading->n < sizeof reading->text);
}

static void note_step(struct reading *reading, struct http_reader *reader, enum http_step step)
{
    if (step == HTTP_STEP_HEAD) {
        note(reading, reader->method_name, http_path(reader));
        if (http_query(reader).n)
            note(reading, "query", http_query(reader));
        for (size_t i = 0; i < reader->headers_n; i++) {
            note(reading, "", http_header_name(reader, i));
            note(reading, "=", http_header_value(reader, i));
        }
    } else if (step == HTTP_STEP_MESSAGE) {
        note(reading, "body", buf_view(&reader->body));
        note(reading, reader->keep_alive ? "keep" : "close", STR(""));
        http_reader_next(reader, BODY_MAX);
    }
}

/* Feeds bytes in pieces of `piece`; each piece is a copy of its own, so that overreads are seen. */
static void read_pieces(struct str bytes, size_t piece, struct reading *reading)
{
    struct http_reader reader;
    struct err err = {0};

    *reading = (struct reading){0};
    http_reader_init(&reader, HEAD_MAX, BODY_MAX);
    while (bytes.n && reading->failed == ERR_NONE) {
        const size_t n = bytes.n < piece ? bytes.n : piece;
        char *copy = malloc(n);
        memcpy(copy, bytes.s, n);
        struct str input = {copy, n};
        enum http_step step;
        do {
            step = http_reader_feed(&reader, &input, &err);
            note_step(reading, &reader, step);
        } while (step == HTTP_STEP_HEAD || (step == HTTP_STEP_MESSAGE && input.n));
        if (step == HTTP_STEP_FAILED) {
            reading->failed = err.code;
            snprintf(reading->reason, sizeof reading->reason, "%s", err.text);
        } else {
            assert_int_equal(input.n, 0);
        }
        free(copy);
        bytes = (struct str){bytes.s + n, bytes.n - n};
    }
    http_reader_release(&reader);
}

static void expect_reading(struct str bytes, const char *text)
{
    struct reading reading;

    for (size_t piece = 1; piece <= bytes.n; piece++) {
        read_pieces(bytes, piece, &reading);
        if (reading.failed != ERR_NONE)
            fail_msg("%s (pieces of %zu)", reading.reason, piece);
        assert_string_equal(reading.text, text);
    }
}

static void expect_refused(struct str bytes, enum err_code code)
{
    struct reading reading;

    for (size_t piece = 1; piece <= bytes.n; piece++) {
        read_pieces(bytes, piece, &reading);
        if (reading.failed != code)
            fail_msg("code %d, not %d, for %.*s: %s %s", reading.failed, code, STR_ARG(bytes),
                     reading.text, reading.reason);
        assert_null(strstr(reading.text, "body["));
    }
}

static void test_good(void **state)
{
    expect_reading(STR("GET /v1/models?limit=2 HTTP/1.1\r\nHost: a\r\n\r\n"),
                   "GET[/v1/models]query[limit=2][host]=[a]body[]keep[]");
    expect_reading(STR("\r\nPOST / HTTP/1.1\r\nHOST:a \t\r\nContent-Length: 3\r\nX:\r\n\r\nabc"),
                   "POST[/][host]=[a][content-length]=[3][x]=[]body[abc]keep[]");
    expect_reading(STR("POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
                       "3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n"),
                   "POST[/p][host]=[a][transfer-encoding]=[Chunked]body[abc0123456789]keep[]");
    expect_reading(STR("GET / HTTP/1.0\r\n\r\n"), "GET[/]body[]close[]");
    expect_reading(STR("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
                   "GET[/][connection]=[keep-alive]body[]keep[]");
    expect_reading(STR("GET / HTTP/1.1\r\nConnection: close\r\n\r\n"),
                   "GET[/][connection]=[close]body[]close[]");
    expect_reading(STR("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
                   "OPTIONS[*][host]=[a]body[]keep[]");
}

static void test_pipelined(void **state)
{
    expect_reading(STR("GET /1 HTTP/1.1\r\n\r\n"
                       "POST /2 HTTP/1.1\r\nContent-Length: 2\r\n\r\nab"
                       "POST /3 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nc\r\n0\r\n\r\n"
                       "GET /4 HTTP/1.1\r\n\r\n"),
                   "GET[/1]body[]keep[]POST[/2][content-length]=[2]body[ab]keep[]"
                   "POST[/3][transfer-encoding]=[chunked]body[c]keep[]GET[/4]body[]keep[]");
}

/* An offer of another protocol is not taken up, and the body is still a body. */
static void test_upgrade(void **state)
{
    expect_reading(STR("POST / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                       "Content-Length: 2\r\n\r\nabGET /next HTTP/1.1\r\n\r\n"),
                   "POST[/][connection]=[Upgrade, HTTP2-Settings][upgrade]=[h2c]"
                   "[content-length]=[2]body[ab]keep[]GET[/next]body[]keep[]");
}

static void test_malformed(void **state)
{
    static const struct { struct str bytes; enum err_code code; } cases[] = {
        {STR("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na"), ERR_INVALID},
        {STR("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), ERR_INVALID},
        {STR("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
         ERR_INVALID},
        {STR("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
         ERR_INVALID},
        {STR("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
             "0\r\n\r\n"), ERR_INVALID},
        {STR("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
         ERR_UNSUPPORTED},
        {STR("POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
         ERR_INVALID},
        {STR("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), ERR_INVALID},
        {STR("POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc"), ERR_INVALID},
        {STR("POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\nabc"), ERR_INVALID},
        {STR("POST / HTTP/1.1\r\nContent-Length: 0x3\r\n\r\nabc"), ERR_INVALID},
        {STR("POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\nabc"), ERR_INVALID},
        {STR("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"), ERR_INVALID},
        {STR("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n"),
         ERR_INVALID},
        {STR("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n"),
         ERR_INVALID},
        {STR("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n"), ERR_INVALID},
        {STR("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"),
         ERR_INVALID},
        {STR("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
         ERR_INVALID},
        {STR("GET / HTTP/1.1\nHost: a\n\n"), ERR_INVALID},
        {STR("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"), ERR_INVALID},
        {STR("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"), ERR_INVALID},
        {STR("GET / HTTP/1.1\r\nHost : a\r\n\r\n"), ERR_INVALID},
        {STR("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), ERR_INVALID},
        {STR("GET / HTTP/1.1\r\nX: a\r\n folded\r\n\r\n"), ERR_INVALID},
        {STR("GET / HTTP/1.1\r\nX: a\0b\r\n\r\n"), ERR_INVALID},
        {STR("GET / HTTP/1.1\r\nX\0: a\r\n\r\n"), ERR_INVALID},
        {STR("GET / HTTP/1.1\r\n: a\r\n\r\n"), ERR_INVALID},
        {STR("GET / HTTP/1.1\r\nno colon\r\n\r\n"), ERR_INVALID},
        {STR("GET /\0 HTTP/1.1\r\n\r\n"), ERR_INVALID},
        {STR("GET /\nHost: a\n\n"), ERR_INVALID},
        {STR("GET /\r\n\r\n"), ERR_INVALID},
        {STR("GET / HTTP/0.9\r\n\r\n"), ERR_INVALID},
        {STR("GET / HTTP/2.0\r\n\r\n"), ERR_INVALID},
        {STR("GET / HTTP/1.2\r\n\r\n"), ERR_INVALID},
        {STR("GET / HTTP/11.1\r\n\r\n"), ERR_INVALID},
        {STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ERR_INVALID},
        {STR("G\xC3\x89T / HTTP/1.1\r\n\r\n"), ERR_INVALID},
        {STR("get / HTTP/1.1\r\n\r\n"), ERR_INVALID},
        {STR("\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03"), ERR_INVALID},    /* TLS */
        {STR("GET http://127.0.0.1/health HTTP/1.1\r\n\r\n"), ERR_INVALID},
        {STR("CONNECT a:443 HTTP/1.1\r\n\r\n"), ERR_INVALID},
        {STR("GET * HTTP/1.1\r\n\r\n"), ERR_INVALID},
        {STR("HTTP/1.1 200 OK\r\n\r\n"), ERR_INVALID},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_refused(cases[i].bytes, cases[i].code);
}

/* After "Connection: close" nothing more is a request. */
static void test_after_close(void **state)
{
    struct reading reading;

    read_pieces(STR("GET /1 HTTP/1.1\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\n\r\n"), 200,
                &reading);
    assert_int_equal(reading.failed, ERR_INVALID);
    assert_null(strstr(reading.text, "/2"));
}

static char *repeat(const char *start, const char *part, size_t times, const char *end)
{
    char *text = malloc(strlen(start) + strlen(part) * times + strlen(end) + 1), *at = text;

    at = stpcpy(at, start);
    while (times--)
        at = stpcpy(at, part);
    strcpy(at, end);
    return text;
}

static void expect_limit(char *bytes, enum err_code code)
{
    static const size_t pieces[] = {1, 7, 1000, 1 << 20};
    struct reading reading;

    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        read_pieces(str_of(bytes), pieces[i], &reading);
        if (reading.failed != code)
            fail_msg("code %d, not %d: %s", reading.failed, code, reading.reason);
    }
    free(bytes);
}

static void test_limits(void **state)
{
    const size_t most = HTTP_HEADERS_MAX;

    expect_limit(repeat("GET / HTTP/1.1\r\n", "a: b\r\n", most, "\r\n"), ERR_NONE);
    expect_limit(repeat("GET / HTTP/1.1\r\n", "a: b\r\n", most + 1, "\r\n"), ERR_HEAD_TOO_LARGE);
    expect_limit(repeat("GET /", "x", HTTP_TARGET_BYTES_MAX - 1, " HTTP/1.1\r\n\r\n"), ERR_NONE);
    expect_limit(repeat("GET /", "x", HTTP_TARGET_BYTES_MAX, " HTTP/1.1\r\n\r\n"),
                 ERR_HEAD_TOO_LARGE);
    expect_limit(repeat("GET / HTTP/1.1\r\na: ", "b", HEAD_MAX, "\r\n\r\n"), ERR_HEAD_TOO_LARGE);
    expect_limit(repeat("GET / HTTP/1.1\r\n", "b", HEAD_MAX, ": a\r\n\r\n"), ERR_HEAD_TOO_LARGE);
    expect_limit(repeat("", "\r\n", HEAD_MAX, "GET / HTTP/1.1\r\n\r\n"), ERR_HEAD_TOO_LARGE);
    expect_limit(repeat("POST / HTTP/1.1\r\nContent-Length: 4096\r\n\r\n", "x", 4096, ""),
                 ERR_NONE);
    expect_limit(repeat("POST / HTTP/1.1\r\nContent-Length: 4097\r\n\r\n", "x", 4097, ""),
                 ERR_TOO_LARGE);
    expect_limit(repeat("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                        "4\r\nabcd\r\n", 1024, "0\r\n\r\n"), ERR_NONE);
    expect_limit(repeat("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                        "4\r\nabcd\r\n", 1025, "0\r\n\r\n"), ERR_TOO_LARGE);
    expect_limit(repeat("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
                        "Name: value\r\n", HEAD_MAX / 9 + 1, "\r\n"), ERR_TOO_LARGE);
    expect_limit(repeat("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;",
                        "x", HEAD_MAX + 1, "\r\na\r\n0\r\n\r\n"), ERR_TOO_LARGE);
}

/* A body that is not wanted is counted, but takes no memory. */
static void test_discard(void **state)
{
    struct http_reader reader;
    struct err err = {0};
    struct str input = STR("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde");

    http_reader_init(&reader, HEAD_MAX, BODY_MAX);
    assert_int_equal(http_reader_feed(&reader, &input, &err), HTTP_STEP_HEAD);
    assert_true(reader.has_body && reader.has_length);
    assert_int_equal(reader.length, 5);
    reader.discard = true;
    assert_int_equal(http_reader_feed(&reader, &input, &err), HTTP_STEP_MESSAGE);
    assert_int_equal(reader.body_n, 5);
    assert_int_equal(reader.body.capacity, 0);
    http_reader_release(&reader);
}

static void test_header_lookup(void **state)
{
    struct http_reader reader;
    struct err err = {0};
    struct str value, input = STR("GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\na: 3\r\n\r\n");

    http_reader_init(&reader, HEAD_MAX, BODY_MAX);
    assert_int_equal(http_reader_feed(&reader, &input, &err), HTTP_STEP_HEAD);
    assert_int_equal(http_header_count(&reader, "a"), 2);
    assert_false(http_header_one(&reader, "a", &value));
    assert_true(http_header_one(&reader, "b", &value));
    assert_true(str_is(value, "2"));
    assert_true(http_header_one(&reader, "c", &value));
    assert_int_equal(value.n, 0);
    http_reader_release(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good), cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_upgrade), cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_after_close), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_discard), cmocka_unit_test(test_header_lookup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
