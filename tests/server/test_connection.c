/* Connections to the real server: turns, limits, times, and clients that go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "rig.h"
#include "server/limits.h"

static void test_keep_alive(void **state)
{
    struct client client;

    rig_start(*state);
    client_open(&client, *state);
    for (int i = 0; i < 3; i++) {
        client_say(&client, "GET /health HTTP/1.1\r\n" RIG_HEADERS "\r\n");
        client_expect(&client, "\"models\":[{\"id\":\"test-model\"");
        assert_true(client_has(&client, "connection: keep-alive\r\n"));
        client_forget(&client);
    }
    client_say(&client, "GET / HTTP/1.1\r\n" RIG_HEADERS "Connection: close\r\n\r\n");
    client_expect(&client, "connection: close\r\n");
    client_expect_end(&client);
    assert_false(client.reset);
    client_close(&client);
}

static void test_http_1_0(void **state)
{
    struct client client;

    rig_start(*state);
    client_open(&client, *state);
    client_say(&client, "GET / HTTP/1.0\r\n\r\n");
    client_expect_end(&client);
    assert_true(client_has(&client, "HTTP/1.1 200 OK\r\n"));
    client_close(&client);

    client_open(&client, *state);               /* a stream without chunks, ended by closing */
    char request[1024];
    snprintf(request, sizeof request, "POST /v1/messages HTTP/1.0\r\n" RIG_HEADERS
             "Connection: keep-alive\r\nContent-Length: %zu\r\n\r\n%s", strlen(rig_stream_body),
             rig_stream_body);
    client_say(&client, request);
    struct generation *generation = rig_generation(*state, 0);
    generation_start(generation, 3);
    generation_done(generation, 1);
    client_expect_end(&client);
    assert_true(client_has(&client, "connection: close\r\n"));
    assert_false(client_has(&client, "chunked"));
    assert_true(client_has(&client, "\r\n\r\nevent: message_start\ndata: "));
    assert_true(client_has(&client, "data: {\"type\":\"message_stop\"}\n\n"));
    client_close(&client);
}

/* Requests sent together are answered one after the other, in order. */
static void test_pipelining(void **state)
{
    struct rig *rig = *state;
    struct client client;
    char requests[4096];

    rig_start(rig);
    client_open(&client, rig);
    snprintf(requests, sizeof requests,
             "POST /v1/messages HTTP/1.1\r\n" RIG_HEADERS "Content-Length: %zu\r\n\r\n%s"
             "GET /nothing HTTP/1.1\r\n" RIG_HEADERS "\r\n"
             "POST /v1/messages HTTP/1.1\r\n" RIG_HEADERS "Content-Length: %zu\r\n\r\n%s"
             "GET /api/hello HTTP/1.1\r\n" RIG_HEADERS "\r\n",
             strlen(rig_body), rig_body, strlen(rig_stream_body), rig_stream_body);
    client_say(&client, requests);
    rig_turn_ms(rig, 20);
    assert_int_equal(rig->generations_n, 1);
    client_read(&client);
    assert_int_equal(client.in.n, 0);
    generation_start(rig_generation(rig, 0), 3);
    generation_done(rig_generation(rig, 0), 1);
    client_expect(&client, "HTTP/1.1 404 Not Found\r\n");
    generation_start(rig_generation(rig, 1), 3);
    generation_done(rig_generation(rig, 1), 1);
    client_expect(&client, "Pensieve 0.0.test");
    assert_int_equal(client_times(&client, "HTTP/1.1 200 OK\r\n"), 3);
    assert_int_equal(client_times(&client, "\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n"), 1);
    client_close(&client);
}

