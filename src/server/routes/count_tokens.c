/* count_tokens.c - POST /v1/messages/count_tokens: what the same request would cost as a prompt. */
#include "server/routes/routes.h"

#include "api/response.h"
#include "backend/backend.h"

static void on_count(void *context, uint32_t input_tokens, const struct err *error)
{
    struct exchange *ex = context;

    ex->counting = false;
    if (error) {
        exchange_fail(ex, error);
    } else if (!ex->ended && !ex->gone) {
        ex->input_tokens = input_tokens;
        response_count_tokens(&ex->out, ex->request, input_tokens);
        exchange_reply(ex, 200, "application/json", buf_view(&ex->out));
    }
    exchange_settle(ex);
}

bool count_tokens_post(struct exchange *ex, struct err *err)
{
    if (!routes_decode(ex, true, err))
        return false;
    ex->counting = true;
    if (!ex->backend->ops->count(ex->backend, ex->arena, ex->request, on_count, ex, err))
        ex->counting = false;
    return ex->counting;
}
