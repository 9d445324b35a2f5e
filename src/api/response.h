/* response.h - generation events to bytes: SSE frames as they come, or one JSON body at the end. */
#ifndef PENSIEVE_API_RESPONSE_H
#define PENSIEVE_API_RESPONSE_H

#include "api/generation.h"
#include "api/request.h"
#include "base/arena.h"
#include "base/buf.h"

struct message_writer;

/* request_id: for an in-stream error. A fresh message id is drawn. All lives in the arena, except
 * the text of a JSON answer, which message_writer_release frees. */
struct message_writer *message_writer_new(struct arena *arena,
                                          const struct message_request *request,
                                          struct str request_id);
void message_writer_release(struct message_writer *writer);

/* Appends what this event means to out: frames if the request streams, the whole body at GEN_DONE
 * if it doesn't. A GEN_FAILED of a stream that has begun becomes `event: error`; before the first
 * byte nothing is written, and the caller answers with the error's own status. What comes after
 * the end (a cancelled generation reports once more) is not heard. */
void message_writer_event(struct message_writer *writer, struct buf *out,
                          const struct gen_event *event);
/* A stream that is silent for long: a ping; or, with `content`, an event that Claude Code counts as
 * life (it ignores pings): an empty delta of the open block, or of a text block that is opened for
 * it. Before GEN_STARTED there is no message yet, only pings; after the end nothing. */
void message_writer_keepalive(struct message_writer *writer, struct buf *out, bool content);
bool message_writer_started(const struct message_writer *writer);   /* a byte was written */
struct str message_writer_id(const struct message_writer *writer);

/* {"input_tokens":N} */
void response_count_tokens(struct buf *out, const struct message_request *request, uint32_t tokens);

#endif
