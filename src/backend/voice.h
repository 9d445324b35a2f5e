/* voice.h - the engine thread's half of a generation: sampled tokens to blocks that may be sent, and which
 * tokens that was. The engine thread's own until the sequence's end; then the loop's. */
#ifndef PENSIEVE_BACKEND_VOICE_H
#define PENSIEVE_BACKEND_VOICE_H

#include "backend/sayings.h"
#include "chat/replay.h"
#include "chat/stops.h"
#include "pensieve/engine.h"

struct voice {
    const struct engine *engine;
    struct stops stops;                 /* over text blocks: thoughts and calls have none */
    struct sayings sayings;             /* decided, not handed over yet */
    struct buf text;                    /* of one push through the stops */
    enum block_type type;               /* of the block that is open, */
    bool told;                          /* and was told to be */
    int32_t *ids;                       /* what was sampled; NULL once there was no memory for it */
    uint32_t *ends;                     /* [n]: as replay_whole wants them */
    size_t n, capacity, written;        /* written: bytes by all of them */
};

/* Borrows the stop sequences. */
void voice_init(struct voice *voice, const struct engine *engine, const struct str *stop_sequences,
                size_t n);
void voice_release(struct voice *voice);
/* One more token and the characters it completes. false: a stop sequence matched. */
bool voice_token(struct voice *voice, int32_t id, struct str characters);
/* What the sequence left over, and what was held back. */
void voice_end(struct voice *voice, struct str tail);

/* Adds what was sampled to an answer's parts, as far as it was sent (so many bytes of it). false: there
 * is nothing to keep. The parts point into the voice. */
bool voice_recall(const struct voice *voice, size_t sent, struct replay *replay);

#endif
