/* constraint.h - what one sequence may say next: a mask over its logits, moved on token by token.
 *
 * Made on any thread (engine_constraint_new), then the engine thread's alone. Only tokens that the
 * sequence really takes go in, so speculation needs no way back: a draft is verified by applying the
 * mask to its row, sampling, and taking the token, until one differs. */
#ifndef PENSIEVE_ENGINE_CONSTRAINT_H
#define PENSIEVE_ENGINE_CONSTRAINT_H

#include "engine/grammars.h"

/* Tokens of the longest way to the end that is looked for. */
enum { CONSTRAINT_CLOSING_MAX = CONSTRAINT_TOKENS_MAX };

/* grammar: becomes the constraint's, also on failure. */
struct constraint *constraint_new(struct grammars *grammars, struct grammar *grammar,
                                  struct err *err);

/* What comes when it is complete; THEN_END if nothing was said. */
void constraint_then(struct constraint *constraint, enum constraint_after after);
bool constraint_frees(const struct constraint *constraint);

/* Makes every logit of a token that is not allowed -infinity. At least one stays. */
bool constraint_mask(struct constraint *constraint, float *logits, size_t n, struct err *err);

enum constraint_step {
    CONSTRAINT_GOES_ON,
    CONSTRAINT_COMPLETE,        /* the token is taken, and nothing follows it */
    CONSTRAINT_CLOSE,           /* not the token but constraint_closing is to be said, and then all
                                 * is complete: there would be no room for that any more after it */
    CONSTRAINT_BROKEN,          /* err is filled: a limit of the grammar engine */
};
/* left: how many tokens there is room for after this one, if the end is to come in them. */
enum constraint_step constraint_take(struct constraint *constraint, int32_t id, uint32_t left,
                                     struct err *err);
const uint32_t *constraint_closing(const struct constraint *constraint, size_t *n);

#endif
