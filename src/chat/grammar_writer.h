/* grammar_writer.h - between dialect_grammar.c and dialect_function.c, which both write a call's
 * grammar. */
#ifndef PENSIEVE_CHAT_GRAMMAR_WRITER_H
#define PENSIEVE_CHAT_GRAMMAR_WRITER_H

#include "chat/dialect_parts.h"

/* Two are left for a format beside the calls, and for what says "the one or the other". */
enum { WRITER_PARTS_MAX = GRAMMAR_PARTS_MAX - 2 };

struct writer {
    const struct dialect_needs *needs;
    const struct dialect *dialect;
    struct arena *arena;
    struct buf out;                     /* the first part, as Lark */
    struct grammar_part *parts;         /* [0] is the first, once it is written */
    size_t parts_n;
    size_t *tools;                      /* that may be called: places in the request */
    size_t tools_n;
    bool *any;                          /* [tools_n]: held to any object */
};

/* As text, whatever it holds. */
void writer_literal(struct writer *writer, struct str text);
/* A reference to a part of its own. */
void writer_schema(struct writer *writer, const struct grammar_part *part);
/* The same of one that stands in several places. */
void writer_shared(struct writer *writer, const char *name, const char *schema);

/* NAME>, and parameters, as SYNTAX_XML has them; i is a place in writer->tools. */
void writer_function(struct writer *writer, size_t i, struct str name);
extern const char writer_function_rules[];      /* to be put behind them */

#endif
