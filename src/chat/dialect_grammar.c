/* dialect_grammar.c - a request's tools as the set of grammars that a call is held to.
 *
 * The grammar is what the family's template writes, with white space where models differ. Names are
 * literals, an input is its tool's schema, so after a name only that tool's input can follow.
 * Control tokens are no text: where a mark is one, it stands in the grammar by its number. */
#include "chat/grammar_writer.h"

#include <stdlib.h>
#include <yyjson.h>

#include "base/json.h"
#include "base/log.h"
#include "base/names.h"

/* Of white space there is so little that nothing can be written for ever. */
static const char white_space[] = "w: W?\nW: /[ \\t]|\\r?\\n[ \\t]{0,8}/\n";
static const char call_id[] = "ID: /[a-zA-Z0-9]{9}/\n";

enum {
    LARK_BYTES_MAX = 4 << 20,   /* only strict tools' parameters reach it: others are loosened */
    /* JSON values, keys counted too, of all schemas in a set: it compiles within a second. Claude
     * Code's own 24 tools have 2,000. */
    SCHEMA_VALUES_MAX = 40000,
};

/* ---- which tools ---- */

/* The names that results refer to. */
static struct names referred(struct arena *arena, const struct message_request *request)
{
    struct names names = {0};
    size_t room = 0;

    for (size_t m = 0; m < request->messages_n; m++)
        for (size_t b = 0; b < request->messages[m].blocks_n; b++)
            room += request->messages[m].blocks[b].content_n;
    names = names_new(arena, room);
    for (size_t m = 0; m < request->messages_n; m++)
        for (size_t b = 0; b < request->messages[m].blocks_n; b++) {
            const struct content_block *block = &request->messages[m].blocks[b];
            for (size_t i = 0; i < block->content_n; i++)
                if (block->content[i].type == BLOCK_TOOL_REFERENCE)
                    names_add(&names, block->content[i].name);
        }
    names_sort(&names);
    return names;
}

static void choose(struct writer *writer)
{
    const struct message_request *request = writer->needs->request;
    const struct tool_choice *choice = &request->tool_choice;
    const struct names shown = referred(writer->arena, request);

    writer->tools = arena_array(writer->arena, request->tools_n, sizeof *writer->tools);
    writer->any = arena_array(writer->arena, request->tools_n, sizeof *writer->any);
    for (size_t i = 0; i < request->tools_n; i++) {
        const struct tool *tool = &request->tools[i];
        if (choice->kind == CHOICE_TOOL ? i == choice->tool
                                        : !tool->deferred || names_have(&shown, tool->name))
            writer->tools[writer->tools_n++] = i;
    }
}

struct sized {
    size_t place, bytes, values;        /* place: in writer->tools */
    bool strict;
};

/* Strict ones first, then the smallest. */
static int by_size(const void *a, const void *b)
{
    const struct sized *x = a, *y = b;

    if (x->strict != y->strict)
        return x->strict ? -1 : 1;
    return x->values != y->values ? (x->values > y->values) - (x->values < y->values)
                                  : (x->place > y->place) - (x->place < y->place);
}

static struct sized size_of(const struct writer *writer, size_t place)
{
    const struct tool *tool = &writer->needs->request->tools[writer->tools[place]];
    yyjson_doc *doc = yyjson_read(tool->schema.s, tool->schema.n, YYJSON_READ_NOFLAG);
    const size_t values = doc ? yyjson_doc_get_val_count(doc) : 0;

    yyjson_doc_free(doc);
    return (struct sized){place, tool->schema.n, values, tool->strict};
}

static struct sized *sort_by_size(const struct writer *writer)
{
    struct sized *sized = arena_array(writer->arena, writer->tools_n, sizeof *sized);

    for (size_t i = 0; i < writer->tools_n; i++)
        sized[i] = size_of(writer, i);
    qsort(sized, writer->tools_n, sizeof *sized, by_size);
    return sized;
}

/* The smallest are kept as they are, as long as there is room for them; strict ones in any case:
 * the engine then says what is too much. Returns how many are not. */
static size_t make_room(struct writer *writer, const struct sized *sized, size_t lark_bytes)
{
    size_t bytes = lark_bytes, values = 0, parts = 2, loosened = 0;     /* the first, and any */

    for (size_t i = 0; i < writer->tools_n; i++) {
        bytes += sized[i].bytes;
        values += sized[i].values;
        parts++;
        const bool fits = parts <= WRITER_PARTS_MAX && bytes <= GRAMMAR_BYTES_MAX &&
                          values <= SCHEMA_VALUES_MAX;
        writer->any[sized[i].place] = !fits && !sized[i].strict;
        loosened += writer->any[sized[i].place];
    }
    return loosened;
}

/* ---- the pieces of a grammar ---- */

static void put(struct writer *writer, const char *text)
{
    buf_cstr(&writer->out, text);
}

void writer_literal(struct writer *writer, struct str text)
{
    if (text.n == 0)
        return;
    buf_char(&writer->out, ' ');
    json_quote(&writer->out, text);     /* Lark's strings are JSON's */
}

