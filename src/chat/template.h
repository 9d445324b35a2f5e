/* template.h - a model's own Jinja chat template, rendered by minijinja (glue/) under limits.
 *
 * Compiled once per model; rendering is pure and may run on several threads at once. A hostile
 * template ends in an error: fuel bounds loops, recursion depth and output size are bounded. */
#ifndef PENSIEVE_CHAT_TEMPLATE_H
#define PENSIEVE_CHAT_TEMPLATE_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

enum { TEMPLATE_SOURCE_BYTES_MAX = 1 << 20, TEMPLATE_OUTPUT_BYTES_MAX = 64 << 20 };

struct chat_template;

struct chat_template *template_new(struct str source, struct str bos, struct str eos,
                                   struct err *err);
void template_free(struct chat_template *tmpl);

/* context_json: a JSON object with messages, add_generation_prompt and whatever else the template
 * may ask for; bos_token and eos_token are added. A raise_exception in the template is
 * ERR_INVALID with its words; running out of fuel or output is ERR_INVALID too. */
bool template_render(const struct chat_template *tmpl, struct arena *arena, struct str context_json,
                     struct str *out, struct err *err);

#endif
