/* turns.c - see turns.h.
 *
 * The hard thing is that templates differ in which roles they take where: neighbours of one role
 * make one turn, for many insist that user and assistant alternate, and some take no user's text
 * behind results. */
#include "chat/turns.h"

#include <stdlib.h>
#include <strings.h>

#include "base/hash.h"
#include "base/json.h"

struct collecting {
    struct arena *arena;
    struct turns_needs needs;
    struct turns *out;
    struct part *free_part;
    const struct content_block **calls; /* [calls_n]: of the last assistant's message, by id */
    size_t calls_n;
    bool split;                         /* it has several, which are told one at a time; */
    struct str called;                  /* the id of the last one that was */
    const struct tool **deferred;       /* [deferred_n]: by name; */
    bool *shown;                        /* and whether it was */
    size_t deferred_n;
};

static size_t parts_max(const struct message_request *request)
{
    size_t n = request->system_n + 3;   /* the tools' wording, what is asked for at the end */

    for (size_t i = 0; i < request->messages_n; i++) {
        n += 1 + request->messages[i].blocks_n;
        for (size_t k = 0; k < request->messages[i].blocks_n; k++)
            n += 2 + request->messages[i].blocks[k].content_n;
    }
    return n;
}

/* ---- turns and parts ---- */

/* All turns share one array of parts: only the last one grows. */
static struct turn *open_turn(struct collecting *c, enum turn_kind kind)
{
    struct turn *turn = &c->out->turns[c->out->n++];

    *turn = (struct turn){.kind = kind, .parts = c->free_part};
    return turn;
}

static struct turn *last_turn(const struct collecting *c)
{
    return c->out->n ? &c->out->turns[c->out->n - 1] : NULL;
}

/* The turn that takes a text of this kind now. */
static struct turn *turn_for(struct collecting *c, enum turn_kind kind)
{
    struct turn *last = last_turn(c);
    const bool folded = last && last->kind == TURN_RESULT && kind == TURN_USER &&
                        !c->needs.traits->user_behind;

    return last && (last->kind == kind || folded) ? last : open_turn(c, kind);
}

static unsigned point_of(struct collecting *c, uint32_t seconds)
{
    struct turns *out = c->out;

    if (!seconds || out->points_n == TURNS_POINTS_MAX)
        return TURNS_NO_POINT;
    out->seconds[out->points_n] = seconds;
    return out->points_n++;
}

static struct part *add(struct collecting *c, struct turn *turn, const char *before,
                        struct str text, uint32_t cache_seconds)
{
    struct part *part = c->free_part++;

    *part = (struct part){.text = text, .before = before, .point = point_of(c, cache_seconds)};
    turn->parts_n++;
    return part;
}

/* A system text: where the template takes none, a note in a user's message. */
static void add_system(struct collecting *c, struct str text, uint32_t seconds, bool taken)
{
    add(c, turn_for(c, taken ? TURN_SYSTEM : TURN_USER), "\n\n", text, seconds)->note = !taken;
}

/* ---- the tools ---- */

/* Both begin with the name. */
static int by_name(const void *a, const void *b)
{
    const struct tool *const *x = a, *const *y = b;

    return str_compare((*x)->name, (*y)->name);
}

static int by_id(const void *a, const void *b)
{
    const struct content_block *const *x = a, *const *y = b;

    return str_compare((*x)->id, (*y)->id);
}

static void sort_tools(struct collecting *c)
{
    const struct message_request *request = c->needs.request;
    struct turns *out = c->out;

    out->tools = arena_array(c->arena, request->tools_n, sizeof *out->tools);
    out->tool_points = arena_array(c->arena, request->tools_n, sizeof *out->tool_points);
    c->deferred = arena_array(c->arena, request->tools_n, sizeof *c->deferred);
    c->shown = arena_array(c->arena, request->tools_n, sizeof *c->shown);
    for (size_t i = 0; i < request->tools_n; i++) {
        if (request->tools[i].deferred)
            c->deferred[c->deferred_n++] = &request->tools[i];
        else
            out->tools[out->tools_n++] = request->tools[i];
    }
    for (size_t i = 0; i < out->tools_n; i++)
        out->tool_points[i] = point_of(c, out->tools[i].cache_seconds);
    if (c->deferred_n)
        qsort(c->deferred, c->deferred_n, sizeof(const struct tool *), by_name);
}

