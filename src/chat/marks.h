/* marks.h - keeps what clients wrote apart from what the template writes, through a rendering.
 *
 * Before rendering, marks go around the client's text and behind its brackets; they are Unicode
 * noncharacters, which a template passes on as it does any letter. After rendering they are taken
 * out again, and where they stood says which bytes are the client's: plain text, whatever they
 * spell; which of them the model once sampled; and where blocks with cache_control end. */
#ifndef PENSIEVE_CHAT_MARKS_H
#define PENSIEVE_CHAT_MARKS_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "chat/prompt.h"
#include "chat/replay.h"

enum { MARKS_POINTS_MAX = 10 };         /* a digit tells them apart */

/* A place in a text that is wanted again after rendering. */
struct marks_point {
    size_t at;
    unsigned number;                    /* below MARKS_POINTS_MAX */
};

/* Appends text (valid UTF-8) with its marks. White space at both ends stays outside, so that a
 * template can still trim it; points in there move to the nearest place before, or to the text's
 * begin. A bracket is set off from what follows, so that a template which looks for "</think>" or
 * "[TOOL_CALLS]" finds its own only. */
void marks_put(struct buf *out, struct str text, const struct marks_point *points, size_t points_n);
/* The same of an answer that was sampled here: nothing of it can be trimmed, and `number` is its
 * place in the list that marks_take gets. */
void marks_put_replay(struct buf *out, struct str text, const struct marks_point *points,
                      size_t points_n, const struct replay *replay, size_t number);

/* A JSON value, as the text of one, with marks in its strings: keys too, for templates write both
 * out. A string of nothing but letters, digits and some signs (marks_needless) stays as it is, so
 * that a template can look for "string" or "properties". */
void marks_put_json(struct buf *out, yyjson_val *value);
/* The same of one string; with a point at its end, if that isn't NULL. */
void marks_put_string(struct buf *out, struct str text, const struct marks_point *point);
/* No part of it can be a control token's spelling, or complete one in a template. */
bool marks_needless(struct str text);

/* Takes the marks out of rendered text. A point that the template left out is not in out->points;
 * of several, the first counts. ERR_INVALID: the template cut a text so that its borders are
 * lost. */
bool marks_take(struct arena *arena, struct str rendered, const struct replay *const *replays,
                size_t replays_n, struct prompt *out, struct err *err);

#endif
