/* pretokenizer.h - cuts text into the words inside which tokens may form.
 *
 * Each model's tokenizer was trained with certain patterns, which the file names (GGUF's
 * tokenizer.ggml.pre) or spells out (tokenizer.json). A wrong pattern costs quality silently, so an
 * unknown name, or a pattern that PCRE2 would read otherwise than Oniguruma does, is an error. */
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

/* ERR_FORMAT: there are too many steps already, or the pattern is too long. */
bool pretokenizer_add(struct pretokenizer_steps *steps, struct pretokenizer_step step,
                      struct err *err);

struct pretokenizer;

/* A family by its name; n == 0: the file names none, and GPT-2's own pattern is meant. ERR_FORMAT:
 * unknown. */
struct pretokenizer *pretokenizer_named(struct str name, struct err *err);
/* The file's own steps; none: all text is one word. ERR_FORMAT: a pattern we can't take exactly. */
struct pretokenizer *pretokenizer_new(const struct pretokenizer_steps *steps, struct err *err);
void pretokenizer_free(struct pretokenizer *pretokenizer);      /* NULL is allowed */
const char *pretokenizer_name(const struct pretokenizer *pretokenizer);
/* A word that is a token as it stands is that token, whatever the merges say. */
bool pretokenizer_whole_words(const struct pretokenizer *pretokenizer);

/* One walk over a text; several may use one pretokenizer at once. */
struct splitter;
struct splitter *splitter_new(const struct pretokenizer *pretokenizer, struct err *err);
void splitter_free(struct splitter *splitter);
/* Begins with a text, which must be valid UTF-8 and stay until the last word. */
void splitter_start(struct splitter *splitter, struct str text);
/* The next word: never empty, in order; what lies between two words is not tokenised. At the end
 * word->n == 0. false: a pattern gave up at a limit. */
bool splitter_next(struct splitter *splitter, struct str *word, struct err *err);

#endif
