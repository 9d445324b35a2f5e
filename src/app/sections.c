/* sections.c - the sections of the configuration file: their rows, and what their lines can't say
 * alone. To add an option of a model or an upstream: its field in config.h, and its row here.
 *
 * Sections name each other. The hard thing is that a person reads one line and we know the whole:
 * so each name is checked when all are there, and told by the place where its section begins. */
#include "app/config.h"

#include <errno.h>
#include <sys/stat.h>

#include "base/log.h"

#define SECOND ((uint64_t)1000)
#define HOUR (3600 * SECOND)
#define OF_MODEL(name) offsetof(struct config_model, name)
#define OF_UPSTREAM(name) offsetof(struct config_upstream, name)

static const struct option model_rows[] = {
    {.name = "backend", .type = OPTION_CHOICE, .offset = OF_MODEL(backend), .fallback = "native",
     .metavar = "native|mlx|upstream",
     .help = "who answers: the engine in this process, an MLX bridge, or other servers"},
    {.name = "path", .type = OPTION_TEXT, .offset = OF_MODEL(path), .fallback = "",
     .metavar = "MODEL",
     .help = "native: as --model takes it (default: the section's name); mlx: a folder"},
    {.name = "upstream", .type = OPTION_LIST, .offset = OF_MODEL(upstreams), .fallback = "",
     .metavar = "NAME|URL",
     .help = "an [upstream NAME], or a server's URL; several share the conversations"},
    {.name = "fallback", .type = OPTION_LIST, .offset = OF_MODEL(fallbacks), .fallback = "",
     .metavar = "MODEL",
     .help = "the model that answers when this one is overloaded or fails; several: in this order"},
    {.name = "alias", .type = OPTION_LIST, .offset = OF_MODEL(aliases), .fallback = "",
     .metavar = "NAME", .help = "another name for it; with * many: claude-haiku-*"},
    {.name = "display-name", .type = OPTION_TEXT, .offset = OF_MODEL(display_name), .fallback = "",
     .metavar = "TEXT",
     .help = "its name for people (default: the model's own, else the section's)"},
    {.name = "context", .type = OPTION_NUMBER, .offset = OF_MODEL(context), .fallback = "0",
     .min = 0, .max = 1 << 24, .metavar = "TOKENS",
     .help = "tokens a conversation may hold; 0: --context, or the model's own; upstream: 200000"},
    {.name = "max-tokens", .type = OPTION_NUMBER, .offset = OF_MODEL(max_tokens), .fallback = "0",
     .min = 0, .max = 1 << 24, .metavar = "TOKENS",
     .help = "the longest answer, as /v1/models tells it; 0: the context"},
    {.name = "processes", .type = OPTION_NUMBER, .offset = OF_MODEL(processes), .fallback = "1",
     .min = 1, .max = 64, .metavar = "N", .help = "mlx: bridges that share the requests"},
    {.name = "python", .type = OPTION_TEXT, .offset = OF_MODEL(python), .fallback = "python3",
     .metavar = "PROGRAM", .help = "mlx: the Python that has mlx-lm"},
    {.name = "probe", .type = OPTION_TIME, .offset = OF_MODEL(probe_ms), .fallback = "10s",
     .min = 100, .max = HOUR, .metavar = "TIME",
     .help = "upstream: how often each is asked whether it is well"},
};

