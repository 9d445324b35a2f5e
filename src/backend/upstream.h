/* upstream.h - a server elsewhere that answers for a model, over HTTP (docs/upstream.md).
 *
 * UPSTREAM_ANTHROPIC: requests and answers are passed through; only the model's name and the
 * message's id are ours. UPSTREAM_OPENAI: /v1/chat/completions, translated both ways.
 *
 * What fails before the answer's first event is GEN_FAILED with a code that says whose fault it
 * was: ERR_OVERLOADED, ERR_RATE (it has too much to do; status.retry_after_s is what it asked for),
 * ERR_IO, ERR_TIMEOUT, ERR_INTERNAL, ERR_FORMAT, ERR_USAGE (it is not there, does not answer, or
 * does not accept what we are configured with), ERR_INVALID, ERR_TOO_LARGE (the request; it would
 * fail anywhere), ERR_UNSUPPORTED (it lacks this). The key goes to base_url's host and nowhere
 * else. */
#ifndef PENSIEVE_BACKEND_UPSTREAM_H
#define PENSIEVE_BACKEND_UPSTREAM_H

#include "backend/backend.h"

enum upstream_kind { UPSTREAM_OPENAI, UPSTREAM_ANTHROPIC };

enum {
    UPSTREAM_RETRIES = 2,
    UPSTREAM_RETRIES_MAX = 10,
    UPSTREAM_CONNECT_MS = 5 * 1000,
    UPSTREAM_FIRST_BYTE_MS = 5 * 60 * 1000,
    UPSTREAM_STALL_MS = 60 * 1000,
};

/* Copied by upstream_new, texts and all. */
struct upstream_options {
    struct model_card card;
    const char *name;                   /* of the upstream, for errors and the log */
    enum upstream_kind kind;
    const char *base_url;               /* http or https, without /v1: "http://10.0.0.5:8000" */
    const char *key;                    /* NULL or "": it asks for none */
    const char *model;                  /* as it calls the model; NULL or "": card.id */
    /* JSON text of an object: its members are added to each request, such as
     * {"chat_template_kwargs":{"enable_thinking":false}}. OPENAI only. NULL or "": none. */
    const char *extra;
    bool insecure;                      /* plain http to others, and any certificate, are fine */
    uint64_t connect_ms;                /* 0: UPSTREAM_CONNECT_MS */
    uint64_t first_byte_ms;             /* to read the prompt; 0: UPSTREAM_FIRST_BYTE_MS */
    uint64_t stall_ms;                  /* how long an answer may be silent; 0: UPSTREAM_STALL_MS */
    uint32_t retries;                   /* of what came to nothing before its first event */
};

/* ERR_USAGE: an option makes no sense, such as plain http to another machine. While nothing is
 * under way it keeps no loop from returning; its free leaves closing handles on the loop. Its probe
 * asks for /v1/models. */
struct backend *upstream_new(uv_loop_t *loop, const struct upstream_options *options,
                             struct err *err);

#endif
