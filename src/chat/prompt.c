/* prompt.c - the messages as a template takes them, rendered, and cut into tokens.
 *
 * The hard thing is that templates differ in which roles they take where; see turns_collect. */
#include "chat/prompt.h"

#include "base/buf.h"
#include "base/json.h"
#include "chat/marks.h"

enum { NO_POINT = PROMPT_POINTS_MAX, AROUND_TOKENS = 8 };

_Static_assert((int)PROMPT_POINTS_MAX <= (int)CACHE_MARKS_MAX &&
               (int)PROMPT_POINTS_MAX <= (int)MARKS_POINTS_MAX, "a request's marks fit everywhere");

/* One message as the template sees it: a role, and blocks of which each may be a system note. */
struct part {
    struct str text;
    bool note;                          /* a system text inside another's message */
    unsigned point;                     /* ends with cache_control: its number; or NO_POINT */
};

struct turn {
    enum role role;
    struct part *parts;                 /* room for parts_max */
    size_t parts_n;
    const struct replay *replay;        /* NULL: not sampled here */
    size_t replay_number;
};

struct turns {
    struct turn *turns;
    size_t n;
    const struct replay **replays;
    size_t replays_n;
    unsigned points_n;
    uint32_t *seconds;                  /* [PROMPT_POINTS_MAX] */
};

static const char *const role_names[] = {
    [ROLE_USER] = "user", [ROLE_ASSISTANT] = "assistant", [ROLE_SYSTEM] = "system"};

static size_t parts_count(const struct message_request *request)
{
    size_t n = request->system_n + (request->format.schema.n > 0);

    for (size_t i = 0; i < request->messages_n; i++)
        n += request->messages[i].blocks_n;
    return n;
}

/* Appends blocks to the last turn if it has this role, to a new one otherwise. All turns share one
 * array of parts, so that a turn's parts stand together as long as only the last one grows. */
static void turns_add(struct turns *turns, struct part **free_part, enum role role,
                      const struct content_block *blocks, size_t blocks_n, bool note)
{
    if (turns->n == 0 || turns->turns[turns->n - 1].role != role)
        turns->turns[turns->n++] = (struct turn){.role = role, .parts = *free_part};
    struct turn *turn = &turns->turns[turns->n - 1];
    for (size_t i = 0; i < blocks_n; i++) {
        const bool marked = blocks[i].cache_seconds && turns->points_n < PROMPT_POINTS_MAX;
        *(*free_part)++ = (struct part){.text = blocks[i].text, .note = note,
                                        .point = marked ? turns->points_n : NO_POINT};
        turn->parts_n++;
        if (marked)
            turns->seconds[turns->points_n++] = blocks[i].cache_seconds;
    }
}

/* What was sampled here of the assistant's turns. */
static void turns_recall(struct arena *arena, const struct message_request *request,
                         struct replay_store *store, const struct message *message,
                         struct turns *turns)
{
    struct turn *turn = &turns->turns[turns->n - 1];

    if (!store || message->role != ROLE_ASSISTANT)
        return;
    turn->replay = replay_find(store, arena, replay_key_of(store, request->caller.space,
                                                           message->blocks, message->blocks_n));
    turn->replay_number = turns->replays_n;
    if (turn->replay)
        turns->replays[turns->replays_n++] = turn->replay;
}

/* What kind of answer is wanted, for the model to know: its tokens are held to it anyway. It stands
 * at the end, so that all before it is the same prefix as without it. */
static void format_ask(struct arena *arena, const struct message_request *request,
                       struct turns *turns, struct part **free_part)
{
    const struct str schema = request->format.schema;
    const struct content_block block = {
        .text = arena_printf(arena, "Answer with a single JSON value and nothing else. It must match "
                             "this JSON Schema:\n%.*s", STR_ARG(schema)),
    };

    turns_add(turns, free_part, ROLE_USER, &block, 1, true);
}

/* Everything stays in the order the client gave. Where the template takes no system message, its
 * texts become notes in a user's message; neighbours of one role make one turn, for many templates
 * insist that user and assistant alternate. */
