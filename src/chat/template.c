/* template.c - the chat template behind glue/pensieve_glue.h: limits, the clock, errors, and what a
 * template does with system messages, which can only be found out by trying. */
#include "chat/template.h"

#include <stdlib.h>
#include <time.h>

#include "base/utf8.h"
#include "pensieve_glue.h"

struct chat_template {
    struct glue_template *glue;
    bool takes_system, takes_system_inside;
    struct arena *arena;                /* of the lead */
    struct replay_lead lead;
};

/* The words of Rust or of a template's author, as much as an error holds. */
static bool glue_error(struct err *err, enum err_code code, struct glue_text *text)
{
    const struct str all = {text->s, text->n};
    const struct str shown = utf8_cut(all, sizeof err->text - 40);

    err_set(err, code, "chat template: %.*s", STR_ARG(shown));
    glue_text_free(text);
    return false;
}

static size_t now(void *context, const char *format, char *out, size_t size)
{
    const time_t seconds = time(NULL);
    struct tm local;

    if (!localtime_r(&seconds, &local))
        return 0;
    /* The format is the template's: strftime bounds what it writes and reads nothing else. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    return strftime(out, size, format, &local);
#pragma GCC diagnostic pop
}

bool template_render(const struct chat_template *tmpl, struct arena *arena, struct str context_json,
                     struct str *out, struct err *err)
{
    struct glue_text text = {0};
    const enum glue_result result =
        glue_template_render(tmpl->glue, context_json.s, context_json.n, TEMPLATE_OUTPUT_BYTES_MAX,
                             now, NULL, &text);

    if (result != GLUE_OK)
        return glue_error(err, ERR_INVALID, &text);
    *out = arena_str(arena, (struct str){text.s, text.n});
    glue_text_free(&text);
    return true;
}

#define PROBE(messages) STR("{\"tools\":null,\"documents\":null,\"add_generation_prompt\":true," \
                            "\"enable_thinking\":false,\"messages\":[" messages "]}")
#define PROBE_USER "{\"role\":\"user\",\"content\":\"probe-user\"}"
#define PROBE_ASSISTANT "{\"role\":\"assistant\",\"content\":\"probe-assistant\"}"
#define PROBE_SYSTEM "{\"role\":\"system\",\"content\":\"probe-system\"}"

static const char *find(struct str text, const char *from, const char *what)
{
    return from ? memmem(from, (size_t)(text.s + text.n - from), what, strlen(what)) : NULL;
}

/* Whether the template renders this, with the texts of `order` one after the other. */
static bool shows(const struct chat_template *tmpl, struct str context, const char *const *order)
{
    struct arena *arena = arena_new(1024);
    struct str out;
    bool ok = template_render(tmpl, arena, context, &out, NULL);
    const char *at = ok ? out.s : NULL;

    for (; *order; order++)
        at = find(out, at, *order);
    arena_free(arena);
    return at;
}

/* What stands behind the first probe-user: up to probe-assistant, or all. n == 0: not rendered so. */
static struct str behind_user(const struct chat_template *tmpl, struct arena *arena,
                              struct str context, bool told)
{
    struct str out;

    if (!template_render(tmpl, arena, context, &out, NULL))
        return (struct str){0};
    const char *user = find(out, out.s, "probe-user");
    const char *begin = user ? user + strlen("probe-user") : NULL;
    const char *end = told ? find(out, begin, "probe-assistant") : out.s + out.n;
    return begin && end ? (struct str){begin, (size_t)(end - begin)} : (struct str){0};
}

/* Compares how an answer begins when it is told again and when it is asked for. */
static void try_lead(struct chat_template *tmpl)
{
    struct arena *arena = arena_new(1024);
    const struct str told =
        behind_user(tmpl, arena, PROBE(PROBE_USER "," PROBE_ASSISTANT "," PROBE_USER), true);
    const struct str asked = behind_user(tmpl, arena, PROBE(PROBE_USER), false);
    size_t same = 0;

    while (same < told.n && same < asked.n && told.s[same] == asked.s[same])
        same++;
    while (same && same < told.n && ((unsigned char)told.s[same] & 0xc0) == 0x80)
        same--;                         /* not inside a character */
    const struct str drop = {told.s + same, told.n - same}, add = {asked.s + same, asked.n - same};
    if (same && drop.n <= REPLAY_LEAD_BYTES_MAX && add.n <= REPLAY_LEAD_BYTES_MAX)
        tmpl->lead = (struct replay_lead){arena_str(tmpl->arena, drop), arena_str(tmpl->arena, add)};
    arena_free(arena);
}

static bool try_roles(struct chat_template *tmpl, struct err *err)
{
    static const char *const first[] = {"probe-system", "probe-user", NULL};
    static const char *const last[] = {"probe-user", "probe-system", NULL};
    static const char *const between[] = {"probe-user", "probe-system", "probe-assistant",
                                          "probe-user", NULL};
    struct arena *arena = arena_new(1024);
    struct str out;
    const bool ok = template_render(tmpl, arena, PROBE(PROBE_USER), &out, err);

    arena_free(arena);
    if (!ok) {
        err_prefix(err, "trying a user's message");
        if (err)
            err->code = ERR_FORMAT;
        return false;
    }
    tmpl->takes_system = shows(tmpl, PROBE(PROBE_SYSTEM "," PROBE_USER), first);
    tmpl->takes_system_inside =
        shows(tmpl, PROBE(PROBE_USER "," PROBE_SYSTEM), last) &&
        shows(tmpl, PROBE(PROBE_USER "," PROBE_SYSTEM "," PROBE_ASSISTANT "," PROBE_USER), between);
    return true;
}

void template_free(struct chat_template *tmpl)
{
    if (!tmpl)
        return;
    glue_template_free(tmpl->glue);
    arena_free(tmpl->arena);
    free(tmpl);
}

struct chat_template *template_new(struct str source, struct str bos, struct str eos,
                                   struct err *err)
{
    struct glue_text error = {0};

    if (source.n > TEMPLATE_SOURCE_BYTES_MAX) {
        err_set(err, ERR_FORMAT, "the chat template is %zu bytes long; at most %d are allowed",
                source.n, TEMPLATE_SOURCE_BYTES_MAX);
        return NULL;
    }
    struct chat_template *tmpl = calloc(1, sizeof *tmpl);
    if (!tmpl) {
        err_set(err, ERR_INTERNAL, "out of memory");
        return NULL;
    }
    tmpl->arena = arena_new(256);
    tmpl->glue = glue_template_new(source.s, source.n, bos.s, bos.n, eos.s, eos.n, &error);
    if (!tmpl->glue)
        glue_error(err, ERR_FORMAT, &error);
    if (!tmpl->glue || !try_roles(tmpl, err)) {
        template_free(tmpl);
        return NULL;
    }
    try_lead(tmpl);
    return tmpl;
}

bool template_takes_system(const struct chat_template *tmpl)
{
    return tmpl->takes_system;
}

bool template_takes_system_inside(const struct chat_template *tmpl)
{
    return tmpl->takes_system_inside;
}

struct replay_lead template_lead(const struct chat_template *tmpl)
{
    return tmpl->lead;
}
