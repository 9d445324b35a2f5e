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

enum { PRETOKENIZER_STEPS_MAX = 8, PRETOKENIZER_PATTERN_MAX = 4096 };

/* Each step cuts the pieces of the step before at every match of its pattern. */
struct pretokenizer_step {
    struct str pattern;
    bool literal;               /* the pattern is that text, not an expression */
    bool invert;                /* what lies between the matches counts as the match */
    enum split_behavior {
        SPLIT_ISOLATED, SPLIT_REMOVED, SPLIT_MERGED_WITH_PREVIOUS, SPLIT_MERGED_WITH_NEXT,
        SPLIT_CONTIGUOUS
    } behavior;
};

struct pretokenizer_steps {
    struct pretokenizer_step list[PRETOKENIZER_STEPS_MAX];
    size_t n;
};

struct pretokenizer;

/* name.n == 0: the file names none, and GPT-2's own pattern is meant. ERR_FORMAT: unknown. */
struct pretokenizer *pretokenizer_new(struct str name, struct err *err);
void pretokenizer_free(struct pretokenizer *pretokenizer);      /* NULL is allowed */
const char *pretokenizer_name(const struct pretokenizer *pretokenizer);
/* A word that is a token as it stands is that token, whatever the merges say. */
bool pretokenizer_whole_words(const struct pretokenizer *pretokenizer);

/* One walk over text; several may use one pretokenizer at once. */
struct splitter;
struct splitter *splitter_new(const struct pretokenizer *pretokenizer, struct err *err);
void splitter_free(struct splitter *splitter);
/* The word that begins at `at` (less than text.n): never empty, words follow each other without
 * gaps. text must be valid UTF-8. false: the pattern gave up at a limit. */
bool splitter_next(struct splitter *splitter, struct str text, size_t at, struct str *word,
                   struct err *err);

#endif
