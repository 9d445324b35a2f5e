/* context.h - turns as a chat template's variables, as transformers' apply_chat_template names
 * them. */
#ifndef PENSIEVE_CHAT_CONTEXT_H
#define PENSIEVE_CHAT_CONTEXT_H

#include "base/buf.h"
#include "chat/turns.h"

/* A turn's text with its marks. */
void context_put_turn(struct buf *out, const struct turn *turn);

/* What stands for the calls in a message that is told so: a member behind others, or nothing. */
const char *context_told_calls(enum told_calls told);

struct context_switches {
    bool thinking;
    enum effort effort;
};

/* Appends a JSON object: messages, tools and the switches. */
void context_put(struct buf *out, const struct turns *turns, const struct template_traits *traits,
                 struct context_switches switches);

#endif
