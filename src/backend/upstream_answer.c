/* upstream_answer.c - one answer of an upstream: asked for, read as it comes, asked for again while
 * nothing of it was told.
 *
 * The hard thing is its end. Events may be told only while the transfer is alive, and the last one
 * only when it is not, for until then libcurl reads our request. So whatever ends an answer (its
 * own end, an error in it, the caller) is noted, and told in on_end. */
#include <curl/curl.h>
#include <stdlib.h>
#include <strings.h>

#include "backend/upstream_parts.h"
#include "base/log.h"
#include "base/random.h"

enum {
    RETRY_FIRST_MS = 250,               /* before the first retry; then twice as long each time */
    RETRY_WAIT_MS_MAX = 4000,           /* for more that it asks, somebody else may be faster */
    SCRATCH_BYTES = 4096,
};

static bool answer_ask(struct generation *generation, uint64_t delay_ms, struct err *err);

/* ---- its end ---- */

static void answer_close(struct generation *generation)
{
    const struct upstream_api *api = generation->upstream->api;

    if (generation->reader && api->close)
        api->close(generation->reader);
    generation->reader = NULL;
    sse_release(&generation->sse);
}

static void answer_release(struct generation *generation)
{
    answer_close(generation);
    curl_slist_free_all(generation->headers);
    buf_release(&generation->body);
    buf_release(&generation->text);
    arena_free(generation->scratch);
}

static void answer_tell(struct generation *generation, const struct gen_event *last)
{
    struct upstream *upstream = generation->upstream;
    gen_event_fn *on_event = generation->on_event;
    void *context = generation->context;

    upstream->running--;
    if (last->type == GEN_DONE) {
        upstream->total.input_tokens += last->usage.input_tokens;
        upstream->total.cache_read += last->usage.cache_read;
        upstream->total.output_tokens += last->usage.output_tokens;
    }
    answer_release(generation);
    on_event(context, last);
}

static void answer_fail(struct generation *generation, const struct err *error)
{
    struct gen_event failed = {.type = GEN_FAILED, .error = *error};

    if (error->code != ERR_CANCELLED)
        upstream_blame(generation->upstream, &failed.error);
    answer_tell(generation, &failed);
}

/* Whether it may go better in a moment: it was not reached, broke off, or is busy. Not after a
 * silence, which has taken long enough, and not after what it said is wrong. */
static bool is_passing(const struct err *error, const struct http_answer *answer)
{
    if (answer->retry_after_s * 1000ull > RETRY_WAIT_MS_MAX)
        return false;
    return error->code == ERR_IO || error->code == ERR_OVERLOADED || error->code == ERR_RATE ||
           answer->status == 502;
}

static bool answer_retry(struct generation *generation, const struct err *error,
                         const struct http_answer *answer)
{
    const struct upstream *upstream = generation->upstream;
    const uint64_t doubled = (uint64_t)RETRY_FIRST_MS << generation->failures;
    const uint64_t most = doubled < RETRY_WAIT_MS_MAX ? doubled : RETRY_WAIT_MS_MAX;
    const uint64_t wait = most / 2 + random_u64() % (most / 2 + 1);
    const uint64_t asked = answer->retry_after_s * 1000ull;
    char shown[300];
    struct err why;

    if (generation->told || generation->silent || !is_passing(error, answer) ||
        generation->failures >= upstream->options.retries)
        return false;
    generation->failures++;
    log_event(LOG_INFO, "upstream_retry", "upstream=%s failures=%u reason=%s",
              upstream->options.name, generation->failures,
              log_quote(shown, sizeof shown, str_of(error->text)));
    return answer_ask(generation, wait > asked ? wait : asked, &why);
}

/* What came in the end. false: err says why it is no answer. */
static bool answer_judge(struct generation *generation, const struct http_answer *answer,
                         struct gen_event *done, struct err *err)
{
    const struct upstream *upstream = generation->upstream;

    if (!http_is_fine(answer))
        return upstream_error_status(generation->scratch, buf_view(&generation->text),
                                     answer->status, upstream->options.key, err);
    return upstream->api->end(generation, done, err);
}

static void on_end(void *context, const struct http_answer *answer, const struct err *error)
{
    struct generation *generation = context;
    const struct upstream_api *api = generation->upstream->api;
    struct gen_event done;
    struct err err = {0};

    generation->fetch = NULL;
    if (generation->silent) {
        err_set(&err, ERR_CANCELLED, "cancelled");
    } else if (generation->error.code) {
        err = generation->error;
    } else if (error && !api->is_over(generation)) {
        err = *error;
    } else if (answer_judge(generation, answer, &done, &err)) {
        answer_tell(generation, &done);
        return;
    }
    if (generation->silent)             /* while it was judged: it tells what it held back */
        err_set(&err, ERR_CANCELLED, "cancelled");
    upstream_rests(generation->upstream, answer, &err);
    if (!answer_retry(generation, &err, answer))
        answer_fail(generation, &err);
}

