/* context.c - see context.h. The hard thing is an answer that was sampled here: its text stands for
 * its tokens, and of a call only the value came back, not the spelling that was sampled. */
#include "chat/context.h"

#include "base/json.h"
#include "chat/marks.h"

static const char *const role_names[] = {
    [TURN_SYSTEM] = "system", [TURN_USER] = "user", [TURN_ASSISTANT] = "assistant",
    [TURN_RESULT] = "tool"};

struct points {
    struct marks_point list[TURNS_POINTS_MAX];
    size_t n;
};

static void turn_text(struct buf *out, const struct turn *turn, struct points *points)
{
    for (size_t i = 0; i < turn->parts_n; i++) {
        const struct part *part = &turn->parts[i];
        if (i > 0)
            buf_cstr(out, part->before);
        if (part->note)
            buf_cstr(out, "<system>\n");
        buf_str(out, part->text);
        if (part->note)
            buf_cstr(out, "\n</system>");
        if (part->point != TURNS_NO_POINT)
            points->list[points->n++] = (struct marks_point){out->n, part->point};
    }
}

/* All texts of the turn's blocks: what a replay's parts are of. */
static void told_text(struct buf *out, const struct message *message)
{
    for (size_t i = 0; i < message->blocks_n; i++)
        buf_str(out, message->blocks[i].text);
}

/* A call's input may come back in other bytes, which the tokens stand for all the same; nothing is
 * behind the last that was sampled but the text of a stop sequence. false: not this text, a
 * digest's collision. */
static bool fit(struct replay *replay, size_t bytes, bool called)
{
    struct replay_part *sampled = NULL;
    size_t others = 0, sum = 0;

    for (size_t i = 0; i < replay->parts_n; i++) {
        sum += replay->parts[i].bytes;
        if (replay->parts[i].ids_n)
            sampled = &replay->parts[i];
    }
    if (sum == bytes || !called || !sampled)
        return sum == bytes;
    others = sum - sampled->bytes;
    if (others > bytes)
        return false;
    sampled->bytes = bytes - others;
    return true;
}

static bool put_replay(struct buf *out, const struct turn *turn, const struct points *points)
{
    struct replay replay = *turn->replay;
    struct buf told = {0};

    told_text(&told, turn->message);
    const bool ok = fit(&replay, told.n, turn->called);
    if (ok)
        marks_put_replay(out, buf_view(&told), points->list, points->n, &replay,
                         turn->replay_number);
    buf_release(&told);
    return ok;
}

/* Whether it was put as it was sampled. */
static bool put_turn(struct buf *out, const struct turn *turn)
{
    struct points points = {0};
    struct buf text = {0};

    turn_text(&text, turn, &points);
    const bool told = turn->replay && put_replay(out, turn, &points);
    if (!told)
        marks_put(out, buf_view(&text), points.list, points.n);
    buf_release(&text);
    return told;
}

void context_put_turn(struct buf *out, const struct turn *turn)
{
    put_turn(out, turn);
}

/* The text of a JSON object, or what stands for one that can't be read. */
static void put_object(struct buf *out, struct str json)
{
    struct arena *arena = arena_new(4096);
    yyjson_val *value;

    if (json_parse(arena, json, &value, NULL))
        marks_put_json(out, value);
    else
        buf_cstr(out, "{}");
    arena_free(arena);
}

/* As Python writes it. */
static void put_object_text(struct buf *out, struct str json)
{
    struct arena *arena = arena_new(4096);
    struct buf text = {0};
    yyjson_val *value;

    if (json_parse(arena, json, &value, NULL))
        json_put(&text, value, NULL);
    else
        buf_str(&text, json);
    marks_put_string(out, buf_view(&text), NULL);
    buf_release(&text);
    arena_free(arena);
}

static void put_calls(struct buf *out, const struct turn *turn, bool as_text)
{
    for (size_t i = 0; i < turn->calls_n; i++) {
        const struct content_block *call = &turn->calls[i];
        buf_printf(out, "%s{\"type\":\"function\",\"id\":", i ? "," : ",\"tool_calls\":[");
        marks_put_string(out, call->id, NULL);
        buf_cstr(out, ",\"function\":{\"name\":");
        marks_put_string(out, call->name, NULL);
        buf_cstr(out, ",\"arguments\":");
        if (as_text)
            put_object_text(out, call->text);
        else
            put_object(out, call->text);
        buf_cstr(out, "}}");
    }
    buf_cstr(out, turn->calls_n ? "]" : "");
}