/* Many requests without waiting, and without reading the answers: nobody's memory grows. */
static void test_pipelining_without_reading(void **state)
{
    enum { REQUESTS = 20000 };
    static const char request[] = "GET /health HTTP/1.1\r\n" RIG_HEADERS "\r\n";
    struct rig *rig = *state;
    struct client client;
    int small = 4096;

    rig_start(rig);
    client_open(&client, rig);
    setsockopt(client.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    for (int i = 0; i < REQUESTS; i++)
        if (send(client.fd, request, sizeof request - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            rig_turn(rig);
    rig_turn_ms(rig, 50);
    client_expect_end(&client);                 /* more than 64 KiB ahead: closed */
    assert_true(client_times(&client, "HTTP/1.1 200 OK") < REQUESTS / 4);
    client_close(&client);
}

static void test_chunked(void **state)
{
    struct client client;

    rig_start(*state);
    client_open(&client, *state);
    client_say(&client, "POST /v1/messages HTTP/1.1\r\n" RIG_HEADERS
                        "Transfer-Encoding: chunked\r\n\r\n");
    for (const char *at = rig_body; *at; at++) {
        char chunk[16];
        snprintf(chunk, sizeof chunk, "1\r\n%c\r\n", *at);
        client_say(&client, chunk);
    }
    client_say(&client, "0\r\n\r\n");
    struct generation *generation = rig_generation(*state, 0);
    assert_true(str_is(generation->request->model, RIG_MODEL));
    generation_start(generation, 3);
    generation_delta(generation, STR("hello"));
    generation_done(generation, 1);
    client_expect(&client, "\"text\":\"hello\"");
    client_close(&client);
}

static void test_expect(void **state)
{
    struct rig *rig = *state;
    struct client client;
    char head[512];

    rig_start(rig);
    client_open(&client, rig);
    snprintf(head, sizeof head, "POST /v1/messages HTTP/1.1\r\n" RIG_HEADERS
             "Expect: 100-continue\r\nContent-Length: %zu\r\n\r\n", strlen(rig_body));
    client_say(&client, head);
    client_expect(&client, "HTTP/1.1 100 Continue\r\n\r\n");
    client_forget(&client);
    client_say(&client, rig_body);
    generation_start(rig_generation(rig, 0), 3);
    generation_done(rig_generation(rig, 0), 1);
    client_expect(&client, "HTTP/1.1 200 OK\r\n");
    client_close(&client);

    client_open(&client, rig);                  /* a head that fails is not told to go on */
    client_say(&client, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nx-api-key: wrong\r\n"
                        "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n");
    client_expect_end(&client);
    assert_true(client_has(&client, "HTTP/1.1 401 Unauthorized\r\n"));
    assert_false(client_has(&client, "100 Continue"));
    client_close(&client);

    client_open(&client, rig);
    client_say(&client, "GET /health HTTP/1.1\r\n" RIG_HEADERS "Expect: tea\r\n\r\n");
    client_expect(&client, "HTTP/1.1 417 Expectation Failed\r\n");
    client_close(&client);
}

static void test_body_limits(void **state)
{
    struct rig *rig = *state;
    struct client client;
    char *body = malloc(rig->options.body_bytes_max);

    rig_start(rig);
    client_open(&client, rig);                  /* said in the head: refused before a byte of it */
    client_say(&client, "POST /v1/messages HTTP/1.1\r\n" RIG_HEADERS
                        "Content-Length: 262145\r\n\r\n");
    client_expect_end(&client);
    assert_true(client_has(&client, "HTTP/1.1 413 Content Too Large\r\n"));
    assert_true(client_has(&client, "\"type\":\"request_too_large\""));
    client_close(&client);

    client_open(&client, rig);                  /* found out as it grows */
    client_say(&client, "POST /v1/messages HTTP/1.1\r\n" RIG_HEADERS
                        "Transfer-Encoding: chunked\r\n\r\n40000\r\n");
    memset(body, ' ', rig->options.body_bytes_max);
    client_send(&client, (struct str){body, rig->options.body_bytes_max});
    rig_turn_ms(rig, 20);
    assert_false(client_has(&client, "413"));
    client_say(&client, "\r\n1\r\n ");
    client_expect_end(&client);
    assert_true(client_has(&client, "HTTP/1.1 413 Content Too Large\r\n"));
    assert_false(client.reset);
    client_close(&client);

    client_open(&client, rig);                  /* a route that needs no body takes a small one */
    client_say(&client, "GET /health HTTP/1.1\r\n" RIG_HEADERS "Content-Length: 70000\r\n\r\n");
    client_expect(&client, "HTTP/1.1 413 Content Too Large\r\n");
    client_close(&client);
    free(body);
}

/* A client that sends all it has before it reads still gets to read the refusal. */
static void test_refusal_is_read(void **state)
{
    struct rig *rig = *state;
    struct client client;
    const size_t n = 2 << 20;
    char *body = malloc(n);

    rig_start(rig);
    memset(body, 'x', n);
    client_open(&client, rig);
    client_say(&client, "POST /v1/messages HTTP/1.1\r\n" RIG_HEADERS
                        "Content-Length: 2097152\r\n\r\n");
    client_send(&client, (struct str){body, n});
    client_expect_end(&client);
    assert_false(client.reset);
    assert_true(client_has(&client, "HTTP/1.1 413 Content Too Large\r\n"));
    client_close(&client);

    client_open(&client, rig);                  /* a small one is read, and the connection stays */
    client_say(&client, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nx-api-key: wrong\r\n"
                        "Content-Length: 10\r\n\r\n");
    rig_turn_ms(rig, 10);
    client_say(&client, "0123456789GET / HTTP/1.1\r\n" RIG_HEADERS "\r\n");
    client_expect(&client, "HTTP/1.1 401 Unauthorized\r\n");
    client_expect(&client, "HTTP/1.1 200 OK\r\n");
    client_close(&client);
    free(body);
}

static void test_head_limit(void **state)
{
    struct rig *rig = *state;
    struct client client;
    char value[17 << 10];

    rig_start(rig);
    memset(value, 'a', sizeof value);
    client_open(&client, rig);
    client_say(&client, "GET / HTTP/1.1\r\nX: ");
    client_send(&client, (struct str){value, sizeof value});
    client_expect_end(&client);
    assert_true(client_has(&client, "HTTP/1.1 431 Request Header Fields Too Large\r\n"));
    assert_true(client_has(&client, "request-id: req_01"));
    assert_true(client_has(&client, "\"type\":\"error\""));
    client_close(&client);
}

static void test_malformed(void **state)
{
    struct client client;

    rig_start(*state);
    client_open(&client, *state);
    client_say(&client, "GET / HTTP/1.1\r\nHost : localhost\r\n\r\n");
    client_expect_end(&client);
    assert_true(client_has(&client, "HTTP/1.1 400 Bad Request\r\n"));
    assert_true(client_has(&client, "\"type\":\"invalid_request_error\""));
    assert_true(client_has(&client, "connection: close\r\n"));
    char *id = memmem(client.in.data, client.in.n, "request-id: ", 12);
    assert_non_null(id);
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"request_id\":\"%.28s\"", id + 12);
    assert_true(client_has(&client, quoted));
    client_close(&client);
}

/* A slow sender is cut by the total time, not by its silences, and holds nobody up. */
static void test_slow_head(void **state)
{
    struct rig *rig = *state;
    struct client slow, quick;

    rig->options.head_timeout_ms = 150;
    rig_start(rig);
    client_open(&slow, rig);
    const uint64_t begin = uv_hrtime();
    for (int i = 0; i < 100 && !client_has(&slow, "408"); i++) {
        client_say(&slow, i ? "X" : "GET / HTTP/1.1\r\n");
        rig_turn_ms(rig, 20);
        if (i == 2) {
            client_open(&quick, rig);
            client_say(&quick, "GET / HTTP/1.1\r\n" RIG_HEADERS "\r\n");
            client_expect(&quick, "HTTP/1.1 200 OK\r\n");
            client_close(&quick);
            assert_false(client_has(&slow, "408"));
        }
    }
    client_expect_end(&slow);
    assert_in_range((uv_hrtime() - begin) / 1000000, 140, 1500);
    assert_true(client_has(&slow, "HTTP/1.1 408 Request Timeout\r\n"));
    client_close(&slow);
}

static void test_slow_body(void **state)
{
    struct rig *rig = *state;
    struct client client;

    rig->options.body_timeout_ms = 150;
    rig_start(rig);
    client_open(&client, rig);
    client_say(&client, "POST /v1/messages HTTP/1.1\r\n" RIG_HEADERS
                        "Content-Length: 1000\r\n\r\n");
    for (int i = 0; i < 100 && !client_has(&client, "408"); i++) {
        client_say(&client, " ");
        rig_turn_ms(rig, 20);
    }
    client_expect_end(&client);
    assert_true(client_has(&client, "HTTP/1.1 408 Request Timeout\r\n"));
    assert_true(client_has(&client, "body took too long"));
    client_close(&client);
}

static void test_idle(void **state)
{
    struct rig *rig = *state;
    struct client client;

    rig->options.idle_timeout_ms = 100;
    rig_start(rig);
    client_open(&client, rig);
    client_expect_end(&client);
    assert_int_equal(client.in.n, 0);           /* nobody asked, nobody is told */
    client_close(&client);

    client_open(&client, rig);
    client_say(&client, "GET / HTTP/1.1\r\n" RIG_HEADERS "\r\n");
    client_expect(&client, "Pensieve");
    client_forget(&client);
    client_expect_end(&client);
    assert_int_equal(client.in.n, 0);
    client_close(&client);
}

/* Some clients end a body with a line break too many: that is no request that came too late. */
static void test_stray_line_break(void **state)
{
    struct rig *rig = *state;
    struct client client;

    rig->options.head_timeout_ms = 100;
    rig_start(rig);
    client_open(&client, rig);
    client_say(&client, "GET / HTTP/1.1\r\n" RIG_HEADERS "\r\n\r\n");
    client_expect(&client, "Pensieve");
    client_forget(&client);
    client_expect_end(&client);
    assert_int_equal(client.in.n, 0);
    client_close(&client);
}

/* Sent ahead while an answer is made: 64 KiB are kept, more ends the connection and the work. */
static void test_sent_ahead(void **state)
{
    struct rig *rig = *state;
    struct client client;
    char *bytes = malloc(PIPELINE_BYTES_MAX);

    rig_start(rig);
    memset(bytes, 'x', PIPELINE_BYTES_MAX);
    client_open(&client, rig);
    client_post(&client, rig_stream_body);
    struct generation *generation = rig_generation(rig, 0);
    client_send(&client, (struct str){bytes, PIPELINE_BYTES_MAX});
    rig_turn_ms(rig, 20);
    assert_true(generation->alive && !generation->cancelled);
    client_say(&client, "x");
    rig_until(rig, generation->cancelled);
    client_expect_end(&client);
    client_close(&client);
    free(bytes);
}

/* A client that goes, in each state, by FIN and by RST: the work stops at once. */
static void test_gone(void **state)
{
    struct rig *rig = *state;
    void (*const leave[])(struct client *) = {client_close, client_kill};

    rig_start(rig);
    for (size_t way = 0; way < 2; way++) {
        for (int moment = 0; moment < 6; moment++) {
            struct client client;
            const size_t i = rig->generations_n;
            client_open(&client, rig);
            if (moment == 0)
                client_say(&client, "GET / HT");
            else if (moment == 1)
                client_say(&client, "POST /v1/messages HTTP/1.1\r\n" RIG_HEADERS
                                    "Content-Length: 100\r\n\r\n{");
            else
                client_post(&client, moment == 5 ? rig_body : rig_stream_body);
            if (moment >= 2)
                rig_generation(rig, i);
            if (moment == 3 || moment == 4)
                generation_start(&rig->generations[i], 3);
            if (moment == 4)
                generation_delta(&rig->generations[i], STR("a"));
            rig_turn_ms(rig, 5);
            const uint64_t begin = uv_hrtime();
            leave[way](&client);
            rig_until(rig, rig_alive(rig) == 0);
            assert_true((uv_hrtime() - begin) / 1000000 < 200);
            if (moment >= 2)
                assert_true(rig->generations[i].cancelled);
        }
    }
}

/* Written to before it is known to be gone: an error like any other, and no signal. */
static void test_written_to_after_gone(void **state)
{
    struct rig *rig = *state;
    struct client client;

    rig_start(rig);
    client_open(&client, rig);
    client_post(&client, rig_stream_body);
    struct generation *generation = rig_generation(rig, 0);
    generation_start(generation, 3);
    rig_turn_ms(rig, 5);
    client_kill(&client);
    for (int i = 0; i < 3; i++)
        generation_delta(generation, STR("a"));
    rig_until(rig, generation->cancelled);
}

/* Half-closing is taken for going. */
static void test_half_close(void **state)
{
    struct client client;

    rig_start(*state);
    client_open(&client, *state);
    client_post(&client, rig_stream_body);
    struct generation *generation = rig_generation(*state, 0);
    shutdown(client.fd, SHUT_WR);
    rig_until(*state, generation->cancelled);
    client_expect_end(&client);
    client_close(&client);

    client_open(&client, *state);               /* but what is answered already may still be read */
    client_say(&client, "GET / HTTP/1.1\r\n" RIG_HEADERS "\r\n");
    shutdown(client.fd, SHUT_WR);
    client_expect_end(&client);
    assert_true(client_has(&client, "Pensieve"));
    client_close(&client);
}

/* The model goes on counting tokens for a client that is gone: its memory must wait. */
static void test_gone_while_counting(void **state)
{
    struct rig *rig = *state;
    struct client client;
    char request[1024];

    rig_start(rig);
    client_open(&client, rig);
    snprintf(request, sizeof request, "POST /v1/messages/count_tokens HTTP/1.1\r\n" RIG_HEADERS
             "Content-Length: %zu\r\n\r\n%s", strlen(rig_body), rig_body);
    client_say(&client, request);
    rig_until(rig, rig->count.on_count);
    client_kill(&client);
    rig_turn_ms(rig, 20);
    rig_count_done(rig, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_keep_alive, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_http_1_0, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_pipelining, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_pipelining_without_reading, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_chunked, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_expect, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_body_limits, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_refusal_is_read, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_head_limit, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_malformed, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_slow_head, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_slow_body, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_idle, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_stray_line_break, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_sent_ahead, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_gone, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_written_to_after_gone, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_half_close, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_gone_while_counting, rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
