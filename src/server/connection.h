/* connection.h - one TCP connection: requests in turn, bytes out, and its end.
 *
 * A connection has at most one exchange at a time. While it is being answered the socket is read
 * on, into a small buffer, so that a client that vanishes is seen at once. A client that closes
 * its sending half counts as gone too: for a server that must not compute for nobody, a FIN is the
 * only sign of most clients' death, and no Anthropic client half-closes. */
#ifndef PENSIEVE_SERVER_CONNECTION_H
#define PENSIEVE_SERVER_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct connection;
struct exchange;
struct server;

/* Takes one connection off the listener. false: nothing there, or no memory. */
bool connection_accept(struct server *server);

/* For the exchange: sends the parts, or queues what the socket doesn't take. false: more than the
 * high-water mark waits, exchange_drained will tell when it is gone. Never calls back. */
bool connection_write(struct connection *connection, const struct str *parts, size_t n);
/* Bytes that wait to be sent. */
size_t connection_backlog(const struct connection *connection);
/* exchange_tick after so many milliseconds, once. */
void connection_tick(struct connection *connection, uint64_t delay_ms);
/* The last byte of the answer is written (or queued). Without keep_alive the connection ends. */
void connection_answered(struct connection *connection, bool keep_alive);
/* The exchange is freed; the connection goes on with its next request or is freed too. */
void connection_exchange_over(struct connection *connection);
bool connection_over_limit(const struct connection *connection);    /* here only to be refused */

/* For the server's drain. */
struct connection *connection_next(struct connection *connection);
void connection_drain(struct connection *connection);           /* closes it if it is idle */
/* Fails the answer in the making. */
void connection_cut(struct connection *connection, const struct err *reason);
void connection_close(struct connection *connection);           /* at once */

#endif
