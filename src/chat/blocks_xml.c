/* blocks_xml.c - a call as Qwen3-Coder writes it, turned into JSON as it comes:
 *   <function=NAME> <parameter=KEY>\nvalue\n</parameter> ... </function>
 *
 * The hard thing is that a value doesn't say whether it is a string: its tool's schema does.
 * Strings go out as they come, others once they are seen whole, as what they are in JSON if that is
 * one of the types they may have, and as a string if not. */
#include "chat/blocks_parts.h"

#include <yyjson.h>

#include "base/json.h"

static const char function_open[] = "<function=", parameter_open[] = "<parameter=";
static const char function_close[] = "</function>", parameter_close[] = "</parameter>";

static bool go(struct call *call, enum call_step step)
{
    call->step = step;
    buf_reset(&call->value);
    return true;
}

static bool say(struct blocks *blocks, struct str text)
{
    blocks_say(blocks, BLOCK_TOOL_USE, text);
    return true;
}

/* ---- types ---- */

/* NULL: the request has no such tool, or its schema can't be read. */
static yyjson_doc *schema_of(const struct blocks *blocks, struct str name)
{
    const struct message_request *request = blocks->options.request;

    for (size_t i = 0; request && i < request->tools_n; i++)
        if (str_equal(request->tools[i].name, name))
            return yyjson_read(request->tools[i].schema.s, request->tools[i].schema.n,
                               YYJSON_READ_NOFLAG);
    return NULL;
}

static const char *type_name(yyjson_val *value)
{
    switch (yyjson_get_type(value)) {
    case YYJSON_TYPE_OBJ:
        return "object";
    case YYJSON_TYPE_ARR:
        return "array";
    case YYJSON_TYPE_STR:
        return "string";
    case YYJSON_TYPE_NUM:
        return yyjson_is_int(value) ? "integer" : "number";
    case YYJSON_TYPE_BOOL:
        return "boolean";
    default:
        return "null";
    }
}

/* NULL: nothing is said of it. */
static yyjson_val *parameter_type(const struct call *call)
{
    yyjson_val *all = yyjson_obj_get(yyjson_doc_get_root(call->schema), "properties");

    return yyjson_obj_get(yyjson_obj_getn(all, call->key.data, call->key.n), "type");
}

/* As the value would have been written for it: a number that is an integer is a number too. */
static bool is_of_type(yyjson_val *value, yyjson_val *type)
{
    const char *name = type_name(value);

    if (!type)
        return !yyjson_is_str(value);   /* with quotes around it, it is a string that has quotes */
    return json_names(type, name) || (strcmp(name, "integer") == 0 && json_names(type, "number"));
}

/* ---- values ---- */

static bool put_string(struct blocks *blocks, struct str text)
{
    struct buf quoted = {0};
    const bool ok = json_escape(&quoted, text);

    say(blocks, buf_view(&quoted));
    buf_release(&quoted);
    return ok;
}

/* Without the line breaks that belong to the marks. */
static struct str inside(struct str text)
{
    if (text.n && text.s[0] == '\n')
        text = (struct str){text.s + 1, text.n - 1};
    if (text.n && text.s[text.n - 1] == '\n')
        text.n--;
    return text;
}

static bool other_ends(struct blocks *blocks)
{
    struct call *call = &blocks->call;
    const struct str text = inside(buf_view(&call->value));
    yyjson_doc *doc = yyjson_read(text.s, text.n, YYJSON_READ_NOFLAG);
    struct json_follow follow = {0};
    enum json_step step = JSON_MORE;

    for (size_t i = 0; i < text.n && step == JSON_MORE; i++)    /* nesting: as in any other call */
        step = json_follow(&follow, text.s[i]);
    if (doc && step != JSON_WRONG && is_of_type(yyjson_doc_get_root(doc), parameter_type(call))) {
        say(blocks, text);
    } else {
        say(blocks, STR("\""));
        put_string(blocks, text);
        say(blocks, STR("\""));
    }
    yyjson_doc_free(doc);
    return go(call, CALL_TAG);
}

