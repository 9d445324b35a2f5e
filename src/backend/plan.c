/* plan.c - see plan.h.
 *
 * The hard thing is which schema a grammar's error is about: the engine knows parts of a set by
 * their names, the client its own places in the body. */
#include "backend/plan.h"

#include <stdlib.h>

#include "base/log.h"

enum { SHOWN_BYTES = 256 };

/* ---- one grammar ---- */

struct schema {
    const char *path;                   /* NULL: it is none of the client's */
    bool strict;
};

/* By the name of its part: "answer", or "t" and the tool's number. */
static struct schema schema_of(const struct message_request *request, struct str name)
{
    char digits[16] = "";

    if (str_is(name, "answer"))
        return (struct schema){request->format.path, request->format.strict};
    if (name.n < 2 || name.n > sizeof digits || name.s[0] != 't')
        return (struct schema){0};
    memcpy(digits, name.s + 1, name.n - 1);
    const size_t i = strtoul(digits, NULL, 10);
    if (i >= request->tools_n)
        return (struct schema){0};
    return (struct schema){request->tools[i].path, request->tools[i].strict};
}

/* What stands before the first `end`, if it is a part's name. A set of one has no names in its
 * texts. */
static struct str name_in(const struct grammar_source *source, struct str *text, char end)
{
    const char *at = memchr(text->s, end, text->n);

    if (source->parts_n == 1)
        return source->parts[0].name;
    if (!at)
        return STR("");
    const struct str name = {text->s, (size_t)(at - text->s)};
    for (size_t i = 0; i < source->parts_n; i++)
        if (str_equal(source->parts[i].name, name)) {
            *text = (struct str){at, text->n - name.n};
            return name;
        }
    return STR("");
}

static void place_error(const struct plan_needs *needs, const struct grammar_source *source,
                        struct err *err)
{
    struct str text = str_of(err->text);
    const struct str name = name_in(source, &text, ':');
    const struct schema schema = schema_of(needs->request, name);
    struct err placed;

    if (!schema.path || err->code != ERR_INVALID)
        return;
    if (source->parts_n > 1 && text.n > 2)
        text = (struct str){text.s + 2, text.n - 2};    /* ": " */
    err_set(&placed, err->code, "%s: %.*s", schema.path, STR_ARG(text));
    *err = placed;
}

/* Keywords that were left out, a line each: an error where they are of a strict schema. */
static bool may_loosen(const struct plan_needs *needs, const struct grammar_source *source,
                       struct str lines, struct err *err)
{
    char shown[SHOWN_BYTES];

    for (struct str rest = lines; rest.n;) {
        const size_t n = (size_t)((const char *)memchr(rest.s, '\n', rest.n) - rest.s);
        struct str line = {rest.s, n};
        const struct schema schema = schema_of(needs->request, name_in(source, &line, '/'));
        if (schema.strict)
            return err_set(err, ERR_INVALID, "%s: `%.*s` is not supported", schema.path,
                           STR_ARG(line));
        rest = (struct str){rest.s + n + 1, rest.n - n - 1};
    }
    if (lines.n)
        log_event(LOG_INFO, "schema_loosened", "keywords=%s",
                  log_quote(shown, sizeof shown, (struct str){lines.s, lines.n - 1}));
    return true;
}

static struct constraint *compile(struct arena *arena, const struct plan_needs *needs,
                                  const struct grammar_source *source, struct err *err)
{
    struct str loosened;
    struct constraint *constraint = engine_constraint_new(needs->engine, arena, source, &loosened,
                                                          err);

    if (!constraint) {
        place_error(needs, source, err);
        return NULL;
    }
    if (may_loosen(needs, source, loosened, err))
        return constraint;
    constraint_free(constraint);
    return NULL;
}

/* ---- which grammars ---- */

static bool is_forced(const struct message_request *request)
{
    return request->tool_choice.kind == CHOICE_ANY || request->tool_choice.kind == CHOICE_TOOL;
}

static struct dialect_needs dialect_needs_of(const struct plan_needs *needs,
                                             enum dialect_moment moment)
{
    return (struct dialect_needs){
        .dialect = needs->dialect, .request = needs->request, .moment = moment,
        .control = dialect_control_of_engine, .context = needs->engine,
    };
}

static bool calls_source(struct arena *arena, const struct plan_needs *needs,
                         enum dialect_moment moment, struct grammar_source *source, struct err *err)
{
    const struct dialect_needs of = dialect_needs_of(needs, moment);

    if (!dialect_grammar(arena, &of, source, err))
        return false;
    source->strict = false;             /* each tool says for itself */
    return true;
}

/* In the format, behind what the dialect has before an answer; or a call instead, where there are
 * tools. */
static struct constraint *format_constraint(struct arena *arena, const struct plan_needs *needs,
                                            struct err *err)
{
    const struct message_request *request = needs->request;
    const struct dialect_needs of = dialect_needs_of(needs, DIALECT_FORCED);
    const struct str before = dialect_before_answer(arena, &of);
    const bool may_call = request->tool_choice.kind != CHOICE_NONE;
    const struct grammar_part answer = {
        .language = GRAMMAR_JSON_SCHEMA, .name = STR("answer"), .text = request->format.schema,
    };
    struct grammar_source calls = {0};

