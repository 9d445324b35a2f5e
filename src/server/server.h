/* server.h - the HTTP server: its options, its life, and how it ends. */
#ifndef PENSIEVE_SERVER_SERVER_H
#define PENSIEVE_SERVER_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "backend/backends.h"
#include "base/err.h"
#include "base/str.h"

struct server_options {
    const char *host;                   /* "127.0.0.1"; beyond loopback only with configured keys */
    uint16_t port;                      /* 0: any free one */
    const struct str *keys;             /* accepted credentials; keys_n == 0: none is asked for */
    size_t keys_n;
    bool keys_configured;               /* set by a person, not the default key */
    const struct str *allowed_hosts;    /* Host names beside loopback's own */
    size_t allowed_hosts_n;
    const struct str *allowed_origins;  /* browser origins beside loopback's own */
    size_t allowed_origins_n;
    bool cache_shared;                  /* what was computed for one key is reused for others */
    bool strict;                        /* the hosted API's rules: see api/request.h */
    uint32_t head_bytes_max, connections_max;
    uint64_t body_bytes_max;
    uint32_t head_timeout_ms, body_timeout_ms, idle_timeout_ms;
    uint32_t ping_ms;                   /* a ping after so much silence in a stream */
    uint32_t keepalive_content_ms;      /* an event that Claude Code counts, likewise */
    uint32_t drain_ms;                  /* at SIGTERM: how long streams may go on */
    const char *trace_dir;              /* NULL: off */
    const char *version;                /* for /health */
};

struct server;

/* Binds and listens. ERR_USAGE: a host beyond loopback without a configured key; ERR_IO: the port
 * is taken, and by what it looks like. The options' strings must live as long as the server. SIGPIPE
 * is ignored from here on, process-wide: a vanished client must be no signal. */
struct server *server_new(uv_loop_t *loop, struct backends *backends,
                          const struct server_options *options, struct err *err);
uint16_t server_port(const struct server *server);
/* No new work; running streams finish, or get overloaded_error at the deadline; then the loop has
 * nothing of the server's left and uv_run returns. A second call cuts at once. */
void server_drain(struct server *server);
void server_free(struct server *server);        /* after uv_run has returned */

#endif
