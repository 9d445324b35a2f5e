/* blocks_call.c - one call as JSON, or as a name and JSON, byte by byte.
 *
 * An object's keys are looked at, its values are followed: the name is taken out, the input goes
 * out as it comes, other values are nothing. An input before its name waits. */
#include "chat/blocks_parts.h"

#include <yyjson.h>

enum { KEY_MAX = 64 };

void call_release(struct call *call)
{
    buf_release(&call->raw);
    buf_release(&call->name);
    buf_release(&call->key);
    buf_release(&call->value);
    buf_release(&call->input);
    yyjson_doc_free(call->schema);
    call->schema = NULL;
}

/* raw stays. */
static void begin_one(struct call *call, enum call_step step)
{
    buf_reset(&call->name);
    buf_reset(&call->key);
    buf_reset(&call->value);
    buf_reset(&call->input);
    yyjson_doc_free(call->schema);
    call->schema = NULL;
    call->parameters = 0;
    call->told = call->named = call->done = call->sure = false;
    call->step = step;
}

void call_begin(struct blocks *blocks, enum call_step step)
{
    blocks->state = STATE_CALL;
    blocks->call.list = blocks->call.bare = false;
    begin_one(&blocks->call, step);
}

static bool go(struct blocks *blocks, enum call_step step)
{
    blocks->call.step = step;
    return true;
}

bool call_ends(struct blocks *blocks)
{
    blocks->state = STATE_TEXT;
    blocks->after_mark = true;
    buf_reset(&blocks->call.raw);
    return true;
}

bool call_put_input(struct blocks *blocks, struct str input)
{
    struct call *call = &blocks->call;

    call->done = true;
    if (!call->named)
        return buf_str(&call->input, input);
    blocks_tell_call(blocks);
    blocks_say(blocks, BLOCK_TOOL_USE, input);
    blocks_close(blocks, false);
    return true;
}

/* ---- values ---- */

/* The input as a string with JSON in it, as OpenAI's API has it; or null. */
static bool input_of_other_kind(struct blocks *blocks, struct str value)
{
    yyjson_doc *doc = yyjson_read(value.s, value.n, YYJSON_READ_NOFLAG);
    yyjson_val *root = yyjson_doc_get_root(doc);
    const struct str text = {yyjson_get_str(root), yyjson_get_len(root)};
    yyjson_doc *inside = yyjson_is_str(root) ? yyjson_read(text.s, text.n, YYJSON_READ_NOFLAG)
                                             : NULL;
    const bool object = yyjson_is_obj(yyjson_doc_get_root(inside)), null = yyjson_is_null(root);
    const bool ok = (object || null) && call_put_input(blocks, object ? text : STR("{}"));

    yyjson_doc_free(inside);
    yyjson_doc_free(doc);
    return ok;
}

static bool name_ends(struct blocks *blocks)
{
    struct call *call = &blocks->call;
    yyjson_doc *doc = yyjson_read(call->value.data, call->value.n, YYJSON_READ_NOFLAG);
    yyjson_val *root = yyjson_doc_get_root(doc);
    const size_t n = yyjson_get_len(root);
    const bool ok = yyjson_is_str(root) && n > 0 && n <= BLOCKS_NAME_MAX;

    if (ok)
        buf_append(&call->name, yyjson_get_str(root), n);
    yyjson_doc_free(doc);
    call->named = ok;
    return ok && (!call->done || call_put_input(blocks, buf_view(&call->input)));
}

static bool is_streamed(const struct call *call)
{
    return call->holds == HOLDS_INPUT && call->told;
}

static bool value_ends(struct blocks *blocks)
{
    struct call *call = &blocks->call;
    const struct str value = buf_view(&call->value);

    call->step = CALL_COMMA_OR_END;
    if (call->holds == HOLDS_NAME)
        return name_ends(blocks);
    if (call->holds == HOLDS_OTHER)
        return true;
    if (!is_streamed(call))
        return value.s[0] == '{' ? call_put_input(blocks, value)
                                 : input_of_other_kind(blocks, value);
    call->done = true;
    blocks_close(blocks, false);
    return blocks->call.key.n || call_ends(blocks);     /* of no object: it was all of the call */
}

static bool in_value(struct blocks *blocks, char c)
{
    struct call *call = &blocks->call;
    const enum json_step step = json_follow(&call->follow, c);

    if (step == JSON_WRONG)
        return false;
    if (step == JSON_WHOLE_BEFORE)
        return value_ends(blocks) && call_take(blocks, c);
    if (is_streamed(call))
        blocks_say(blocks, BLOCK_TOOL_USE, (struct str){&c, 1});
    else if (call->holds != HOLDS_OTHER)
        buf_char(&call->value, c);
    return step == JSON_MORE || value_ends(blocks);
}

static bool value_begins(struct blocks *blocks, char c)
{
    struct call *call = &blocks->call;

    if (is_space(c))
        return true;
    if (call->holds == HOLDS_NAME && c != '"')
        return false;
    if (call->holds == HOLDS_INPUT && c != '{' && c != '"' && c != 'n')
        return false;
    if (call->holds == HOLDS_INPUT && c == '{' && call->named)
        blocks_tell_call(blocks);
    call->follow = (struct json_follow){0};
    buf_reset(&call->value);
    call->step = CALL_VALUE;
    return in_value(blocks, c);
}

/* ---- objects and lists ---- */

