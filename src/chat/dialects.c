/* dialects.c - the table of dialects. docs/tools.md shows what each looks like and where it is
 * from. */
#include "chat/dialect_parts.h"

#define THINK .think_open = "<think>", .think_close = "</think>"
#define HERMES                                                                                     \
    .syntax = SYNTAX_OBJECT, .open = {"<tool_call>"}, .space = "\n", .input = "arguments",         \
    .close = {"</tool_call>"}, .between = "\n"
#define XML                                                                                        \
    .syntax = SYNTAX_XML, .open = {"<tool_call>", "<function="}, .space = "\n",                    \
    .close = {"</tool_call>", "</function>"}, .between = "\n"
#define MISTRAL                                                                                    \
    .syntax = SYNTAX_NAMED, .open = {"[TOOL_CALLS]"}, .space = "", .id = "[CALL_ID]",              \
    .input = "[ARGS]", .between = ""

/* The first row of which all is found is the dialect. */
static const struct dialect dialects[] = {
    {
        .name = "harmony", .found_by = {HARMONY_CHANNEL, HARMONY_START}, .syntax = SYNTAX_HARMONY,
        .single = true,
        .think_open = HARMONY_CHANNEL "analysis" HARMONY_MESSAGE,
        .think_close = HARMONY_END HARMONY_START "assistant",
        .space = "", .between = HARMONY_START "assistant",
        .answer = {HARMONY_CHANNEL, "final", HARMONY_MESSAGE},
    },
    {.name = "qwen-xml", .found_by = {"<parameter=", "</think>"}, XML, THINK},
    {.name = "qwen-xml", .found_by = {"<parameter="}, XML},
    {
        .name = "deepseek", .found_by = {"<｜tool▁call▁begin｜>", "['name'] + '<｜tool▁sep｜>'"},
        .syntax = SYNTAX_NAMED, THINK, .before = "<｜tool▁calls▁begin｜>",
        .open = {"<｜tool▁call▁begin｜>"}, .space = "", .input = "<｜tool▁sep｜>",
        .close = {"<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"}, .after = "<｜tool▁calls▁end｜>",
        .between = "",
    },
    {
        .name = "mistral", .found_by = {"[TOOL_CALLS]", "[ARGS]", "[THINK]"}, MISTRAL,
        .think_open = "[THINK]", .think_close = "[/THINK]",
    },
    {.name = "mistral", .found_by = {"[TOOL_CALLS]", "[ARGS]"}, MISTRAL},
    {
        .name = "mistral-list", .found_by = {"[TOOL_CALLS]"}, .syntax = SYNTAX_LIST,
        .open = {"[TOOL_CALLS]"}, .space = "", .input = "arguments", .id = "\"id\"",
        .between = ", ",
    },
    {
        .name = "phi", .found_by = {"<|/tool|>"}, .syntax = SYNTAX_LIST, .open = {"<|tool_call|>"},
        .space = "", .input = "arguments", .close = {"<|/tool_call|>"}, .between = ", ",
    },
    {
        .name = "granite", .found_by = {"<|tool_call|>"}, .syntax = SYNTAX_LIST,
        .open = {"<|tool_call|>"}, .space = "", .input = "arguments", .between = ", ",
    },
    {
        .name = "llama", .found_by = {"<|start_header_id|>", "\"parameters\""},
        .syntax = SYNTAX_BARE, .open = {"<|python_tag|>"}, .space = "", .input = "parameters",
        .between = "; ", .close = {";"},
    },
    {.name = "hermes", .found_by = {"<tool_call>", "</think>"}, HERMES, THINK},
    {.name = "hermes", .found_by = {"<tool_call>"}, HERMES},
    {.name = "generic", .found_by = {"</think>"}, HERMES, THINK},
    {.name = "generic", HERMES},
};

static bool contains(struct str text, const char *part)
{
    return text.n && memmem(text.s, text.n, part, strlen(part));
}

static bool is_found(const struct dialect *dialect, struct str source)
{
    for (size_t i = 0; i < DIALECT_MARKS_MAX && dialect->found_by[i]; i++)
        if (!contains(source, dialect->found_by[i]))
            return false;
    return true;
}

const struct dialect *dialect_find(struct str template_source)
{
    const struct dialect *dialect = dialects;

    while (!is_found(dialect, template_source))
        dialect++;                      /* the last row asks for nothing */
    return dialect;
}

const char *dialect_name(const struct dialect *dialect)
{
    return dialect->name;
}

bool dialect_thinks(const struct dialect *dialect, struct str *open, struct str *close)
{
    if (!dialect->think_open)
        return false;
    *open = str_of(dialect->think_open);
    *close = str_of(dialect->think_close);
    return true;
}
