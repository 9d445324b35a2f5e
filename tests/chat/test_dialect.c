/* Dialects: which template has which; calls as each writes them, and back; the grammars of calls,
 * with marks as text and as control tokens, which stand between \1 and \2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "../engine/vocab_small.h"
#include "chat/blocks.h"
#include "dialects.h"
#include "engine/constraint.h"

#define CONTROL(spelling) "\1" spelling "\2"
#define TOOL(tool_name, tool_schema)                                                               \
    {.name = {tool_name, sizeof tool_name - 1}, .schema = {tool_schema, sizeof tool_schema - 1}}

static struct tool tools[] = {
    TOOL("get_time", "{\"type\":\"object\",\"properties\":{\"zone\":{\"type\":\"string\"},\"at\":"
                     "{\"type\":\"integer\"}},\"required\":[\"zone\"],\"additionalProperties\":false}"),
    TOOL("stop", "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}"),
    TOOL("later", "{\"type\":\"object\"}"),
};

static const struct content_block calls[] = {
    {.type = BLOCK_TOOL_USE, .name = {"get_time", 8}, .text = {"{\"zone\":\"a, \\\"b\\\"\",\"at\":7}", 26}},
    {.type = BLOCK_TOOL_USE, .name = {"stop", 4}, .text = {"{}", 2}},
};

/* ---- text ---- */

/* As each family's own template writes these calls (jinja2 3.1.6), up to the end of the turn;
 * without the ids that Mistral's need, and what stands between two calls of Llama and gpt-oss is
 * from their documentation: their templates take one. Phi's and Granite's templates write none. */
static const struct {
    const char *family, *text;
} written[] = {
    {"hermes", "<tool_call>\n{\"name\": \"get_time\", \"arguments\": {\"zone\": \"a, \\\"b\\\"\", \"at\": 7}}\n"
               "</tool_call>\n<tool_call>\n{\"name\": \"stop\", \"arguments\": {}}\n</tool_call>"},
    {"qwen-xml", "<tool_call>\n<function=get_time>\n<parameter=zone>\na, \"b\"\n</parameter>\n"
                 "<parameter=at>\n7\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n"
                 "<function=stop>\n</function>\n</tool_call>"},
    {"mistral", "[TOOL_CALLS]get_time[ARGS]{\"zone\": \"a, \\\"b\\\"\", \"at\": 7}[TOOL_CALLS]stop[ARGS]{}"},
    {"mistral-list", "[TOOL_CALLS][{\"name\": \"get_time\", \"arguments\": {\"zone\": \"a, \\\"b\\\"\", "
                     "\"at\": 7}}, {\"name\": \"stop\", \"arguments\": {}}]"},
    {"phi", "<|tool_call|>[{\"name\": \"get_time\", \"arguments\": {\"zone\": \"a, \\\"b\\\"\", \"at\": 7}}, "
            "{\"name\": \"stop\", \"arguments\": {}}]<|/tool_call|>"},
    {"granite", "<|tool_call|>[{\"name\": \"get_time\", \"arguments\": {\"zone\": \"a, \\\"b\\\"\", \"at\": 7}}, "
                "{\"name\": \"stop\", \"arguments\": {}}]"},
    {"llama", "{\"name\": \"get_time\", \"parameters\": {\"zone\": \"a, \\\"b\\\"\", \"at\": 7}}; "
              "{\"name\": \"stop\", \"parameters\": {}}"},
    {"deepseek", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_time<｜tool▁sep｜>{\"zone\": "
                 "\"a, \\\"b\\\"\", \"at\": 7}<｜tool▁call▁end｜><｜tool▁call▁begin｜>stop"
                 "<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"},
    {"harmony", " to=functions.get_time<|channel|>commentary json<|message|>{\"zone\": \"a, \\\"b\\\"\", "
                "\"at\": 7}<|call|><|start|>assistant to=functions.stop<|channel|>commentary json"
                "<|message|>{}<|call|>"},
};

static void names_by_template(void **state)
{
    assert_string_equal(dialect_name(dialect_find((struct str){0})), "generic");
    for (size_t i = 0; i < FAMILIES; i++) {
        const char *name = strcmp(families[i].name, "thinking") == 0 ? "hermes" : families[i].name;
        assert_string_equal(dialect_name(family(families[i].name)), name);
    }
    (void)state;
}

static void thoughts_by_template(void **state)
{
    struct str open, close;

    assert_true(dialect_thinks(family("thinking"), &open, &close));
    assert_true(str_is(open, "<think>") && str_is(close, "</think>"));
    assert_false(dialect_thinks(family("hermes"), &open, &close));
    (void)state;
}

static void calls_as_the_templates_write_them(void **state)
{
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        struct buf out = {0};
        assert_true(dialect_put_calls(&out, family(written[i].family), calls, 2));
        if (!str_is(buf_view(&out), written[i].text))
            fail_msg("%s: %.*s", written[i].family, STR_ARG(buf_view(&out)));
        buf_release(&out);
    }
    (void)state;
}

