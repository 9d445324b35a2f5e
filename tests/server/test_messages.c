/* POST /v1/messages from the wire's side: the answer's bytes in time, and its failures. */
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

/* The head and message_start come at once, before there is a token; then each event as it comes. */
static void test_stream(void **state)
{
    struct rig *rig = *state;
    struct client client;

    rig_start(rig);
    client_open(&client, rig);
    client_post(&client, rig_stream_body);
    struct generation *generation = rig_generation(rig, 0);
    rig_turn_ms(rig, 10);
    client_read(&client);
    assert_int_equal(client.in.n, 0);           /* not admitted yet: no status given away */
    generation_start(generation, 3);
    client_expect(&client, "event: message_start\ndata: ");
    assert_true(client_has(&client, "HTTP/1.1 200 OK\r\n"));
    assert_true(client_has(&client, "content-type: text/event-stream; charset=utf-8\r\n"));
    assert_true(client_has(&client, "cache-control: no-cache\r\n"));
    assert_true(client_has(&client, "connection: keep-alive\r\n"));
    assert_true(client_has(&client, "transfer-encoding: chunked\r\n"));
    assert_true(client_has(&client, "request-id: req_01"));
    assert_false(client_has(&client, "content-length"));
    for (int i = 0; i < 3; i++) {
        client_forget(&client);
        generation_delta(generation, STR("word "));
        client_expect(&client, "\"text\":\"word \"}}\n\n\r\n");
        assert_int_equal(client_times(&client, "event: "), 1);
    }
    generation_done(generation, 3);
    client_expect(&client, "data: {\"type\":\"message_stop\"}\n\n\r\n0\r\n\r\n");
    client_forget(&client);
    client_say(&client, "GET / HTTP/1.1\r\n" RIG_HEADERS "\r\n");       /* and it goes on */
    client_expect(&client, "Pensieve");
    client_close(&client);
}

static void test_json(void **state)
{
    struct rig *rig = *state;
    struct client client;

    rig_start(rig);
    client_open(&client, rig);
    client_post(&client, rig_body);
    struct generation *generation = rig_generation(rig, 0);
    generation_start(generation, 3);
    generation_delta(generation, STR("hel"));
    generation_delta(generation, STR("lo"));
    rig_turn_ms(rig, 10);
    client_read(&client);
    assert_int_equal(client.in.n, 0);
    generation_done(generation, 2);
    client_expect(&client, "\"text\":\"hello\"");
    assert_true(client_has(&client, "content-type: application/json\r\n"));
    assert_true(client_has(&client, "content-length: "));
    assert_true(client_has(&client, "\"output_tokens\":2"));
    client_close(&client);
}

/* Failing before the stream has begun keeps its status; after it, it is an event, and the end. */
static void test_failures(void **state)
{
    struct rig *rig = *state;
    struct client client;
    size_t asked = 0;
    static const struct { enum err_code code; const char *status, *type; } cases[] = {
        {ERR_INVALID, "400", "invalid_request_error"}, {ERR_OVERLOADED, "529", "overloaded_error"},
        {ERR_RATE, "429", "rate_limit_error"}, {ERR_FORMAT, "500", "api_error"},
        {ERR_INTERNAL, "500", "api_error"}, {ERR_TIMEOUT, "504", "timeout_error"},
    };

    rig_start(rig);
    client_open(&client, rig);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int stream = 0; stream < 2; stream++) {
            char status[32], type[64];
            snprintf(status, sizeof status, "HTTP/1.1 %s ", cases[i].status);
            snprintf(type, sizeof type, "\"error\":{\"type\":\"%s\"", cases[i].type);
            client_post(&client, stream ? rig_stream_body : rig_body);
            generation_fail(rig_generation(rig, asked++), cases[i].code, "no");
            client_expect(&client, status);
            client_expect(&client, type);
            assert_true(client_has(&client, "content-type: application/json\r\n"));
            assert_int_equal(client_has(&client, "retry-after: 17\r\n"),
                             cases[i].code == ERR_OVERLOADED || cases[i].code == ERR_RATE);
            assert_int_equal(client_has(&client, "x-should-retry: false\r\n"),
                             cases[i].code == ERR_FORMAT);
            client_forget(&client);
        }
    }
    client_close(&client);
}

static void test_failure_in_stream(void **state)
{
    struct rig *rig = *state;
    struct client client;

    rig_start(rig);
    client_open(&client, rig);
    client_post(&client, rig_stream_body);
    struct generation *generation = rig_generation(rig, 0);
    generation_start(generation, 3);
    generation_delta(generation, STR("a"));
    generation_fail(generation, ERR_INTERNAL, "the engine broke");
    client_expect_end(&client);
    assert_true(client_has(&client, "event: error\ndata: {\"type\":\"error\",\"error\":"
                                    "{\"type\":\"api_error\",\"message\":\"the engine broke\"}"));
    assert_true(client_has(&client, "\n\n\r\n0\r\n\r\n"));
    assert_false(client_has(&client, "message_stop"));
    client_close(&client);
}