/* The tools in words, for a template that shows none. */
static void word_tools(struct collecting *c)
{
    struct message_request shown = *c->needs.request;
    struct buf wording = {0};

    shown.tools = c->out->tools;
    shown.tools_n = c->out->tools_n;
    dialect_wording(&wording, c->needs.dialect, &shown);
    add_system(c, arena_str(c->arena, buf_view(&wording)), 0, c->needs.traits->system);
    last_turn(c)->parts[last_turn(c)->parts_n - 1].point = c->out->tool_points[shown.tools_n - 1];
    buf_release(&wording);
    c->out->tools_n = 0;
}

void turns_put_function(struct buf *out, const struct tool *tool)
{
    struct arena *arena = arena_new(4096);
    yyjson_val *schema;

    buf_cstr(out, "{\"name\": ");
    json_quote(out, tool->name);
    buf_cstr(out, ", \"description\": ");
    json_quote(out, tool->description);
    buf_cstr(out, ", \"parameters\": ");
    if (json_parse(arena, tool->schema, &schema, NULL))
        json_put(out, schema, NULL);
    else
        buf_cstr(out, "{}");
    buf_char(out, '}');
    arena_free(arena);
}

/* A tool as those at the prompt's head are shown. */
static struct str definition(const struct collecting *c, const struct tool *tool)
{
    const struct template_traits *traits = c->needs.traits;
    const bool wrapped = traits->tools && !traits->tools_in_system;
    struct buf out = {0};

    buf_cstr(&out, wrapped ? "{\"type\": \"function\", \"function\": " : "");
    turns_put_function(&out, tool);
    buf_cstr(&out, wrapped ? "}" : "");
    const struct str text = arena_str(c->arena, buf_view(&out));
    buf_release(&out);
    return text;
}

/* A tool that was not shown yet, where a result refers to it; of another, its name. */
static struct str reference(struct collecting *c, struct str name)
{
    const struct tool wanted = {.name = name}, *key = &wanted;
    const struct tool **found = c->deferred_n
        ? bsearch(&key, c->deferred, c->deferred_n, sizeof(const struct tool *), by_name) : NULL;

    if (!found || c->shown[found - c->deferred])
        return name;
    c->shown[found - c->deferred] = true;
    return definition(c, *found);
}

/* ---- results ---- */

struct str turns_short_id(struct arena *arena, struct str id)
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    enum { LETTERS = sizeof letters - 1, LENGTH = 9 };
    uint64_t hash = hash_bytes((struct hash_key){0, 0}, id.s, id.n);
    char text[LENGTH];
    bool fits = id.n == LENGTH;

    for (size_t i = 0; i < id.n && fits; i++)
        fits = id.s[i] && strchr(letters, id.s[i]);
    if (fits)
        return id;
    for (size_t i = 0; i < LENGTH; i++, hash /= LETTERS)
        text[i] = letters[hash % LETTERS];
    return arena_str(arena, (struct str){text, LENGTH});
}

static struct str id_for(const struct collecting *c, struct str id)
{
    return c->needs.traits->short_ids ? turns_short_id(c->arena, id) : id;
}

/* Of the last assistant's message. */
static const struct content_block *call_of(const struct collecting *c, struct str id)
{
    const struct content_block wanted = {.id = id}, *key = &wanted;
    const struct content_block **found = c->calls_n
        ? bsearch(&key, c->calls, c->calls_n, sizeof(const struct content_block *), by_id) : NULL;

    return found ? *found : NULL;
}

static void give_calls(struct collecting *c, struct turn *turn, const struct content_block *calls,
                       size_t n)
{
    struct content_block *given = arena_array(c->arena, n, sizeof *given);

    memcpy(given, calls, n * sizeof *given);
    for (size_t i = 0; i < n; i++)
        given[i].id = id_for(c, given[i].id);
    turn->calls = given;
    turn->calls_n = n;
}

/* The call of a result, where calls are told one at a time. */
static void tell_call(struct collecting *c, const struct content_block *call)
{
    if (!c->split || str_equal(call->id, c->called))
        return;
    struct turn *turn = open_turn(c, TURN_ASSISTANT);
    turn->called = true;
    give_calls(c, turn, call, 1);
    c->called = call->id;
}