static void collect(void *context, const struct blocks_event *event)
{
    if (event->kind == BLOCKS_OPEN)
        buf_str(context, event->type == BLOCK_TOOL_USE ? event->name : STR("?"));
    if (event->kind == BLOCKS_DELTA)
        buf_str(context, event->text);
    if (event->kind == BLOCKS_CLOSE)
        buf_char(context, event->broken ? '!' : ';');
}

static void written_calls_are_read_back(void **state)
{
    const struct message_request request = {.tools = tools, .tools_n = 3};

    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        struct buf out = {0};
        struct blocks blocks;
        blocks_init(&blocks, &(struct blocks_options){
            .dialect = family(written[i].family), .request = &request, .tools = true});
        blocks_feed(&blocks, str_of(written[i].text), false, collect, &out);
        blocks_end(&blocks, collect, &out);
        if (!str_is(buf_view(&out), "get_time{\"zone\": \"a, \\\"b\\\"\", \"at\": 7};stop{};"))
            fail_msg("%s: %.*s", written[i].family, STR_ARG(buf_view(&out)));
        blocks_release(&blocks);
        buf_release(&out);
    }
    (void)state;
}

static void wording_shows_tools_and_syntax(void **state)
{
    const struct message_request request = {.tools = tools, .tools_n = 2};

    for (size_t i = 0; i < FAMILIES; i++) {
        struct buf out = {0};
        dialect_wording(&out, family(families[i].name), &request);
        buf_char(&out, '\0');
        assert_non_null(strstr(out.data, "{\"name\": \"stop\", \"parameters\": {\"type\": \"object\", "));
        assert_null(strstr(out.data, "\"later\""));
        assert_non_null(strstr(out.data, "tool_name"));
        buf_release(&out);
    }
    (void)state;
}

/* ---- grammars ---- */

struct room {
    struct vocab *vocab;
    struct grammars *grammars;
};

static int room_open(void **state)
{
    static const char *const marks[] = {
        "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]", "<|channel|>", "<|message|>", "<|constrain|>",
        "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>", "<|tool_call|>", "<|/tool_call|>",
    };
    struct small *small = malloc(sizeof *small);
    struct room *room = calloc(1, sizeof *room);

    small_init(small, NULL);
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        small_token(small, marks[i], TOKEN_CONTROL);
    room->vocab = vocab_new(&small->source, NULL);
    free(small);
    room->grammars = grammars_new(room->vocab, (uint32_t)vocab_size(room->vocab));
    *state = room;
    return 0;
}

static int room_close(void **state)
{
    struct room *room = *state;

    grammars_free(room->grammars);
    vocab_free(room->vocab);
    free(room);
    return 0;
}

static int32_t control(const void *context, struct str spelling)
{
    const struct room *room = context;
    const int32_t id = vocab_find(room->vocab, spelling);

    return id >= 0 && vocab_type(room->vocab, id) == TOKEN_CONTROL ? id : -1;
}

static struct constraint *compile(struct room *room, const struct grammar_source *source)
{
    struct err err = {0};
    struct grammar *grammar = grammars_take(room->grammars, source, &err);

    if (!grammar)
        fail_msg("%s\n%.*s", err.text, STR_ARG(source->parts[0].text));
    return constraint_new(room->grammars, grammar, &err);
}

