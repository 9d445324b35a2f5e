/* marks.h - keeps what clients wrote apart from what the template writes, through a rendering.
 *
 * Before rendering, marks go around the client's text and behind its brackets; they are Unicode
 * noncharacters, which a template passes on as it does any letter. After rendering they are taken out
 * again, and where they stood says which bytes are the client's: plain text, whatever they spell. */
#ifndef PENSIEVE_CHAT_MARKS_H
#define PENSIEVE_CHAT_MARKS_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "chat/prompt.h"

/* Appends text (valid UTF-8) with its marks. White space at both ends stays outside, so that a
 * template can still trim it; a bracket is set off from what follows, so that a template which looks
 * for "</think>" or "[TOOL_CALLS]" finds its own only. */
void marks_put(struct buf *out, struct str text);

/* Takes the marks out of rendered text. ERR_INVALID: the template cut a text so that its borders are
 * lost. */
bool marks_take(struct arena *arena, struct str rendered, struct prompt *out, struct err *err);

#endif
