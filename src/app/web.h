/* web.h - one HTTP request at a time, over libcurl: redirects are followed, the token goes to the
 * hub's own host only, and what went wrong is a sentence and a decision. */
#ifndef PENSIEVE_APP_WEB_H
#define PENSIEVE_APP_WEB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum {
    WEB_TEXT_BYTES_MAX = 16 << 20,      /* of an answer that is kept in memory */
    WEB_TRIES = 6,                      /* in a row without getting any further */
    WEB_WAIT_MS_MAX = 30 * 1000,        /* between two tries, where the server names no time */
    WEB_RETRY_AFTER_S_MAX = 120,        /* where it names more we give up and say so */
};

struct web;

struct web_options {
    const char *endpoint;               /* "https://huggingface.co", no slash at the end */
    const char *token;                  /* NULL: none */
    uint64_t stall_ms;                  /* give a try up after so long without a byte */
};

struct web *web_new(const struct web_options *options, struct err *err);
void web_free(struct web *web);

/* The answer's head, as on_body sees it. */
struct web_head {
    long status;
    int64_t length;                     /* of this body; -1: unknown */
    bool has_range;                     /* Content-Range: bytes first-last/total */
    uint64_t first, last, total;        /* total UINT64_MAX: "*" */
    char link[2048];                    /* "": none */
    bool begun;                         /* the first bytes have come */
};

enum web_outcome {
    WEB_DONE,
    WEB_AGAIN,                          /* worth another try: cut, stalled, 429, 5xx */
    WEB_REFUSED,                        /* not: err says why */
};

struct web_request {
    const char *path;                   /* below the endpoint */
    uint64_t from;                      /* ask for the bytes from here on */
    /* Bodies of 200 and 206 only. false: stop, WEB_REFUSED with the err that it set. */
    bool (*on_body)(void *context, const struct web_head *head, const char *bytes, size_t n,
                    struct err *err);
    void *context;
};

/* One try. err is filled unless WEB_DONE. wait_ms: how long the server asks to wait, 0: nothing. */
enum web_outcome web_try(struct web *web, const struct web_request *request, struct web_head *head,
                         uint64_t *wait_ms, struct err *err);
/* Sleeps before the next try after `failures` in a row. false: too many, or too long; err (that of
 * the last try) is completed. */
bool web_wait(int failures, uint64_t wait_ms, struct err *err);
/* The whole of a small answer, with as many tries as it takes. */
bool web_text(struct web *web, const char *path, struct buf *body, struct web_head *head,
              struct err *err);

#endif
