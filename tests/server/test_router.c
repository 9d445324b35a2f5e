/* What a head must show, and the answer to each that doesn't: one table, one request a row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "rig.h"

#define KEY "x-api-key: " RIG_KEY "\r\n"
#define HOST "Host: localhost\r\n"

struct row {
    const char *request;                /* request line and headers, without the last line break */
    const char *status;
    const char *has, *has_too;          /* in the answer; NULL: whatever */
};

/* Each answer has its request-id, in an error's body too. */
static void check_request_id(struct client *client)
{
    const char *id = memmem(client->in.data, client->in.n, "\r\nrequest-id: req_01", 20);
    char quoted[64];

    assert_non_null(id);
    snprintf(quoted, sizeof quoted, "\"request_id\":\"%.28s\"", id + 14);
    if (client_times(client, "\"type\":\"error\""))
        assert_int_equal(client_times(client, quoted), 1);
    assert_int_equal(client_times(client, RIG_KEY), 0);
}

static void check_rows(struct rig *rig, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct client client;
        char status[32];
        client_open(&client, rig);
        client_say(&client, rows[i].request);
        client_say(&client, "\r\n");
        client_expect(&client, "\r\n\r\n");
        rig_turn_ms(rig, 2);
        client_read(&client);
        snprintf(status, sizeof status, "HTTP/1.1 %s ", rows[i].status);
        if (client_times(&client, status) != 1 ||
            (rows[i].has && !client_times(&client, rows[i].has)) ||
            (rows[i].has_too && !client_times(&client, rows[i].has_too)))
            fail_msg("\n%s\nwas answered\n%.*s", rows[i].request, (int)client.in.n, client.in.data);
        check_request_id(&client);
        client_close(&client);
    }
}

#define CHECK(rig, rows) check_rows(rig, rows, sizeof rows / sizeof *rows)

static void test_paths(void **state)
{
    static const struct row rows[] = {
        {"GET / HTTP/1.1\r\n" HOST, "200", "content-type: text/plain; charset=utf-8\r\n", NULL},
        {"HEAD / HTTP/1.1\r\n" HOST, "200", "content-length: 72\r\n", NULL},
        {"HEAD /api/hello HTTP/1.1\r\n" HOST, "200", NULL, NULL},
        {"GET /health HTTP/1.1\r\n" HOST, "200", "{\"status\":\"ok\"", "\"running\":0"},
        {"GET /health?x=1 HTTP/1.1\r\n" HOST, "200", NULL, NULL},
        {"GET /v1/models HTTP/1.1\r\n" HOST KEY, "200", "\"has_more\":false", "\"test-model\""},
        {"GET /v1/models/test-model HTTP/1.1\r\n" HOST KEY, "200", "\"id\":\"test-model\"", NULL},
        {"GET /v1/models/test%2Dmodel HTTP/1.1\r\n" HOST KEY, "200", "\"id\":\"test-model\"", NULL},
        {"GET /v1/models/claude-3%2Fx HTTP/1.1\r\n" HOST KEY, "200", "\"id\":\"claude-3/x\"", NULL},
        {"GET /v1/models/none HTTP/1.1\r\n" HOST KEY, "404", "\"message\":\"model: none\"",
         "\"not_found_error\""},
        {"GET /v1/models/a/b HTTP/1.1\r\n" HOST KEY, "404", "\"message\":\"Not Found\"", NULL},
        {"GET /v1/models/ HTTP/1.1\r\n" HOST KEY, "404", "\"message\":\"Not Found\"", NULL},
        {"GET /v1/models/a%0 HTTP/1.1\r\n" HOST KEY, "404", "\"message\":\"Not Found\"", NULL},
        {"GET /v1/models/a%00 HTTP/1.1\r\n" HOST KEY, "404", "\"message\":\"Not Found\"", NULL},
        {"GET /v1/models/%ff HTTP/1.1\r\n" HOST KEY, "404", "\"message\":\"Not Found\"", NULL},
        {"GET /V1/models HTTP/1.1\r\n" HOST KEY, "404", "\"message\":\"Not Found\"", NULL},
        {"GET //v1/models HTTP/1.1\r\n" HOST KEY, "404", "\"message\":\"Not Found\"", NULL},
        {"GET /v1/files HTTP/1.1\r\n" HOST KEY, "404", "\"message\":\"Not Found\"",
         "\"type\":\"not_found_error\""},
        {"GET /v1/messages HTTP/1.1\r\n" HOST KEY, "405", "allow: POST, OPTIONS\r\n",
         "\"type\":\"invalid_request_error\""},
        {"DELETE /v1/models HTTP/1.1\r\n" HOST KEY, "405", "allow: GET, HEAD, OPTIONS\r\n", NULL},
        {"PROPFIND /health HTTP/1.1\r\n" HOST, "405", "allow: GET, HEAD, OPTIONS\r\n", NULL},
    };

    rig_start(*state);
    CHECK(*state, rows);
}