static void test_refused_by_backend(void **state)
{
    struct rig *rig = *state;
    struct client client;

    rig_start(rig);
    err_set(&rig->refuse, ERR_OVERLOADED, "the queue is full");
    client_open(&client, rig);
    client_post(&client, rig_stream_body);
    client_expect(&client, "HTTP/1.1 529 Overloaded\r\n");
    client_expect(&client, "the queue is full");
    client_close(&client);
}

/* Silence is filled: pings for sockets, now and then an event for Claude Code. */
static void test_keepalive(void **state)
{
    struct rig *rig = *state;
    struct client client;

    rig->options.ping_ms = 100;
    rig->options.keepalive_content_ms = 525;
    rig_start(rig);
    client_open(&client, rig);
    client_post(&client, rig_stream_body);
    rig_turn_ms(rig, 10);
    client_read(&client);
    assert_int_equal(client.in.n, 0);           /* nothing before admission, while that is soon */
    rig_turn_ms(rig, 250);
    assert_true(client_has(&client, "HTTP/1.1 200 OK\r\n"));
    assert_true(client_has(&client, "event: ping\n"));
    assert_false(client_has(&client, "message_start"));
    client_forget(&client);
    generation_start(rig_generation(rig, 0), 3);
    rig_turn_ms(rig, 375);
    client_read(&client);
    assert_in_range(client_times(&client, "event: ping\n"), 2, 4);
    assert_int_equal(client_times(&client, "event: content_block_delta\n"), 0);
    rig_turn_ms(rig, 375);
    client_read(&client);
    assert_int_equal(client_times(&client, "event: content_block_delta\n"), 1);
    assert_true(client_has(&client, "\"text\":\"\""));
    client_forget(&client);
    for (int i = 0; i < 20; i++) {              /* while there are tokens, nothing is added */
        generation_delta(rig_generation(rig, 0), STR("x"));
        rig_turn_ms(rig, 10);
    }
    client_read(&client);
    assert_int_equal(client_times(&client, "event: ping\n"), 0);
    assert_int_equal(client_times(&client, "event: "), 20);
    client_close(&client);
}

/* The head went out while the model was loaded: what fails then is told in the stream. */
static void test_failure_after_a_ping(void **state)
{
    struct rig *rig = *state;
    struct client client;

    rig->options.ping_ms = 20;
    rig_start(rig);
    client_open(&client, rig);
    client_post(&client, rig_stream_body);
    client_expect(&client, "event: ping\n");
    generation_fail(rig_generation(rig, 0), ERR_OVERLOADED, "full");
    client_expect_end(&client);
    assert_true(client_has(&client, "event: error\ndata: {\"type\":\"error\",\"error\":"
                                    "{\"type\":\"overloaded_error\",\"message\":\"full\"}"));
    assert_int_equal(client_times(&client, "HTTP/1.1 "), 1);
    client_close(&client);
}

