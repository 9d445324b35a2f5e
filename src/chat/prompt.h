/* prompt.h - a request to the exact text the model sees, and to tokens. Pure over the arena.
 *
 * Look-alikes of special tokens inside what the client wrote are kept apart: they come back as
 * plain ranges and are tokenised as text. create and count_tokens both come through here, so that
 * their counts are equal by construction.
 *
 * A message is one text to a template, so its blocks are joined: an assistant's as they stand,
 * because they continue each other, those of others with an empty line between, because clients send
 * each as a text of its own. A system message that the template can't take stands, in the same
 * place, in a user message between <system> and </system>. */
#ifndef PENSIEVE_CHAT_PROMPT_H
#define PENSIEVE_CHAT_PROMPT_H

#include "api/request.h"
#include "base/arena.h"
#include "base/err.h"
#include "chat/template.h"
#include "pensieve/engine.h"

struct prompt {
    struct str text;
    struct plain_range *plain;
    size_t plain_n;
};

/* tmpl NULL: the model has none, and ChatML is used. */
bool prompt_render(struct arena *arena, const struct message_request *request,
                   const struct chat_template *tmpl, struct prompt *out, struct err *err);
bool prompt_tokenize(struct arena *arena, const struct engine *engine, const struct prompt *prompt,
                     struct tokens *out, struct err *err);

#endif
