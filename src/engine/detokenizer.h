/* detokenizer.h - token bytes to whole characters.
 *
 * A byte-level token may end in the middle of a character. push appends a token's bytes and gives
 * out all that is whole; what can't become a character any more comes out as U+FFFD. */
#ifndef PENSIEVE_ENGINE_DETOKENIZER_H
#define PENSIEVE_ENGINE_DETOKENIZER_H

#include "base/buf.h"
#include "base/str.h"

struct detokenizer {
    char tail[4];
    size_t tail_n;
};

void detokenizer_push(struct detokenizer *detokenizer, struct str bytes, struct buf *out);
/* At the end: an unfinished character comes out as U+FFFD. */
void detokenizer_finish(struct detokenizer *detokenizer, struct buf *out);

#endif