/* Many tools say themselves that it is an error. */
static bool says_error(const struct content_block *result)
{
    const struct str text = result->content_n && result->content[0].type == BLOCK_TEXT
                                ? result->content[0].text : STR("");

    for (size_t i = 0; i + 5 <= text.n && text.s[i] != '\n'; i++)
        if (strncasecmp(text.s + i, "error", 5) == 0)
            return true;
    return false;
}

static void add_result_text(struct collecting *c, struct turn *turn,
                            const struct content_block *result, const char *before)
{
    if (result->is_error && !says_error(result)) {
        add(c, turn, before, STR("Error: "), 0);
        before = "";
    }
    for (size_t i = 0; i < result->content_n; i++) {
        const struct content_block *block = &result->content[i];
        const struct str text = block->type == BLOCK_TOOL_REFERENCE ? reference(c, block->name)
                                                                    : block->text;
        add(c, turn, i ? "\n" : before, text, block->cache_seconds);
    }
}

static void add_result(struct collecting *c, const struct content_block *result)
{
    const struct content_block *call = call_of(c, result->id);

    if (c->needs.traits->results) {
        if (call)
            tell_call(c, call);
        struct turn *turn = open_turn(c, TURN_RESULT);
        turn->id = id_for(c, result->id);
        turn->name = call ? call->name : STR("");
        add_result_text(c, turn, result, "");
        if (turn->parts_n && result->cache_seconds)
            turn->parts[turn->parts_n - 1].point = point_of(c, result->cache_seconds);
        return;
    }
    struct turn *turn = turn_for(c, TURN_USER);
    add(c, turn, "\n", STR("<tool_response>\n"), 0);
    add_result_text(c, turn, result, "");
    add(c, turn, "", STR("\n</tool_response>"), result->cache_seconds);
}

/* ---- messages ---- */

static void add_message(struct collecting *c, const struct message *message)
{
    const bool system = message->role == ROLE_SYSTEM;

    for (size_t i = 0; i < message->blocks_n; i++) {
        const struct content_block *block = &message->blocks[i];
        if (block->type == BLOCK_TOOL_RESULT)
            add_result(c, block);
        else if (system)
            add_system(c, block->text, block->cache_seconds, c->needs.traits->system_inside);
        else
            add(c, turn_for(c, TURN_USER), "\n\n", block->text, block->cache_seconds);
    }
    if (message->blocks_n == 0)
        turn_for(c, system && c->needs.traits->system_inside ? TURN_SYSTEM : TURN_USER);
}

/* For results to find the calls' names. */
static void index_calls(struct collecting *c, const struct message *message, size_t calls_n)
{
    c->calls = arena_array(c->arena, calls_n, sizeof *c->calls);
    c->calls_n = 0;
    for (size_t i = 0; i < message->blocks_n; i++)
        if (message->blocks[i].type == BLOCK_TOOL_USE)
            c->calls[c->calls_n++] = &message->blocks[i];
    if (c->calls_n)
        qsort(c->calls, c->calls_n, sizeof(const struct content_block *), by_id);
}

/* What was sampled here of the turn. */
static void recall(struct collecting *c, struct turn *turn, bool called)
{
    const struct message *message = turn->message;
    struct turns *out = c->out;

    if (!c->needs.store || (called && c->needs.traits->told == TOLD_NEVER))
        return;
    turn->replay = replay_find(c->needs.store, c->arena,
                               replay_key_of(c->needs.store, c->needs.request->caller.space,
                                             message->blocks, message->blocks_n));
    turn->replay_number = out->replays_n;
    if (turn->replay)
        out->replays[out->replays_n++] = turn->replay;
}

/* Whether the template writes this turn's calls and loses nothing; else they are a text. */
static bool writes_calls(const struct template_traits *traits, const struct turn *turn)
{
    return traits->calls &&
           (turn->parts_n == 0 || traits->calls_beside || traits->told == TOLD_NEVER);
}

