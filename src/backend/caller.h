/* caller.h - whose conversation a request belongs to, how urgent it is, and how it
 * wants to be sampled: from what the client says. */
#ifndef PENSIEVE_BACKEND_CALLER_H
#define PENSIEVE_BACKEND_CALLER_H

#include "api/request.h"
#include "backend/backend.h"
#include "pensieve/engine.h"

/* The conversation: Claude Code's session and agent (a header, or the session in metadata.user_id); else
 * what the request begins with, which stays as a conversation grows. Never 0. */
uint64_t caller_flow(const struct message_request *request);

/* An agent says so. A side request is one that fills the cache only (max_tokens 0), or of a Claude Code
 * session one without tools that asks for a format: that is how it has titles written. */
enum sequence_rank caller_rank(const struct message_request *request);

/* What the request leaves out is as the makers of the model advise, if that is wanted and they do; else as
 * the API says: 1, everything, off. */
struct sampling caller_sampling(const struct message_request *request,
                                const struct model_info *info,
                                const struct native_options *options);

#endif
