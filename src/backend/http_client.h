/* http_client.h - requests to other servers, over libcurl's multi interface on a libuv loop.
 *
 * All on the loop thread. A request's answer comes in pieces as they arrive, and then exactly one
 * on_end, also after a cancel, and never from within a call of ours. Redirects are not followed, so
 * headers with a key go to the host of the URL alone. */
#ifndef PENSIEVE_BACKEND_HTTP_CLIENT_H
#define PENSIEVE_BACKEND_HTTP_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "base/str.h"

enum {
    HTTP_CLIENT_HEAD_BYTES_MAX = 64 << 10,      /* of an answer's head */
    HTTP_CLIENT_WORD_BYTES = 128,
    HTTP_CLIENT_RETRY_AFTER_S_MAX = 24 * 60 * 60,
};

struct http_client;
struct http_fetch;

struct http_answer {
    long status;                        /* 0: there is none yet */
    char content_type[HTTP_CLIENT_WORD_BYTES];  /* "" where there is none, or it is longer */
    uint32_t retry_after_s;             /* at its end; 0: not said */
};

static inline bool http_is_fine(const struct http_answer *answer)
{
    return answer->status >= 200 && answer->status <= 299;
}

struct http_events {
    /* More of the body. Bytes that come while the fetch is paused come again later. */
    void (*on_body)(void *context, const struct http_answer *answer, struct str bytes);
    /* The fetch is over. error NULL: the answer is whole, whatever its status. ERR_IO: it could not
     * be reached, or broke off; ERR_TIMEOUT: it was silent for too long; ERR_FORMAT: its head is
     * too long; ERR_CANCELLED. */
    void (*on_end)(void *context, const struct http_answer *answer, const struct err *error);
};

/* Texts, headers and body must live until on_end. */
struct http_request {
    const char *url;
    const struct curl_slist *headers;
    struct str body;                    /* n == 0: a GET; else a POST */
    uint64_t delay_ms;                  /* it is sent only then */
    uint64_t silence_ms;                /* how long nothing may come, from sending it on */
    bool background;                    /* it keeps no loop from returning */
    const struct http_events *events;
    void *context;
};

struct http_client_options {
    uint64_t connect_ms;
    bool tls;                           /* https alone; else http alone, and no proxies */
    bool any_certificate;
};

/* Keeps no loop from returning while no fetch is under way. NULL: no memory. */
struct http_client *http_client_new(uv_loop_t *loop, const struct http_client_options *options,
                                    struct err *err);
/* Fetches that are alive end within the call, cancelled. Leaves closing handles on the loop. */
void http_client_free(struct http_client *client);

/* NULL: no memory. */
struct http_fetch *http_fetch_new(struct http_client *client, const struct http_request *request,
                                  struct err *err);
/* Nothing more is taken from the connection, so that the server feels it too; time stands still. */
void http_fetch_pause(struct http_fetch *fetch);
void http_fetch_resume(struct http_fetch *fetch);
/* From now on nothing may come for so long. */
void http_fetch_silence(struct http_fetch *fetch, uint64_t silence_ms);
/* The connection is closed before the loop goes on, and no more of the body comes. error: what
 * on_end will say, copied; NULL: ERR_CANCELLED. Of several, the first counts. */
void http_fetch_cancel(struct http_fetch *fetch, const struct err *error);

/* Takes a URL apart as libcurl will. ERR_USAGE: it is none, is neither http nor https, or has a
 * user, a query or a fragment. loopback: its host is this machine, by its name or number. */
bool http_url_check(const char *url, bool *tls, bool *loopback, struct err *err);

#endif
