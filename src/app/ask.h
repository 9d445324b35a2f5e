/* ask.h - one GET to a server on this machine, as any client would send it. */
#ifndef PENSIEVE_APP_ASK_H
#define PENSIEVE_APP_ASK_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

enum { ASK_BYTES_MAX = 4 << 20, ASK_S = 10 };

struct answer {
    long status;                        /* 0: nobody listens there */
    struct str body;                    /* in the arena */
};

/* base: "http://127.0.0.1:7777"; key NULL: none. No proxy is asked. false: ERR_IO, somebody listens
 * but does not speak HTTP, or not within ASK_S, or says more than ASK_BYTES_MAX. */
bool ask(struct arena *arena, const char *base, const char *path, const char *key,
         struct answer *out, struct err *err);

#endif
