/* sayings.h - what the engine thread has to tell of an answer's blocks, one behind the other in a buffer,
 * so that all that was decided since the last piece goes over in the next, however much that is. */
#ifndef PENSIEVE_BACKEND_SAYINGS_H
#define PENSIEVE_BACKEND_SAYINGS_H

#include "api/request.h"
#include "base/buf.h"

struct saying {
    enum { SAYING_OPEN, SAYING_MORE, SAYING_CLOSE } kind;
    enum block_type type;               /* OPEN: TEXT, THINKING or TOOL_USE */
    bool broken;                        /* CLOSE, TOOL_USE: its input is not whole */
    struct str text;                    /* OPEN: the tool's name; MORE: of the open block, whole characters */
};

/* A zeroed struct is empty. */
struct sayings {
    struct buf bytes;
    size_t more_at;                     /* of the last one, where that is a MORE */
    bool more;
};

/* What is added to the open block goes behind what is there of it. */
void sayings_put(struct sayings *sayings, const struct saying *saying);
void sayings_reset(struct sayings *sayings);
void sayings_release(struct sayings *sayings);

/* Takes the first off the front; its text lies in what it was taken from. false: none is left. */
bool sayings_take(struct str *bytes, struct saying *saying);

#endif
