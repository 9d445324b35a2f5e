/* stops.h - stop sequences over streamed text: nothing of a match is sent, nothing else is held.
 *
 * Text that may be the beginning of a stop sequence is kept back until it is decided; a match may
 * lie across any number of pushes. The earliest match wins; of two that end together, the
 * longer. */
#ifndef PENSIEVE_CHAT_STOPS_H
#define PENSIEVE_CHAT_STOPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"

struct stop_search;

struct stops {
    struct stop_search *searches;       /* [n]; those of one sequence each */
    size_t n;
    struct arena *arena;                /* of the searches; NULL without sequences */
    struct buf held;                    /* undecided text */
    int matched;                        /* index, or -1 */
};

/* Borrows the sequences. An empty one never matches. */
void stops_init(struct stops *stops, const struct str *sequences, size_t n);
void stops_release(struct stops *stops);
/* Appends what is decided to out. true: a sequence matched; text before it is in out, the rest is
 * dropped, and further pushes do nothing. */
bool stops_push(struct stops *stops, struct str text, struct buf *out);
/* The end came without a match: what was held is text after all, and what is pushed then is another
 * text. */
void stops_finish(struct stops *stops, struct buf *out);

#endif
