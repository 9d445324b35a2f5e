/* sse.h - server-sent events out of a stream of bytes (WHATWG HTML, section 9.2), in any pieces.
 *
 * Lines end in LF, CR or CRLF; comments, ids and retry times are not told; an event that the stream
 * ends in the middle of is none. */
#ifndef PENSIEVE_BACKEND_SSE_H
#define PENSIEVE_BACKEND_SSE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum {
    SSE_EVENT_BYTES_MAX = 16 << 20,     /* an event's data, and a line */
    SSE_NAME_BYTES_MAX = 128,           /* longer names are as none */
};

struct sse {
    struct buf line;                    /* what came of the line that is not over yet */
    struct buf data;
    char name[SSE_NAME_BYTES_MAX];
    size_t name_n;
    bool has_data;
    bool after_cr;                      /* an LF that comes now belongs to it */
    bool begun;                         /* a byte order mark can't come any more */
};

/* name: n == 0: it has none ("message"). Both are borrowed. false: no more is wanted. */
typedef bool sse_fn(void *context, struct str name, struct str data);

void sse_init(struct sse *sse);
void sse_release(struct sse *sse);
/* false: on_event said so, and err is as it was; or ERR_FORMAT, an event is too long. */
bool sse_feed(struct sse *sse, struct str bytes, sse_fn *on_event, void *context, struct err *err);

#endif
