/* template.h - a model's own Jinja chat template, rendered by minijinja (glue/) under limits.
 *
 * Compiled and tried once per model; rendering is pure and may run on several threads at once. A
 * hostile template ends in an error: fuel bounds loops, recursion depth and output size are
 * bounded. */
#ifndef PENSIEVE_CHAT_TEMPLATE_H
#define PENSIEVE_CHAT_TEMPLATE_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "chat/dialect.h"
#include "chat/replay.h"

enum { TEMPLATE_SOURCE_BYTES_MAX = 1 << 20, TEMPLATE_OUTPUT_BYTES_MAX = 64 << 20 };

struct chat_template;

/* How an answer with calls that was sampled here is told again as a message that has content only,
 * so that the template ends the turn, and goes on behind it, as if it had written the calls
 * itself. */
enum told_calls {
    TOLD_NEVER,                 /* no way was found */
    TOLD_PLAIN,                 /* without tool_calls */
    TOLD_NULL,                  /* with tool_calls: null */
    TOLD_EMPTY,                 /* with tool_calls: [] */
};

/* What a template does with what it is given, found out by trying (probe.c). Whatever it drops or
 * raises on, it does not take. */
struct template_traits {
    bool system;                /* a system message, first */
    bool system_inside;         /* and in place, after a user's */
    bool tools;                 /* shows the definitions in `tools`; false: and so are all below, */
    bool tools_in_system;       /* not there, but as JSON text in the system message's `tools`; */
    bool calls;                 /* an assistant's tool_calls, */
    bool calls_as_text;         /* their arguments as JSON text: not as objects, */
    bool calls_parallel;        /* also several in one message, */
    bool calls_beside;          /* also with the message's own text, */
    bool calls_thought;         /* and with a thought beside both; */
    bool results;               /* messages of role "tool", several in a row, */
    bool user_behind;           /* and a user's behind them */
    bool short_ids;             /* calls must have ids of nine letters and digits */
    enum told_calls told;
    const char *thinking;       /* the variable that turns thoughts on and off; NULL: none known */
    const char *efforts[EFFORTS];       /* what its reasoning_effort is to be; NULL: not set */
};

/* ERR_FORMAT: it does not compile, or can't render a user's message. */
struct chat_template *template_new(struct str source, struct str bos, struct str eos,
                                   struct err *err);
void template_free(struct chat_template *tmpl);         /* NULL is allowed */

const struct template_traits *template_traits(const struct chat_template *tmpl);
/* Whether all efforts mean something to it. NULL: none does. */
bool template_has_efforts(const struct chat_template *tmpl);
/* How its model writes calls and thoughts. NULL: as one whose template says nothing of it. */
const struct dialect *template_dialect(const struct chat_template *tmpl);

/* Where an answer begins: they differ in what a template writes there. */
struct template_place {
    bool behind_result;         /* not: behind a user's message */
    bool thinking;              /* thoughts are turned on */
};

/* What the template writes there before an answer that is told again (drop) instead of what it ends
 * with when it asks for one (add), behind what both have in common. Lives as long as the
 * template. */
struct replay_lead template_lead(const struct chat_template *tmpl, struct template_place place);

/* context_json: a JSON object with messages, add_generation_prompt and whatever else the template
 * may ask for; bos_token and eos_token are added. A raise_exception in the template is
 * ERR_INVALID with its words; running out of fuel or output is ERR_INVALID too. */
bool template_render(const struct chat_template *tmpl, struct arena *arena, struct str context_json,
                     struct str *out, struct err *err);

#endif
