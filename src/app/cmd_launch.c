/* cmd_launch.c - Claude Code on a model of this machine, without a trace in anybody's settings.
 *
 * All it needs to know are variables of its own process. The hard thing is to leave nothing to
 * chance in them: what a person has set for the hosted service, or for another gateway, must not
 * send one word of a local conversation there. */
#include "app/app.h"

#include <stdlib.h>

#include "app/ask.h"
#include "app/follow.h"
#include "app/running.h"
#include "base/buf.h"
#include "base/json.h"

enum {
    VALUES_MAX = 1 << 18,               /* of JSON in a list of models */
    CLAUDE_PROMPT_TOKENS = 20000,       /* its own, with all tools: measured, version 2.1.197 */
    CLAUDE_OUTPUT_MAX = 32000,          /* its own limit for an answer; and of a small context, */
    CLAUDE_OUTPUT_SHARE = 4,            /* a quarter, or it would have no room for what it asks */
};
#define PATIENCE_MS "3600000"           /* a long prompt may take a small machine that long */

struct launch {
    struct arena *arena;
    struct running server;
    yyjson_val *cards;                  /* the server's models; the first is the default one */
    const char *model;
    uint32_t context;
    bool secret;                        /* the key is a person's own */
    struct buf settings;                /* JSON, for --settings */
};

/* ---- the model ---- */

static bool get_json(struct launch *launch, const char *path, yyjson_val **root, long *status,
                     struct err *err)
{
    struct answer answer;
    const struct running *server = &launch->server;
    if (!ask(launch->arena, server->url, path, server->key, &answer, err)) {
        return false;
    }
    *status = answer.status;
    if (answer.status == 401 || answer.status == 403) {
        return err_set(err, ERR_AUTH, "the server on %s does not accept this key: give one that it "
                       "does with --key, --key-file or PENSIEVE_KEY", server->url);
    }
    return answer.status != 200 ||
           json_parse_file(launch->arena, answer.body, path, VALUES_MAX, root, err);
}

static const char *text_of(yyjson_val *card, const char *key)
{
    const char *text = yyjson_get_str(yyjson_obj_get(card, key));
    return text ? text : "";
}

/* The card with this text under a key; NULL: there is none. */
static yyjson_val *card_with(const struct launch *launch, const char *key, const char *text)
{
    yyjson_arr_iter iter = yyjson_arr_iter_with(launch->cards);
    for (yyjson_val *card; (card = yyjson_arr_iter_next(&iter)) != NULL;) {
        if (strcmp(text_of(card, key), text) == 0) {
            return card;
        }
    }
    return NULL;
}

/* Of the server's models the one that was asked for, by its name there or by what `serve` would
 * take for it; else the first. */
static bool choose_model(struct launch *launch, const struct config *config, struct err *err)
{
    yyjson_val *root = NULL, *card;
    long status;
    if (!get_json(launch, "/v1/models?limit=1000", &root, &status, err)) {
        return false;
    }
    launch->cards = yyjson_obj_get(root, "data");
    card = yyjson_arr_get_first(launch->cards);
    if (!card) {
        return err_set(err, ERR_NOT_FOUND, "the server on %s has no models", launch->server.url);
    }
    if (config->models_chosen && launch->server.pid == 0) {
        const char *wanted = config->models.items[0].s;
        struct models models = app_models(config, launch->arena);
        struct err why = {0};
        struct model_entry entry;
        card = card_with(launch, "id", wanted);
        if (!card && models_resolve(&models, launch->arena, wanted, &entry, &why)) {
            card = card_with(launch, "id", arena_cstr(launch->arena, entry.id));
        }
        if (!card) {
            return err_set(err, ERR_NOT_FOUND, "the server on %s has no model %.80s; give another "
                           "--port, where one with it will be started", launch->server.url, wanted);
        }
    }
    launch->model = text_of(card, "id");
    launch->context = (uint32_t)yyjson_get_uint(yyjson_obj_get(card, "max_input_tokens"));
    return true;
}

/* Which model a name of Anthropic's means: the chosen one, unless an alias of the server leads from
 * it to another than its default. A card that was asked for by an alias bears that as its id. */
static const char *meant_by(struct launch *launch, const char *name)
{
    struct err err = {0};
    yyjson_val *root = NULL;
    long status;
    const char *path = arena_printf(launch->arena, "/v1/models/%s", name).s;
    if (!get_json(launch, path, &root, &status, &err) || !root) {
        return launch->model;
    }
    yyjson_val *card = card_with(launch, "display_name", text_of(root, "display_name"));
    return !card || card == yyjson_arr_get_first(launch->cards) ? launch->model
                                                                : text_of(card, "id");
}

