/* voice.c - see voice.h. */
#include "backend/voice.h"

#include <stdlib.h>

#include "base/utf8.h"

enum { IDS_FIRST = 64 };

void voice_init(struct voice *voice, const struct engine *engine, const struct str *stop_sequences,
                size_t n)
{
    *voice = (struct voice){.engine = engine};
    stops_init(&voice->stops, stop_sequences, n);
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

/* A block without text was none: it is told when the first of it is decided. */
static void say_text(struct voice *voice)
{
    if (voice->text.n == 0)
        return;
    if (!voice->told)
        sayings_put(&voice->sayings, &(struct saying){.kind = SAYING_OPEN, .type = BLOCK_TEXT});
    voice->told = true;
    sayings_put(&voice->sayings,
                &(struct saying){.kind = SAYING_MORE, .text = buf_view(&voice->text)});
    buf_reset(&voice->text);
}

bool voice_token(struct voice *voice, int32_t id, struct str characters)
{
    note(voice, id, characters);
    const bool matched = stops_push(&voice->stops, characters, &voice->text);
    say_text(voice);
    return !matched;
}

void voice_end(struct voice *voice, struct str tail)
{
    voice->written += tail.n;
    if (!stops_push(&voice->stops, tail, &voice->text))
        stops_finish(&voice->stops, &voice->text);
    say_text(voice);
}

bool voice_recall(const struct voice *voice, size_t sent, struct replay *replay)
{
    const size_t whole = sent >= voice->written ? voice->n
                                                : replay_whole(voice->ends, voice->n, sent);
    const size_t bytes = whole == voice->n && sent >= voice->written ? sent
                         : whole                                     ? voice->ends[whole - 1]
                                                                     : 0;

    if (sent == 0 || whole == 0 || replay->parts_n + 2 > REPLAY_PARTS_MAX)
        return false;
    replay->parts[replay->parts_n++] = (struct replay_part){bytes, voice->ids, whole};
    if (bytes < sent)
        replay->parts[replay->parts_n++] = (struct replay_part){sent - bytes, NULL, 0};
    return true;
}
