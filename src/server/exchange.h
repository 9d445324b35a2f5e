/* exchange.h - one request and its answer.
 *
 * Made when a request's head is there (or can't be read), freed when the answer is complete or the
 * client gone, AND the backend has let go of it. Handlers fill `out` and call the verbs below; they
 * never see a socket. An answer is a status with one body (exchange_reply), or an event stream
 * (exchange_stream, then any number of exchange_flush, then exchange_finish). exchange_fail does
 * the right thing in either state. */
#ifndef PENSIEVE_SERVER_EXCHANGE_H
#define PENSIEVE_SERVER_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "api/generation.h"
#include "api/request.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "server/http.h"

struct backend;
struct connection;
struct exchange;
struct generation;
struct message_writer;
struct route;
struct server;
struct trace;

/* What a route wants to know while its answer is in the making; each may be NULL. */
struct exchange_ops {
    void (*drained)(struct exchange *ex);       /* the reader has caught up */
    void (*gone)(struct exchange *ex);          /* nobody wants the answer any more */
    void (*tick)(struct exchange *ex);          /* the time asked for with connection_tick */
};

struct exchange {
    struct server *server;
    struct connection *connection;
    const struct http_reader *head;             /* NULL: the request could not be read */
    const struct route *route;                  /* NULL: none fits */
    const struct exchange_ops *ops;
    struct arena *arena;
    char id_text[32];
    struct str request_id;
    struct str path_id;                         /* the {id} of the path, decoded */
    enum api_version version;
    struct str key;                             /* the accepted credential; n == 0: none was asked */
    uint64_t started_ns;
    struct trace *trace;

    /* the answer */
    struct buf out;
    int status;                                 /* sent; 0: none yet */
    int refusal_status;                         /* instead of the code's own, 0: that */
    struct err refusal;                         /* found in the head, told after the body */
    const char *allow;                          /* of a 405 */
    bool final;                                 /* an error that trying again won't mend */
    struct str cors_origin;                     /* n == 0: no browser page asks */
    bool keep_alive, must_close, streaming, ended, gone, busy, dispatched;

    /* the backend's part */
    struct backend *backend;
    struct generation *generation;
    bool counting;                              /* a count_fn is to come */
    bool paused;
    const struct message_request *request;
    struct message_writer *writer;
    uint64_t sent_ms, event_ms;                 /* loop time: last byte; last event but ping */
    uint32_t input_tokens, output_tokens;
    struct reuse reuse;                         /* of the prompt, as far as it is known */
    struct decoding decoding;                   /* of a whole answer */
    const char *served_by;                      /* the backend's member; NULL: it has none, or none
                                                 * has begun */
};

struct exchange *exchange_new(struct server *server, struct connection *connection,
                              const struct http_reader *head);

/* A complete answer: status, head and body in one go. */
void exchange_reply(struct exchange *ex, int status, const char *content_type, struct str body);
/* 200, text/event-stream; sent with the next flush. */
void exchange_stream(struct exchange *ex);
/* Sends what is in ex->out as one chunk. false: the reader is behind, ops->drained will come. */
bool exchange_flush(struct exchange *ex);
void exchange_finish(struct exchange *ex);      /* flush, and the end of the stream */
void exchange_fail(struct exchange *ex, const struct err *err);

/* Frees ex if nothing is left to come. Call it last, after anything that may have ended it. */
void exchange_settle(struct exchange *ex);

/* From the connection. */
void exchange_gone(struct exchange *ex);
void exchange_drained(struct exchange *ex);
void exchange_tick(struct exchange *ex);
/* Ends the answer with this error now, whatever the backend is doing; the connection closes. */
void exchange_cut(struct exchange *ex, const struct err *err);

#endif