    if (!may_call && before.n == 0)
        return compile(arena, needs, &(struct grammar_source){.parts = &answer, .parts_n = 1},
                       err);
    if (may_call && !calls_source(arena, needs, DIALECT_FORCED, &calls, err))
        return NULL;
    struct grammar_part *parts = arena_array(arena, calls.parts_n + 2, sizeof *parts);
    parts[0] = (struct grammar_part){
        .language = GRAMMAR_LARK, .name = STR("turn"),
        .text = arena_printf(arena, "start:%.*s @answer%s\n", STR_ARG(before),
                             may_call ? " | @call" : ""),
    };
    if (may_call)
        memcpy(parts + 1, calls.parts, calls.parts_n * sizeof *parts);
    parts[calls.parts_n + 1] = answer;
    return compile(arena, needs,
                   &(struct grammar_source){.parts = parts, .parts_n = calls.parts_n + 2}, err);
}

static struct constraint *calls_constraint(struct arena *arena, const struct plan_needs *needs,
                                           enum dialect_moment moment, struct err *err)
{
    struct grammar_source source;

    if (!calls_source(arena, needs, moment, &source, err))
        return NULL;
    return compile(arena, needs, &source, err);
}

static bool has_strict_tool(const struct message_request *request)
{
    for (size_t i = 0; i < request->tools_n; i++)
        if (request->tools[i].strict)
            return true;
    return false;
}

/* A call that nobody forces may do without: what is no call then is text. */
static bool plan_calls(struct plan *plan, struct arena *arena, const struct plan_needs *needs,
                       struct err *err)
{
    char shown[SHOWN_BYTES];

    if (needs->request->tool_choice.kind != CHOICE_AUTO)
        return true;
    plan->one = needs->request->tool_choice.one;
    plan->call = calls_constraint(arena, needs, DIALECT_OPENED, err);
    if (!plan->call && has_strict_tool(needs->request))
        return false;
    if (!plan->call)
        log_event(LOG_WARN, "calls_unconstrained", "reason=%s",
                  log_quote(shown, sizeof shown, str_of(err->text)));
    return true;
}

/* ---- thoughts ---- */

static bool mark_tokens(struct arena *arena, const struct plan_needs *needs, struct str mark,
                        struct tokens *tokens, struct err *err)
{
    if (!engine_tokenize(needs->engine, arena, mark, NULL, 0, false, tokens, err))
        return false;
    return tokens->n <= PLAN_MARK_TOKENS_MAX ||
           err_set(err, ERR_INTERNAL, "the mark of a thought has %zu tokens", tokens->n);
}

static uint32_t budget_of(const struct plan_needs *needs)
{
    const struct thinking *thinking = &needs->request->thinking;
    const uint32_t most = needs->room - needs->room / PLAN_ANSWER_SHARE;

    if (thinking->kind == THINKING_OFF)
        return 0;
    return thinking->kind == THINKING_ENABLED && thinking->budget < most ? thinking->budget : most;
}

/* Puts a thought before what the answer is held to. An adaptive one is the model's own choice while
 * the answer is free; elsewhere there is no other place for it than the beginning. */
static bool plan_thought(struct plan *plan, struct arena *arena, const struct plan_needs *needs,
                         struct err *err)
{
    const struct message_request *request = needs->request;
    const enum thinking_kind kind = request->thinking.kind;
    const bool first = kind != THINKING_OFF && !request->prefill;
    struct str open, close;
    struct tokens tokens;

    if (!dialect_thinks(needs->dialect, &open, &close))
        return true;
    if (!mark_tokens(arena, needs, close, &tokens, err))
        return false;
    memcpy(plan->close, tokens.ids, tokens.n * sizeof *tokens.ids);
    plan->close_n = tokens.n;
    plan->budget = budget_of(needs);
    if (!needs->in_thought && (!first || (kind == THINKING_ADAPTIVE && !plan->start)))
        return true;
    plan->answer = plan->start;
    plan->start = NULL;
    plan->start_after = CONSTRAINT_THEN_FREE;
    if (needs->in_thought && plan->budget > 0)
        return true;
    if (!needs->in_thought && !mark_tokens(arena, needs, open, &tokens, err))
        return false;
    plan->start = engine_constraint_tokens(tokens.ids, tokens.n, err);
    return plan->start != NULL;
}

bool plan_make(struct plan *plan, struct arena *arena, const struct plan_needs *needs,
               struct err *err)
{
    const struct message_request *request = needs->request;
    const bool forced = is_forced(request), format = request->format.schema.n > 0;

    *plan = (struct plan){.budget = UINT32_MAX};
    plan->calls = forced;
    if (forced)
        plan->start = calls_constraint(arena, needs, DIALECT_FORCED, err);
    else if (format)
        plan->start = format_constraint(arena, needs, err);
    else if (!plan_calls(plan, arena, needs, err))
        return false;
    return ((!forced && !format) || plan->start) && plan_thought(plan, arena, needs, err);
}

void plan_release(struct plan *plan)
{
    constraint_free(plan->start);
    constraint_free(plan->call);
    constraint_free(plan->answer);
    plan->start = plan->call = plan->answer = NULL;
}
