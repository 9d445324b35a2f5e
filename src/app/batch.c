/* batch.c - sequences that decode side by side.
 *
 * Sequences start one after another and end when they like, so only what lies between is a step of
 * all. The one that starts last sets the pace: each of its tokens ends a step, and the first end of
 * any of them ends the measurement. From one of its tokens to another there are all tokens of as many
 * steps, whoever comes first in a step. Callbacks come on the engine thread alone, which is all the
 * order that the shared counters need; the queue hands them over to us. */
#include "app/batch.h"

#include "base/clock.h"
#include "base/queue.h"

struct batch {
    struct queue *done;
    uint32_t n, started, wanted;
    uint32_t tokens;            /* since the last started */
    const struct lane *pace;    /* the last to start; NULL before */
    bool over;
    uint64_t begin_ns;
    struct batch_time time;
};

struct lane {
    struct batch *batch;
    struct sequence *sequence;
    bool started;
    struct err error;           /* text empty: none */
};

static bool on_token(void *context, struct sequence *sequence, int32_t id, struct str text)
{
    struct lane *lane = context;
    struct batch *batch = lane->batch;
    (void)id;
    (void)text;
    if (!lane->started) {
        lane->started = true;
        if (++batch->started == batch->n) {
            batch->pace = lane;
            batch->begin_ns = clock_ns();
        }
    } else if (batch->pace && !batch->over) {
        batch->tokens++;
        if (lane == batch->pace) {
            batch->time = (struct batch_time){batch->time.steps + 1, batch->tokens,
                                              clock_seconds_since(batch->begin_ns)};
            batch->over = batch->time.steps == batch->wanted;
        }
    }
    return !batch->over;
}

static void on_done(void *context, const struct sequence_result *result)
{
    struct lane *lane = context;
    if (result->end == SEQUENCE_FAILED) {
        lane->error = result->error;
    }
    lane->batch->over = true;
    queue_put(lane->batch->done, lane);
}

/* Waits for all that were submitted; false: one failed, and err says why. */
static bool finish(struct batch *batch, struct lane *lanes, uint32_t submitted, struct err *err)
{
    bool good = true;
    for (uint32_t i = 0; i < submitted; i++) {
        while (!queue_wait(batch->done, UINT32_MAX)) {
        }
    }
    for (uint32_t i = 0; i < submitted; i++) {
        sequence_free(lanes[i].sequence);
        if (good && lanes[i].error.text[0]) {
            *err = lanes[i].error;
            good = false;
        }
    }
    return good;
}

bool batch_decode(struct engine *engine, const struct tokens *prompts, uint32_t n, uint32_t steps,
                  uint64_t seed, struct batch_time *out, struct err *err)
{
    struct batch batch = {.done = queue_new(n, NULL, NULL), .n = n, .wanted = steps};
    struct lane lanes[BATCH_MAX] = {{0}};
    uint32_t submitted = 0;
    for (; submitted < n; submitted++) {
        struct lane *lane = &lanes[submitted];
        lane->batch = &batch;
        struct sequence_params params = {
            .tokens = prompts[submitted].ids,
            .tokens_n = prompts[submitted].n,
            .max_tokens = UINT32_MAX,       /* on_token ends it */
            .sampling = {.temperature = 1, .top_p = 1, .seed = seed + submitted},
            .context = lane,
            .on_token = on_token,
            .on_done = on_done,
        };
        lane->sequence = engine_submit(engine, &params, err);
        if (!lane->sequence) {
            break;
        }
    }
    bool all = submitted == n;
    for (uint32_t i = 0; !all && i < submitted; i++) {
        sequence_cancel(lanes[i].sequence);
    }
    bool good = finish(&batch, lanes, submitted, err);
    queue_free(batch.done);
    *out = batch.time;
    return all && good;
}
