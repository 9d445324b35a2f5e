/* prompt.c - the messages as a template takes them, rendered, and cut into tokens.
 *
 * The hard thing is that templates differ in which roles they take where; see turns_collect. */
#include "chat/prompt.h"

#include "base/buf.h"
#include "base/json.h"
#include "chat/marks.h"

/* One message as the template sees it: a role, and blocks of which each may be a system note. */
struct part {
    struct str text;
    bool note;                          /* a system text inside another's message */
};

struct turn {
    enum role role;
    struct part *parts;                 /* room for parts_max */
    size_t parts_n;
};

struct turns {
    struct turn *turns;
    size_t n;
};

static const char *const role_names[] = {
    [ROLE_USER] = "user", [ROLE_ASSISTANT] = "assistant", [ROLE_SYSTEM] = "system"};

static size_t parts_count(const struct message_request *request)
{
    size_t n = request->system_n;

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
        *(*free_part)++ = (struct part){.text = blocks[i].text, .note = note};
        turn->parts_n++;
    }
}

/* Everything stays in the order the client gave. Where the template takes no system message, its
 * texts become notes in a user's message; neighbours of one role make one turn, for many templates
 * insist that user and assistant alternate. */
static void turns_collect(struct arena *arena, const struct message_request *request,
                          const struct chat_template *tmpl, struct turns *turns)
{
    const bool first = !tmpl || template_takes_system(tmpl);
    const bool inside = !tmpl || template_takes_system_inside(tmpl);
    struct part *free_part = arena_array(arena, parts_count(request), sizeof *free_part);

    turns->turns = arena_array(arena, request->messages_n + 1, sizeof *turns->turns);
    if (request->system_n)
        turns_add(turns, &free_part, first ? ROLE_SYSTEM : ROLE_USER, request->system,
                  request->system_n, !first);
    for (size_t i = 0; i < request->messages_n; i++) {
        const struct message *message = &request->messages[i];
        const bool note = message->role == ROLE_SYSTEM && !inside;
        turns_add(turns, &free_part, note ? ROLE_USER : message->role, message->blocks,
                  message->blocks_n, note);
    }
}

static void turn_content(struct buf *out, const struct turn *turn)
{
    for (size_t i = 0; i < turn->parts_n; i++) {
        const struct part *part = &turn->parts[i];
        if (i > 0 && turn->role != ROLE_ASSISTANT)
            buf_cstr(out, "\n\n");
        if (part->note)
            buf_cstr(out, "<system>\n");
        buf_str(out, part->text);
        if (part->note)
            buf_cstr(out, "\n</system>");
    }
}

/* The template's variables. enable_thinking: some models think by default, and where a request did
 * not ask for it there is no place for thoughts in the answer. */
static void context_write(struct buf *out, const struct turns *turns)
{
    struct buf content = {0}, marked = {0};

    buf_cstr(out, "{\"tools\":null,\"documents\":null,\"add_generation_prompt\":true,"
                  "\"enable_thinking\":false,\"messages\":[");
    for (size_t i = 0; i < turns->n; i++) {
        buf_reset(&content);
        buf_reset(&marked);
        turn_content(&content, &turns->turns[i]);
        marks_put(&marked, buf_view(&content));
        buf_printf(out, "%s{\"role\":\"%s\",\"content\":", i ? "," : "",
                   role_names[turns->turns[i].role]);
        json_quote(out, buf_view(&marked));
        buf_char(out, '}');
    }
    buf_cstr(out, "]}");
    buf_release(&content);
    buf_release(&marked);
}

/* ChatML, for models without a template. */
static void chatml_write(struct buf *out, const struct turns *turns)
{
    struct buf content = {0};

    for (size_t i = 0; i < turns->n; i++) {
        buf_reset(&content);
        turn_content(&content, &turns->turns[i]);
        buf_printf(out, "<|im_start|>%s\n", role_names[turns->turns[i].role]);
        marks_put(out, buf_view(&content));
        buf_cstr(out, "<|im_end|>\n");
    }
    buf_cstr(out, "<|im_start|>assistant\n");
    buf_release(&content);
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

bool prompt_render(struct arena *arena, const struct message_request *request,
                   const struct chat_template *tmpl, struct prompt *out, struct err *err)
{
    struct turns turns = {0};
    struct turn prefill = {0};
    struct str rendered;

    turns_collect(arena, request, tmpl, &turns);
    if (request->prefill)
        prefill = turns.turns[--turns.n];
    if (!render(arena, tmpl, &turns, &rendered, err))
        return false;
    /* What the model is to continue comes right after the start of its turn, which the template has
     * left open, and not through the template, which would close it. */
    struct buf all = {0};
    buf_str(&all, rendered);
    struct buf content = {0};
    turn_content(&content, &prefill);
    marks_put(&all, buf_view(&content));
    const bool ok = marks_take(arena, buf_view(&all), out, err);
    buf_release(&content);
    buf_release(&all);
    return ok;
}

bool prompt_tokenize(struct arena *arena, const struct engine *engine, const struct prompt *prompt,
                     struct tokens *out, struct err *err)
{
    const struct str bos = engine_info(engine)->bos;
    const bool has_bos = bos.n > 0 && str_starts(prompt->text, bos);

    return engine_tokenize(engine, arena, prompt->text, prompt->plain, prompt->plain_n, !has_bos,
                           out, err);
}
