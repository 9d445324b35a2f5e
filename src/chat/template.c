/* template.c - the chat template behind glue/pensieve_glue.h: limits, the clock, errors. */
#include "chat/template.h"

#include <stdlib.h>
#include <time.h>

#include "base/utf8.h"
#include "chat/probe.h"
#include "pensieve_glue.h"

struct chat_template {
    struct glue_template *glue;
    const struct dialect *dialect;
    struct arena *arena;                /* of the leads */
    struct probed probed;
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
    if (!tmpl->glue || !probe_template(tmpl, source, tmpl->arena, &tmpl->probed, err)) {
        template_free(tmpl);
        return NULL;
    }
    tmpl->dialect = dialect_find(source);
    return tmpl;
}

const struct template_traits *template_traits(const struct chat_template *tmpl)
{
    return &tmpl->probed.traits;
}

bool template_has_efforts(const struct chat_template *tmpl)
{
    for (int i = EFFORT_LOW; tmpl && i < EFFORTS; i++)
        if (!tmpl->probed.traits.efforts[i])
            return false;
    return tmpl;
}

const struct dialect *template_dialect(const struct chat_template *tmpl)
{
    return tmpl ? tmpl->dialect : dialect_find(STR(""));
}

struct replay_lead template_lead(const struct chat_template *tmpl, struct template_place place)
{
    place.thinking &= tmpl->probed.traits.thinking != NULL;
    return tmpl->probed.leads[probe_lead(place)];
}
