/* grammars.h - the grammars of one vocabulary: compiled once, shared, kept while they are asked for.
 *
 * The vocabulary's trie is made when the first grammar is asked for. Everything here may be called
 * from any thread; compiling holds no lock, so that a slow grammar makes nobody else wait. */
#ifndef PENSIEVE_ENGINE_GRAMMARS_H
#define PENSIEVE_ENGINE_GRAMMARS_H

#include "engine/vocab.h"
#include "pensieve/engine.h"
#include "pensieve_grammar.h"

enum {
    GRAMMARS_KEPT_MAX = 64,             /* compiled ones that nobody uses now, and ... */
    GRAMMARS_KEPT_BYTES_MAX = 64 << 20, /* ... their memory: the oldest go first */
};

struct grammars;
struct grammar;

/* vocab is borrowed; tokens: those of it that can be sampled, [0, tokens). NULL: no memory. */
struct grammars *grammars_new(const struct vocab *vocab, uint32_t tokens);
void grammars_free(struct grammars *grammars);          /* NULL is allowed; none may be in use */

/* One use of a compiled grammar. Errors: see engine_constraint_new. */
struct grammar *grammars_take(struct grammars *grammars, const struct grammar_source *source,
                              struct err *err);
/* broken: it met a limit while in use, and is not given out again. */
void grammars_give_back(struct grammars *grammars, struct grammar *grammar, bool broken);

const struct glue_grammar *grammar_compiled(const struct grammar *grammar);
struct str grammar_loosened(const struct grammar *grammar);     /* see engine_constraint_new */

struct grammars_counts {
    uint64_t compiled, found;           /* since the start */
    uint32_t kept;                      /* in use or not */
    uint64_t kept_bytes;
};
struct grammars_counts grammars_counts(struct grammars *grammars);

#endif
