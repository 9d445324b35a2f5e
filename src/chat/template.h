/* template.h - a model's own Jinja chat template, rendered by minijinja (glue/) under limits.
 *
 * Compiled and tried once per model; rendering is pure and may run on several threads at once. A hostile
 * template ends in an error: fuel bounds loops, recursion depth and output size are bounded. */
#ifndef PENSIEVE_CHAT_TEMPLATE_H
#define PENSIEVE_CHAT_TEMPLATE_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "chat/replay.h"

enum { TEMPLATE_SOURCE_BYTES_MAX = 1 << 20, TEMPLATE_OUTPUT_BYTES_MAX = 64 << 20 };

struct chat_template;

/* ERR_FORMAT: it does not compile, or can't render a user's message. */
struct chat_template *template_new(struct str source, struct str bos, struct str eos,
                                   struct err *err);
void template_free(struct chat_template *tmpl);         /* NULL is allowed */

/* What the template does with system messages, found out when it was compiled: takes them first, and
 * takes them after a user's, in place. One that drops them or raises does not take them. */
bool template_takes_system(const struct chat_template *tmpl);
bool template_takes_system_inside(const struct chat_template *tmpl);

/* What the template writes before an answer that is told again (drop) instead of what it ends with
 * when it asks for one (add), behind what both have in common. Lives as long as the template. */
struct replay_lead template_lead(const struct chat_template *tmpl);

/* context_json: a JSON object with messages, add_generation_prompt and whatever else the template
 * may ask for; bos_token and eos_token are added. A raise_exception in the template is
 * ERR_INVALID with its words; running out of fuel or output is ERR_INVALID too. */
bool template_render(const struct chat_template *tmpl, struct arena *arena, struct str context_json,
                     struct str *out, struct err *err);

#endif
