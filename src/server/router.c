/* router.c - the table of endpoints, and the checks that need no body.
 *
 * The order matters: who may talk to us at all (Host, Origin) comes before what is asked, and all
 * of it before a byte of the body is read. */
#include "server/router.h"

#include <stdio.h>
#include <strings.h>

#include "server/auth.h"
#include "server/connection.h"
#include "server/origin.h"
#include "server/percent.h"
#include "server/routes/routes.h"
#include "server/state.h"
#include "server/trace.h"

static const struct route routes[] = {
    {METHOD_POST, "/v1/messages", ROUTE_API | ROUTE_JSON, messages_post},
    {METHOD_POST, "/v1/messages/count_tokens", ROUTE_API | ROUTE_JSON, count_tokens_post},
    {METHOD_GET, "/v1/models", ROUTE_API, models_get},
    {METHOD_GET, "/v1/models/*", ROUTE_API, model_get},
    {METHOD_GET, "/health", 0, health_get},
    {METHOD_GET, "/", 0, hello_get},
    {METHOD_GET, "/api/hello", 0, hello_get},
};

/* A client's own words, fit for an error text: short, printable ASCII. */
static const char *shown(char out[SHOWN_BYTES_MAX + 4], struct str s)
{
    size_t n = 0;

    for (; n < s.n && n < SHOWN_BYTES_MAX; n++)
        out[n] = s.s[n] >= 0x20 && s.s[n] < 0x7F ? s.s[n] : '?';
    snprintf(out + n, 4, "%s", n < s.n ? "..." : "");
    return out;
}

/* --- path --- */

static bool path_fits(struct exchange *ex, const struct route *route, struct str path)
{
    struct str pattern = str_of(route->path);

    if (!str_ends(pattern, STR("*")))
        return str_equal(pattern, path);
    pattern.n--;
    if (!str_starts(path, pattern))
        return false;
    const struct str step = {path.s + pattern.n, path.n - pattern.n};
    return step.n && !memchr(step.s, '/', step.n) && percent_decode(ex->arena, step, &ex->path_id);
}

static bool find_route(struct exchange *ex, struct err *err)
{
    const enum method asked = ex->head->method;
    const enum method method = asked == METHOD_HEAD ? METHOD_GET : asked;
    const struct str path = http_path(ex->head);
    const struct route *other = NULL;

    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (!path_fits(ex, &routes[i], path))
            continue;
        if (routes[i].method == method) {
            ex->route = &routes[i];
            return true;
        }
        other = &routes[i];
    }
    if (!other)
        return err_set(err, ERR_NOT_FOUND, "Not Found");
    ex->allow = other->method == METHOD_GET ? "GET, HEAD, OPTIONS" : "POST, OPTIONS";
    return err_set(err, ERR_METHOD, "Method Not Allowed: this path takes %s", ex->allow);
}

/* CORS preflight, and plain OPTIONS. */
static bool answer_options(struct exchange *ex, struct err *err)
{
    (void)err;
    if (!ex->cors_origin.n)
        ex->allow = "GET, HEAD, POST, DELETE, OPTIONS";
    exchange_reply(ex, 204, NULL, STR(""));
    return true;
}

static const struct route options_route = {METHOD_OPTIONS, "*", 0, answer_options};

/* --- headers --- */

static bool check_host(struct exchange *ex, struct err *err)
{
    struct str host;
    char text[SHOWN_BYTES_MAX + 4];

    if (!http_header_one(ex->head, "host", &host))
        return err_set(err, ERR_INVALID, "host: sent more than once");
    if (http_header_count(ex->head, "host") == 0) {
        if (ex->head->minor_0)
            return true;                        /* no browser speaks HTTP/1.0 */
        return err_set(err, ERR_INVALID, "host: header is required");
    }
    if (host_allowed(&ex->server->origin_rules, host))
        return true;
    return err_set(err, ERR_FORBIDDEN,
                   "host: \"%s\" is not a name of this server; if it should be, allow it with "
                   "--allow-host", shown(text, host));
}

static bool check_origin(struct exchange *ex, struct err *err)
{
    struct str origin;
    char text[SHOWN_BYTES_MAX + 4];

    if (!http_header_one(ex->head, "origin", &origin))
        return err_set(err, ERR_INVALID, "origin: sent more than once");
    if (http_header_count(ex->head, "origin") == 0)
        return true;
    if (!origin_allowed(&ex->server->origin_rules, origin))
        return err_set(err, ERR_FORBIDDEN,
                       "origin: pages of \"%s\" may not use this server; if they should, allow "
                       "them with --allow-origin", shown(text, origin));
    ex->cors_origin = origin;
    return true;
}

