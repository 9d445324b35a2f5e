/* sequence.c - a sequence's handle: made, steered from other threads, ended, freed. */
#include "engine/sequence.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "engine/constraint.h"

struct sequence *sequence_new(const struct sequence_params *params, uint32_t context,
                              struct queue *inbox, struct door *door)
{
    const uint32_t prompt_n = (uint32_t)params->tokens_n, room = context - prompt_n;
    const uint32_t capacity = prompt_n + (params->max_tokens < room ? params->max_tokens : room);
    struct sequence *sequence = malloc(sizeof *sequence + capacity * sizeof *sequence->ids);

    if (!sequence)
        return NULL;
    *sequence = (struct sequence){
        .params = *params, .inbox = inbox, .door = door, .prompt_n = prompt_n, .n = prompt_n,
        .capacity = capacity, .start = {.prompt_tokens = prompt_n}, .submitted_ns = clock_ns(),
    };
    sequence->params.tokens = NULL;
    memcpy(sequence->ids, params->tokens, prompt_n * sizeof *sequence->ids);
    sampler_init(&sequence->sampler, params->sampling);
    for (uint32_t i = 0; i < params->marks_n; i++)
        sequence->marks[i] = params->marks[i];
    sequence->params.marks = sequence->marks;
    if (params->constraint)
        constraint_then(params->constraint, params->constraint_after);
    kv_table_init(&sequence->table, 0);
    sequence->table.space = params->space;
    sequence->table.side = params->rank >= RANK_SIDE;
    return sequence;
}

bool sequence_say(struct sequence *sequence, int32_t id, struct str characters)
{
    sequence->reconstrained = false;
    return sequence->params.on_token(sequence->params.context, sequence, id, characters);
}

void sequence_constrain(struct sequence *sequence, struct constraint *constraint,
                        enum constraint_after after)
{
    if (sequence->closing) {
        constraint_free(constraint);
        return;
    }
    if (constraint)
        constraint_then(constraint, after);
    constraint_free(sequence->params.constraint);
    sequence->params.constraint = constraint;
    sequence->reconstrained = true;
}

bool sequence_goes_free(struct sequence *sequence)
{
    if (sequence->reconstrained)
        return true;                    /* what is complete is not what it is held to now */
    if (!constraint_frees(sequence->params.constraint))
        return false;
    constraint_free(sequence->params.constraint);
    sequence->params.constraint = NULL;
    return true;
}

static double ms_between(uint64_t from, uint64_t to)
{
    return (double)(to - from) / 1e6;
}

static void leave_door(struct sequence *sequence, double waited_ms)
{
    door_leave(sequence->door, sequence->params.owner, sequence->params.rank, sequence->prompt_n,
               waited_ms);
}

void sequence_start(struct sequence *sequence)
{
    sequence->started = true;
    sequence->started_ns = clock_ns();
    leave_door(sequence, ms_between(sequence->submitted_ns, sequence->started_ns));
}

void sequence_end(struct sequence *sequence, enum sequence_end end, const struct err *error)
{
    const uint64_t now = clock_ns();
    const uint64_t started = sequence->started ? sequence->started_ns : now;
    const uint64_t first = sequence->output_n ? sequence->first_token_ns : now;
    struct buf tail = {0};

    detokenizer_finish(&sequence->detokenizer, &tail);
    struct sequence_result result = {
        .end = end, .start = sequence->start,
        .output_tokens = sequence->output_n, .tail = buf_view(&tail),
        .decode_steps = sequence->steps_n, .drafted_tokens = sequence->drafted_n,
        .accepted_tokens = sequence->accepted_n,
        .queue_ms = ms_between(sequence->submitted_ns, started),
        .prefill_ms = ms_between(started, first), .decode_ms = ms_between(first, now),
    };

    if (error)
        result.error = *error;
    constraint_free(sequence->params.constraint);
    sequence->params.constraint = NULL;
    if (!sequence->started)
        leave_door(sequence, -1);
    atomic_store(&sequence->done, true);
    sequence->params.on_done(sequence->params.context, &result);
    buf_release(&tail);
    atomic_store(&sequence->released, true);
}

/* After `done` the inbox may be gone with its engine, and there is nothing left to say. */
static void wake(struct sequence *sequence)
{
    if (!atomic_load(&sequence->done))
        queue_kick(sequence->inbox);
}

void sequence_cancel(struct sequence *sequence)
{
    atomic_store(&sequence->cancelled, true);
    wake(sequence);
}

void sequence_pause(struct sequence *sequence)
{
    atomic_store(&sequence->paused, true);
}

void sequence_resume(struct sequence *sequence)
{
    atomic_store(&sequence->paused, false);
    wake(sequence);
}

void sequence_free(struct sequence *sequence)
{
    if (!sequence)
        return;
    while (!atomic_load(&sequence->released))
        sched_yield();
    free(sequence);
}