static struct constraint *constrain(struct room *room, const struct dialect_needs *needs)
{
    struct arena *arena = arena_new(1024);
    struct grammar_source source;
    struct err err = {0};

    if (!dialect_grammar(arena, needs, &source, &err))
        fail_msg("%s: %s", dialect_name(needs->dialect), err.text);
    struct constraint *constraint = compile(room, &source);
    arena_free(arena);
    return constraint;
}

enum verdict { WHOLE, BEGUN, WRONG };

static bool is_allowed(struct room *room, struct constraint *constraint, int32_t id)
{
    float logits[SMALL_TOKENS_MAX] = {0};
    struct err err = {0};

    assert_true(constraint_mask(constraint, logits, (size_t)vocab_size(room->vocab), &err));
    return logits[id] == 0;
}

/* The next token of the text: a byte, or a control token. */
static int32_t next(const struct room *room, const char **text)
{
    if (**text != '\1')
        return vocab_byte(room->vocab, (uint8_t)*(*text)++);
    const char *begin = *text + 1, *end = strchr(begin, '\2');
    *text = end + 1;
    return vocab_find(room->vocab, (struct str){begin, (size_t)(end - begin)});
}

static enum verdict follow(struct room *room, struct constraint *constraint, const char *text)
{
    struct err err = {0};

    while (*text) {
        const int32_t id = next(room, &text);
        if (!is_allowed(room, constraint, id))
            return WRONG;
        if (constraint_take(constraint, id, UINT32_MAX, &err) == CONSTRAINT_COMPLETE)
            return *text ? WRONG : WHOLE;
    }
    return is_allowed(room, constraint, vocab_find(room->vocab, STR("<|im_end|>"))) ? WHOLE : BEGUN;
}

static void check(struct room *room, const struct dialect_needs *needs, const char *text,
                  enum verdict verdict)
{
    struct constraint *constraint = constrain(room, needs);
    const enum verdict is = follow(room, constraint, text);

    if (is != verdict)
        fail_msg("%s: %s gives %d", dialect_name(needs->dialect), text, (int)is);
    constraint_free(constraint);
}

static void grammars_take_what_the_templates_write(void **state)
{
    const struct message_request request = {
        .tools = tools, .tools_n = 3, .tool_choice = {.kind = CHOICE_ANY}};

    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        char text[512];
        snprintf(text, sizeof text, "%s", written[i].text);
        char *end = strstr(text, "<|call|>");           /* it ends the answer */
        if (end)
            *end = '\0';
        check(*state, &(struct dialect_needs){
            .dialect = family(written[i].family), .request = &request}, text, WHOLE);
    }
}

#define TIME(space) "{\"name\": \"get_time\", \"arguments\":" space "{\"zone\": \"x\"}}"