static const struct option upstream_rows[] = {
    {.name = "url", .type = OPTION_TEXT, .offset = OF_UPSTREAM(url), .fallback = "",
     .metavar = "URL", .help = "where it listens, without /v1: http://10.0.0.5:8000"},
    {.name = "kind", .type = OPTION_CHOICE, .offset = OF_UPSTREAM(kind), .fallback = "openai",
     .metavar = "anthropic|openai", .help = "the API it speaks"},
    {.name = "model", .type = OPTION_TEXT, .offset = OF_UPSTREAM(model), .fallback = "",
     .metavar = "NAME", .help = "what it calls the model (default: the [model NAME]'s name)"},
    {.name = "key-file", .type = OPTION_TEXT, .offset = OF_UPSTREAM(key_file), .fallback = "",
     .metavar = "PATH", .help = "a file with the key it asks for, and nothing else"},
    {.name = "key-env", .type = OPTION_TEXT, .offset = OF_UPSTREAM(key_env), .fallback = "",
     .metavar = "NAME", .help = "the environment variable with the key it asks for"},
    {.name = "connect-timeout", .type = OPTION_TIME, .offset = OF_UPSTREAM(connect_ms),
     .fallback = "5s", .min = 10, .max = HOUR, .metavar = "TIME",
     .help = "how long a connection may take"},
    {.name = "first-byte-timeout", .type = OPTION_TIME, .offset = OF_UPSTREAM(first_byte_ms),
     .fallback = "5min", .min = 10, .max = HOUR, .metavar = "TIME",
     .help = "how long an answer may take to begin: it reads the whole prompt meanwhile"},
    {.name = "stall-timeout", .type = OPTION_TIME, .offset = OF_UPSTREAM(stall_ms),
     .fallback = "60s", .min = 10, .max = HOUR, .metavar = "TIME",
     .help = "how long an answer that has begun may be silent"},
    {.name = "retries", .type = OPTION_NUMBER, .offset = OF_UPSTREAM(retries), .fallback = "2",
     .min = 0, .max = 10, .metavar = "N",
     .help = "how often it is asked again before it answers, where a model has no other upstream"},
    {.name = "extra", .type = OPTION_TEXT, .offset = OF_UPSTREAM(extra), .fallback = "",
     .metavar = "JSON", .help = "openai: an object whose members are added to each request"},
    {.name = "insecure", .type = OPTION_BOOL, .offset = OF_UPSTREAM(insecure), .fallback = "no",
     .help = "reach it beyond this machine without TLS, or with a certificate nobody vouches for"},
};

#define ROWS(table) .rows = table, .rows_n = sizeof(table) / sizeof((table)[0])

const struct section_kind section_kinds[] = {
    {.name = "model", ROWS(model_rows), .size = sizeof(struct config_model),
     .offset = offsetof(struct config, model_sections),
     .help = "A model of the server under the name NAME, and who answers for it. Where no --model "
             "is given, the\nfirst section is the default model."},
    {.name = "upstream", ROWS(upstream_rows), .size = sizeof(struct config_upstream),
     .offset = offsetof(struct config, upstream_sections),
     .help = "A server that speaks the Anthropic or the OpenAI API: vLLM, SGLang, llama-server, "
             "another Pensieve."},
};

const size_t section_kinds_n = sizeof(section_kinds) / sizeof(section_kinds[0]);

static struct config_sections *sections_of(struct config *config, const struct section_kind *kind)
{
    return (struct config_sections *)((char *)config + kind->offset);
}

static void *section_find(const struct config_sections *sections, struct str name)
{
    for (size_t i = 0; i < sections->n; i++) {
        const struct config_section *section = sections->items[i];
        if (str_is(name, section->name)) {
            return sections->items[i];
        }
    }
    return NULL;
}

const struct config_model *config_model_find(const struct config *config, struct str name)
{
    return section_find(&config->model_sections, name);
}

const char *config_model_path(const struct config_model *model)
{
    return model->path[0] ? model->path : model->section.name;
}

const struct config_upstream *config_upstream_find(const struct config *config, struct str name)
{
    return section_find(&config->upstream_sections, name);
}

/* ---- its lines ---- */

static bool is_name(struct str name)
{
    if (name.n == 0 || name.n > CONFIG_NAME_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < name.n; i++) {
        if (name.s[i] <= ' ' || name.s[i] > '~' || strchr("[],\"*", name.s[i])) {
            return false;
        }
    }
    return true;
}

static const struct section_kind *find_kind(struct str name)
{
    for (size_t i = 0; i < section_kinds_n; i++) {
        if (str_is(name, section_kinds[i].name)) {
            return &section_kinds[i];
        }
    }
    return NULL;
}

static bool set_defaults(const struct section_kind *kind, void *fields, struct arena *arena,
                         struct err *err)
{
    for (size_t i = 0; i < kind->rows_n; i++) {
        const struct option *row = &kind->rows[i];
        if (row->type != OPTION_LIST &&
            !option_set(fields, arena, row, str_of(row->fallback), row->name, err)) {
            return false;
        }
    }
    return true;
}

