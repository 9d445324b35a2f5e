/* speech.h - what a model's characters become: what is to be told of an answer's blocks, and what ends it
 * before the model does. */
#ifndef PENSIEVE_BACKEND_SPEECH_H
#define PENSIEVE_BACKEND_SPEECH_H

#include <stdbool.h>
#include <stddef.h>

#include "backend/sayings.h"
#include "base/buf.h"
#include "base/str.h"
#include "chat/blocks.h"
#include "chat/stops.h"

struct speech_options {
    struct blocks_options blocks;
    const struct str *stops;            /* borrowed; looked for in text, not in thoughts and calls */
    size_t stops_n;
    bool one_call;                      /* the answer ends with its first whole call */
    void (*say)(void *context, const struct saying *saying);
    void *context;
};

struct speech {
    struct speech_options options;
    struct blocks blocks;
    struct stops stopping;
    struct buf decided;                 /* text that no stop sequence is in */
    enum block_type type;               /* of the open block, */
    bool told;                          /* which was told of */
    bool called;                        /* the one call was made */
    bool dropping;                      /* it ends, and what is left is no text; */
    bool dropped;                       /* there was some */
};

void speech_init(struct speech *speech, const struct speech_options *options);
void speech_release(struct speech *speech);
/* control: the characters are a special token's spelling. After speech_over nothing is heard. */
void speech_say(struct speech *speech, struct str text, bool control);
/* The model has nothing more to say. What was held back is text; calls: of an answer that says nothing but
 * calls it is the beginning of one, without a name yet, and is dropped. */
void speech_end(struct speech *speech, bool calls);
/* Nothing that comes now would be told: a stop sequence was found, or the only call is complete. */
bool speech_over(const struct speech *speech);
int speech_stop(const struct speech *speech);           /* which stop sequence was found, or -1 */
bool speech_thinks(const struct speech *speech);        /* what comes now is thought */

#endif