static const struct {
    const char *family;
    enum dialect_moment moment;
    const char *text;
    enum verdict verdict;
} cases[] = {
    {"hermes", DIALECT_FORCED, "<tool_call>" TIME("") "</tool_call>", WHOLE},
    {"hermes", DIALECT_FORCED, "<tool_call>\n" TIME(" "), BEGUN},
    {"hermes", DIALECT_FORCED, "{", WRONG},
    {"hermes", DIALECT_FORCED, "<tool_call>\n{\"name\": \"nobody", WRONG},
    {"hermes", DIALECT_FORCED, "<tool_call>\n{\"name\": \"get_time\", \"arguments\": {}", WRONG},
    {"hermes", DIALECT_FORCED, "<tool_call>\n{\"name\": \"stop\", \"arguments\": {\"", WRONG},
    {"hermes", DIALECT_FORCED, "<tool_call>\n{\"name\": \"later\", \"arguments\": {\"a\": [{}]}}\n</tool_call>",
     WHOLE},
    {"hermes", DIALECT_OPENED, "\n" TIME(" ") "\n</tool_call>\n<tool_call>\n" TIME(" ") "\n</tool_call>", WHOLE},
    {"hermes", DIALECT_OPENED, "\n" TIME(" ") "\n</tool_call> So", WRONG},
    {"hermes", DIALECT_OPENED, "<tool_call>", WRONG},
    {"mistral", DIALECT_FORCED, CONTROL("[TOOL_CALLS]") "stop" CONTROL("[ARGS]") "{}", WHOLE},
    {"mistral", DIALECT_FORCED, CONTROL("[TOOL_CALLS]") "stop" CONTROL("[CALL_ID]") "abcdefghi"
                                CONTROL("[ARGS]") "{}" CONTROL("[TOOL_CALLS]") "stop" CONTROL("[ARGS]")
                                "{}", WHOLE},
    {"mistral", DIALECT_FORCED, "[TOOL", WRONG},
    {"mistral", DIALECT_OPENED, "stop" CONTROL("[ARGS]") "{}", WHOLE},
    {"mistral-list", DIALECT_OPENED, "[" TIME(" ") "]", WHOLE},
    {"mistral-list", DIALECT_OPENED, "[]", WRONG},
    {"mistral-list", DIALECT_OPENED, "[{\"name\": \"stop\", \"arguments\": {}, \"id\": \"abcdefghi\"}]", WHOLE},
    {"mistral-list", DIALECT_OPENED, "[{\"name\": \"stop\", \"arguments\": {}, \"id\": \"abc\"", WRONG},
    {"phi", DIALECT_FORCED, CONTROL("<|tool_call|>") "[" TIME(" ") "]" CONTROL("<|/tool_call|>"), WHOLE},
    {"phi", DIALECT_FORCED, CONTROL("<|tool_call|>") "[" TIME(" ") "]", BEGUN},
    {"granite", DIALECT_FORCED, CONTROL("<|tool_call|>") "[" TIME(" ") ", " TIME(" ") "]", WHOLE},
    {"llama", DIALECT_OPENED, "{\"name\" :\"stop\", \"parameters\":{}}", WHOLE},
    {"llama", DIALECT_FORCED, "{\"name\": \"stop\", \"arguments\"", WRONG},
    {"harmony", DIALECT_FORCED, CONTROL("<|channel|>") "commentary to=functions.stop "
                                CONTROL("<|constrain|>") "json" CONTROL("<|message|>") "{}", WHOLE},
    {"harmony", DIALECT_OPENED, "stop" CONTROL("<|channel|>") "commentary json" CONTROL("<|message|>") "{}",
     WHOLE},
    {"harmony", DIALECT_FORCED, CONTROL("<|channel|>") "final", WRONG},
    {"deepseek", DIALECT_FORCED, CONTROL("<｜tool▁calls▁begin｜>") CONTROL("<｜tool▁call▁begin｜>") "stop"
                                 CONTROL("<｜tool▁sep｜>") "{}" CONTROL("<｜tool▁call▁end｜>")
                                 CONTROL("<｜tool▁calls▁end｜>"), WHOLE},
    {"qwen-xml", DIALECT_FORCED, "<tool_call>\n<function=get_time>\n<parameter=at>", WRONG},
    {"qwen-xml", DIALECT_OPENED, "\n<function=get_time>\n<parameter=zone>\na </b>\nc\n</parameter>\n"
                                 "</function>\n</tool_call>", WHOLE},
    {"qwen-xml", DIALECT_OPENED, "\n<function=get_time>\n<parameter=zone>\na\n</parameter>\n<parameter=at>\nx",
     WRONG},
    {"qwen-xml", DIALECT_OPENED, "\n<function=later>\n<parameter=any>\na\n</parameter>\n</function>\n"
                                 "</tool_call>", WHOLE},
};

