/* limits.h - what a client may size at most, beside the options a person can set (server.h). */
#ifndef PENSIEVE_SERVER_LIMITS_H
#define PENSIEVE_SERVER_LIMITS_H

enum {
    HTTP_TARGET_BYTES_MAX = 8192,       /* path and query */
    HTTP_HEADERS_MAX = 128,             /* header lines in one head */

    READ_BUFFER_BYTES = 64 << 10,       /* one for the whole server */
    PIPELINE_BYTES_MAX = 64 << 10,      /* sent ahead while an answer is made; beyond it we close */
    DISCARD_BYTES_MAX = 64 << 10,       /* a refused request's body that is read all the same */
    BODIES_TOTAL_TIMES = 8,             /* all bodies in memory: so many times the limit of one */
    BODY_SMALL_BYTES_MAX = 64 << 10,    /* the body of a route that doesn't need one */

    WRITE_HIGH_WATER_BYTES = 64 << 10,  /* unsent bytes at which the model is held */
    WRITE_LOW_WATER_BYTES = 16 << 10,   /* and at which it goes on */
    SOCKET_SEND_BYTES = 64 << 10,       /* the kernel's part of the same queue */
    WRITE_STALL_MS = 600 * 1000,        /* a reader that takes nothing for so long is cut */

    LINGER_MS = 2000,                   /* after an answer that closes: let the client read it */
    REFUSED_HEAD_MS = 2000,             /* a connection over the limit: to send its head */
    REFUSED_CONNECTIONS_MAX = 32,       /* answered 529 at once; more wait in the kernel's queue */
    LISTEN_BACKLOG = 511,
    TCP_KEEPALIVE_S = 60,
    DRAIN_GRACE_MS = 3000,              /* after the deadline: for the last bytes to leave */

    MODELS_PAGE_DEFAULT = 20,
    MODELS_PAGE_MAX = 1000,
    UNKNOWN_FIELDS_LOGGED_MAX = 256,    /* each name once; more than so many names are not logged */
    SHOWN_BYTES_MAX = 64,               /* of a client's own words in an error or a log line */
};

#endif