bool section_open(struct config *config, struct arena *arena, struct str line, const char *where,
                  const struct section_kind **kind, struct config_section **section,
                  struct err *err)
{
    struct str inside = config_trim(line);
    bool closed = inside.n >= 2 && inside.s[0] == '[' && inside.s[inside.n - 1] == ']';
    struct str name = closed ? config_trim((struct str){inside.s + 1, inside.n - 2}) : STR("");
    const struct section_kind *found = find_kind(config_cut(&name, ' '));
    if (!found) {
        return err_set(err, ERR_USAGE, "%s: a section begins with [model NAME] or [upstream NAME]",
                       where);
    }
    name = config_trim(name);
    if (!is_name(name)) {
        return err_set(err, ERR_USAGE, "%s: [%s NAME]: a name is 1 to %d letters, digits and "
                       "signs, without spaces, commas, quotes, stars and brackets", where,
                       found->name, CONFIG_NAME_BYTES_MAX);
    }
    struct config_sections *all = sections_of(config, found);
    if (section_find(all, name)) {
        return err_set(err, ERR_USAGE, "%s: there is a [%s %.*s] already", where, found->name,
                       STR_ARG(name));
    }
    if (all->n == CONFIG_SECTIONS_MAX) {
        return err_set(err, ERR_USAGE, "%s: more than %d sections [%s NAME]", where,
                       CONFIG_SECTIONS_MAX, found->name);
    }
    if (!all->items) {
        all->items = arena_array(arena, CONFIG_SECTIONS_MAX, sizeof(all->items[0]));
    }
    struct config_section *made = arena_alloc(arena, found->size);
    if (!set_defaults(found, made, arena, err)) {
        return false;
    }
    made->name = arena_cstr(arena, name);
    made->where = arena_printf(arena, "%s: [%s %s]", where, found->name, made->name).s;
    all->items[all->n++] = made;
    *kind = found;
    *section = made;
    return true;
}

bool section_set(struct config_section *section, struct arena *arena,
                 const struct section_kind *kind, struct str name, struct str value,
                 const char *where, struct err *err)
{
    const struct option *row = option_find_in(kind->rows, kind->rows_n, name);
    const char *before = arena_printf(arena, "%s: [%s %s]: ", where, kind->name, section->name).s;
    if (!row) {
        return option_unknown(kind->rows, kind->rows_n, name, before, err);
    }
    const char *place = arena_printf(arena, "%s%s", before, row->name).s;
    if (row->type != OPTION_LIST) {
        return option_set(section, arena, row, value, place, err);
    }
    do {
        struct str item = config_trim(config_cut(&value, ','));
        if (!option_set(section, arena, row, item, place, err)) {
            return false;
        }
    } while (value.n > 0);
    return true;
}

static struct str behind_scheme(struct str url)
{
    static const struct str schemes[] = {{"http://", 7}, {"https://", 8}};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        if (str_starts(url, schemes[i])) {
            return (struct str){url.s + schemes[i].n, url.n - schemes[i].n};
        }
    }
    return (struct str){0};
}

/* No user and password in it: its host's name stands in logs and answers. */
static bool is_url(const char *text)
{
    struct str rest = behind_scheme(str_of(text));
    for (size_t i = 0; i < rest.n; i++) {
        if (rest.s[i] <= ' ' || rest.s[i] > '~' || rest.s[i] == '@') {
            return false;
        }
    }
    return rest.n > 0 && rest.s[0] != '/';
}

/* "http://10.0.0.5:8000/x" -> "10.0.0.5:8000" */
static struct str host_of(struct str url)
{
    struct str rest = behind_scheme(url);
    return config_cut(&rest, '/');
}

bool config_upstream_of(const struct config *config, struct arena *arena, struct str name,
                        struct config_upstream *out, struct err *err)
{
    const struct config_upstream *found = config_upstream_find(config, name);
    if (found) {
        *out = *found;
        return true;
    }
    *out = (struct config_upstream){0};
    if (!set_defaults(find_kind(STR("upstream")), out, arena, err)) {
        return false;
    }
    out->section.name = arena_cstr(arena, host_of(name));
    out->url = arena_cstr(arena, name);
    out->key = "";
    return true;
}

/* ---- all of them together ---- */

static bool upstream_settle(struct config_upstream *upstream, struct err *err)
{
    const char *where = upstream->section.where;
    if (!is_url(upstream->url)) {
        return err_set(err, ERR_USAGE, "%s: url: not of the form http://HOST:PORT or https://HOST, "
                       "without spaces and without a user's name or key", where);
    }
    if (upstream->key_file[0] && upstream->key_env[0]) {
        return err_set(err, ERR_USAGE, "%s: key-file and key-env: one key has one place", where);
    }
    upstream->key = "";
    return true;
}

