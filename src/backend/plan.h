/* plan.h - what an answer is held to, and from when.
 *
 * Calls that the request forces, and a format, are a grammar from the first token on; after a thought, if
 * there is to be one. A call that the model may make or not is held to its grammar once it has opened
 * one. A thought that is over its budget is held to the tokens that close it. Made on the pool, where
 * grammars are compiled; then the engine thread's (voice.h). */
#ifndef PENSIEVE_BACKEND_PLAN_H
#define PENSIEVE_BACKEND_PLAN_H

#include "api/request.h"
#include "base/arena.h"
#include "base/err.h"
#include "chat/dialect.h"
#include "pensieve/engine.h"

enum {
    PLAN_MARK_TOKENS_MAX = 32,          /* of a mark that opens or closes a thought */
    PLAN_ANSWER_SHARE = 4,              /* an answer has a fourth of the room left at least, */
};                                      /* however long its thought is */

struct plan {
    struct constraint *start;           /* from the first token on; NULL, as each of these: nothing */
    enum constraint_after start_after;
    bool calls;                         /* nothing but calls is said: what is cut off is no text */
    struct constraint *call;            /* once the model has opened a call */
    bool one;                           /* of calls that no grammar holds the first is the answer's end */
    struct constraint *answer;          /* once a thought is closed */
    int32_t close[PLAN_MARK_TOKENS_MAX];        /* the tokens that close a thought */
    size_t close_n;                     /* 0: this model has none */
    uint32_t budget;                    /* tokens that it may think */
};

struct plan_needs {
    struct engine *engine;
    const struct message_request *request;
    const struct dialect *dialect;
    bool in_thought;                    /* the prompt ends inside a thought */
    uint32_t room;                      /* tokens that the answer may have at most */
};

/* ERR_INVALID: a schema that is none, that is too complex, or that is strict and can't be enforced; the
 * text names it by its place in the body. The plan is to be released either way. */
bool plan_make(struct plan *plan, struct arena *arena, const struct plan_needs *needs,
               struct err *err);
void plan_release(struct plan *plan);           /* what was not given to the sequence */

#endif