/* ---- what comes ---- */

static bool is_stream(const struct http_answer *answer)
{
    return strncasecmp(answer->content_type, "text/event-stream", 17) == 0;
}

static bool on_sse(void *context, struct str name, struct str data)
{
    struct generation *generation = context;

    (void)name;                         /* both APIs say in the data what it is */
    return generation->upstream->api->read(generation, data, &generation->error) &&
           !generation->silent;
}

/* false: generation->error says why, or it is silent. */
static bool take(struct generation *generation, const struct http_answer *answer, struct str bytes)
{
    struct err *err = &generation->error;
    const bool fine = http_is_fine(answer);

    generation->received += bytes.n;
    if (generation->received > UPSTREAM_ANSWER_BYTES_MAX)
        return err_set(err, ERR_FORMAT, "its answer is longer than %d bytes",
                       UPSTREAM_ANSWER_BYTES_MAX);
    if (fine && is_stream(answer))
        return sse_feed(&generation->sse, bytes, on_sse, generation, err);
    if (!fine && generation->text.n + bytes.n > UPSTREAM_ERROR_BYTES_MAX)
        return true;                    /* its beginning is enough */
    return buf_str(&generation->text, bytes) || err_set(err, ERR_OVERLOADED, "no memory");
}

static void on_body(void *context, const struct http_answer *answer, struct str bytes)
{
    struct generation *generation = context;
    const struct upstream *upstream = generation->upstream;

    if (!take(generation, answer, bytes)) {
        if (!generation->silent)
            http_fetch_cancel(generation->fetch, &generation->error);
        return;
    }
    if (generation->silent)
        return;
    if (upstream->api->is_over(generation))
        http_fetch_silence(generation->fetch, UPSTREAM_FINISH_MS);
    else if (generation->flowing)
        http_fetch_silence(generation->fetch, upstream->options.stall_ms);
}

static const struct http_events events = {.on_body = on_body, .on_end = on_end};

/* ---- its beginning ---- */

static bool answer_ask(struct generation *generation, uint64_t delay_ms, struct err *err)
{
    struct upstream *upstream = generation->upstream;
    const struct http_request request = {
        .url = upstream_url(upstream, generation->arena, upstream->api->path),
        .headers = generation->headers, .body = buf_view(&generation->body),
        .delay_ms = delay_ms, .silence_ms = upstream->options.first_byte_ms,
        .events = &events, .context = generation,
    };

    answer_close(generation);
    buf_reset(&generation->text);
    generation->received = 0;
    generation->flowing = false;
    generation->error = (struct err){0};
    sse_init(&generation->sse);
    generation->reader = upstream->api->open(generation);
    generation->fetch = http_fetch_new(upstream->client, &request, err);
    if (generation->fetch && generation->paused)
        http_fetch_pause(generation->fetch);
    return generation->fetch != NULL;
}

struct generation *upstream_generate(struct backend *backend, struct arena *arena,
                                     const struct message_request *request,
                                     gen_event_fn *on_event, void *context, struct err *err)
{
    struct upstream *upstream = upstream_of(backend);
    struct generation *generation = arena_alloc(arena, sizeof *generation);

    *generation = (struct generation){
        .upstream = upstream, .arena = arena, .request = request, .on_event = on_event,
        .context = context, .headers = upstream_headers(upstream, request),
        .scratch = arena_new(SCRATCH_BYTES),
    };
    if (!generation->headers) {
        err_set(err, ERR_OVERLOADED, "no memory for a request");
    } else if (upstream->api->write(generation, err) && answer_ask(generation, 0, err)) {
        upstream->running++;
        return generation;
    }
    answer_release(generation);
    upstream_blame(upstream, err);
    return NULL;
}

void upstream_pause(struct generation *generation)
{
    generation->paused = true;
    if (generation->fetch)
        http_fetch_pause(generation->fetch);
}

void upstream_resume(struct generation *generation)
{
    generation->paused = false;
    if (generation->fetch)
        http_fetch_resume(generation->fetch);
}

void upstream_cancel(struct generation *generation)
{
    generation->silent = true;
    if (generation->fetch)
        http_fetch_cancel(generation->fetch, NULL);
}
