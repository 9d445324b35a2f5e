/* upstream_parts.h - what the files of the upstream backend share: the server (upstream.c), answers
 * on their way (upstream_answer.c), small questions (upstream_ask.c), and the two APIs. For these
 * files only. */
#ifndef PENSIEVE_BACKEND_UPSTREAM_PARTS_H
#define PENSIEVE_BACKEND_UPSTREAM_PARTS_H

#include "backend/http_client.h"
#include "backend/openai_stream.h"
#include "backend/sign.h"
#include "backend/sse.h"
#include "backend/upstream.h"
#include "backend/upstream_errors.h"
#include "base/buf.h"

enum {
    UPSTREAM_URL_BYTES_MAX = 4096,
    UPSTREAM_ANSWER_BYTES_MAX = 256 << 20,      /* of one answer, as it comes */
    UPSTREAM_ASKED_BYTES_MAX = 64 << 20,        /* of a small question's: a prompt's tokens */
    UPSTREAM_ASK_MS = 30 * 1000,
    UPSTREAM_PROBE_MS = 10 * 1000,
    UPSTREAM_FINISH_MS = 1000,          /* to end the body, once the answer is over */
};

struct upstream {
    struct backend backend;             /* first: the ops get this */
    uv_loop_t *loop;
    struct arena *arena;
    const struct upstream_api *api;
    struct upstream_options options;
    struct http_client *client;
    struct str model;
    struct str extra;                   /* members, without braces */
    struct signer signer;               /* of thoughts; drawn at the start, so they last as long */
    uint64_t rest_until;                /* loop time: it asked for so much patience */
    uint32_t running;
    struct usage total;
    bool freed;
    bool counts_by_template;            /* it answered so: llama-server */
};

static inline struct upstream *upstream_of(struct backend *backend)
{
    return (struct upstream *)backend;
}

/* An answer on its way. */
struct generation {
    struct upstream *upstream;
    struct arena *arena;
    const struct message_request *request;
    gen_event_fn *on_event;
    void *context;
    struct http_fetch *fetch;
    struct curl_slist *headers;
    struct buf body;                    /* of the request */
    struct buf text;                    /* of an answer that is no stream: an error, a whole one */
    struct arena *scratch;
    struct sse sse;
    void *reader;                       /* the api's; NULL: there is none */
    struct err error;                   /* why we stopped it */
    uint64_t received;
    uint32_t failures;
    bool told;                          /* an event was: no try begins any more */
    bool silent;                        /* cancelled */
    bool flowing;                       /* its prompt is read: events of the answer have come */
    bool paused;
};

/* What differs between the two APIs. */
struct upstream_api {
    const char *path;                   /* of answers */
    const char *key_header;             /* "x-api-key: " */
    /* Adds what headers a request has besides its key; request NULL: a probe's. May be NULL. */
    bool (*headers)(struct curl_slist **headers, const struct message_request *request);
    /* The request's body. */
    bool (*write)(struct generation *generation, struct err *err);
    /* The answer's reader, in the arena: a new one for each try. */
    void *(*open)(struct generation *generation);
    /* What it holds beside the arena's; NULL: nothing. */
    void (*close)(void *reader);
    /* An event of a stream, of status 200. */
    bool (*read)(struct generation *generation, struct str data, struct err *err);
    bool (*is_over)(const struct generation *generation);
    /* The body has ended, whole: the end's event. */
    bool (*end)(struct generation *generation, struct gen_event *done, struct err *err);
    bool (*count)(struct upstream *upstream, struct arena *arena,
                  const struct message_request *request, count_fn *on_count, void *context,
                  struct err *err);
};

extern const struct upstream_api upstream_openai, upstream_anthropic;

/* ---- upstream.c ---- */

/* base_url + path, in the arena. */
const char *upstream_url(const struct upstream *upstream, struct arena *arena, const char *path);
/* A new list; request NULL: a probe's. NULL: no memory. */
struct curl_slist *upstream_headers(const struct upstream *upstream,
                                    const struct message_request *request);
/* Adds "name: value", or "name: " and more of them; false: no memory. */
bool upstream_header(struct curl_slist **headers, const char *name, struct str value);
/* Puts the upstream's name before the error. Returns false. */
bool upstream_blame(const struct upstream *upstream, struct err *err);
/* It has too much to do, and said for how long. */
void upstream_rests(struct upstream *upstream, const struct http_answer *answer,
                    const struct err *error);

/* ---- upstream_answer.c ---- */

struct generation *upstream_generate(struct backend *backend, struct arena *arena,
                                     const struct message_request *request,
                                     gen_event_fn *on_event, void *context, struct err *err);
void upstream_pause(struct generation *generation);
void upstream_resume(struct generation *generation);
void upstream_cancel(struct generation *generation);

/* ---- upstream_ask.c: a small question, answered by one JSON value ---- */

/* answer NULL: error says why; its status is 0 or the answer's. arena: the answer lives in it, and
 * it is freed after the call. */
typedef void asked_fn(void *context, struct arena *arena, yyjson_val *answer, long status,
                      const struct err *error);

struct asking {
    const char *path;
    const struct message_request *request;      /* whose headers it has; NULL: a probe's */
    struct buf *body;                   /* taken, in any case; NULL: a GET */
    bool background;                    /* it keeps no loop from returning, and free ends it */
    asked_fn *on_asked;
    void *context;
};
bool upstream_ask(struct upstream *upstream, const struct asking *asking, struct err *err);
bool upstream_probe(struct backend *backend, probe_fn *on_probe, void *context, struct err *err);

#endif