static void test_models_page(void **state)
{
    static const struct row rows[] = {
        {"GET /v1/models?limit=1000 HTTP/1.1\r\n" HOST KEY, "200", "\"test-model\"", NULL},
        {"GET /v1/models?lifecycle[]=active&beta=true HTTP/1.1\r\n" HOST KEY, "200",
         "\"test-model\"", NULL},
        {"GET /v1/models?limit=0 HTTP/1.1\r\n" HOST KEY, "400", "limit: ", NULL},
        {"GET /v1/models?limit=1001 HTTP/1.1\r\n" HOST KEY, "400", "limit: ", NULL},
        {"GET /v1/models?limit=-1 HTTP/1.1\r\n" HOST KEY, "400", "limit: ", NULL},
        {"GET /v1/models?limit= HTTP/1.1\r\n" HOST KEY, "400", "limit: ", NULL},
        {"GET /v1/models?after_id=test%2Dmodel HTTP/1.1\r\n" HOST KEY, "200", "\"data\":[]", NULL},
        {"GET /v1/models?before_id=test-model HTTP/1.1\r\n" HOST KEY, "200", "\"data\":[]", NULL},
        {"GET /v1/models?after_id=x HTTP/1.1\r\n" HOST KEY, "400", "after_id: ", NULL},
        {"GET /v1/models?after_id=x&before_id=y HTTP/1.1\r\n" HOST KEY, "400", "exclude", NULL},
        {"GET /v1/models?&&=&limit=1& HTTP/1.1\r\n" HOST KEY, "200", NULL, NULL},
    };

    rig_start(*state);
    CHECK(*state, rows);
}

static void test_key(void **state)
{
    static const struct row rows[] = {
        {"GET /v1/models HTTP/1.1\r\n" HOST, "401", "\"type\":\"authentication_error\"",
         "x-should-retry: false\r\n"},
        {"GET /v1/models HTTP/1.1\r\n" HOST "x-api-key: wrong\r\n", "401", "invalid x-api-key",
         NULL},
        {"GET /v1/models HTTP/1.1\r\n" HOST "Authorization: Bearer wrong\r\n", "401",
         "Invalid bearer token", NULL},
        {"GET /v1/models HTTP/1.1\r\n" HOST "Authorization: Bearer " RIG_KEY "\r\n", "200", NULL,
         NULL},
        {"GET /v1/models HTTP/1.1\r\n" HOST "Authorization: Bearer wrong\r\n" KEY, "200", NULL,
         NULL},
        {"POST /v1/messages HTTP/1.1\r\n" HOST, "401", NULL, NULL},
        {"GET /health HTTP/1.1\r\n" HOST, "200", NULL, NULL},
        {"HEAD / HTTP/1.1\r\n" HOST, "200", NULL, NULL},
    };

    rig_start(*state);
    CHECK(*state, rows);
}

static void test_host(void **state)
{
    static const struct row rows[] = {
        {"GET /health HTTP/1.1\r\n", "400", "host: header is required", NULL},
        {"GET /health HTTP/1.0\r\n", "200", NULL, NULL},
        {"GET /health HTTP/1.1\r\n" HOST HOST, "400", "host: sent more than once", NULL},
        {"GET /health HTTP/1.1\r\nHost: 127.0.0.1:7777\r\n", "200", NULL, NULL},
        {"GET /health HTTP/1.1\r\nHost: [::1]:7777\r\n", "200", NULL, NULL},
        {"GET /health HTTP/1.1\r\nHost: rebound.example\r\n", "403", "\"permission_error\"",
         "rebound.example"},
        {"GET /health HTTP/1.0\r\nHost: rebound.example\r\n", "403", NULL, NULL},
        {"GET /health HTTP/1.1\r\nHost: \xff\"\\\t<evil>\r\n", "403", "?\\\"\\\\?<evil>", NULL},
        {"OPTIONS /v1/messages HTTP/1.1\r\nHost: rebound.example\r\n", "403", NULL, NULL},
    };

    rig_start(*state);
    CHECK(*state, rows);
}

