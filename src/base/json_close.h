/* json_close.h - the shortest that makes the beginning of a JSON text whole: what a model was
 * saying when its tokens ran out is still to be read by a strict parser. */
#ifndef PENSIEVE_BASE_JSON_CLOSE_H
#define PENSIEVE_BASE_JSON_CLOSE_H

#include "base/buf.h"

/* Appends to out what is missing behind `text`, itself not included: the rest of an escape, a
 * literal or a number, null for a value that did not come, the brackets. Nothing for a whole text;
 * {} for one without a value. false: `text` begins no JSON text that could be closed so. */
bool json_close(struct buf *out, struct str text);

#endif