static void turns_collect(struct arena *arena, const struct message_request *request,
                          const struct chat_template *tmpl, struct replay_store *store,
                          struct turns *turns)
{
    const bool first = !tmpl || template_takes_system(tmpl);
    const bool inside = !tmpl || template_takes_system_inside(tmpl);
    struct part *free_part = arena_array(arena, parts_count(request), sizeof *free_part);

    turns->turns = arena_array(arena, request->messages_n + 2, sizeof *turns->turns);
    turns->replays = arena_array(arena, request->messages_n, sizeof *turns->replays);
    if (request->system_n)
        turns_add(turns, &free_part, first ? ROLE_SYSTEM : ROLE_USER, request->system,
                  request->system_n, !first);
    for (size_t i = 0; i < request->messages_n; i++) {
        const struct message *message = &request->messages[i];
        const bool note = message->role == ROLE_SYSTEM && !inside;
        turns_add(turns, &free_part, note ? ROLE_USER : message->role, message->blocks,
                  message->blocks_n, note);
        turns_recall(arena, request, store, message, turns);
    }
    if (request->format.schema.n)
        format_ask(arena, request, turns, &free_part);
}

/* The turn's text, and the points in it. */
static void turn_content(struct buf *out, const struct turn *turn, struct marks_point *points,
                         size_t *points_n)
{
    *points_n = 0;
    for (size_t i = 0; i < turn->parts_n; i++) {
        const struct part *part = &turn->parts[i];
        if (i > 0 && turn->role != ROLE_ASSISTANT)
            buf_cstr(out, "\n\n");
        if (part->note)
            buf_cstr(out, "<system>\n");
        buf_str(out, part->text);
        if (part->note)
            buf_cstr(out, "\n</system>");
        if (part->point != NO_POINT)
            points[(*points_n)++] = (struct marks_point){out->n, part->point};
    }
}

/* The same with its marks. A replay of which the parts are not this text would be a digest's collision. */
static void turn_put(struct buf *out, const struct turn *turn)
{
    struct marks_point points[PROMPT_POINTS_MAX];
    struct buf content = {0};
    size_t points_n, bytes = 0;

    turn_content(&content, turn, points, &points_n);
    for (size_t i = 0; turn->replay && i < turn->replay->parts_n; i++)
        bytes += turn->replay->parts[i].bytes;
    if (turn->replay && bytes == content.n)
        marks_put_replay(out, buf_view(&content), points, points_n, turn->replay,
                         turn->replay_number);
    else
        marks_put(out, buf_view(&content), points, points_n);
    buf_release(&content);
}

/* The template's variables. enable_thinking: some models think by default, and where a request did
 * not ask for it there is no place for thoughts in the answer. */
static void context_write(struct buf *out, const struct turns *turns)
{
    struct buf marked = {0};

    buf_cstr(out, "{\"tools\":null,\"documents\":null,\"add_generation_prompt\":true,"
                  "\"enable_thinking\":false,\"messages\":[");
    for (size_t i = 0; i < turns->n; i++) {
        buf_reset(&marked);
        turn_put(&marked, &turns->turns[i]);
        buf_printf(out, "%s{\"role\":\"%s\",\"content\":", i ? "," : "",
                   role_names[turns->turns[i].role]);
        json_quote(out, buf_view(&marked));
        buf_char(out, '}');
    }
    buf_cstr(out, "]}");
    buf_release(&marked);
}

/* ChatML, for models without a template. */
static void chatml_write(struct buf *out, const struct turns *turns)
{
    for (size_t i = 0; i < turns->n; i++) {
        buf_printf(out, "<|im_start|>%s\n", role_names[turns->turns[i].role]);
        turn_put(out, &turns->turns[i]);
        buf_cstr(out, "<|im_end|>\n");
    }
    buf_cstr(out, "<|im_start|>assistant\n");
}

static bool render(struct arena *arena, const struct chat_template *tmpl, const struct turns *turns,
                   struct str *out, struct err *err)
{
    struct buf buf = {0};
    bool ok = true;

    if (tmpl) {
        context_write(&buf, turns);
        ok = template_render(tmpl, arena, buf_view(&buf), out, err);
    } else {
        chatml_write(&buf, turns);
        *out = arena_str(arena, buf_view(&buf));
    }
    buf_release(&buf);
    return ok;
}