static void test_origin(void **state)
{
    static const struct row rows[] = {
        {"GET /health HTTP/1.1\r\n" HOST "Origin: http://localhost:3000\r\n", "200",
         "access-control-allow-origin: http://localhost:3000\r\n", "vary: origin\r\n"},
        {"GET /health HTTP/1.1\r\n" HOST "Origin: https://evil.example\r\n", "403",
         "\"permission_error\"", NULL},
        {"GET /health HTTP/1.1\r\n" HOST "Origin: null\r\n", "403", NULL, NULL},
        {"OPTIONS /v1/messages HTTP/1.1\r\n" HOST "Origin: http://localhost:3000\r\n"
         "Access-Control-Request-Method: POST\r\n", "204",
         "access-control-allow-methods: GET, POST, DELETE, OPTIONS\r\n", "anthropic-version"},
        {"OPTIONS /v1/messages HTTP/1.1\r\n" HOST "Origin: https://evil.example\r\n", "403", NULL,
         NULL},
        {"OPTIONS * HTTP/1.1\r\n" HOST, "204", "allow: GET", NULL},
        {"GET /v1/models HTTP/1.1\r\n" HOST "Origin: http://localhost\r\n", "401",
         "access-control-allow-origin: http://localhost\r\n",
         "access-control-expose-headers: request-id"},
    };

    rig_start(*state);
    CHECK(*state, rows);
}

#define POST "POST /v1/messages HTTP/1.1\r\n" HOST KEY

static void test_body_form(void **state)
{
    static const struct row rows[] = {
        {POST "Content-Encoding: gzip\r\n", "400",
         "\"details\":{\"error_code\":\"request_body_encoding_unsupported\"}",
         "content-encoding: "},
        {POST "Content-Encoding: identity\r\n", "400", "not valid JSON", NULL},
        {POST "Content-Type: application/x-www-form-urlencoded\r\n", "400", "content-type: ",
         "application/json"},
        {POST "Content-Type: text/plain\r\n", "400", "content-type: ", NULL},
        {POST "Content-Type: application/json; charset=utf-8\r\n", "400", "not valid JSON", NULL},
        {POST "Content-Type: Application/JSON\r\n", "400", "not valid JSON", NULL},
        {POST "Content-Type: application/vnd.x+json\r\n", "400", "not valid JSON", NULL},
        {POST, "400", "not valid JSON", NULL},
    };

    rig_start(*state);
    CHECK(*state, rows);
}

#define MODELS "GET /v1/models HTTP/1.1\r\n" HOST KEY

static const struct row versions[] = {
    {MODELS "anthropic-version: 2023-06-01\r\n", "200", NULL, NULL},
    {MODELS "anthropic-version: 2026-10-21\r\n", "200", NULL, NULL},
    {MODELS "anthropic-version: 2023-01-01\r\n", "400", "anthropic-version: \\\"2023-01-01\\\"",
     NULL},
    {MODELS "anthropic-version: \r\n", "400", "anthropic-version: ", NULL},
    {MODELS "anthropic-version: 2023-06-01\r\nanthropic-version: 2026-10-21\r\n", "400",
     "anthropic-version: ", NULL},
    {MODELS "anthropic-version: 2023-06-01\r\nanthropic-beta: a,b\r\nanthropic-beta: c\r\n", "200",
     NULL, NULL},
};

static void test_version(void **state)
{
    static const struct row absent[] = {{MODELS, "200", NULL, NULL}};

    rig_start(*state);
    CHECK(*state, versions);
    CHECK(*state, absent);
}

static void test_version_strict(void **state)
{
    static const struct row absent[] = {
        {MODELS, "400", "anthropic-version: header is required", NULL}};

    ((struct rig *)*state)->options.strict = true;
    rig_start(*state);
    CHECK(*state, versions);
    CHECK(*state, absent);
}

static void test_not_ready(void **state)
{
    static const struct row rows[] = {
        {"GET /health HTTP/1.1\r\n" HOST, "503", "{\"status\":\"loading\"", "\"ready\":false"}};

    ((struct rig *)*state)->ready = false;
    rig_start(*state);
    CHECK(*state, rows);
}

/* No key configured: none is asked for. */
static void test_no_keys(void **state)
{
    static const struct row rows[] = {
        {"GET /v1/models HTTP/1.1\r\n" HOST, "200", NULL, NULL},
        {"GET /v1/models HTTP/1.1\r\n" HOST "x-api-key: any\r\n", "200", NULL, NULL},
    };

    ((struct rig *)*state)->options.keys_n = 0;
    rig_start(*state);
    CHECK(*state, rows);
}

#define BOTH(test) cmocka_unit_test_setup_teardown(test, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_paths), BOTH(test_models_page), BOTH(test_key), BOTH(test_host),
        BOTH(test_origin), BOTH(test_body_form), BOTH(test_version), BOTH(test_version_strict),
        BOTH(test_not_ready), BOTH(test_no_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
