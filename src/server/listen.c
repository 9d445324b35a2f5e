/* listen.c - the listening socket. Where the port is taken, asks whoever has it for its name, since
 * "address in use" leaves a person guessing. */
#include "server/listen.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "server/limits.h"
#include "server/origin.h"

enum { PROBE_MS = 300 };

static bool parse_host(const struct server_options *options, struct sockaddr_storage *address,
                       struct err *err)
{
    const char *host = options->host;

    if (strcmp(host, "localhost") == 0)
        host = "127.0.0.1";
    if (uv_ip4_addr(host, options->port, (struct sockaddr_in *)address) == 0 ||
        uv_ip6_addr(host, options->port, (struct sockaddr_in6 *)address) == 0)
        return true;
    return err_set(err, ERR_USAGE, "host: \"%s\" is not an IP address (nor localhost)",
                   options->host);
}

static socklen_t address_size(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

/* What answers there: reads the start of an answer to GET /health. */
static const char *who_listens(const struct sockaddr_storage *address)
{
    static const char question[] = "GET /health HTTP/1.0\r\n\r\n";
    const struct timeval limit = {.tv_usec = PROBE_MS * 1000};
    const char *who = "another program";
    char answer[1024];
    size_t n = 0;

    const int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return who;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (const struct sockaddr *)address, address_size(address)) == 0 &&
        send(fd, question, sizeof question - 1, MSG_NOSIGNAL) > 0) {
        for (ssize_t got; n < sizeof answer - 1; n += (size_t)got)
            if ((got = recv(fd, answer + n, sizeof answer - 1 - n, 0)) <= 0)
                break;
        answer[n] = '\0';
        if (strstr(answer, "\"server\":\"pensieve\""))
            who = "another Pensieve";
        else if (strncmp(answer, "HTTP/", 5) == 0)
            who = "another HTTP server";
    }
    close(fd);
    return who;
}

bool listen_start(uv_tcp_t *listener, const struct server_options *options,
                  uv_connection_cb on_connection, struct err *err)
{
    struct sockaddr_storage address = {0};

    if (!parse_host(options, &address, err))
        return false;
    if (!host_is_loopback(str_of(options->host)) &&
        (!options->keys_configured || options->keys_n == 0))
        return err_set(err, ERR_USAGE,
                       "refusing to listen on %s, which other machines can reach, without a key "
                       "of your own: give one with --key or --key-file, or listen on 127.0.0.1",
                       options->host);
    int rc = uv_tcp_bind(listener, (const struct sockaddr *)&address, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)listener, LISTEN_BACKLOG, on_connection);
    if (rc == 0)
        return true;
    if (rc == UV_EADDRINUSE)
        return err_set(err, ERR_IO,
                       "port %u on %s is taken: %s listens there; stop it, or choose "
                       "another --port",
                       options->port, options->host, who_listens(&address));
    return err_set(err, ERR_IO, "can't listen on %s port %u: %s", options->host, options->port,
                   uv_strerror(rc));
}