static void texts_against_grammars(void **state)
{
    const struct message_request request = {
        .tools = tools, .tools_n = 3, .tool_choice = {.kind = CHOICE_ANY}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(*state, &(struct dialect_needs){
            .dialect = family(cases[i].family), .request = &request, .moment = cases[i].moment,
            .control = control, .context = *state}, cases[i].text, cases[i].verdict);
}

static void choices_are_kept(void **state)
{
    struct message_request request = {
        .tools = tools, .tools_n = 3, .tool_choice = {.kind = CHOICE_TOOL, .tool = 1, .one = true}};
    struct dialect_needs needs = {.dialect = family("hermes"), .request = &request};

    check(*state, &needs, "<tool_call>{\"name\": \"stop\", \"arguments\": {}}</tool_call>", WHOLE);
    check(*state, &needs, "<tool_call>{\"name\": \"stop\", \"arguments\": {}}</tool_call><", WRONG);
    check(*state, &needs, "<tool_call>{\"name\": \"get", WRONG);
    needs.dialect = family("granite");
    check(*state, &needs, "<|tool_call|>[{\"name\": \"stop\", \"arguments\": {}},", WRONG);
}

static void deferred_tools_are_called_once_they_are_shown(void **state)
{
    struct tool some[] = {tools[0], tools[1]};
    struct content_block reference = {.type = BLOCK_TOOL_REFERENCE, .name = STR("stop")};
    struct content_block result = {.type = BLOCK_TOOL_RESULT, .content = &reference, .content_n = 1};
    struct message message = {.blocks = &result, .blocks_n = 1};
    struct message_request request = {
        .tools = some, .tools_n = 2, .messages = &message, .tool_choice = {.kind = CHOICE_ANY}};
    const struct dialect_needs needs = {.dialect = family("hermes"), .request = &request};

    some[1].deferred = true;
    check(*state, &needs, "<tool_call>{\"name\": \"st", WRONG);
    request.messages_n = 1;
    check(*state, &needs, "<tool_call>{\"name\": \"st", BEGUN);
}

/* Many tools, and large ones: the smallest keep their schemas. */
static void what_is_too_much_is_held_to_any_object(void **state)
{
    enum { MANY = 1000 };
    struct arena *arena = arena_new(1 << 20);
    struct tool *many = arena_array(arena, MANY, sizeof *many);
    const struct message_request request = {
        .tools = many, .tools_n = MANY, .tool_choice = {.kind = CHOICE_ANY}};
    const struct dialect_needs needs = {.dialect = family("hermes"), .request = &request};
    struct grammar_source source;
    struct err err = {0};

    for (size_t i = 0; i < MANY; i++)
        many[i] = (struct tool){
            .name = arena_printf(arena, "tool_%zu", i),
            .schema = arena_printf(arena, "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"boolean\"}},"
                                   "\"additionalProperties\":false,\"title\":\"%*d\"}",
                                   (int)(i % 2 ? 3 : 4000), 7)};
    assert_true(dialect_grammar(arena, &needs, &source, &err));
    assert_int_equal(source.parts_n, GRAMMAR_PARTS_MAX - 2);
    check(*state, &needs, "<tool_call>{\"name\": \"tool_1\", \"arguments\": {\"b", WRONG);
    check(*state, &needs, "<tool_call>{\"name\": \"tool_998\", \"arguments\": {\"b\": 1}}</tool_call>", WHOLE);
    arena_free(arena);
}

/* A tool of so many parameters. */
static struct tool wide_tool(struct arena *arena, const char *name, int parameters)
{
    struct buf schema = {0};

    buf_cstr(&schema, "{\"type\":\"object\",\"properties\":{");
    for (int i = 0; i < parameters; i++)
        buf_printf(&schema, "%s\"p%d\":{\"type\":\"integer\"}", i ? "," : "", i);
    buf_cstr(&schema, "},\"required\":[");
    for (int i = 0; i < parameters; i++)
        buf_printf(&schema, "%s\"p%d\"", i ? "," : "", i);
    buf_cstr(&schema, "]}");
    const struct tool tool = {.name = str_of(name), .schema = arena_str(arena, buf_view(&schema))};
    buf_release(&schema);
    return tool;
}

/* In Qwen3-Coder's syntax each parameter is a part of its own, and what is too much goes
 * without. */
static void parameters_fit_in_a_set(void **state)
{
    struct arena *arena = arena_new(1 << 16);
    struct tool some[] = {wide_tool(arena, "wide", GRAMMAR_PARTS_MAX),
                          wide_tool(arena, "wider", 150000)};
    const struct message_request request = {
        .tools = some, .tools_n = 2, .tool_choice = {.kind = CHOICE_ANY}};
    const struct dialect_needs needs = {.dialect = family("qwen-xml"), .request = &request};
    struct grammar_source source;
    struct err err = {0};

    assert_true(dialect_grammar(arena, &needs, &source, &err));
    assert_true(source.parts_n <= GRAMMAR_PARTS_MAX - 2);
    check(*state, &needs, "<tool_call>\n<function=wider>\n<parameter=any>\n1\n</parameter>\n</function>\n"
                          "</tool_call>", WHOLE);

    some[1].strict = true;
    assert_false(dialect_grammar(arena, &needs, &source, &err));
    assert_string_equal(err.text, "the tools' names and parameters are too long for a grammar");
    arena_free(arena);
}

/* What the reader would take for something else is never written. */
static void names_that_are_none_are_left_out(void **state)
{
    struct tool odd = TOOL("odd", "{\"type\":\"object\",\"properties\":{\"a>b\":{\"type\":\"integer\"},"
                                  "\"<c\":{},\"d\\n\":{},\"\":{},\"e\":{\"type\":\"string\",\"enum\":"
                                  "[\"x</parameter>\"]}},\"required\":[\"a>b\",\"e\"]}");
    const struct message_request request = {
        .tools = &odd, .tools_n = 1, .tool_choice = {.kind = CHOICE_ANY}};
    const struct dialect_needs needs = {.dialect = family("qwen-xml"), .request = &request};

    check(*state, &needs, "<tool_call>\n<function=odd>\n<parameter=e>\ny\n</parameter>\n</function>\n"
                          "</tool_call>", WHOLE);
    check(*state, &needs, "<tool_call>\n<function=odd>\n<parameter=a", WRONG);
}

/* Behind it, and nowhere else. */
static void a_text_stands_behind_its_header(void **state)
{
    struct room *room = *state;
    struct arena *arena = arena_new(1024);
    struct dialect_needs needs = {.dialect = family("harmony"), .control = control, .context = room};
    const struct {
        const char *text;
        enum verdict verdict;
    } answers[] = {
        {CONTROL("<|channel|>") "final" CONTROL("<|message|>") "true", WHOLE},
        {CONTROL("<|channel|>") "final" CONTROL("<|message|>") "no", WRONG},
        {CONTROL("<|channel|>") "commentary", WRONG},
        {"true", WRONG},
    };
    struct grammar_part parts[] = {
        {.language = GRAMMAR_LARK, .name = STR("turn")},
        {.language = GRAMMAR_JSON_SCHEMA, .name = STR("answer"), .text = STR("{\"type\":\"boolean\"}")},
    };

    parts[0].text = arena_printf(arena, "start:%.*s @answer\n",
                                 STR_ARG(dialect_before_answer(arena, &needs)));
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct constraint *constraint = compile(room, &(struct grammar_source){
            .parts = parts, .parts_n = 2});
        assert_int_equal(follow(room, constraint, answers[i].text), answers[i].verdict);
        constraint_free(constraint);
    }
    needs.dialect = family("hermes");
    assert_int_equal(dialect_before_answer(arena, &needs).n, 0);
    arena_free(arena);
}

