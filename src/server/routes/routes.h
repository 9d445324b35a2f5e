/* routes.h - the endpoints, one a file. Each is a route's handler: see router.h. */
#ifndef PENSIEVE_SERVER_ROUTES_H
#define PENSIEVE_SERVER_ROUTES_H

#include <stdbool.h>

#include "base/err.h"
#include "server/exchange.h"

bool messages_post(struct exchange *ex, struct err *err);
bool count_tokens_post(struct exchange *ex, struct err *err);
bool models_get(struct exchange *ex, struct err *err);
bool model_get(struct exchange *ex, struct err *err);
bool health_get(struct exchange *ex, struct err *err);
bool hello_get(struct exchange *ex, struct err *err);

/* The body as a message request, in ex->request, and its backend. */
bool routes_decode(struct exchange *ex, bool count_tokens, struct err *err);

#endif
