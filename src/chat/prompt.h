/* prompt.h - a request to the exact text the model sees, and to tokens. Pure over the arena.
 *
 * Look-alikes of special tokens inside what the client wrote are kept apart: they come back as
 * plain ranges and are tokenised as text. create and count_tokens both come through here, so that
 * their counts are equal by construction.
 *
 * A message is one text to a template, so its blocks are joined: an assistant's as they stand,
 * because they continue each other, those of others with an empty line between, because clients
 * send each as a text of its own. A system message that the template can't take stands, in the same
 * place, in a user message between <system> and </system>; and so, at the end, does the schema of
 * an answer that is to be JSON. Tools, calls and results: turns.h and docs/tools.md.
 *
 * An answer that was sampled here (replay.h) keeps its tokens: so the tokens of a conversation's
 * next turn begin with those of this turn and of its answer, whatever the template does to earlier
 * turns. */
#ifndef PENSIEVE_CHAT_PROMPT_H
#define PENSIEVE_CHAT_PROMPT_H

#include "api/request.h"
#include "base/arena.h"
#include "base/err.h"
#include "chat/replay.h"
#include "chat/template.h"
#include "pensieve/engine.h"

enum { PROMPT_POINTS_MAX = REQUEST_MARKS_MAX };

/* Where a block with cache_control ends: the nearest place that the template left, not behind
 * it. */
struct prompt_point {
    size_t at;                          /* in the text */
    unsigned number;                    /* of the request's blocks with cache_control, from 0 */
};

struct prompt {
    struct str text;
    struct plain_range *plain;
    size_t plain_n;
    struct given_range *given;          /* what was sampled here */
    size_t given_n;
    bool in_thought;                    /* it ends inside a thought that the template has opened */
    struct prompt_point points[PROMPT_POINTS_MAX];
    size_t points_n;
    uint32_t seconds[PROMPT_POINTS_MAX];        /* [number]: what the block asked for */
    /* How the answer to this prompt begins: the template's lead, and the parts of the turn that it
     * continues, if it continues one. What is sampled now goes behind them. */
    struct replay begun;
};

struct prompt_tokens {
    struct tokens tokens;
    struct cache_mark marks[CACHE_MARKS_MAX];   /* ascending: beginnings that are worth keeping */
    size_t marks_n;
};

/* tmpl NULL: the model has none, and ChatML is used. store NULL: nothing was ever sampled. */
bool prompt_render(struct arena *arena, const struct message_request *request,
                   const struct chat_template *tmpl, struct replay_store *store,
                   struct prompt *out, struct err *err);
bool prompt_tokenize(struct arena *arena, const struct engine *engine, const struct prompt *prompt,
                     struct prompt_tokens *out, struct err *err);
/* The text of a few tokens before and behind the at-th, which " >>> " goes before: for a person who
 * looks for why two prompts differ. */
struct str prompt_around(struct arena *arena, const struct engine *engine,
                         const struct tokens *tokens, size_t at);

#endif
