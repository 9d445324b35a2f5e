/* state.h - what the files of this room share: the server itself. */
#ifndef PENSIEVE_SERVER_STATE_H
#define PENSIEVE_SERVER_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "server/limits.h"
#include "server/metrics.h"
#include "server/origin.h"
#include "server/server.h"

struct connection;

struct server {
    uv_loop_t *loop;
    struct backends *backends;
    struct server_options options;
    struct origin_rules origin_rules;
    uint64_t started_ns;

    uv_tcp_t listener;
    uv_timer_t drain_timer;
    bool listening, accept_waiting;     /* waiting: one more is in the kernel's queue */
    bool draining, cut;

    struct connection *connections;     /* those whose memory is alive */
    uint32_t connections_open;          /* those whose socket is */
    uint64_t bodies_bytes;              /* of request bodies in memory, all connections */
    struct metrics metrics;

    uint64_t unknown_fields[UNKNOWN_FIELDS_LOGGED_MAX];     /* hashes of names already logged */
    uint32_t unknown_fields_n;

    char read_buffer[READ_BUFFER_BYTES];
};

/* A connection's memory is gone: there may be room for one more, or the drain may be over. */
void server_connection_freed(struct server *server);

#endif