const char *context_told_calls(enum told_calls told)
{
    static const char *const members[] = {
        [TOLD_NEVER] = "", [TOLD_PLAIN] = "", [TOLD_NULL] = ",\"tool_calls\":null",
        [TOLD_EMPTY] = ",\"tool_calls\":[]"};

    return members[told];
}

static void put_assistant(struct buf *out, const struct turn *turn,
                          const struct template_traits *traits, bool told)
{
    const bool all = turn->calls_n && turn->parts_n;

    if (!told && turn->thoughts.n && (!all || traits->calls_thought)) {
        buf_cstr(out, ",\"reasoning_content\":");
        marks_put_string(out, turn->thoughts, NULL);
        buf_cstr(out, ",\"thinking\":");             /* transformers gives both */
        marks_put_string(out, turn->thoughts, NULL);
    }
    if (!told && turn->calls_n)
        put_calls(out, turn, traits->calls_as_text);
    else if (turn->called)
        buf_cstr(out, context_told_calls(traits->told));
}

static void put_tools_text(struct buf *out, const struct turns *turns)
{
    struct buf text = {0};

    for (size_t i = 0; i < turns->tools_n; i++) {
        buf_cstr(&text, i ? ", " : "[");
        turns_put_function(&text, &turns->tools[i]);
    }
    buf_char(&text, ']');
    buf_cstr(out, ",\"tools\":");
    marks_put_string(out, buf_view(&text), NULL);
    buf_release(&text);
}

static void put_message(struct buf *out, const struct turns *turns, const struct turn *turn,
                        const struct template_traits *traits)
{
    struct buf marked = {0};
    const bool told = put_turn(&marked, turn);

    buf_printf(out, "{\"role\":\"%s\",\"content\":", role_names[turn->kind]);
    json_quote(out, buf_view(&marked));
    if (turn == turns->turns && turns->tools_n && traits->tools_in_system)
        put_tools_text(out, turns);
    if (turn->kind == TURN_ASSISTANT)
        put_assistant(out, turn, traits, told);
    if (turn->kind == TURN_RESULT) {
        buf_cstr(out, ",\"name\":");
        marks_put_string(out, turn->name, NULL);
        buf_cstr(out, ",\"tool_call_id\":");
        marks_put_string(out, turn->id, NULL);
    }
    buf_char(out, '}');
    buf_release(&marked);
}

static void put_tool(struct buf *out, const struct tool *tool, unsigned point)
{
    const struct marks_point end = {tool->description.n, point};

    buf_cstr(out, "{\"type\":\"function\",\"function\":{\"name\":");
    marks_put_string(out, tool->name, NULL);
    buf_cstr(out, ",\"description\":");
    marks_put_string(out, tool->description, point != TURNS_NO_POINT ? &end : NULL);
    buf_cstr(out, ",\"parameters\":");
    put_object(out, tool->schema);
    buf_cstr(out, "}}");
}

static void put_tools(struct buf *out, const struct turns *turns, bool elsewhere)
{
    if (turns->tools_n == 0 || elsewhere) {
        buf_cstr(out, "null");
        return;
    }
    for (size_t i = 0; i < turns->tools_n; i++) {
        buf_char(out, i ? ',' : '[');
        put_tool(out, &turns->tools[i], turns->tool_points[i]);
    }
    buf_char(out, ']');
}

static void put_switches(struct buf *out, const struct template_traits *traits,
                         struct context_switches switches)
{
    const bool own = traits->thinking && strcmp(traits->thinking, "enable_thinking") != 0;
    const char *thinking = switches.thinking ? "true" : "false";
    const char *effort = traits->efforts[switches.effort];

    buf_printf(out, "\"enable_thinking\":%s,", thinking);
    if (own)
        buf_printf(out, "\"%s\":%s,", traits->thinking, thinking);
    if (effort)
        buf_printf(out, "\"reasoning_effort\":\"%s\",", effort);
}

void context_put(struct buf *out, const struct turns *turns, const struct template_traits *traits,
                 struct context_switches switches)
{
    buf_cstr(out, "{\"documents\":null,\"add_generation_prompt\":true,");
    put_switches(out, traits, switches);
    buf_cstr(out, "\"tools\":");
    put_tools(out, turns, traits->tools_in_system);
    buf_cstr(out, ",\"messages\":[");
    for (size_t i = 0; i < turns->n; i++) {
        buf_cstr(out, i ? "," : "");
        put_message(out, turns, &turns->turns[i], traits);
    }
    buf_cstr(out, "]}");
}