static void no_tool_is_an_error(void **state)
{
    const struct message_request request = {0};
    struct arena *arena = arena_new(64);
    struct grammar_source source;
    struct err err = {0};

    assert_false(dialect_grammar(arena, &(struct dialect_needs){
        .dialect = family("hermes"), .request = &request}, &source, &err));
    assert_int_equal(err.code, ERR_INVALID);
    arena_free(arena);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_by_template),
        cmocka_unit_test(thoughts_by_template),
        cmocka_unit_test(calls_as_the_templates_write_them),
        cmocka_unit_test(written_calls_are_read_back),
        cmocka_unit_test(wording_shows_tools_and_syntax),
        cmocka_unit_test(grammars_take_what_the_templates_write),
        cmocka_unit_test(texts_against_grammars),
        cmocka_unit_test(choices_are_kept),
        cmocka_unit_test(deferred_tools_are_called_once_they_are_shown),
        cmocka_unit_test(what_is_too_much_is_held_to_any_object),
        cmocka_unit_test(parameters_fit_in_a_set),
        cmocka_unit_test(names_that_are_none_are_left_out),
        cmocka_unit_test(a_text_stands_behind_its_header),
        cmocka_unit_test(no_tool_is_an_error),
    };

    return cmocka_run_group_tests(tests, room_open, room_close);
}