/* The call that is answered first, if they are split. */
static size_t first_call(const struct content_block *calls, size_t n, const struct message *answers)
{
    for (size_t i = 0; answers && i < answers->blocks_n; i++) {
        if (answers->blocks[i].type != BLOCK_TOOL_RESULT)
            continue;
        for (size_t k = 0; k < n; k++)
            if (str_equal(calls[k].id, answers->blocks[i].id))
                return k;
        return 0;
    }
    return 0;
}

/* Several calls for a template that takes one: each in a turn of its own, before its result. */
static void add_calls(struct collecting *c, struct turn *turn, const struct content_block *calls,
                      size_t n, const struct message *answers)
{
    const bool split = n > 1 && !c->needs.traits->calls_parallel;
    struct buf text = {0};

    index_calls(c, turn->message, n);
    turn->called = n > 0;
    c->split = false;
    if (n == 0)
        return;
    if (!writes_calls(c->needs.traits, turn)) {
        dialect_put_calls(&text, c->needs.dialect, calls, n);
        add(c, turn, "\n", arena_str(c->arena, buf_view(&text)), 0);
        buf_release(&text);
    } else if (split && !turn->replay) {
        const struct content_block *first = &calls[first_call(calls, n, answers)];
        give_calls(c, turn, first, 1);
        c->split = true;
        c->called = first->id;
    } else {
        give_calls(c, turn, calls, n);
    }
}

/* answers: the message that follows; NULL: none. */
static void add_assistant(struct collecting *c, const struct message *message,
                          const struct message *answers)
{
    struct content_block *calls = arena_array(c->arena, message->blocks_n, sizeof *calls);
    struct turn *turn = open_turn(c, TURN_ASSISTANT);
    struct buf thoughts = {0};
    size_t n = 0;

    turn->message = message;
    for (size_t i = 0; i < message->blocks_n; i++) {
        const struct content_block *block = &message->blocks[i];
        if (block->type == BLOCK_THINKING && block->text.n) {
            buf_cstr(&thoughts, thoughts.n ? "\n" : "");
            buf_str(&thoughts, block->text);
        } else if (block->type == BLOCK_TOOL_USE) {
            calls[n++] = *block;
        } else if (block->type == BLOCK_TEXT) {
            add(c, turn, "", block->text, block->cache_seconds);
        }
    }
    turn->thoughts = arena_str(c->arena, buf_view(&thoughts));
    buf_release(&thoughts);
    recall(c, turn, n > 0);
    add_calls(c, turn, calls, n, answers);
}

/* What kind of answer is wanted, for the model to know: its tokens are held to it anyway. It stands
 * at the end, so that all before it is the same prefix as without it. */
static void ask_for_kind(struct collecting *c)
{
    const struct message_request *request = c->needs.request;
    const struct str schema = request->format.schema;

    if (request->tools_n && request->tool_choice.kind == CHOICE_NONE && !request->prefill)
        add_system(c, STR("Answer without calling a tool."), 0, false);
    if (schema.n)
        add_system(c, arena_printf(c->arena, "Answer with a single JSON value and nothing else. It "
                                   "must match this JSON Schema:\n%.*s", STR_ARG(schema)), 0,
                   false);
}

void turns_collect(struct arena *arena, const struct turns_needs *needs, struct turns *out)
{
    const struct message_request *request = needs->request;
    const size_t max = parts_max(request);
    struct collecting c = {.arena = arena, .needs = *needs, .out = out};

    *out = (struct turns){0};
    c.free_part = arena_array(arena, max, sizeof *c.free_part);
    out->turns = arena_array(arena, max, sizeof *out->turns);
    out->replays = arena_array(arena, request->messages_n, sizeof *out->replays);
    sort_tools(&c);
    if (out->tools_n && !needs->traits->tools)
        word_tools(&c);
    else if (out->tools_n && needs->traits->tools_in_system)
        open_turn(&c, TURN_SYSTEM);
    for (size_t i = 0; i < request->system_n; i++)
        add_system(&c, request->system[i].text, request->system[i].cache_seconds,
                   needs->traits->system);
    for (size_t i = 0; i < request->messages_n; i++) {
        if (request->messages[i].role == ROLE_ASSISTANT)
            add_assistant(&c, &request->messages[i],
                          i + 1 < request->messages_n ? &request->messages[i + 1] : NULL);
        else
            add_message(&c, &request->messages[i]);
    }
    ask_for_kind(&c);
}