/* A reader that stops: the model is held, at some 100 KB, and let go when it reads again. */
static void test_slow_reader(void **state)
{
    enum { DELTAS_MAX = 100000 };
    struct rig *rig = *state;
    struct client client;
    char text[1000];
    size_t deltas = 0;
    int small = 4096;

    rig->options.ping_ms = 30;
    rig_start(rig);
    memset(text, 'x', sizeof text);
    client_open(&client, rig);
    setsockopt(client.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    client_post(&client, rig_stream_body);
    struct generation *generation = rig_generation(rig, 0);
    generation_start(generation, 3);
    while (rig_turn_ms(rig, 400), !generation->paused && deltas < DELTAS_MAX)
        for (; !generation->paused && deltas < DELTAS_MAX; deltas++)    /* the kernel takes some */
            generation_delta(generation, (struct str){text, sizeof text});
    assert_true(generation->paused);
    assert_true(deltas * sizeof text < 600 << 10);  /* with the kernel's buffers on both sides */
    const unsigned pauses = generation->pauses, resumes = generation->resumes;
    for (int i = 0; i < 5; i++)                 /* what was on its way is taken still */
        generation_delta(generation, STR("y"));
    rig_turn_ms(rig, 100);                      /* and no pings are piled up */
    assert_int_equal(generation->pauses, pauses);
    assert_int_equal(generation->resumes, resumes);
    rig_until(rig, (client_read(&client), !generation->paused));
    assert_int_equal(generation->resumes, resumes + 1);
    generation_done(generation, 1);
    client_expect(&client, "\n\n\r\n0\r\n\r\n");
    assert_int_equal(client_times(&client, "event: content_block_delta\n"), deltas + 5);
    /* 0.4 s lie between the last x and the first y, and not one ping. */
    assert_int_equal(client_times(&client, "xxx\"}}\n\n\r\n74\r\nevent: content_block_delta\n"
                                           "data: {\"type\":\"content_block_delta\",\"index\":0,"
                                           "\"delta\":{\"type\":\"text_delta\",\"text\":\"y\""),
                     1);
    client_close(&client);
}

/* A stopped reader holds up nobody else. */
static void test_slow_reader_alone(void **state)
{
    struct rig *rig = *state;
    struct client slow, quick;
    char text[1000];
    int small = 4096;

    rig_start(rig);
    memset(text, 'x', sizeof text);
    client_open(&slow, rig);
    setsockopt(slow.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    client_post(&slow, rig_stream_body);
    struct generation *stuck = rig_generation(rig, 0);
    generation_start(stuck, 3);
    for (int i = 0; i < 100000 && !stuck->paused; i++)
        generation_delta(stuck, (struct str){text, sizeof text});
    client_open(&quick, rig);
    client_post(&quick, rig_stream_body);
    generation_start(rig_generation(rig, 1), 3);
    generation_delta(rig_generation(rig, 1), STR("quick"));
    generation_done(rig_generation(rig, 1), 1);
    client_expect(&quick, "message_stop");
    client_close(&quick);
    client_kill(&slow);
    rig_until(rig, rig_alive(rig) == 0);
    assert_true(stuck->cancelled);
}

static void test_count_tokens(void **state)
{
    struct rig *rig = *state;
    struct client client;
    char request[1024];
    static const char body[] = "{\"model\":\"claude-x\",\"messages\":"
                               "[{\"role\":\"user\",\"content\":\"hi\"}]}";

    rig_start(rig);
    client_open(&client, rig);
    snprintf(request, sizeof request, "POST /v1/messages/count_tokens?beta=true HTTP/1.1\r\n"
             RIG_HEADERS "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
    client_say(&client, request);
    rig_until(rig, rig->count.on_count);
    rig_count_done(rig, 42);
    client_expect(&client, "{\"input_tokens\":42}");
    client_forget(&client);
    err_set(&rig->refuse, ERR_INVALID, "no such thing");
    client_say(&client, request);
    client_expect(&client, "HTTP/1.1 400 Bad Request\r\n");
    client_close(&client);
}

static void test_unknown_model(void **state)
{
    struct client client;

    rig_start(*state);
    client_open(&client, *state);
    client_post(&client, "{\"model\":\"gpt\",\"max_tokens\":1,"
                         "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    client_expect(&client, "HTTP/1.1 404 Not Found\r\n");
    client_expect(&client, "\"message\":\"model: gpt\"");
    client_close(&client);
}

/* 64 streams at once, each with its own text. */
static void test_many_streams(void **state)
{
    enum { STREAMS = 64, TOKENS = 20 };
    struct rig *rig = *state;
    struct client clients[STREAMS];
    char text[32];

    rig_start(rig);
    for (size_t i = 0; i < STREAMS; i++) {
        client_open(&clients[i], rig);
        client_post(&clients[i], rig_stream_body);
        generation_start(rig_generation(rig, i), 3);
    }
    for (size_t token = 0; token < TOKENS; token++)
        for (size_t i = 0; i < STREAMS; i++) {
            snprintf(text, sizeof text, "<%zu>", i);
            generation_delta(rig_generation(rig, i), str_of(text));
        }
    for (size_t i = 0; i < STREAMS; i++) {
        generation_done(rig_generation(rig, i), TOKENS);
        client_expect(&clients[i], "\r\n0\r\n\r\n");
        snprintf(text, sizeof text, "\"text\":\"<%zu>\"", i);
        assert_int_equal(client_times(&clients[i], text), TOKENS);
        assert_int_equal(client_times(&clients[i], "event: content_block_delta\n"), TOKENS);
        client_close(&clients[i]);
    }
}

#define BOTH(test) cmocka_unit_test_setup_teardown(test, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_stream), BOTH(test_json), BOTH(test_failures), BOTH(test_failure_in_stream),
        BOTH(test_refused_by_backend), BOTH(test_keepalive), BOTH(test_failure_after_a_ping), BOTH(test_slow_reader),
        BOTH(test_slow_reader_alone), BOTH(test_count_tokens), BOTH(test_unknown_model),
        BOTH(test_many_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
