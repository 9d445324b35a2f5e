/* script.c - see script.h. */
#include "script.h"

#include "base/json.h"

enum { VALUES_MAX = 1 << 16 };

static const struct {
    const char *name;
    enum err_code code;
} errors[] = {
    {"invalid", ERR_INVALID}, {"auth", ERR_AUTH}, {"forbidden", ERR_FORBIDDEN},
    {"too_large", ERR_TOO_LARGE}, {"rate", ERR_RATE}, {"internal", ERR_INTERNAL},
    {"overloaded", ERR_OVERLOADED},
};

static bool put_error(struct turn *turn, yyjson_val *value)
{
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (str_is(json_str(value), errors[i].name)) {
            turn->error.code = errors[i].code;
            return true;
        }
    return false;
}

static bool put_asked(enum asked *asked, yyjson_val *value)
{
    *asked = yyjson_get_bool(value) ? ASKED_YES : ASKED_NO;
    return yyjson_is_bool(value);
}

/* false: there is no such key, or its value is of another kind. */
static bool put(struct turn *turn, struct str key, yyjson_val *value)
{
    const struct {
        const char *name;
        enum asked *asked;
    } conditions[] = {{"agent", &turn->agent}, {"format", &turn->format}, {"tools", &turn->tools}};
    const uint64_t number = yyjson_get_uint(value);

    for (size_t i = 0; i < 3; i++)
        if (str_is(key, conditions[i].name))
            return put_asked(conditions[i].asked, value);
    if (str_is(key, "error"))
        return put_error(turn, value);
    if (str_is(key, "cut")) {
        turn->cut = yyjson_get_bool(value);
        return yyjson_is_bool(value);
    }
    if (yyjson_is_str(value)) {
        if (str_is(key, "message"))
            return !err_set(&turn->error, turn->error.code, "%s", yyjson_get_str(value));
        *(str_is(key, "says") ? &turn->says : &turn->text) = json_str(value);
        return str_is(key, "says") || str_is(key, "text");
    }
    if (str_is(key, "results"))
        turn->results = (int64_t)number;
    else if (str_is(key, "times"))
        turn->times = number ? number : UINT64_MAX;
    else if (str_is(key, "retry_after"))
        turn->retry_after_s = (uint32_t)number;
    else if (str_is(key, "delay_ms"))
        turn->delay_ms = (uint32_t)number;
    else
        return false;
    return yyjson_is_uint(value);
}

bool script_read(struct arena *arena, struct str json, struct script *out, struct err *err)
{
    yyjson_val *root;

    if (!json_parse_file(arena, json, "the script", VALUES_MAX, &root, err))
        return false;
    *out = (struct script){.turns = arena_array(arena, yyjson_arr_size(root), sizeof *out->turns)};
    yyjson_arr_iter turns = yyjson_arr_iter_with(root);
    for (yyjson_val *each; (each = yyjson_arr_iter_next(&turns)); out->n++) {
        struct turn *turn = &out->turns[out->n];
        yyjson_obj_iter fields = yyjson_obj_iter_with(each);
        *turn = (struct turn){.results = -1, .times = 1};
        for (yyjson_val *key; (key = yyjson_obj_iter_next(&fields));)
            if (!put(turn, json_str(key), yyjson_obj_iter_get_val(key)))
                return err_set(err, ERR_USAGE, "turn %zu of the script: %s", out->n,
                               yyjson_get_str(key));
    }
    return out->n > 0 || err_set(err, ERR_USAGE, "the script has no turns");
}

static int64_t results_of(const struct message_request *request)
{
    int64_t n = 0;

    for (size_t i = 0; i < request->messages_n; i++)
        for (size_t j = 0; j < request->messages[i].blocks_n; j++)
            n += request->messages[i].blocks[j].type == BLOCK_TOOL_RESULT;
    return n;
}

static bool holds(const struct content_block *blocks, size_t n, struct str text)
{
    for (size_t i = 0; i < n; i++)
        if ((blocks[i].text.n && memmem(blocks[i].text.s, blocks[i].text.n, text.s, text.n)) ||
            holds(blocks[i].content, blocks[i].content_n, text))
            return true;
    return false;
}

/* What the user said last: Claude Code puts messages of the system behind it. */
static bool says(const struct message_request *request, struct str text)
{
    for (size_t i = request->messages_n; i-- > 0;)
        if (request->messages[i].role == ROLE_USER)
            return holds(request->messages[i].blocks, request->messages[i].blocks_n, text);
    return false;
}

static bool is(enum asked asked, bool so)
{
    return asked == ASKED_EITHER || (asked == ASKED_YES) == so;
}

struct turn *script_turn(struct script *script, const struct message_request *request)
{
    const int64_t results = results_of(request);

    for (size_t i = 0; i < script->n; i++) {
        struct turn *turn = &script->turns[i];
        if (turn->times == 0 || !is(turn->agent, request->caller.agent.n > 0) ||
            !is(turn->format, request->format.schema.n > 0) ||
            !is(turn->tools, request->tools_n > 0) ||
            (turn->results >= 0 && turn->results != results) ||
            (turn->says.n && !says(request, turn->says)))
            continue;
        if (turn->times != UINT64_MAX)
            turn->times--;
        return turn;
    }
    return NULL;
}
