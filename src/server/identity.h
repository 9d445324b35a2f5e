/* identity.h - who asks, from the key and what Claude Code says of itself, and which betas they name. */
#ifndef PENSIEVE_SERVER_IDENTITY_H
#define PENSIEVE_SERVER_IDENTITY_H

#include "api/request.h"
#include "server/http.h"
#include "server/server.h"

enum { BETAS_MAX = 64 };                /* values of anthropic-beta; more are not looked at */

/* key: the accepted credential, n == 0: none was asked for. Callers are told apart by keys that a person
 * configured; the hash of a key is the same after a restart, and it is all that is kept of one. The
 * strings are the head's. */
struct request_caller identity_of(const struct server_options *options,
                                  const struct http_reader *head, struct str key);

/* The values of all anthropic-beta lines, each by itself; they are the head's. */
const struct str *identity_betas(struct arena *arena, const struct http_reader *head, size_t *n);

#endif
