/* upstream_ask.c - a small question to an upstream, answered by one JSON value: how many tokens,
 * whether it is well. */
#include <curl/curl.h>
#include <stdlib.h>

#include "backend/upstream_parts.h"

struct question {
    struct upstream *upstream;
    struct arena *arena;
    struct curl_slist *headers;
    struct buf body, answer;
    struct http_fetch *fetch;
    bool background;
    asked_fn *on_asked;
    void *context;
};

static void question_free(struct question *question)
{
    curl_slist_free_all(question->headers);
    buf_release(&question->body);
    buf_release(&question->answer);
    arena_free(question->arena);
    free(question);
}

static void on_body(void *context, const struct http_answer *answer, struct str bytes)
{
    struct question *question = context;
    struct err err;

    (void)answer;
    if (buf_str(&question->answer, bytes))
        return;
    err_set(&err, ERR_FORMAT, "its answer is longer than %d bytes", UPSTREAM_ASKED_BYTES_MAX);
    http_fetch_cancel(question->fetch, &err);
}

static void on_end(void *context, const struct http_answer *answer, const struct err *error)
{
    struct question *question = context;
    struct upstream *upstream = question->upstream;
    struct err err = {0}, why;
    yyjson_val *root = NULL;

    upstream->running -= !question->background;
    if (error) {
        err = *error;
    } else if (!http_is_fine(answer)) {
        upstream_error_status(question->arena, buf_view(&question->answer), answer->status,
                              upstream->options.key, &err);
        upstream_rests(upstream, answer, &err);
    } else if (!json_parse(question->arena, buf_view(&question->answer), &root, &why)) {
        err_set(&err, ERR_FORMAT, "its answer is no JSON");
    }
    if (err.code) {
        upstream_blame(upstream, &err);
        root = NULL;
    }
    question->on_asked(question->context, question->arena, root, answer->status,
                       err.code ? &err : NULL);
    question_free(question);
}

static const struct http_events events = {.on_body = on_body, .on_end = on_end};

bool upstream_ask(struct upstream *upstream, const struct asking *asking, struct err *err)
{
    struct question *question = calloc(1, sizeof *question);

    if (!question) {
        if (asking->body)
            buf_release(asking->body);
        return err_set(err, ERR_OVERLOADED, "no memory for a question");
    }
    *question = (struct question){
        .upstream = upstream, .arena = arena_new(4096),
        .headers = upstream_headers(upstream, asking->request),
        .answer = {.ceiling = UPSTREAM_ASKED_BYTES_MAX}, .background = asking->background,
        .on_asked = asking->on_asked, .context = asking->context,
    };
    if (asking->body) {
        question->body = *asking->body;
        *asking->body = (struct buf){0};
    }
    const struct http_request request = {
        .url = upstream_url(upstream, question->arena, asking->path),
        .headers = question->headers, .body = buf_view(&question->body),
        .background = asking->background,
        .silence_ms = asking->background ? UPSTREAM_PROBE_MS : UPSTREAM_ASK_MS,
        .events = &events, .context = question,
    };
    if (!question->headers || question->body.overflow)
        err_set(err, ERR_OVERLOADED, "no memory for a question");
    else
        question->fetch = http_fetch_new(upstream->client, &request, err);
    if (!question->fetch) {
        question_free(question);
        return false;
    }
    upstream->running += !asking->background;
    return true;
}

/* ---- probes ---- */

struct probe {
    const struct upstream *upstream;
    probe_fn *on_probe;
    void *context;
};

/* A server without a list of models is a server all the same. */
static void probed(void *context, struct arena *arena, yyjson_val *answer, long status,
                   const struct err *error)
{
    struct probe probe = *(struct probe *)context;

    (void)arena, (void)answer;
    free(context);
    if (!probe.upstream->freed)
        probe.on_probe(probe.context, status == 404 || status == 405 ? NULL : error);
}

bool upstream_probe(struct backend *backend, probe_fn *on_probe, void *context, struct err *err)
{
    struct upstream *upstream = upstream_of(backend);
    struct probe *probe = malloc(sizeof *probe);

    if (!probe)
        return err_set(err, ERR_OVERLOADED, "no memory for a probe");
    *probe = (struct probe){upstream, on_probe, context};
    const struct asking asking = {
        .path = "/v1/models", .background = true, .on_asked = probed, .context = probe,
    };
    if (upstream_ask(upstream, &asking, err))
        return true;
    free(probe);
    return false;
}
