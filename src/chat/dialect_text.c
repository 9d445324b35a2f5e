/* dialect_text.c - calls as the model writes them, and in words how to write one: for templates
 * that don't know tools. */
#include "chat/dialect_parts.h"

#include <stdlib.h>
#include <yyjson.h>

#include "base/json.h"

/* A mark that there may be none of. */
static void put(struct buf *out, const char *mark)
{
    if (mark)
        buf_cstr(out, mark);
}

/* JSON as templates write it: a space behind each comma and colon, and no other. */
static void put_json(struct buf *out, struct str json)
{
    bool inside = false;

    for (size_t i = 0; i < json.n; i++) {
        const char c = json.s[i];
        if (!inside && (c == ' ' || c == '\n' || c == '\t' || c == '\r'))
            continue;
        buf_char(out, c);
        if (inside && c == '\\' && i + 1 < json.n)
            buf_char(out, json.s[++i]);
        else if (c == '"')
            inside = !inside;
        else if (!inside && (c == ',' || c == ':'))
            buf_char(out, ' ');
    }
}

static void put_object(struct buf *out, const struct dialect *dialect,
                       const struct content_block *call)
{
    buf_cstr(out, "{\"name\": ");
    json_quote(out, call->name);
    buf_printf(out, ", \"%s\": ", dialect->input);
    put_json(out, call->text);
    buf_char(out, '}');
}

/* Strings as they are, everything else as JSON. */
static void put_parameters(struct buf *out, struct str input)
{
    yyjson_doc *doc = yyjson_read(input.s, input.n, YYJSON_READ_NUMBER_AS_RAW);
    yyjson_val *key, *value;
    size_t i, n;

    yyjson_obj_foreach(yyjson_doc_get_root(doc), i, n, key, value) {
        size_t json_n = 0;
        char *json = yyjson_is_str(value) ? NULL : yyjson_val_write(value, 0, &json_n);
        buf_cstr(out, "<parameter=");
        buf_str(out, json_str(key));
        buf_cstr(out, ">\n");
        if (json)
            put_json(out, (struct str){json, json_n});
        else
            buf_str(out, json_str(value));
        buf_cstr(out, "\n</parameter>\n");
        free(json);
    }
    yyjson_doc_free(doc);
}

static void put_marked(struct buf *out, const struct dialect *dialect,
                       const struct content_block *call)
{
    put(out, dialect->open[0]);
    buf_cstr(out, dialect->space);
    switch (dialect->syntax) {
    case SYNTAX_NAMED:
        buf_str(out, call->name);
        buf_cstr(out, dialect->input);
        put_json(out, call->text);
        break;
    case SYNTAX_XML:
        buf_printf(out, "<function=%.*s>\n", STR_ARG(call->name));
        put_parameters(out, call->text);
        buf_cstr(out, "</function>");
        break;
    default:
        put_object(out, dialect, call);
    }
    buf_cstr(out, dialect->space);
    put(out, dialect->close[0]);
}

static void put_one(struct buf *out, const struct dialect *dialect,
                    const struct content_block *call)
{
    switch (dialect->syntax) {
    case SYNTAX_LIST:
    case SYNTAX_BARE:
        put_object(out, dialect, call);
        break;
    case SYNTAX_HARMONY:
        buf_printf(out, HARMONY_TO "%.*s" HARMONY_CHANNEL "commentary json" HARMONY_MESSAGE,
                   STR_ARG(call->name));
        put_json(out, call->text);
        buf_cstr(out, HARMONY_CALL);
        break;
    default:
        put_marked(out, dialect, call);
    }
}

bool dialect_put_calls(struct buf *out, const struct dialect *dialect,
                       const struct content_block *calls, size_t n)
{
    const bool list = dialect->syntax == SYNTAX_LIST;

    put(out, dialect->before);
    if (list)
        buf_printf(out, "%s[", dialect->open[0]);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_cstr(out, dialect->between);
        put_one(out, dialect, &calls[i]);
    }
    if (list)
        buf_char(out, ']');
    if (list)
        put(out, dialect->close[0]);
    put(out, dialect->after);
    return !out->overflow;
}

static void put_tool(struct buf *out, const struct tool *tool)
{
    buf_cstr(out, "{\"name\": ");
    json_quote(out, tool->name);
    if (tool->description.n) {
        buf_cstr(out, ", \"description\": ");
        json_quote(out, tool->description);
    }
    buf_cstr(out, ", \"parameters\": ");
    put_json(out, tool->schema);
    buf_cstr(out, "}\n");
}

void dialect_wording(struct buf *out, const struct dialect *dialect,
                     const struct message_request *request)
{
    const struct content_block example = {
        .type = BLOCK_TOOL_USE, .name = STR("tool_name"),
        .text = STR("{\"parameter_name\": \"its value\"}"),
    };
    const bool one = request->tool_choice.one || dialect->single;

    buf_cstr(out, "# Tools\n\nYou can call these tools. Each line is one of them as JSON: its "
                  "name, what it does, and the JSON Schema of its parameters.\n<tools>\n");
    for (size_t i = 0; i < request->tools_n; i++)
        put_tool(out, &request->tools[i]);
    buf_cstr(out, "</tools>\n\nTo call a tool, write exactly this and nothing behind it, with the "
                  "tool's name and all parameters that its schema requires:\n");
    dialect_put_calls(out, dialect, &example, 1);
    buf_cstr(out, one ? "\nCall one tool at a time; its result comes in the next message."
                      : "\nSeveral calls may follow each other; their results come in the next "
                        "message.");
    buf_cstr(out, " If no tool helps, answer without one.");
}
