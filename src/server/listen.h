/* listen.h - where to listen: what may be bound, and plain words when it can't be. */
#ifndef PENSIEVE_SERVER_LISTEN_H
#define PENSIEVE_SERVER_LISTEN_H

#include <stdbool.h>
#include <uv.h>

#include "base/err.h"
#include "server/server.h"

/* Binds the listener (initialised by the caller) and listens. ERR_USAGE: not an address, or beyond
 * loopback without a key that a person has set. ERR_IO: taken, or the system says no. */
bool listen_start(uv_tcp_t *listener, const struct server_options *options,
                  uv_connection_cb on_connection, struct err *err);

#endif
