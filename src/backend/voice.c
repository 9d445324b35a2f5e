/* voice.c - see voice.h. */
#include "backend/voice.h"

#include <stdlib.h>

#include "base/utf8.h"

enum { IDS_FIRST = 64 };

static void put(void *context, const struct saying *saying)
{
    sayings_put(context, saying);
}

void voice_init(struct voice *voice, const struct voice_options *options)
{
    *voice = (struct voice){.engine = options->engine, .plan = *options->plan};
    voice->plan.start = NULL;
    options->plan->call = options->plan->answer = NULL;
    speech_init(&voice->speech, &(struct speech_options){
        .blocks = options->blocks,
        .stops = options->stop_sequences, .stops_n = options->stop_sequences_n,
        .one_call = voice->plan.one && !voice->plan.call,
        .say = put, .context = &voice->sayings,
    });
}

static void forget(struct voice *voice)
{
    free(voice->ids);
    free(voice->ends);
    voice->ids = NULL;
    voice->ends = NULL;
    voice->n = 0;
}

void voice_release(struct voice *voice)
{
    forget(voice);
    plan_release(&voice->plan);
    speech_release(&voice->speech);
    sayings_release(&voice->sayings);
}

static bool grow(struct voice *voice)
{
    const size_t capacity = voice->capacity ? 2 * voice->capacity : IDS_FIRST;
    int32_t *ids = realloc(voice->ids, capacity * sizeof *ids);

    if (ids)
        voice->ids = ids;
    uint32_t *ends = ids ? realloc(voice->ends, capacity * sizeof *ends) : NULL;
    if (ends)
        voice->ends = ends;
    voice->capacity = capacity;
    if (!ends)
        forget(voice);
    return ends;
}

/* Where the token ends in the text: nowhere if it ends inside a character. */
static void note(struct voice *voice, int32_t id, struct str characters)
{
    const bool begun = voice->n || !voice->capacity;

    voice->written += characters.n;
    if (!begun || (voice->n == voice->capacity && !grow(voice)))
        return;
    const bool whole = characters.n && characters.n + voice->written < REPLAY_WITHIN &&
                       utf8_incomplete_tail(engine_token_text(voice->engine, id, false)) == 0;
    voice->ids[voice->n] = id;
    voice->ends[voice->n++] = whole ? (uint32_t)voice->written : REPLAY_WITHIN;
}

/* ---- what the answer is held to ---- */

static void hold(struct sequence *sequence, struct constraint **constraint)
{
    sequence_constrain(sequence, *constraint, CONSTRAINT_THEN_END);
    *constraint = NULL;
}

static enum blocks_place place(const struct voice *voice)
{
    return blocks_place(&voice->speech.blocks);
}

/* A call is open, and some of it may be said already. */
static void hold_call(struct voice *voice, struct sequence *sequence)
{
    const struct str begun = blocks_begun(&voice->speech.blocks);

    if (engine_constraint_begin(voice->engine, voice->plan.call, begun)) {
        hold(sequence, &voice->plan.call);
        voice->plan.calls = true;
        return;
    }
    constraint_free(voice->plan.call);      /* such a call is no call of ours: it goes on freely */
    voice->plan.call = NULL;
    voice->speech.options.one_call = voice->plan.one;
}

static void close_thought(struct voice *voice, struct sequence *sequence)
{
    if (voice->speech.blocks.thought_ends)
        return;                         /* the model does that itself, and has begun */
    struct constraint *close = engine_constraint_tokens(voice->plan.close, voice->plan.close_n,
                                                        NULL);
    voice->closing = close != NULL;
    if (close)
        sequence_constrain(sequence, close, CONSTRAINT_THEN_FREE);
}

static void steer(struct voice *voice, struct sequence *sequence, enum blocks_place before)
{
    const enum blocks_place now = place(voice);

    voice->thinking_tokens += before == BLOCKS_IN_THOUGHT || now == BLOCKS_IN_THOUGHT;
    if (now == BLOCKS_IN_CALL && voice->plan.call) {
        hold_call(voice, sequence);
    } else if (now == BLOCKS_IN_THOUGHT) {
        if (!voice->closing && voice->plan.close_n && voice->thinking_tokens >= voice->plan.budget)
            close_thought(voice, sequence);
    } else if (before == BLOCKS_IN_THOUGHT) {
        voice->closing = false;
        if (voice->plan.answer)
            hold(sequence, &voice->plan.answer);
    }
}

bool voice_token(struct voice *voice, struct sequence *sequence, int32_t id, struct str characters)
{
    const enum blocks_place before = place(voice);

    note(voice, id, characters);
    if (engine_token_control(voice->engine, id))
        speech_say(&voice->speech, engine_token_text(voice->engine, id, true), true);
    else
        speech_say(&voice->speech, characters, false);
    steer(voice, sequence, before);
    return !speech_over(&voice->speech);
}

void voice_end(struct voice *voice, struct str tail)
{
    voice->written += tail.n;
    speech_say(&voice->speech, tail, false);
    speech_end(&voice->speech, voice->plan.calls);
}

/* The first `sent` bytes of a text: the tokens that lie in them wholly, and what a stop cut off the next. */
static bool recall_plain(const struct voice *voice, size_t sent, struct replay *replay)
{
    const bool all = sent >= voice->written;
    const size_t whole = all ? voice->n : replay_whole(voice->ends, voice->n, sent);
    const size_t bytes = all ? sent : whole ? voice->ends[whole - 1] : 0;

    if (whole == 0)
        return false;
    replay->parts[replay->parts_n++] = (struct replay_part){bytes, voice->ids, whole};
    if (bytes < sent)
        replay->parts[replay->parts_n++] = (struct replay_part){sent - bytes, NULL, 0};
    return true;
}

bool voice_recall(const struct voice *voice, size_t sent, bool whole, struct replay *replay)
{
    const struct speech *speech = &voice->speech;

    if (sent == 0 || voice->n == 0 || speech->dropped || replay->parts_n + 2 > REPLAY_PARTS_MAX)
        return false;
    if (blocks_plain(&speech->blocks))
        return recall_plain(voice, sent, replay);
    if (!whole || speech->called)       /* of the one call its closing mark was not sampled */
        return false;
    replay->parts[replay->parts_n++] = (struct replay_part){sent, voice->ids, voice->n};
    return true;
}