static int32_t control_of(const struct dialect_needs *needs, const char *spelling)
{
    return needs->control ? needs->control(needs->context, str_of(spelling)) : -1;
}

/* NULL: there is none. */
static void put_mark(struct writer *writer, const char *spelling)
{
    const int32_t id = spelling ? control_of(writer->needs, spelling) : -1;

    if (id >= 0)
        buf_printf(&writer->out, " <[%d]>", id);
    else if (spelling)
        writer_literal(writer, str_of(spelling));
}

void writer_schema(struct writer *writer, const struct grammar_part *part)
{
    buf_printf(&writer->out, " @%.*s", STR_ARG(part->name));
    writer->parts[writer->parts_n++] = *part;
}

void writer_shared(struct writer *writer, const char *name, const char *schema)
{
    buf_printf(&writer->out, " @%s", name);
    for (size_t i = 1; i < writer->parts_n; i++)
        if (str_is(writer->parts[i].name, name))
            return;
    writer->parts[writer->parts_n++] = (struct grammar_part){
        .language = GRAMMAR_JSON_SCHEMA, .name = str_of(name), .text = str_of(schema)};
}

static void put_input(struct writer *writer, size_t i)
{
    const size_t place = writer->tools[i];
    const struct tool *tool = &writer->needs->request->tools[place];

    if (writer->any[i])
        writer_shared(writer, "any", "{\"type\":\"object\"}");
    else
        writer_schema(writer, &(struct grammar_part){
            .language = GRAMMAR_JSON_SCHEMA, .text = tool->schema, .loose = !tool->strict,
            .name = arena_printf(writer->arena, "t%zu", place)});
}

/* "name", "arguments": INPUT: what differs from tool to tool. */
static void put_in_object(struct writer *writer, size_t i, struct str name)
{
    struct buf quoted = {0};

    json_quote(&quoted, name);
    writer_literal(writer, buf_view(&quoted));
    put(writer, " w \",\" w");
    buf_reset(&quoted);
    json_quote(&quoted, str_of(writer->dialect->input));
    writer_literal(writer, buf_view(&quoted));
    put(writer, " w \":\" w");
    put_input(writer, i);
    buf_release(&quoted);
}

static void put_named(struct writer *writer, size_t i, struct str name)
{
    writer_literal(writer, name);
    if (writer->dialect->id) {
        put(writer, " (");
        put_mark(writer, writer->dialect->id);
        put(writer, " ID )?");
    }
    put_mark(writer, writer->dialect->input);
    put_input(writer, i);
}

static void put_in_header(struct writer *writer, size_t i, struct str name)
{
    writer_literal(writer, name);
    put(writer, " head");
    put_mark(writer, HARMONY_MESSAGE);
    put_input(writer, i);
}

/* ---- whole calls, by syntax ---- */

static void put_tools(struct writer *writer)
{
    static void (*const forms[])(struct writer *, size_t, struct str) = {
        [SYNTAX_OBJECT] = put_in_object, [SYNTAX_LIST] = put_in_object,
        [SYNTAX_BARE] = put_in_object, [SYNTAX_NAMED] = put_named,
        [SYNTAX_HARMONY] = put_in_header, [SYNTAX_XML] = writer_function,
    };

    put(writer, "tool:");
    for (size_t i = 0; i < writer->tools_n; i++) {
        put(writer, i ? "\n    |" : "");
        forms[writer->dialect->syntax](writer, i,
                                       writer->needs->request->tools[writer->tools[i]].name);
    }
    put(writer, "\n");
}

/* The rule of what stands between a call's marks. */
static void put_body(struct writer *writer)
{
    switch (writer->dialect->syntax) {
    case SYNTAX_OBJECT:
    case SYNTAX_LIST:
    case SYNTAX_BARE:
        put(writer, "body: \"{\" w \"\\\"name\\\"\" w \":\" w tool w");
        if (writer->dialect->id) {
            put(writer, " ( \",\" w");
            writer_literal(writer, str_of(writer->dialect->id));
            put(writer, " w \":\" w \"\\\"\" ID \"\\\"\" w )?");
        }
        put(writer, " \"}\"\n");
        break;
    case SYNTAX_HARMONY:
        put(writer, "body: tool\nhead: (");
        put_mark(writer, HARMONY_CHANNEL);
        put(writer, " ( \"commentary\" | \"analysis\" ) )? \" \"? (");
        put_mark(writer, HARMONY_CONSTRAIN);
        put(writer, " )? \"json\"?\n");
        break;
    case SYNTAX_XML:
        put(writer, "body: \"<function=\" tool \"</function>\"\n");
        break;
    default:
        put(writer, "body: tool\n");
    }
}

