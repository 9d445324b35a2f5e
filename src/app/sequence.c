/* sequence.c - one sequence, waited for: for commands that have nothing else to do meanwhile. */
#include "app/app.h"

#include "base/buf.h"
#include "base/queue.h"

struct waiter {
    struct queue *done;         /* gets one item: the result is there */
    struct buf *text;
    struct sequence_result *result;
};

static bool on_token(void *context, struct sequence *sequence, int32_t id, struct str text)
{
    struct waiter *waiter = context;
    if (waiter->text) {
        buf_str(waiter->text, text);
    }
    return true;
}

static void on_done(void *context, const struct sequence_result *result)
{
    struct waiter *waiter = context;
    if (waiter->text) {
        buf_str(waiter->text, result->tail);
    }
    *waiter->result = *result;
    waiter->result->tail = (struct str){0};     /* lives only during this call */
    queue_put(waiter->done, waiter);
}

bool app_sequence(struct engine *engine, const struct tokens *prompt, uint32_t max_tokens,
                  struct sampling sampling, struct buf *text, struct sequence_result *result,
                  struct err *err)
{
    struct waiter waiter = {queue_new(1, NULL, NULL), text, result};
    struct sequence_params params = {
        .tokens = prompt->ids,
        .tokens_n = prompt->n,
        .max_tokens = max_tokens,
        .sampling = sampling,
        .context = &waiter,
        .on_token = on_token,
        .on_done = on_done,
    };
    struct sequence *sequence = engine_submit(engine, &params, err);
    if (sequence) {
        while (!queue_wait(waiter.done, UINT32_MAX)) {
        }
        sequence_free(sequence);
    }
    queue_free(waiter.done);
    if (sequence && result->end == SEQUENCE_FAILED) {
        *err = result->error;
        return false;
    }
    return sequence != NULL;
}
