/* constraint.c - a matcher at work for one sequence, and the way to the end in time; or exact tokens.
 *
 * The hard thing is running short of tokens. A short way to a complete text is known for some state
 * of the sequence, and looked for again the sooner, the less room there is beyond it; after each token
 * where there is little more room than the shortest whole text needs, for one may be complete and
 * another begin. A token after which the room is too small is not taken: the way that was known
 * before it is. Where the grammar needs more than is left from the start, or makes a sudden leap
 * between two looks, the sequence ends as any other does: for want of tokens. */
#include "engine/constraint.h"

#include <math.h>
#include <stdlib.h>

enum { LOOK_AHEAD = 128, LOOK_SHARE = 8 };

struct constraint {
    struct grammars *grammars;
    struct grammar *grammar;
    struct glue_matcher *matcher;       /* NULL: exactly the tokens that are the way to the end */
    bool broken;
    enum constraint_after after;
    bool closing_known;                 /* from the state before the next token */
    uint32_t look_at;                   /* look for it when so many tokens are left, */
    uint32_t near;                      /* and from here on after each token */
    uint32_t said_n;                    /* of exact tokens */
    uint32_t closing_n;
    uint32_t closing[CONSTRAINT_CLOSING_MAX];
};

static bool look(struct constraint *constraint)
{
    const ptrdiff_t n = glue_matcher_close(constraint->matcher, constraint->closing,
                                           CONSTRAINT_CLOSING_MAX);

    constraint->closing_known = n >= 0;
    constraint->closing_n = n >= 0 ? (uint32_t)n : CONSTRAINT_CLOSING_MAX;
    return n >= 0;
}

struct constraint *constraint_new(struct grammars *grammars, struct grammar *grammar,
                                  struct err *err)
{
    struct constraint *constraint = calloc(1, sizeof *constraint);
    struct glue_text error = {0};

    if (!constraint) {
        grammars_give_back(grammars, grammar, false);
        err_set(err, ERR_OVERLOADED, "no memory for one more constraint");
        return NULL;
    }
    constraint->grammars = grammars;
    constraint->grammar = grammar;
    constraint->matcher = glue_matcher_new(grammar_compiled(grammar), &error);
    if (!constraint->matcher) {
        err_set(err, ERR_INVALID, "%.*s", (int)error.n, error.s);
        glue_text_free(&error);
        constraint->broken = true;
        constraint_free(constraint);
        return NULL;
    }
    look(constraint);
    constraint->look_at = 2 * constraint->closing_n + LOOK_AHEAD;
    constraint->near = constraint->closing_known ? 2 * constraint->closing_n : 0;
    return constraint;
}

struct constraint *engine_constraint_tokens(const int32_t *ids, size_t n, struct err *err)
{
    struct constraint *constraint = n && n <= CONSTRAINT_CLOSING_MAX
                                        ? calloc(1, sizeof *constraint) : NULL;

