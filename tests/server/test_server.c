/* Starting, the connection limit, and the two ways of ending. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "backend/backends.h"
#include "rig.h"
#include "server/limits.h"

/* These tests end their servers themselves. */
static int teardown(void **state)
{
    free(*state);
    return 0;
}

static void expect_no_server(struct rig *rig, enum err_code code, const char *says)
{
    struct err err = {0};
    uv_loop_t loop;

    uv_loop_init(&loop);
    struct backends *backends = backends_new();
    assert_null(server_new(&loop, backends, &rig->options, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.text, says))
        fail_msg("\"%s\" is not in \"%s\"", says, err.text);
    backends_free(backends);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_bind_rules(void **state)
{
    struct rig *rig = *state;
    static const char *const beyond[] = {"0.0.0.0", "::", "192.0.2.1"};

    rig->options.keys_configured = false;
    for (size_t i = 0; i < 3; i++) {
        rig->options.host = beyond[i];
        expect_no_server(rig, ERR_USAGE, "refusing to listen on");
    }
    rig->options.keys_configured = true;        /* but there are none */
    rig->options.keys_n = 0;
    rig->options.host = "0.0.0.0";
    expect_no_server(rig, ERR_USAGE, "refusing to listen on 0.0.0.0");
    rig->options.host = "example.com";
    expect_no_server(rig, ERR_USAGE, "\"example.com\" is not an IP address");
    rig->options.keys_n = 1;
    rig->options.host = "192.0.2.1";            /* allowed, but not ours */
    expect_no_server(rig, ERR_IO, "can't listen on 192.0.2.1");

    rig->options.host = "0.0.0.0";
    rig_start(rig);
    rig_stop(rig);
    rig_init(rig);
    rig->options.keys_configured = false;       /* loopback needs none */
    rig->options.host = "::1";
    rig_start(rig);
    assert_true(server_port(rig->server) > 0);
    rig_stop(rig);
}

/* The other's loop doesn't run here, so it can't say its name: still a plain sentence. */
static void test_port_taken(void **state)
{
    struct rig *rig = *state, second;
    char says[64];

    rig_start(rig);
    rig_init(&second);
    second.options.port = server_port(rig->server);
    snprintf(says, sizeof says, "port %u on 127.0.0.1 is taken: another program",
             second.options.port);
    expect_no_server(&second, ERR_IO, says);
    rig_stop(rig);
}

static void stop_soon(uv_timer_t *timer)
{
    server_drain(((struct rig *)timer->data)->server);
    uv_close((uv_handle_t *)timer, NULL);
}

struct other {
    struct rig rig;
    uv_timer_t timer;
    uv_sem_t listening;
    uint16_t port;
};

static void run_other(void *argument)
{
    struct other *other = argument;

    rig_start(&other->rig);
    other->port = server_port(other->rig.server);
    other->timer.data = &other->rig;
    uv_timer_init(&other->rig.loop, &other->timer);
    uv_timer_start(&other->timer, stop_soon, 1000, 0);
    uv_sem_post(&other->listening);
    uv_run(&other->rig.loop, UV_RUN_DEFAULT);
    server_free(other->rig.server);
    backends_free(other->rig.backends);
    assert_int_equal(uv_loop_close(&other->rig.loop), 0);
}

static void test_port_taken_by_pensieve(void **state)
{
    struct rig *rig = *state;
    struct other *other = malloc(sizeof *other);
    uv_thread_t thread;

    rig_init(&other->rig);
    uv_sem_init(&other->listening, 0);
    uv_thread_create(&thread, run_other, other);
    uv_sem_wait(&other->listening);
    rig->options.port = other->port;
    expect_no_server(rig, ERR_IO, "another Pensieve listens there");
    uv_thread_join(&thread);
    uv_sem_destroy(&other->listening);
    free(other);
}

/* One over the limit is told so; when one goes, there is room again. */
static void test_connection_limit(void **state)
{
    enum { LIMIT = 3 };
    struct rig *rig = *state;
    struct client clients[LIMIT], over;

    rig->options.connections_max = LIMIT;
    rig_start(rig);
    for (size_t i = 0; i < LIMIT; i++) {
        client_open(&clients[i], rig);
        client_say(&clients[i], "GET / HTTP/1.1\r\n" RIG_HEADERS "\r\n");
        client_expect(&clients[i], "Pensieve");
    }
    client_open(&over, rig);
    client_say(&over, "GET / HTTP/1.1\r\n" RIG_HEADERS "\r\n");
    client_expect_end(&over);
    assert_true(client_has(&over, "HTTP/1.1 529 Overloaded\r\n"));
    assert_true(client_has(&over, "too many connections"));
    assert_true(client_has(&over, "connection: close\r\n"));
    assert_true(client_has(&over, "retry-after: 1\r\n"));
    client_close(&over);
    client_close(&clients[0]);
    rig_turn_ms(rig, 20);
    client_open(&over, rig);
    client_say(&over, "GET / HTTP/1.1\r\n" RIG_HEADERS "\r\n");
    client_expect(&over, "HTTP/1.1 200 OK\r\n");
    client_close(&over);
    for (size_t i = 1; i < LIMIT; i++)
        client_close(&clients[i]);
    rig_stop(rig);
}

/* Beyond those that are told, connections wait unaccepted, and come in as others go. */
static void test_connections_wait(void **state)
{
    enum { LIMIT = 2, ALL = LIMIT + REFUSED_CONNECTIONS_MAX + 5 };
    struct rig *rig = *state;
    struct client clients[ALL];

    rig->options.connections_max = LIMIT;
    rig_start(rig);
    for (size_t i = 0; i < ALL; i++) {
        client_open(&clients[i], rig);
        rig_turn_ms(rig, 2);
    }
    client_say(&clients[ALL - 1], "GET / HTTP/1.1\r\n" RIG_HEADERS "\r\n");
    rig_turn_ms(rig, 20);
    client_read(&clients[ALL - 1]);
    assert_int_equal(clients[ALL - 1].in.n, 0);
    for (size_t i = 0; i < ALL - 1; i++)
        client_close(&clients[i]);
    client_expect(&clients[ALL - 1], "HTTP/1.1 ");
    client_close(&clients[ALL - 1]);
    rig_stop(rig);
}

/* Large bodies are bounded over all connections. */
static void test_bodies_total(void **state)
{
    enum { CLIENTS = BODIES_TOTAL_TIMES + 4, BYTES = 64 << 10 };
    struct rig *rig = *state;
    struct client clients[CLIENTS];
    char *body = malloc(BYTES);
    size_t refused = 0;

    memset(body, ' ', BYTES);
    rig->options.body_bytes_max = BYTES;
    rig_start(rig);
    for (size_t i = 0; i < CLIENTS; i++) {
        client_open(&clients[i], rig);
        client_say(&clients[i], "POST /v1/messages HTTP/1.1\r\n" RIG_HEADERS
                                "Content-Length: 65536\r\n\r\n");
        client_send(&clients[i], (struct str){body, BYTES - 1});
    }
    rig_turn_ms(rig, 50);
    for (size_t i = 0; i < CLIENTS; i++) {
        refused += client_has(&clients[i], "HTTP/1.1 529 Overloaded");
        client_close(&clients[i]);
    }
    assert_in_range(refused, 2, 4);
    rig_turn_ms(rig, 20);
    client_open(&clients[0], rig);              /* what they took is given back */
    client_post(&clients[0], rig_body);
    generation_start(rig_generation(rig, 0), 1);
    generation_done(rig_generation(rig, 0), 1);
    client_expect(&clients[0], "HTTP/1.1 200 OK");
    client_close(&clients[0]);
    free(body);
    rig_stop(rig);
}

static void expect_over(struct rig *rig)
{
    rig_until(rig, !uv_loop_alive(&rig->loop) && rig_alive(rig) == 0);
    server_free(rig->server);
    backends_free(rig->backends);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
}

/* Streams finish; idle connections close; new requests are told to go elsewhere. */
static void test_drain(void **state)
{
    struct rig *rig = *state;
    struct client idle, stream, json, reading;

    rig_start(rig);
    client_open(&idle, rig);
    client_open(&stream, rig);
    client_open(&json, rig);
    client_open(&reading, rig);
    client_say(&idle, "GET / HTTP/1.1\r\n" RIG_HEADERS "\r\n");
    client_expect(&idle, "Pensieve");
    client_post(&stream, rig_stream_body);
    generation_start(rig_generation(rig, 0), 3);
    client_post(&json, rig_body);
    generation_start(rig_generation(rig, 1), 3);
    client_say(&reading, "GET / HTTP/1.1\r\n");
    rig_turn_ms(rig, 5);

    server_drain(rig->server);
    client_expect_end(&idle);
    client_say(&reading, RIG_HEADERS "\r\n");
    client_expect_end(&reading);
    assert_true(client_has(&reading, "HTTP/1.1 529 Overloaded\r\n"));
    assert_true(client_has(&reading, "connection: close\r\n"));
    generation_delta(rig_generation(rig, 0), STR("still"));
    client_expect(&stream, "still");
    generation_done(rig_generation(rig, 0), 1);
    client_expect_end(&stream);
    assert_true(client_has(&stream, "message_stop"));
    generation_done(rig_generation(rig, 1), 1);
    client_expect_end(&json);
    assert_true(client_has(&json, "HTTP/1.1 200 OK\r\n"));
    assert_true(client_has(&json, "connection: close\r\n"));
    client_close(&idle);
    client_close(&stream);
    client_close(&json);
    client_close(&reading);
    expect_over(rig);
}

/* What is not finished at the deadline is told so, in its stream or with a status. */
static void test_drain_deadline(void **state)
{
    struct rig *rig = *state;
    struct client stream, json;

    rig->options.drain_ms = 100;
    rig_start(rig);
    client_open(&stream, rig);
    client_open(&json, rig);
    client_post(&stream, rig_stream_body);
    generation_start(rig_generation(rig, 0), 3);
    client_post(&json, rig_body);
    rig_generation(rig, 1);
    server_drain(rig->server);
    rig_turn_ms(rig, 50);
    assert_false(client_has(&stream, "event: error"));
    client_expect_end(&stream);
    client_expect_end(&json);
    assert_true(client_has(&stream, "event: error\ndata: {\"type\":\"error\",\"error\":"
                                    "{\"type\":\"overloaded_error\""));
    assert_false(client_has(&stream, "message_stop"));
    assert_true(client_has(&json, "HTTP/1.1 529 Overloaded\r\n"));
    assert_true(rig->generations[0].cancelled && rig->generations[1].cancelled);
    client_close(&stream);
    client_close(&json);
    expect_over(rig);
}

/* A reader that has stopped doesn't keep the server from ending. */
static void test_drain_with_stopped_reader(void **state)
{
    struct rig *rig = *state;
    struct client client;
    char text[1000];

    rig->options.drain_ms = 50;
    rig_start(rig);
    memset(text, 'x', sizeof text);
    client_open(&client, rig);
    client_post(&client, rig_stream_body);
    struct generation *generation = rig_generation(rig, 0);
    generation_start(generation, 3);
    for (int i = 0; i < 100000 && !generation->paused; i++)
        generation_delta(generation, (struct str){text, sizeof text});
    server_drain(rig->server);
    expect_over(rig);
    client_close(&client);
}

/* Asked twice, everything ends at once. */
static void test_cut(void **state)
{
    struct rig *rig = *state;
    struct client stream, counting;
    char request[1024];

    rig_start(rig);
    client_open(&stream, rig);
    client_post(&stream, rig_stream_body);
    generation_start(rig_generation(rig, 0), 3);
    client_open(&counting, rig);
    snprintf(request, sizeof request, "POST /v1/messages/count_tokens HTTP/1.1\r\n" RIG_HEADERS
             "Content-Length: %zu\r\n\r\n%s", strlen(rig_body), rig_body);
    client_say(&counting, request);
    rig_until(rig, rig->count.on_count);
    server_drain(rig->server);
    server_drain(rig->server);
    client_expect_end(&stream);
    assert_true(client_has(&stream, "overloaded_error"));
    assert_true(rig->generations[0].cancelled);
    rig_turn_ms(rig, 20);
    assert_true(uv_loop_alive(&rig->loop));     /* one answer of the backend's is still to come */
    rig_count_done(rig, 1);
    client_close(&stream);
    client_close(&counting);
    expect_over(rig);
}

#define BOTH(test) cmocka_unit_test_setup_teardown(test, rig_setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_bind_rules), BOTH(test_port_taken), BOTH(test_port_taken_by_pensieve),
        BOTH(test_connection_limit), BOTH(test_connections_wait), BOTH(test_bodies_total),
        BOTH(test_drain), BOTH(test_drain_deadline), BOTH(test_drain_with_stopped_reader),
        BOTH(test_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