/* ---- what Claude Code is told ---- */

enum whose {
    OURS,                               /* whatever a person has set */
    HIDDEN,                             /* ours, but not for the command line: all here see it */
    THEIRS,                             /* a person's own value stays */
};

struct variable {
    const char *name;
    const char *value;                  /* NULL: it must not be there */
    enum whose whose;
};

/* As variables of this process, and so of Claude Code's; and once more as settings, for the `env`
 * of a person's own settings file beats its environment. */
static void tell(struct launch *launch, const struct variable *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct variable *row = &rows[i];
        if (row->value) {
            setenv(row->name, row->value, row->whose != THEIRS);
        } else if (row->whose != THEIRS) {
            unsetenv(row->name);
        }
        if (row->whose == OURS) {
            buf_cstr(&launch->settings, launch->settings.n ? "," : "{\"env\":{");
            json_quote(&launch->settings, str_of(row->name));
            buf_char(&launch->settings, ':');
            json_quote(&launch->settings, str_of(row->value ? row->value : ""));
        }
    }
}

/* 0: what the server does not know of its model. */
static const char *number(struct arena *arena, uint32_t value)
{
    return value ? arena_printf(arena, "%u", value).s : NULL;
}

static void tell_server(struct launch *launch)
{
    const struct variable rows[] = {
        {"ANTHROPIC_BASE_URL", launch->server.url, OURS},
        {"ANTHROPIC_AUTH_TOKEN", launch->server.key, launch->secret ? HIDDEN : OURS},
        /* of other services, or to reach them by */
        {"ANTHROPIC_API_KEY", NULL, OURS},
        {"ANTHROPIC_CUSTOM_HEADERS", NULL, OURS},
        {"CLAUDE_CODE_OAUTH_TOKEN", NULL, OURS},
        {"CLAUDE_CODE_API_BASE_URL", NULL, OURS},
        {"CLAUDE_CODE_USE_BEDROCK", NULL, OURS},
        {"CLAUDE_CODE_USE_VERTEX", NULL, OURS},
        {"CLAUDE_CODE_USE_FOUNDRY", NULL, OURS},
        {"CLAUDE_CODE_USE_MANTLE", NULL, OURS},
        {"CLAUDE_CODE_USE_ANTHROPIC_AWS", NULL, OURS},
        {"CLAUDE_CODE_USE_GATEWAY", NULL, OURS},
        {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1", OURS},
        /* a line in front of the system prompt that is another one in each conversation */
        {"CLAUDE_CODE_ATTRIBUTION_HEADER", "0", OURS},
    };
    tell(launch, rows, sizeof(rows) / sizeof(rows[0]));
}

static void tell_model(struct launch *launch)
{
    uint32_t output = launch->context / CLAUDE_OUTPUT_SHARE;
    output = output < CLAUDE_OUTPUT_MAX ? output : CLAUDE_OUTPUT_MAX;
    const struct variable rows[] = {
        {"ANTHROPIC_MODEL", launch->model, OURS},
        {"ANTHROPIC_DEFAULT_HAIKU_MODEL", meant_by(launch, "claude-haiku-4-5-20251001"), OURS},
        {"ANTHROPIC_SMALL_FAST_MODEL", meant_by(launch, "claude-haiku-4-5-20251001"), OURS},
        {"ANTHROPIC_DEFAULT_SONNET_MODEL", meant_by(launch, "claude-sonnet-5"), OURS},
        {"ANTHROPIC_DEFAULT_OPUS_MODEL", meant_by(launch, "claude-opus-4-8"), OURS},
        {"ANTHROPIC_DEFAULT_FABLE_MODEL", meant_by(launch, "claude-fable-5"), OURS},
        {"CLAUDE_CODE_SUBAGENT_MODEL", NULL, OURS},
        {"CLAUDE_CODE_MAX_CONTEXT_TOKENS", number(launch->arena, launch->context), OURS},
        {"CLAUDE_CODE_MAX_OUTPUT_TOKENS", number(launch->arena, output), THEIRS},
        {"API_TIMEOUT_MS", PATIENCE_MS, THEIRS},
        {"CLAUDE_STREAM_IDLE_TIMEOUT_MS", PATIENCE_MS, THEIRS},
        {"API_FORCE_IDLE_TIMEOUT", "0", THEIRS},
    };
    tell(launch, rows, sizeof(rows) / sizeof(rows[0]));
}

/* A proxy must not be asked for this machine. Programs differ in which spelling they read. */
static void tell_no_proxy(struct launch *launch)
{
    const char *had = getenv("NO_PROXY") ? getenv("NO_PROXY") : getenv("no_proxy");
    const char *host = strstr(launch->server.url, "://") + 3;
    struct str port = str_of(strrchr(host, ':'));
    const char *all = arena_printf(launch->arena, "%s%s%.*s,127.0.0.1,localhost", had ? had : "",
                                   had && *had ? "," : "", (int)(strlen(host) - port.n), host).s;
    const struct variable rows[] = {{"NO_PROXY", all, OURS}, {"no_proxy", all, OURS}};
    tell(launch, rows, 2);
}

/* ---- the command ---- */

/* Whether the arguments make Claude Code's prompt smaller than it usually is. */
static bool is_small(const struct config_list *words)
{
    static const char *const flags[] = {"--bare", "--tools", "--system-prompt"};
    for (size_t i = 1; i < words->n; i++) {
        struct str rest = words->items[i], name = config_cut(&rest, '=');
        for (size_t k = 0; k < sizeof(flags) / sizeof(flags[0]); k++) {
            if (str_is(name, flags[k])) {
                return true;
            }
        }
    }
    return false;
}

static bool prepare(struct launch *launch, const struct config *config, struct err *err)
{
    if (!running_find(&launch->server, config, launch->arena, err) ||
        !choose_model(launch, config, err)) {
        return false;
    }
    tell_server(launch);
    tell_model(launch);
    tell_no_proxy(launch);
    const char *room = launch->context
                           ? arena_printf(launch->arena, " (%u tokens)", launch->context).s : "";
    fprintf(stderr, "pensieve: claude with %s%s on %s\n", launch->model, room, launch->server.url);
    if (launch->context && launch->context < CLAUDE_PROMPT_TOKENS && !is_small(&config->args)) {
        fprintf(stderr, "pensieve: Claude Code's own prompt with all its tools takes about %d "
                "tokens, more than this model has room for; --bare, or --tools and "
                "--system-prompt, make it small\n", CLAUDE_PROMPT_TOKENS);
    }
    return true;
}

/* "claude", our settings, and what follows it, as exec takes them. Who has settings of his own on
 * the command line keeps them: there is room for one. */
static char *const *argv_of(struct launch *launch, const struct config *config)
{
    const struct config_list *words = &config->args;
    char **argv = arena_array(launch->arena, words->n + 3, sizeof(*argv));
    size_t n = 0;
    bool own = false;
    for (size_t i = 1; i < words->n; i++) {
        own = own || str_is(words->items[i], "--settings") ||
              str_starts(words->items[i], STR("--settings="));
    }
    argv[n++] = arena_cstr(launch->arena, words->items[0]);
    if (!own) {
        buf_cstr(&launch->settings, "}}");
        argv[n++] = arena_cstr(launch->arena, STR("--settings"));
        argv[n++] = arena_cstr(launch->arena, buf_view(&launch->settings));
    }
    for (size_t i = 1; i < words->n; i++) {
        argv[n++] = arena_cstr(launch->arena, words->items[i]);
    }
    return argv;
}

bool cmd_launch(const struct config *config, struct arena *arena, struct err *err)
{
    struct launch launch = {.arena = arena, .secret = config->keys_configured};
    int status = 0;
    if (config->args.n == 0 || !str_is(config->args.items[0], "claude")) {
        return err_set(err, ERR_USAGE, "launch whom? usage: pensieve launch [options] claude "
                                       "[ARGUMENT...]");
    }
    const char *claude = follow_find(arena, "claude");
    if (!claude) {
        return err_set(err, ERR_NOT_FOUND, "there is no program `claude` on the PATH; Claude Code "
                       "is installed by: npm install -g @anthropic-ai/claude-code");
    }
    bool prepared = prepare(&launch, config, err);
    char *const *argv = prepared ? argv_of(&launch, config) : NULL;
    buf_release(&launch.settings);
    if (prepared && launch.server.pid == 0) {
        return follow_exec(claude, argv, err);
    }
    bool followed = prepared && follow_run(claude, argv, &status, err);
    running_stop(&launch.server);
    if (followed) {
        follow_end(status);
    }
    return false;
}
