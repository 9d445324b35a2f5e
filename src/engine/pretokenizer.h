/* pretokenizer.h - cuts text into the words inside which byte pairs may merge.
 *
 * Each model's tokenizer was trained with a certain pattern, which the file names
 * (tokenizer.ggml.pre). A wrong pattern costs quality silently, so an unknown name is an error. */
#ifndef PENSIEVE_ENGINE_PRETOKENIZER_H
#define PENSIEVE_ENGINE_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

struct pretokenizer;

/* name.n == 0: the file names none, and GPT-2's own pattern is meant. ERR_FORMAT: unknown. */
struct pretokenizer *pretokenizer_new(struct str name, struct err *err);
void pretokenizer_free(struct pretokenizer *pretokenizer);      /* NULL is allowed */
const char *pretokenizer_name(const struct pretokenizer *pretokenizer);
/* A word that is a token as it stands is that token, whatever the merges say. */
bool pretokenizer_whole_words(const struct pretokenizer *pretokenizer);

/* Calls word for each piece of text, in order and without gaps, until it returns false. text must
 * be valid UTF-8. false: word said so, or the pattern gave up (then err is filled). */
bool pretokenizer_split(const struct pretokenizer *pretokenizer, struct str text,
                        bool (*word)(void *context, struct str word), void *context,
                        struct err *err);

#endif