static bool key_begins(struct blocks *blocks, char c)
{
    struct call *call = &blocks->call;

    if (is_space(c))
        return true;
    if (c != '"')
        return false;
    call->follow = (struct json_follow){0};
    json_follow(&call->follow, c);
    buf_reset(&call->key);
    buf_char(&call->key, c);
    return go(blocks, CALL_KEY);
}

static bool in_key(struct blocks *blocks, char c)
{
    struct call *call = &blocks->call;
    const enum json_step step = json_follow(&call->follow, c);

    if (step == JSON_WRONG || call->key.n == KEY_MAX)
        return false;
    buf_char(&call->key, c);
    return step == JSON_MORE || go(blocks, CALL_COLON);
}

static bool colon(struct blocks *blocks, char c)
{
    struct call *call = &blocks->call;
    const struct str key = buf_view(&call->key);

    if (c != ':')
        return is_space(c);
    call->holds = str_is(key, "\"name\"") && !call->named ? HOLDS_NAME
                  : (str_is(key, "\"arguments\"") || str_is(key, "\"parameters\"")) && !call->done
                      ? HOLDS_INPUT
                      : HOLDS_OTHER;
    call->sure = call->sure || (call->holds == HOLDS_INPUT && call->named);
    return go(blocks, CALL_VALUE_BEGIN);
}

static bool object_ends(struct blocks *blocks)
{
    struct call *call = &blocks->call;

    if (!call->named || (!call->done && call->bare))
        return false;
    if (!call->done)
        call_put_input(blocks, STR("{}"));
    return call->list ? go(blocks, CALL_ITEM_END) : call_ends(blocks);
}

static bool comma_or_end(struct blocks *blocks, char c)
{
    if (c == '}')
        return object_ends(blocks);
    return c == ',' ? go(blocks, CALL_KEY_BEGIN) : is_space(c);
}

static bool item_ends(struct blocks *blocks, char c)
{
    if (c == ']')
        return call_ends(blocks);
    if (c != ',')
        return is_space(c);
    begin_one(&blocks->call, CALL_ITEM);
    buf_reset(&blocks->call.raw);
    blocks->call.begun = 0;
    return true;
}

/* ---- names that stand by themselves ---- */

static bool cut_mark(struct buf *buf, const char *mark)
{
    if (!mark || !str_ends(buf_view(buf), str_of(mark)))
        return false;
    buf->n -= strlen(mark);
    return true;
}

static bool input_begins(struct blocks *blocks, char c)
{
    struct call *call = &blocks->call;

    if (is_space(c))
        return true;
    if (c != '{')
        return false;
    call->holds = HOLDS_INPUT;
    call->named = true;
    buf_reset(&call->key);
    return value_begins(blocks, c);
}

static bool in_name(struct blocks *blocks, char c)
{
    const struct dialect *dialect = blocks->options.dialect;
    struct call *call = &blocks->call;

    if (c == '{' && call->name.n)
        return input_begins(blocks, c);
    if ((unsigned char)c <= ' ' || c == '{' || c == '"' || call->name.n == BLOCKS_NAME_MAX)
        return false;
    buf_char(&call->name, c);
    if (cut_mark(&call->name, dialect->input))
        return call->name.n > 0 && go(blocks, CALL_INPUT_BEGIN);
    if (cut_mark(&call->name, dialect->id))
        return call->name.n > 0 && go(blocks, CALL_ID);
    return true;
}

static bool in_id(struct blocks *blocks, char c)
{
    struct call *call = &blocks->call;

    if (call->value.n == BLOCKS_NAME_MAX)
        return false;
    buf_char(&call->value, c);
    return !cut_mark(&call->value, blocks->options.dialect->input) ||
           go(blocks, CALL_INPUT_BEGIN);
}

/* ---- all ---- */

/* Behind the mark, or in a list. Models mix the forms up, so any of them is taken. */
static bool begins(struct blocks *blocks, char c)
{
    struct call *call = &blocks->call;

    if (is_space(c))
        return true;
    if (c == '{')
        return go(blocks, CALL_KEY_OR_END);
    if (call->step == CALL_ITEM)
        return c == ']' && !call->told && call_ends(blocks);
    if (c == '[') {
        call->list = true;
        return go(blocks, CALL_ITEM);
    }
    switch (blocks->options.dialect->syntax) {
    case SYNTAX_NAMED:
        call->step = CALL_NAME;
        return in_name(blocks, c);
    case SYNTAX_XML:
        call->step = CALL_FUNCTION;
        return xml_take(blocks, c);
    default:
        return false;
    }
}

bool call_take(struct blocks *blocks, char c)
{
    switch ((enum call_step)blocks->call.step) {
    case CALL_BEGIN:
    case CALL_ITEM:
        return begins(blocks, c);
    case CALL_KEY_OR_END:
        return c == '}' ? object_ends(blocks) : key_begins(blocks, c);
    case CALL_KEY_BEGIN:
        return key_begins(blocks, c);
    case CALL_KEY:
        return in_key(blocks, c);
    case CALL_COLON:
        return colon(blocks, c);
    case CALL_VALUE_BEGIN:
        return value_begins(blocks, c);
    case CALL_VALUE:
        return in_value(blocks, c);
    case CALL_COMMA_OR_END:
        return comma_or_end(blocks, c);
    case CALL_ITEM_END:
        return item_ends(blocks, c);
    case CALL_NAME:
        return in_name(blocks, c);
    case CALL_ID:
        return in_id(blocks, c);
    case CALL_INPUT_BEGIN:
        return input_begins(blocks, c);
    default:
        return xml_take(blocks, c);
    }
}