static bool in_other(struct blocks *blocks, char c)
{
    struct call *call = &blocks->call;

    buf_char(&call->value, c);
    if (!str_ends(buf_view(&call->value), STR(parameter_close)))
        return call->value.n < BLOCKS_HELD_MAX;
    call->value.n -= sizeof parameter_close - 1;
    return other_ends(blocks);
}

static bool begins(struct str text, const char *mark)
{
    return str_starts(str_of(mark), text);
}

/* What may be the closing mark, or the line break before it, is kept in value. */
static bool in_string(struct blocks *blocks, char c)
{
    struct call *call = &blocks->call;

    buf_char(&call->value, c);
    while (call->value.n) {
        const struct str kept = buf_view(&call->value);
        const struct str line = {kept.s + 1, kept.n - 1};
        const struct str mark = kept.s[0] == '\n' ? line : kept;
        if (str_is(mark, parameter_close)) {
            say(blocks, STR("\""));
            return go(call, CALL_TAG);
        }
        if (begins(mark, parameter_close))
            return true;
        put_string(blocks, (struct str){kept.s, 1});
        buf_consume(&call->value, 1);
    }
    return true;
}

static bool string_begins(struct blocks *blocks, char c)
{
    go(&blocks->call, CALL_STRING);
    say(blocks, STR("\""));
    return c == '\n' || in_string(blocks, c);
}

/* ---- tags ---- */

static bool function_begins(struct blocks *blocks)
{
    struct call *call = &blocks->call;

    call->schema = schema_of(blocks, buf_view(&call->name));
    call->named = true;
    blocks_tell_call(blocks);
    say(blocks, STR("{"));
    return go(call, CALL_TAG);
}

static bool in_function_name(struct blocks *blocks, char c)
{
    struct call *call = &blocks->call;

    if (c == '>')
        return call->name.n > 0 && function_begins(blocks);
    return (unsigned char)c > ' ' && c != '<' && call->name.n < BLOCKS_NAME_MAX &&
           buf_char(&call->name, c);
}

static bool parameter_begins(struct blocks *blocks)
{
    struct call *call = &blocks->call;
    yyjson_val *type = parameter_type(call);

    if (call->parameters++)
        say(blocks, STR(", "));
    say(blocks, STR("\""));
    put_string(blocks, buf_view(&call->key));
    say(blocks, STR("\": "));
    return go(call, yyjson_equals_str(type, "string") ? CALL_STRING_BEGIN : CALL_OTHER);
}

static bool in_parameter_name(struct blocks *blocks, char c)
{
    struct call *call = &blocks->call;

    if (c == '>')
        return call->key.n > 0 && parameter_begins(blocks);
    return (unsigned char)c >= ' ' && c != '<' && call->key.n < BLOCKS_NAME_MAX &&
           buf_char(&call->key, c);
}

static bool function_ends(struct blocks *blocks)
{
    say(blocks, STR("}"));
    blocks->call.done = true;
    blocks_close(blocks, false);
    return call_ends(blocks);
}

/* Between a function's parameters, or before it. */
static bool in_tag(struct blocks *blocks, char c)
{
    struct call *call = &blocks->call;

    if (is_space(c) && call->value.n == 0)
        return true;
    buf_char(&call->value, c);
    const struct str tag = buf_view(&call->value);
    if (call->step == CALL_FUNCTION)
        return str_is(tag, function_open) ? go(call, CALL_FUNCTION_NAME)
                                          : begins(tag, function_open);
    if (str_is(tag, function_close))
        return function_ends(blocks);
    if (!str_is(tag, parameter_open))
        return begins(tag, parameter_open) || begins(tag, function_close);
    buf_reset(&call->key);
    return go(call, CALL_PARAMETER);
}

bool xml_take(struct blocks *blocks, char c)
{
    switch ((enum call_step)blocks->call.step) {
    case CALL_FUNCTION_NAME:
        return in_function_name(blocks, c);
    case CALL_PARAMETER:
        return in_parameter_name(blocks, c);
    case CALL_STRING_BEGIN:
        return string_begins(blocks, c);
    case CALL_STRING:
        return in_string(blocks, c);
    case CALL_OTHER:
        return in_other(blocks, c);
    default:
        return in_tag(blocks, c);
    }
}
