/* voice.c - see voice.h. */
#include "backend/voice.h"

#include <stdlib.h>

#include "base/utf8.h"

enum { IDS_FIRST = 64 };

void voice_init(struct voice *voice, const struct voice_options *options)
{
    *voice = (struct voice){.engine = options->engine, .plan = *options->plan};
    voice->plan.start = NULL;
    voice->plain = !options->blocks.in_thought;
    options->plan->call = options->plan->answer = NULL;
    blocks_init(&voice->blocks, &options->blocks);
    stops_init(&voice->stops, options->stop_sequences, options->stop_sequences_n);
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
    blocks_release(&voice->blocks);
    stops_release(&voice->stops);
    buf_release(&voice->text);
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

/* ---- blocks ---- */

static void say(struct voice *voice, int kind, struct str text)
{
    sayings_put(&voice->sayings,
                &(struct saying){.kind = kind, .type = voice->type, .text = text});
}

/* A block without text was none: it is told when the first of it is decided. */
static void say_text(struct voice *voice)
{
    if (voice->text.n == 0)
        return;
    if (!voice->told)
        say(voice, SAYING_OPEN, STR(""));
    voice->told = true;
    say(voice, SAYING_MORE, buf_view(&voice->text));
    buf_reset(&voice->text);
}

static void close_block(struct voice *voice, bool broken)
{
    if (voice->type == BLOCK_TEXT) {
        stops_finish(&voice->stops, &voice->text);
        say_text(voice);
    }
    if (voice->told)
        sayings_put(&voice->sayings, &(struct saying){.kind = SAYING_CLOSE, .broken = broken});
    voice->told = false;
}

static void on_block(void *context, const struct blocks_event *event)
{
    struct voice *voice = context;

    if (voice->stops.matched >= 0)
        return;                         /* the answer ended there */
    if (voice->ending && voice->plan.calls && event->type == BLOCK_TEXT) {
        voice->lost = true;
        return;
    }
    switch (event->kind) {
    case BLOCKS_OPEN:
        voice->plain &= event->type == BLOCK_TEXT;
        voice->type = event->type;
        voice->told = event->type != BLOCK_TEXT;
        if (voice->told)
            say(voice, SAYING_OPEN, event->name);
        break;
    case BLOCKS_DELTA:
        if (voice->type != BLOCK_TEXT) {
            say(voice, SAYING_MORE, event->text);
        } else {
            stops_push(&voice->stops, event->text, &voice->text);
            say_text(voice);
        }
        break;
    case BLOCKS_CLOSE:
        close_block(voice, event->broken);
        break;
    }
}

static void feed(struct voice *voice, struct str characters, bool control)
{
    blocks_feed(&voice->blocks, characters, control, on_block, voice);
}

static enum blocks_place place(const struct voice *voice)
{
    return blocks_place(&voice->blocks);
}

/* ---- what the answer is held to ---- */

static void hold(struct sequence *sequence, struct constraint **constraint)
{
    sequence_constrain(sequence, *constraint, CONSTRAINT_THEN_END);
    *constraint = NULL;
}

/* A call is open, and some of it may be said already. */
static void hold_call(struct voice *voice, struct sequence *sequence)
{
    if (engine_constraint_begin(voice->engine, voice->plan.call, blocks_begun(&voice->blocks))) {
        hold(sequence, &voice->plan.call);
        voice->plan.calls = true;
        return;
    }
    constraint_free(voice->plan.call);      /* such a call is no call of ours: it goes on freely */
    voice->plan.call = NULL;
}

static void close_thought(struct voice *voice, struct sequence *sequence)
{
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
    if (engine_token_control(voice->engine, id)) {
        voice->plain = false;
        feed(voice, engine_token_text(voice->engine, id, true), true);
    } else {
        feed(voice, characters, false);
    }
    steer(voice, sequence, before);
    return voice->stops.matched < 0;
}

void voice_end(struct voice *voice, struct str tail)
{
    voice->written += tail.n;
    feed(voice, tail, false);
    voice->ending = true;
    blocks_end(&voice->blocks, on_block, voice);
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
    if (sent == 0 || voice->n == 0 || voice->lost || replay->parts_n + 2 > REPLAY_PARTS_MAX)
        return false;
    if (voice->plain)
        return recall_plain(voice, sent, replay);
    if (whole)
        replay->parts[replay->parts_n++] = (struct replay_part){sent, voice->ids, voice->n};
    return whole;
}
