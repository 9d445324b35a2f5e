/* thoughts.h - the thoughts that a client sends back: those that this model had here stay, others go. */
#ifndef PENSIEVE_BACKEND_THOUGHTS_H
#define PENSIEVE_BACKEND_THOUGHTS_H

#include "api/request.h"
#include "backend/sign.h"
#include "base/arena.h"
#include "base/err.h"

/* The request without the thinking blocks of other servers and models, without redacted ones, and without
 * what a client made up as the text of one that it was sent without: itself where nothing changes, else a
 * copy in the arena. NULL: ERR_INVALID, one of ours was tampered with. */
const struct message_request *thoughts_sift(struct arena *arena, const struct signer *signer,
                                            const struct message_request *request, struct err *err);

#endif