/* Behind the opening mark, up to what closes the call. */
static void put_rest(struct writer *writer, bool many)
{
    const struct dialect *dialect = writer->dialect;
    const bool spaced = dialect->syntax != SYNTAX_HARMONY && dialect->syntax != SYNTAX_NAMED;

    put(writer, "rest:");
    if (dialect->syntax == SYNTAX_LIST)
        put(writer, many ? " w \"[\" w body ( w \",\" w body )* w \"]\""
                         : " w \"[\" w body w \"]\"");
    else if (dialect->syntax == SYNTAX_BARE)
        put(writer, many ? " body ( w \";\" w body )*" : " body");
    else
        put(writer, spaced ? " w body" : " body");
    if (dialect->syntax != SYNTAX_BARE && dialect->close[0]) {
        put(writer, spaced ? " w" : "");
        put_mark(writer, dialect->close[0]);
    }
    put(writer, "\n");
}

static void put_opening(struct writer *writer)
{
    const struct dialect *dialect = writer->dialect;

    if (dialect->syntax == SYNTAX_HARMONY) {
        put(writer, " (");
        put_mark(writer, HARMONY_CHANNEL);
        put(writer, " \"commentary to=functions.\" | \" to=functions.\" )");
        return;
    }
    put_mark(writer, dialect->before);
    put_mark(writer, dialect->open[0]);
}

static void put_start(struct writer *writer, bool many)
{
    const struct dialect *dialect = writer->dialect;
    const bool marked = dialect->syntax != SYNTAX_BARE;
    const bool repeated = many && (dialect->syntax == SYNTAX_OBJECT ||
                                   dialect->syntax == SYNTAX_NAMED ||
                                   dialect->syntax == SYNTAX_XML);

    put(writer, "start:");
    if (marked && writer->needs->moment == DIALECT_FORCED)
        put_opening(writer);
    put(writer, " rest");
    if (repeated) {
        put(writer, " (");
        put(writer, dialect->between[0] ? " w" : "");
        put_mark(writer, dialect->open[0]);
        put(writer, " rest )*");
    }
    put_mark(writer, dialect->after);
    put(writer, "\n");
}

static bool write_lark(struct writer *writer)
{
    const struct message_request *request = writer->needs->request;
    const bool many = !request->tool_choice.one && !writer->dialect->single;

    buf_reset(&writer->out);
    writer->parts_n = 1;
    put_start(writer, many);
    put_rest(writer, many);
    put_body(writer);
    put_tools(writer);
    put(writer, white_space);
    put(writer, writer->dialect->id ? call_id : "");
    put(writer, writer->dialect->syntax == SYNTAX_XML ? writer_function_rules : "");
    return !writer->out.overflow;
}

/* ---- the set ---- */

bool dialect_grammar(struct arena *arena, const struct dialect_needs *needs,
                     struct grammar_source *out, struct err *err)
{
    struct writer writer = {.needs = needs, .dialect = needs->dialect, .arena = arena};

    choose(&writer);
    if (writer.tools_n == 0)
        return err_set(err, ERR_INVALID, "there is no tool that could be called");
    buf_init(&writer.out, LARK_BYTES_MAX);
    writer.parts = arena_array(arena, GRAMMAR_PARTS_MAX + writer.tools_n + 1, sizeof *writer.parts);
    const struct sized *sized = sort_by_size(&writer);
    /* First without the Lark, which is as large as they are; with it, at least the same are
     * loosened. */
    const size_t at_first = make_room(&writer, sized, 0);
    bool ok = write_lark(&writer);
    const size_t loosened = make_room(&writer, sized, writer.out.n);
    if (loosened > at_first)
        ok = ok && write_lark(&writer);
    if (loosened)
        log_event(LOG_INFO, "tools_loosened", "tools=%zu of=%zu reason=size", loosened,
                  writer.tools_n);
    if (ok) {
        writer.parts[0] = (struct grammar_part){
            .language = GRAMMAR_LARK, .name = STR("call"),
            .text = arena_str(arena, buf_view(&writer.out)),
        };
        *out = (struct grammar_source){.parts = writer.parts, .parts_n = writer.parts_n};
    } else
        err_set(err, ERR_INVALID, "the tools' names and parameters are too long for a grammar");
    buf_release(&writer.out);
    return ok;
}

struct str dialect_before_answer(struct arena *arena, const struct dialect_needs *needs)
{
    struct writer writer = {.needs = needs, .dialect = needs->dialect, .arena = arena};

    for (size_t i = 0; i < DIALECT_MARKS_MAX && writer.dialect->answer[i]; i++)
        put_mark(&writer, writer.dialect->answer[i]);
    const struct str text = arena_str(arena, buf_view(&writer.out));
    buf_release(&writer.out);
    return text;
}

int32_t dialect_control_of_engine(const void *engine, struct str spelling)
{
    struct arena *arena = arena_new(1024);
    struct tokens tokens;
    struct err err;
    const bool one = engine_tokenize(engine, arena, spelling, NULL, 0, false, &tokens, &err) &&
                     tokens.n == 1 && engine_token_control(engine, tokens.ids[0]);
    const int32_t id = one ? tokens.ids[0] : -1;

    arena_free(arena);
    return id;
}