/* How the answer begins, for when it is told again. */
static void begin_answer(const struct chat_template *tmpl, const struct turn *prefill,
                         struct replay *begun)
{
    *begun = (struct replay){0};
    if (prefill && prefill->replay)
        *begun = *prefill->replay;
    begun->lead = tmpl ? template_lead(tmpl) : (struct replay_lead){0};
    if (!prefill || prefill->replay)
        return;
    for (size_t i = 0; i < prefill->parts_n; i++)
        begun->parts[0].bytes += prefill->parts[i].text.n;
    begun->parts_n = 1;
}

bool prompt_render(struct arena *arena, const struct message_request *request,
                   const struct chat_template *tmpl, struct replay_store *store,
                   struct prompt *out, struct err *err)
{
    uint32_t seconds[PROMPT_POINTS_MAX] = {0};
    struct turns turns = {.seconds = seconds};
    const struct turn *prefill = NULL;
    struct str rendered;

    turns_collect(arena, request, tmpl, store, &turns);
    if (request->prefill)
        prefill = &turns.turns[--turns.n];
    if (!render(arena, tmpl, &turns, &rendered, err))
        return false;
    /* What the model is to continue comes right after the start of its turn, which the template has
     * left open, and not through the template, which would close it. */
    struct buf all = {0};
    buf_str(&all, rendered);
    if (prefill)
        turn_put(&all, prefill);
    const bool ok = marks_take(arena, buf_view(&all), turns.replays, turns.replays_n, out, err);
    buf_release(&all);
    memcpy(out->seconds, seconds, sizeof seconds);
    begin_answer(tmpl, prefill, &out->begun);
    return ok;
}

/* Sorted, and of equal beginnings one, kept for as long as any asks. */
static void marks_add(struct prompt_tokens *out, struct cache_mark mark)
{
    size_t i = out->marks_n;

    for (size_t k = 0; k < out->marks_n; k++) {
        if (out->marks[k].tokens != mark.tokens)
            continue;
        if (out->marks[k].seconds < mark.seconds)
            out->marks[k].seconds = mark.seconds;
        return;
    }
    for (; i > 0 && out->marks[i - 1].tokens > mark.tokens; i--)
        out->marks[i] = out->marks[i - 1];
    out->marks[i] = mark;
    out->marks_n++;
}

bool prompt_tokenize(struct arena *arena, const struct engine *engine, const struct prompt *prompt,
                     struct prompt_tokens *out, struct err *err)
{
    const struct str bos = engine_info(engine)->bos;
    size_t cuts[PROMPT_POINTS_MAX];
    uint32_t cut_tokens[PROMPT_POINTS_MAX];
    const struct known_text known = {
        .text = prompt->text, .plain = prompt->plain, .plain_n = prompt->plain_n,
        .given = prompt->given, .given_n = prompt->given_n, .cuts = cuts,
        .cuts_n = prompt->points_n, .add_bos = bos.n == 0 || !str_starts(prompt->text, bos),
    };

    for (size_t i = 0; i < prompt->points_n; i++)
        cuts[i] = prompt->points[i].at;
    *out = (struct prompt_tokens){0};
    if (!engine_tokenize_known(engine, arena, &known, &out->tokens, cut_tokens, err))
        return false;
    for (size_t i = 0; i < prompt->points_n; i++)
        if (cut_tokens[i])
            marks_add(out, (struct cache_mark){cut_tokens[i],
                                                prompt->seconds[prompt->points[i].number]});
    return true;
}

struct str prompt_around(struct arena *arena, const struct engine *engine,
                         const struct tokens *tokens, size_t at)
{
    struct buf around = {0};

    for (size_t i = at > AROUND_TOKENS ? at - AROUND_TOKENS : 0;
         i < tokens->n && i < at + AROUND_TOKENS; i++) {
        if (i == at)
            buf_cstr(&around, " >>> ");
        buf_str(&around, engine_token_text(engine, tokens->ids[i], true));
    }
    const struct str text = arena_str(arena, buf_view(&around));
    buf_release(&around);
    return text;
}
