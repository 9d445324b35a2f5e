/* pensieve_glue.h - the C face of the Rust libraries: chat templates through minijinja.
 *
 * Everything may be called from any thread; a template may be rendered by several at once. A panic
 * on the Rust side ends as an error text here. */
#ifndef PENSIEVE_GLUE_H
#define PENSIEVE_GLUE_H

#include <stddef.h>

#include "pensieve_text.h"

struct glue_template;

enum glue_result {
    GLUE_OK,
    GLUE_RAISED,        /* the template called raise_exception: text is what it said */
    GLUE_FAILED,        /* anything else, a limit too: text is what it was */
};

/* As strftime of the current time: the number of bytes written to out, 0 if they don't fit. */
typedef size_t glue_clock(void *context, const char *format, char *out, size_t size);

/* NULL: not a template; then error is filled. bos and eos are the texts of those tokens. */
struct glue_template *glue_template_new(const char *source, size_t source_n, const char *bos,
                                        size_t bos_n, const char *eos, size_t eos_n,
                                        struct glue_text *error);
void glue_template_free(struct glue_template *tmpl);            /* NULL is allowed */

/* context: a JSON object, whose keys are the template's variables. out is filled in every case, with
 * the text or with the error. */
enum glue_result glue_template_render(const struct glue_template *tmpl, const char *context,
                                      size_t context_n, size_t output_max, glue_clock *clock,
                                      void *clock_context, struct glue_text *out);

#endif
