/* detokenizer.h - token bytes to whole characters.
 *
 * A byte-level token may end in the middle of a character. push appends a token's bytes and gives
 * out all that is whole; what can't become a character any more comes out as U+FFFD. A zeroed struct
 * is a new one; SentencePiece's also need `decode`, for they put a space before the first word. */
#ifndef PENSIEVE_ENGINE_DETOKENIZER_H
#define PENSIEVE_ENGINE_DETOKENIZER_H

#include "base/buf.h"
#include "base/str.h"
#include "engine/vocab.h"

struct detokenizer {
    char tail[4];
    size_t tail_n;
    enum vocab_decode decode;   /* what is still to be done at the start; PLAIN: nothing */
};

void detokenizer_push(struct detokenizer *detokenizer, struct str bytes, struct buf *out);
/* At the end: an unfinished character comes out as U+FFFD. */
void detokenizer_finish(struct detokenizer *detokenizer, struct buf *out);

#endif