static bool check_expect(struct exchange *ex, struct err *err)
{
    struct str expect;
    char text[SHOWN_BYTES_MAX + 4];

    if (ex->head->minor_0 || http_header_count(ex->head, "expect") == 0)
        return true;
    if (http_header_one(ex->head, "expect", &expect) && expect.n == 12 &&
        strncasecmp(expect.s, "100-continue", 12) == 0)
        return true;
    ex->refusal_status = 417;
    return err_set(err, ERR_INVALID, "expect: \"%s\" can't be met; only 100-continue is known",
                   shown(text, expect));
}

/* "application/json", with any parameters; a missing header is taken for it. */
static bool is_json(struct str type)
{
    const char *semicolon = type.n ? memchr(type.s, ';', type.n) : NULL;
    static const struct str json = {"application/json", 16}, suffix = {"+json", 5};

    if (semicolon)
        type.n = (size_t)(semicolon - type.s);
    while (type.n && (type.s[type.n - 1] == ' ' || type.s[type.n - 1] == '\t'))
        type.n--;
    if (type.n == json.n && strncasecmp(type.s, json.s, json.n) == 0)
        return true;
    return type.n > suffix.n &&
           strncasecmp(type.s + type.n - suffix.n, suffix.s, suffix.n) == 0;
}

static bool check_body_form(struct exchange *ex, struct err *err)
{
    struct str encoding, type;
    char text[SHOWN_BYTES_MAX + 4];

    if (!http_header_one(ex->head, "content-encoding", &encoding) ||
        (encoding.n && !(encoding.n == 8 && strncasecmp(encoding.s, "identity", 8) == 0)))
        return err_set(err, ERR_ENCODING,
                       "content-encoding: \"%s\" is not supported, send the body as it is",
                       shown(text, encoding));
    if (!(ex->route->flags & ROUTE_JSON))
        return true;
    if (!http_header_one(ex->head, "content-type", &type))
        return err_set(err, ERR_INVALID, "content-type: sent more than once");
    if (type.n == 0 || is_json(type))
        return true;
    return err_set(err, ERR_INVALID,
                   "content-type: this path takes application/json, not \"%s\" (with curl: "
                   "-H 'content-type: application/json')", shown(text, type));
}

static bool check_version(struct exchange *ex, struct err *err)
{
    struct str version;
    char text[SHOWN_BYTES_MAX + 4];

    if (!http_header_one(ex->head, "anthropic-version", &version))
        return err_set(err, ERR_INVALID, "anthropic-version: sent more than once");
    if (http_header_count(ex->head, "anthropic-version") == 0) {
        ex->version = API_V23;
        return !ex->server->options.strict ||
               err_set(err, ERR_INVALID, "anthropic-version: header is required");
    }
    ex->version = str_is(version, "2026-10-21") ? API_V26 : API_V23;
    if (ex->version == API_V26 || str_is(version, "2023-06-01"))
        return true;
    return err_set(err, ERR_INVALID,
                   "anthropic-version: \"%s\" is not a valid version; "
                   "2023-06-01 and 2026-10-21 are",
                   shown(text, version));
}

static bool check_size(struct exchange *ex, struct err *err)
{
    const uint64_t max = router_body_max(ex);

    return ex->head->length <= max ||
           err_set(err, ERR_TOO_LARGE, "the request body is larger than %llu bytes",
                   (unsigned long long)max);
}

static bool check_capacity(struct exchange *ex, struct err *err)
{
    if (ex->server->draining)
        return err_set(err, ERR_OVERLOADED, "the server is shutting down");
    if (connection_over_limit(ex->connection))
        return err_set(err, ERR_OVERLOADED, "too many connections (at most %u at a time)",
                       ex->server->options.connections_max);
    return true;
}

bool router_check(struct exchange *ex, struct err *err)
{
    const struct server_options *options = &ex->server->options;

    if (!check_host(ex, err) || !check_origin(ex, err) || !check_capacity(ex, err) ||
        !check_expect(ex, err))
        return false;
    if (ex->head->method == METHOD_OPTIONS) {
        ex->route = &options_route;
        return check_size(ex, err);
    }
    if (!find_route(ex, err) || !check_size(ex, err))
        return false;
    if ((ex->route->flags & ROUTE_API) &&
        (!auth_check(ex->head, options->keys, options->keys_n, &ex->key, err) || !check_version(ex, err)))
        return false;
    return check_body_form(ex, err);
}

uint64_t router_body_max(const struct exchange *ex)
{
    return ex->route->flags & ROUTE_JSON ? ex->server->options.body_bytes_max
                                         : (uint64_t)BODY_SMALL_BYTES_MAX;
}

void router_dispatch(struct exchange *ex)
{
    struct err err = {0};

    trace_request(ex->trace, ex->head);
    ex->dispatched = ex->busy = true;
    if (ex->refusal.code != ERR_NONE)
        exchange_fail(ex, &ex->refusal);
    else if (!ex->route->handle(ex, &err))
        exchange_fail(ex, &err);
    ex->busy = false;
    exchange_settle(ex);
}
