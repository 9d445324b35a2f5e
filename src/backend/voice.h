/* voice.h - the engine thread's half of a generation: sampled tokens to blocks that may be sent, and which
 * tokens that was; and what the answer is held to from here on (plan.h). The engine thread's own until the
 * sequence's end; then the loop's. */
#ifndef PENSIEVE_BACKEND_VOICE_H
#define PENSIEVE_BACKEND_VOICE_H

#include "backend/plan.h"
#include "backend/sayings.h"
#include "backend/speech.h"
#include "chat/replay.h"
#include "pensieve/engine.h"

struct voice {
    const struct engine *engine;
    struct plan plan;
    struct speech speech;
    struct sayings sayings;             /* decided, not handed over yet */
    bool closing;                       /* the tokens that close a thought are being said */
    uint32_t thinking_tokens;           /* of the sampled: thoughts, with their marks */
    int32_t *ids;                       /* what was sampled; NULL once there was no memory for it */
    uint32_t *ends;                     /* [n]: as replay_whole wants them */
    size_t n, capacity, written;        /* written: bytes by all of them */
};

struct voice_options {
    const struct engine *engine;
    struct plan *plan;                  /* of which all but the start becomes the voice's */
    struct blocks_options blocks;
    const struct str *stop_sequences;   /* borrowed */
    size_t stop_sequences_n;
};

void voice_init(struct voice *voice, const struct voice_options *options);
void voice_release(struct voice *voice);
/* One more token and the characters it completes, from the sequence's on_token. false: the answer ends
 * with it. */
bool voice_token(struct voice *voice, struct sequence *sequence, int32_t id, struct str characters);
/* What the sequence left over, and what was held back. */
void voice_end(struct voice *voice, struct str tail);

/* Adds what was sampled to an answer's parts, as far as it was sent (so many bytes of its blocks' texts).
 * whole: that is to its end; else it is found only if it is plain. false: there is nothing to keep. The
 * parts point into the voice. */
bool voice_recall(const struct voice *voice, size_t sent, bool whole, struct replay *replay);

#endif
