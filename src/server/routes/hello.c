/* hello.c - GET or HEAD of / and /api/hello: the warm-up probes of clients, and of people. */
#include "server/routes/routes.h"

#include "server/state.h"

bool hello_get(struct exchange *ex, struct err *err)
{
    (void)err;
    buf_printf(&ex->out, "Pensieve %s answers the Anthropic Messages API: POST /v1/messages\n",
               ex->server->options.version);
    exchange_reply(ex, 200, "text/plain; charset=utf-8", buf_view(&ex->out));
    return true;
}
