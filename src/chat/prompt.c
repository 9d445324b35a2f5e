/* prompt.c - the turns of a request rendered, and cut into tokens. */
#include "chat/prompt.h"

#include "base/buf.h"
#include "chat/context.h"
#include "chat/marks.h"
#include "chat/turns.h"

enum { AROUND_TOKENS = 8 };

_Static_assert((int)PROMPT_POINTS_MAX <= (int)CACHE_MARKS_MAX &&
               (int)PROMPT_POINTS_MAX == (int)TURNS_POINTS_MAX &&
               (int)PROMPT_POINTS_MAX <= (int)MARKS_POINTS_MAX, "a request's marks fit everywhere");

/* What ChatML takes. */
static const struct template_traits chatml = {
    .system = true, .system_inside = true, .told = TOLD_PLAIN,
};

/* What a request is rendered by. */
struct means {
    const struct chat_template *tmpl;   /* NULL: ChatML */
    const struct template_traits *traits;
    const struct dialect *dialect;
    struct context_switches switches;
};

/* ChatML, for models without a template. */
static void chatml_write(struct buf *out, const struct turns *turns)
{
    static const char *const roles[] = {
        [TURN_SYSTEM] = "system", [TURN_USER] = "user", [TURN_ASSISTANT] = "assistant"};

    for (size_t i = 0; i < turns->n; i++) {
        buf_printf(out, "<|im_start|>%s\n", roles[turns->turns[i].kind]);
        context_put_turn(out, &turns->turns[i]);
        buf_cstr(out, "<|im_end|>\n");
    }
    buf_cstr(out, "<|im_start|>assistant\n");
}

static bool render(struct arena *arena, const struct means *means, const struct turns *turns,
                   struct str *out, struct err *err)
{
    struct buf buf = {0};
    bool ok = true;

    if (means->tmpl) {
        context_put(&buf, turns, means->traits, means->switches);
        ok = template_render(means->tmpl, arena, buf_view(&buf), out, err);
    } else {
        chatml_write(&buf, turns);
        *out = arena_str(arena, buf_view(&buf));
    }
    buf_release(&buf);
    return ok;
}

/* How the answer begins, for when it is told again. */
static void begin_answer(const struct means *means, const struct turns *turns,
                         const struct turn *prefill, struct replay *begun)
{
    const struct template_place place = {
        .behind_result = turns->n && turns->turns[turns->n - 1].kind == TURN_RESULT,
        .thinking = means->switches.thinking,
    };

    *begun = (struct replay){0};
    if (prefill && prefill->replay)
        *begun = *prefill->replay;
    begun->lead = means->tmpl ? template_lead(means->tmpl, place) : (struct replay_lead){0};
    if (!prefill || prefill->replay)
        return;
    for (size_t i = 0; i < prefill->parts_n; i++)
        begun->parts[0].bytes += prefill->parts[i].text.n;
    begun->parts_n = 1;
}

/* Whether a thought's opening mark is the last that the template wrote. */
static bool ends_in_thought(const struct prompt *prompt, const struct dialect *dialect)
{
    const size_t border = prompt->plain_n ? prompt->plain[prompt->plain_n - 1].end : 0;
    struct str end = {prompt->text.s + border, prompt->text.n - border};
    struct str open, close;

    while (end.n && strchr(" \n", end.s[end.n - 1]))
        end.n--;
    return end.n && dialect_thinks(dialect, &open, &close) && open.n && str_ends(end, open);
}

/* The turns, without that of the answer that is to be continued, rendered. */
static bool render_request(struct arena *arena, const struct message_request *request,
                           const struct means *means, struct replay_store *store,
                           struct turns *turns, struct str *out, struct err *err)
{
    const struct turns_needs needs = {
        .request = request, .traits = means->traits, .dialect = means->dialect, .store = store,
    };

    turns_collect(arena, &needs, turns);
    turns->n -= request->prefill;
    return render(arena, means, turns, out, err);
}

/* What a template takes of whose tools nothing is asked. */
static struct template_traits without_tools(const struct template_traits *traits)
{
    struct template_traits words = {
        .system = traits->system, .system_inside = traits->system_inside,
        .told = TOLD_PLAIN, .thinking = traits->thinking,
    };

    memcpy(words.efforts, traits->efforts, sizeof words.efforts);
    return words;
}

bool prompt_render(struct arena *arena, const struct message_request *request,
                   const struct chat_template *tmpl, struct replay_store *store,
                   struct prompt *out, struct err *err)
{
    struct means means = {
        .tmpl = tmpl,
        .traits = tmpl ? template_traits(tmpl) : &chatml,
        .dialect = template_dialect(tmpl),
        .switches = {request->thinking.kind != THINKING_OFF, request->effort},
    };
    const struct template_traits words = without_tools(means.traits);
    struct turns turns;
    struct str rendered;
    struct err first;

    if (!render_request(arena, request, &means, store, &turns, &rendered, &first)) {
        const bool again = means.traits->tools;         /* these are too much for it */
        means.traits = &words;
        if (!again || !render_request(arena, request, &means, store, &turns, &rendered, NULL)) {
            if (err)
                *err = first;
            return false;
        }
    }
    /* What the model is to continue comes right after the start of its turn, which the template has
     * left open, and not through the template, which would close it. */
    const struct turn *prefill = request->prefill ? &turns.turns[turns.n] : NULL;
    struct buf all = {0};
    buf_str(&all, rendered);
    if (prefill)
        context_put_turn(&all, prefill);
    const bool ok = marks_take(arena, buf_view(&all), turns.replays, turns.replays_n, out, err);
    buf_release(&all);
    memcpy(out->seconds, turns.seconds, sizeof out->seconds);
    out->in_thought = ok && ends_in_thought(out, means.dialect);
    begin_answer(&means, &turns, prefill, &out->begun);
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
