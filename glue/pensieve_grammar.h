/* pensieve_grammar.h - the C face of the Rust libraries: grammars over a vocabulary, by llguidance.
 *
 * A vocabulary and a grammar may be used from any thread, by several at once; a matcher by one at a
 * time. A grammar keeps what it needs of its vocabulary, and a matcher what it needs of its grammar,
 * so they may be freed in any order. A panic on the Rust side ends as an error text here. */
#ifndef PENSIEVE_GRAMMAR_H
#define PENSIEVE_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pensieve_text.h"

struct glue_vocab;
struct glue_grammar;
struct glue_matcher;

enum glue_token_kind {
    GLUE_TOKEN_TEXT,
    GLUE_TOKEN_CONTROL,         /* a grammar reaches it by its name alone, as <|name|> in Lark */
    GLUE_TOKEN_END,             /* allowed where the grammar is complete, and nowhere else */
};

struct glue_token {
    const char *s;              /* the bytes it writes; of CONTROL and END: its spelling */
    size_t n;                   /* 0: it is never allowed */
    uint32_t kind;
};

/* tokens[id], at least one of them an END. NULL: error is filled. */
struct glue_vocab *glue_vocab_new(const struct glue_token *tokens, size_t n,
                                  struct glue_text *error);
void glue_vocab_free(struct glue_vocab *vocab);             /* NULL is allowed */

enum glue_language { GLUE_JSON_SCHEMA, GLUE_LARK, GLUE_REGEX };

/* A set of grammars: the first is where text begins; it refers to others as @name, and so may they. */
struct glue_part {
    uint32_t language;
    const char *name;           /* letters, digits, _ and - */
    size_t name_n;
    const char *text;           /* UTF-8 */
    size_t text_n;
    bool loose;                 /* a JSON Schema that becomes {"type": "object"} where it, or all
                                 * together, can't be compiled; its pointer then is empty */
};

/* Compiles under limits of memory, time and size. spaced: a text may begin with one space more.
 * loosened: keywords of JSON schemas that no grammar of ours can enforce and that are left out, a
 * line each: the part's number, a space, a JSON pointer to the keyword. NULL: error is filled, and
 * *refused says which part it is of. */
struct glue_grammar *glue_grammar_new(const struct glue_vocab *vocab, const struct glue_part *parts,
                                      size_t parts_n, bool spaced, struct glue_text *loosened,
                                      size_t *refused, struct glue_text *error);
size_t glue_grammar_bytes(const struct glue_grammar *grammar);  /* memory, before any matcher */
void glue_grammar_free(struct glue_grammar *grammar);       /* NULL is allowed */

/* At the grammar's start. NULL: error is filled. */
struct glue_matcher *glue_matcher_new(const struct glue_grammar *grammar, struct glue_text *error);
void glue_matcher_free(struct glue_matcher *matcher);       /* NULL is allowed */

/* What may come next: bit id % 32 of word id / 32. The words are the matcher's until its next call.
 * NULL: error is filled, and the matcher is of no more use. */
const uint32_t *glue_matcher_mask(struct glue_matcher *matcher, size_t *words,
                                  struct glue_text *error);

enum glue_step {
    GLUE_GOES_ON,
    GLUE_COMPLETE,              /* nothing may follow but an end */
    GLUE_BROKEN,                /* error is filled: not an allowed token, or a limit */
};
enum glue_step glue_matcher_take(struct glue_matcher *matcher, uint32_t token,
                                 struct glue_text *error);

/* A short way to a complete text: how many tokens it takes, which are written to tokens (0: it is
 * complete); -1: none found within tokens_max. Not always the shortest. */
ptrdiff_t glue_matcher_close(const struct glue_matcher *matcher, uint32_t *tokens,
                             size_t tokens_max);

#endif
