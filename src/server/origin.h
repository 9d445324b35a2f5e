/* origin.h - which Host and Origin a request may carry: the guard against web pages.
 *
 * A page in the user's browser can send requests to 127.0.0.1, also under a name of its own that
 * it makes resolve there (DNS rebinding, CVE-2024-28224). A name we don't know in Host, or a page
 * we don't know in Origin, is therefore refused. */
#ifndef PENSIEVE_SERVER_ORIGIN_H
#define PENSIEVE_SERVER_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

struct origin_rules {
    const char *bound_host;             /* what the server listens on: "127.0.0.1", "0.0.0.0" */
    const struct str *hosts;            /* beside loopback's; with a port: that one alone */
    size_t hosts_n;
    const struct str *origins;          /* allowed beside loopback's: "https://app.example" */
    size_t origins_n;
};

/* "localhost", "x.localhost", 127.0.0.0/8 or ::1 (brackets or not), without a port. */
bool host_is_loopback(struct str name);
/* The value of a Host header, a port allowed. Bound beyond loopback, every literal address passes:
 * rebinding needs a name. */
bool host_allowed(const struct origin_rules *rules, struct str host);
/* The value of an Origin header. "null" (a sandboxed page, a local file) is refused. */
bool origin_allowed(const struct origin_rules *rules, struct str origin);

#endif
