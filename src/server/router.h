/* router.h - which request goes where, and what every request must show before it goes there. */
#ifndef PENSIEVE_SERVER_ROUTER_H
#define PENSIEVE_SERVER_ROUTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "server/exchange.h"

enum route_flags {
    ROUTE_API = 1,              /* asks for a key and for a version we speak */
    ROUTE_JSON = 2,             /* takes a JSON body as large as the option allows */
};

struct route {
    enum method method;         /* METHOD_GET answers HEAD too */
    const char *path;           /* a final "*" is one more step, percent-decoded: ex->path_id */
    unsigned flags;
    /* false: the router answers with err. true: the answer is there or will come. */
    bool (*handle)(struct exchange *ex, struct err *err);
};

/* All that can be said from the head: host, origin, path, method, size, key, version, form of the
 * body. false: err, and ex->refusal_status and ex->allow where they apply. */
bool router_check(struct exchange *ex, struct err *err);
uint64_t router_body_max(const struct exchange *ex);
/* The body is there too: lets the route answer. */
void router_dispatch(struct exchange *ex);

#endif
