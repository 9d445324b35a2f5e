/* openai_stream.h - the chunks of a streamed /v1/chat/completions answer, told as an answer's
 * blocks.
 *
 * Reasoning (`reasoning_content` or `reasoning`) becomes a thinking block, if the request asked
 * for thinking, and is dropped if not. Calls get ids of ours. A block's white space alone is no
 * block. */
#ifndef PENSIEVE_BACKEND_OPENAI_STREAM_H
#define PENSIEVE_BACKEND_OPENAI_STREAM_H

#include "backend/telling.h"

enum {
    OPENAI_CALLS_MAX = 256,             /* of one answer */
    OPENAI_ID_BYTES_MAX = 256,          /* of a call's id; and of its name */
};

struct openai_call;

/* Zeroed but for `told`'s arena, signer, omitted, silent, on_event and context, and these three. */
struct openai_stream {
    struct telling told;
    const struct message_request *request;
    struct arena *scratch;              /* for one chunk */
    const char *key;                    /* to be hidden in errors; NULL: there is none */
    enum { OPENAI_NONE, OPENAI_TEXT, OPENAI_THINKING, OPENAI_CALL } open;
    struct buf held;                    /* white space that a block may begin with */
    struct openai_call *calls;          /* [calls_n] of OPENAI_CALLS_MAX */
    size_t calls_n;
    bool started;
    bool over;                          /* [DONE] has come */
    bool finished;                      /* ... a finish_reason has */
    bool promised;                      /* ... and it was that of a call */
    enum stop_reason stop_reason;
    struct str stop_sequence;
    struct usage usage;
};

void openai_stream_release(struct openai_stream *stream);
/* One event's data. false: ERR_FORMAT, it is not what a chunk should be; or the error that it
 * tells. */
bool openai_stream_chunk(struct openai_stream *stream, struct str data, struct err *err);
/* The body has ended: closes what is open and says what GEN_DONE is to say. false: ERR_IO, in
 * the middle of the answer; or ERR_FORMAT, a call's input is no JSON, it has no name, or is not
 * there. */
bool openai_stream_end(struct openai_stream *stream, struct gen_event *done, struct err *err);

#endif