static bool model_settle(const struct config *config, const struct config_model *model,
                         struct err *err)
{
    const char *where = model->section.where;
    bool far = strcmp(model->backend, "upstream") == 0;
    if (far && model->upstreams.n == 0) {
        return err_set(err, ERR_USAGE, "%s: backend = upstream needs an upstream: the name of an "
                       "[upstream NAME] section, or a URL", where);
    }
    if (!far && model->upstreams.n > 0) {
        return err_set(err, ERR_USAGE, "%s: upstream has no meaning with backend = %s; did you "
                       "mean backend = upstream, or a fallback?", where, model->backend);
    }
    if (far && model->path[0]) {
        return err_set(err, ERR_USAGE, "%s: path has no meaning with backend = upstream", where);
    }
    if (strcmp(model->backend, "mlx") == 0 && !model->path[0]) {
        return err_set(err, ERR_USAGE, "%s: backend = mlx needs a path: an MLX folder", where);
    }
    if (model->upstreams.n > CONFIG_MEMBERS_MAX || model->fallbacks.n > CONFIG_MEMBERS_MAX) {
        return err_set(err, ERR_USAGE, "%s: more than %d %s", where, CONFIG_MEMBERS_MAX,
                       model->upstreams.n > CONFIG_MEMBERS_MAX ? "upstreams" : "fallbacks");
    }
    for (size_t i = 0; i < model->upstreams.n; i++) {
        struct str name = model->upstreams.items[i];
        if (!is_url(name.s) && !config_upstream_find(config, name)) {
            return err_set(err, ERR_USAGE, "%s: upstream: there is no section [upstream %.60s]",
                           where, name.s);
        }
    }
    return true;
}

/* Whether the fallbacks of a model lead to another. Each section is looked into once. */
static bool leads_to(const struct config *config, const struct config_model *from,
                     const struct config_model *to, bool *seen)
{
    for (size_t i = 0; i < from->fallbacks.n; i++) {
        for (size_t k = 0; k < config->model_sections.n; k++) {
            const struct config_model *next = config->model_sections.items[k];
            if (seen[k] || !str_is(from->fallbacks.items[i], next->section.name)) {
                continue;
            }
            seen[k] = true;
            if (next == to || leads_to(config, next, to, seen)) {
                return true;
            }
        }
    }
    return false;
}

bool sections_settle(struct config *config, struct err *err)
{
    for (size_t i = 0; i < config->upstream_sections.n; i++) {
        if (!upstream_settle(config->upstream_sections.items[i], err)) {
            return false;
        }
    }
    for (size_t i = 0; i < config->model_sections.n; i++) {
        const struct config_model *model = config->model_sections.items[i];
        bool seen[CONFIG_SECTIONS_MAX] = {0};
        if (!model_settle(config, model, err)) {
            return false;
        }
        if (leads_to(config, model, model, seen)) {
            return err_set(err, ERR_USAGE, "%s: fallback: its fallbacks lead back to it",
                           model->section.where);
        }
    }
    return true;
}

/* ---- keys ---- */

static bool key_of_file(struct config_upstream *upstream, struct arena *arena, const char *where,
                        struct err *err)
{
    struct str text;
    struct stat info;
    struct err why = {0};
    char shown[300];
    if (!config_read_file(arena, upstream->key_file, &text, &why)) {
        return err_set(err, ERR_USAGE, "%s: %s", where, why.text);
    }
    if (stat(upstream->key_file, &info) == 0 && (info.st_mode & (S_IRWXG | S_IRWXO))) {
        log_event(LOG_WARN, "key_file_open", "path=%s mode=%03o reason=\"others may read it\"",
                  log_quote(shown, sizeof(shown), str_of(upstream->key_file)),
                  (unsigned)info.st_mode & 0777);
    }
    struct str line = config_trim(config_cut(&text, '\n'));
    if (line.n == 0) {
        return err_set(err, ERR_USAGE, "%s: %s begins with an empty line", where,
                       upstream->key_file);
    }
    upstream->key = arena_cstr(arena, line);
    return true;
}

bool sections_read_keys(const struct config *config, struct arena *arena, char *const *envp,
                        struct err *err)
{
    for (size_t i = 0; i < config->upstream_sections.n; i++) {
        struct config_upstream *upstream = config->upstream_sections.items[i];
        const char *name = upstream->key_env[0] ? "key-env" : "key-file";
        const char *where = arena_printf(arena, "%s: %s", upstream->section.where, name).s;
        if (upstream->key_env[0]) {
            const char *value = config_variable(envp, upstream->key_env);
            if (!value) {
                return err_set(err, ERR_USAGE, "%s: the environment has no %.60s", where,
                               upstream->key_env);
            }
            upstream->key = value;
        } else if (upstream->key_file[0] && !key_of_file(upstream, arena, where, err)) {
            return false;
        }
        if (!config_key_check(str_of(upstream->key), where, err)) {
            return false;
        }
    }
    return true;
}