    if (!constraint) {
        err_set(err, ERR_OVERLOADED, "no memory for one more constraint, or %zu tokens in it", n);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        constraint->closing[i] = (uint32_t)ids[i];
    constraint->closing_n = (uint32_t)n;
    return constraint;
}

void constraint_free(struct constraint *constraint)
{
    if (!constraint)
        return;
    glue_matcher_free(constraint->matcher);
    if (constraint->grammar)
        grammars_give_back(constraint->grammars, constraint->grammar, constraint->broken);
    free(constraint);
}

void constraint_then(struct constraint *constraint, enum constraint_after after)
{
    constraint->after = after;
}

bool constraint_frees(const struct constraint *constraint)
{
    return constraint->after == CONSTRAINT_THEN_FREE;
}

static bool fail(struct constraint *constraint, struct glue_text *error, struct err *err)
{
    err_set(err, ERR_INVALID, "the answer's grammar is too complex: %.*s", (int)error->n, error->s);
    glue_text_free(error);
    constraint->broken = true;
    return false;
}

/* Of n <= 32 logits those whose bit is set. Most words are 0 or full, or nearly so; the wiping of a
 * whole word is vector code. */
static void keep(float *logits, size_t n, uint32_t word)
{
    const uint32_t all = n < 32 ? (UINT32_C(1) << n) - 1 : UINT32_MAX;
    float kept[32];

    word &= all;
    if (__builtin_popcount(word) > 16) {
        for (uint32_t gone = all & ~word; gone; gone &= gone - 1)
            logits[__builtin_ctz(gone)] = -INFINITY;
        return;
    }
    if (word)
        memcpy(kept, logits, n * sizeof *kept);
    for (size_t j = 0; j < n; j++)
        logits[j] = -INFINITY;
    for (; word; word &= word - 1)
        logits[__builtin_ctz(word)] = kept[__builtin_ctz(word)];
}

/* A token whose logit is no number, or -infinity, is said as well: there is no other. */
static bool keep_one(float *logits, size_t n, uint32_t id)
{
    for (size_t i = 0; i < n; i++)
        logits[i] = -INFINITY;
    logits[id] = 0;
    return true;
}

bool constraint_mask(struct constraint *constraint, float *logits, size_t n, struct err *err)
{
    struct glue_text error = {0};
    size_t words;

    if (!constraint->matcher)
        return keep_one(logits, n, constraint->closing[constraint->said_n]);
    const uint32_t *mask = glue_matcher_mask(constraint->matcher, &words, &error);

    if (!mask)
        return fail(constraint, &error, err);
    for (size_t i = 0; i < n; i += 32)
        keep(logits + i, n - i < 32 ? n - i : 32, i / 32 < words ? mask[i / 32] : 0);
    return true;
}

static enum constraint_step look_for_end(struct constraint *constraint, uint32_t left)
{
    uint32_t before[CONSTRAINT_CLOSING_MAX];
    const uint32_t before_n = constraint->closing_n;
    const bool before_known = constraint->closing_known && before_n <= left + 1;

    if (before_known)
        memcpy(before, constraint->closing, before_n * sizeof *before);
    const bool found = look(constraint);
    if (found && constraint->closing_n <= left) {
        const uint32_t spare = left - constraint->closing_n;
        const uint32_t soon = left - (spare < LOOK_SHARE ? spare > 0 : spare / LOOK_SHARE);
        constraint->look_at = soon > constraint->near ? soon : constraint->near;
        return left == 0 ? CONSTRAINT_COMPLETE : CONSTRAINT_GOES_ON;
    }
    if (before_known) {
        constraint->closing_n = before_n;
        memcpy(constraint->closing, before, before_n * sizeof *before);
        return CONSTRAINT_CLOSE;
    }
    constraint->closing_known = false;
    constraint->look_at = left / 2;             /* far from an end: seldom */
    return CONSTRAINT_GOES_ON;
}

enum constraint_step constraint_take(struct constraint *constraint, int32_t id, uint32_t left,
                                     struct err *err)
{
    struct glue_text error = {0};

    if (!constraint->matcher)
        return ++constraint->said_n == constraint->closing_n ? CONSTRAINT_COMPLETE
                                                             : CONSTRAINT_GOES_ON;
    switch (glue_matcher_take(constraint->matcher, (uint32_t)id, &error)) {
    case GLUE_COMPLETE:
        return CONSTRAINT_COMPLETE;
    case GLUE_BROKEN:
        fail(constraint, &error, err);
        return CONSTRAINT_BROKEN;
    case GLUE_GOES_ON:
        break;
    }
    if (left <= constraint->look_at && !constraint_frees(constraint))
        return look_for_end(constraint, left);
    constraint->closing_known = false;
    return CONSTRAINT_GOES_ON;
}

const uint32_t *constraint_closing(const struct constraint *constraint, size_t *n)
{
    *n = constraint->closing_n;
    return constraint->closing;
}
