/* server.c - starts listening, lets connections in as far as the limit goes, and ends in order.
 *
 * Over the limit: the next REFUSED_CONNECTIONS_MAX clients are let in, to be told 529 and closed,
 * so that they know what is wrong; the rest wait in the kernel's queue (libuv stops polling the
 * listener until uv_accept is called). The drain's timer keeps the loop alive until the last
 * connection's memory is free, because a backend may still owe an exchange its last event when all
 * sockets are closed. */
#include "server/server.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/connection.h"
#include "server/listen.h"
#include "server/state.h"

enum { FILES_RESERVED = 128 };          /* descriptors for all that is not a connection */

static void on_connection(uv_stream_t *listener, int status)
{
    struct server *server = listener->data;

    if (status < 0) {
        log_event(LOG_WARN, "accept_failed", "reason=\"%s\"", uv_strerror(status));
        return;
    }
    if (server->connections_open >= server->options.connections_max + REFUSED_CONNECTIONS_MAX) {
        server->accept_waiting = true;
        return;
    }
    connection_accept(server);
}

static void finish_drain(struct server *server)
{
    uv_handle_t *timer = (uv_handle_t *)&server->drain_timer;

    if (server->draining && !server->connections && !uv_is_closing(timer))
        uv_close(timer, NULL);
}

void server_connection_freed(struct server *server)
{
    if (server->accept_waiting && server->listening) {
        server->accept_waiting = false;
        connection_accept(server);
    }
    finish_drain(server);
}

/* The default soft limit of open files is often lower than connections_max. */
static void raise_file_limit(uint32_t connections_max)
{
    const rlim_t wanted = (rlim_t)connections_max + REFUSED_CONNECTIONS_MAX + FILES_RESERVED;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted)
        log_event(LOG_WARN, "file_limit", "wanted=%llu allowed=%llu", (unsigned long long)wanted,
                  (unsigned long long)limit.rlim_cur);
}

struct server *server_new(uv_loop_t *loop, struct backends *backends,
                          const struct server_options *options, struct err *err)
{
    struct server *server = calloc(1, sizeof *server);

    if (!server) {
        err_set(err, ERR_INTERNAL, "no memory for the server");
        return NULL;
    }
    server->loop = loop;
    server->backends = backends;
    server->options = *options;
    server->started_ns = clock_ns();
    server->origin_rules = (struct origin_rules){
        .bound_host = options->host,
        .hosts = options->allowed_hosts, .hosts_n = options->allowed_hosts_n,
        .origins = options->allowed_origins, .origins_n = options->allowed_origins_n,
    };
    raise_file_limit(options->connections_max);
    signal(SIGPIPE, SIG_IGN);                   /* a client that is gone is an error of write() */
    uv_tcp_init(loop, &server->listener);
    uv_timer_init(loop, &server->drain_timer);
    server->listener.data = server->drain_timer.data = server;
    server->listening = listen_start(&server->listener, options, on_connection, err);
    if (server->listening)
        return server;
    uv_close((uv_handle_t *)&server->listener, NULL);
    uv_close((uv_handle_t *)&server->drain_timer, NULL);
    uv_run(loop, UV_RUN_NOWAIT);                /* the handles are in its memory */
    free(server);
    return NULL;
}

uint16_t server_port(const struct server *server)
{
    struct sockaddr_storage address = {0};
    int size = sizeof address;

    if (uv_tcp_getsockname(&server->listener, (struct sockaddr *)&address, &size) != 0)
        return server->options.port;
    return ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port
                                              : ((struct sockaddr_in6 *)&address)->sin6_port);
}

/* Every answer still in the making gets overloaded_error, in the stream where there is one. */
static void cut_answers(struct server *server)
{
    struct err err;

    err_set(&err, ERR_OVERLOADED, "the server is shutting down");
    for (struct connection *c = server->connections, *next; c; c = next) {
        next = connection_next(c);
        connection_cut(c, &err);
    }
}

static void close_all(struct server *server)
{
    for (struct connection *c = server->connections, *next; c; c = next) {
        next = connection_next(c);
        connection_close(c);
    }
}

/* First at the drain's deadline, then again when the last bytes have had their time. */
static void on_deadline(uv_timer_t *timer)
{
    struct server *server = timer->data;

    if (server->cut) {
        close_all(server);
        return;
    }
    server->cut = true;
    cut_answers(server);
}

void server_drain(struct server *server)
{
    if (server->draining) {
        cut_answers(server);
        close_all(server);
        server->cut = true;
        return;
    }
    server->draining = true;
    server->listening = false;
    uv_close((uv_handle_t *)&server->listener, NULL);
    uv_timer_start(&server->drain_timer, on_deadline, server->options.drain_ms, DRAIN_GRACE_MS);
    for (struct connection *c = server->connections, *next; c; c = next) {
        next = connection_next(c);
        connection_drain(c);
    }
    finish_drain(server);
}

void server_free(struct server *server)
{
    free(server);
}
