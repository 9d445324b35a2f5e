/* thoughts.h - the thoughts that a client sends back: those that this model had here stay, others go. */
#ifndef PENSIEVE_BACKEND_THOUGHTS_H
#define PENSIEVE_BACKEND_THOUGHTS_H

#include "api/request.h"
#include "backend/sign.h"
#include "base/arena.h"
#include "base/err.h"

/* The request without the thinking blocks of other servers and models and without redacted ones: itself
 * where it has none, else a copy in the arena. NULL: ERR_INVALID, one of ours was tampered with. */
const struct message_request *thoughts_sift(struct arena *arena, const struct signer *signer,
                                            const struct message_request *request, struct err *err);

#endif
