/* dialect.h - how a family of models writes tool calls and thoughts, and the grammar of its calls.
 *
 * A dialect is a row of data, found by what stands in the model's chat template. It says which
 * marks open and close what; blocks.h reads an answer by it, and dialect_grammar makes of a
 * request's tools the set of grammars that a call is held to. The syntaxes come from the families'
 * own templates and model cards; docs/tools.md has them side by side. */
#ifndef PENSIEVE_CHAT_DIALECT_H
#define PENSIEVE_CHAT_DIALECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/request.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "pensieve/engine.h"

struct dialect;                         /* dialect_parts.h has its fields */

/* Never NULL: for no template (n == 0), and for one that shows no syntax of its own, it is
 * <tool_call>{"name": ..., "arguments": {...}}</tool_call>, which many models have seen. */
const struct dialect *dialect_find(struct str template_source);
const char *dialect_name(const struct dialect *dialect);        /* for logs */

/* The marks around a thought: what the model writes before and behind one. false: it has none, and
 * the marks are untouched. */
bool dialect_thinks(const struct dialect *dialect, struct str *open, struct str *close);

/* Calls as the model would write them, for templates that don't know tools. Of each block: name and
 * text, which is a JSON object. false: out has no room. */
bool dialect_put_calls(struct buf *out, const struct dialect *dialect,
                       const struct content_block *calls, size_t n);
/* What a system message has to say about the request's tools (all of them: the caller leaves out
 * what is not to be shown yet) and how they are called, for templates that don't. */
void dialect_wording(struct buf *out, const struct dialect *dialect,
                     const struct message_request *request);

/* ---- grammars ---- */

enum dialect_moment {
    DIALECT_FORCED,             /* the answer must begin with a call */
    DIALECT_OPENED,             /* the call's opening mark was just written; see blocks_begun */
};

/* The number of the control token that is spelled so, or -1: then a mark is plain text. */
typedef int32_t dialect_control_fn(const void *context, struct str spelling);
/* The same of an engine's vocabulary; context: a const struct engine *. */
int32_t dialect_control_of_engine(const void *engine, struct str spelling);

struct dialect_needs {
    const struct dialect *dialect;
    const struct message_request *request;      /* of it: tools, tool_choice */
    enum dialect_moment moment;
    dialect_control_fn *control;        /* NULL: no mark is a control token */
    const void *context;
};

/* A set of grammars, with room for two more: the first is Lark and called "call", then JSON schemas
 * "t0", "t1" ... of the tools that may be called, numbered by their places in the request: not the
 * deferred ones that no result has referred to. When it is complete the answer ends; unless
 * choice.one further calls may follow. Where the schemas would be too many or too large, the largest
 * are held to "any object" (logged), but never a strict tool's. ERR_INVALID: there is no tool that
 * could be called. */
bool dialect_grammar(struct arena *arena, const struct dialect_needs *needs,
                     struct grammar_source *out, struct err *err);

/* What the model writes before an answer that is text (harmony's header of a message), as Lark, to
 * stand before a grammar of that text. n == 0: nothing. */
struct str dialect_before_answer(struct arena *arena, const struct dialect_needs *needs);

#endif
