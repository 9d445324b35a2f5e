/* serve_models.c - the models a server has: the default one, those that were named, those that have
 * a section of the file, and all that lie in the models folder, each under its name, and the
 * aliases.
 *
 * Only the default model is opened for good. Of the others no more is read than what /v1/models
 * says of them; they are opened when somebody asks for one. */
#include "app/serve_models.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "app/serve_sections.h"
#include "backend/memory.h"
#include "base/log.h"
#include "engine/checkpoint.h"
#include "engine/kvcache.h"

static struct engine *open_served(void *context, struct err *err)
{
    const struct served *served = context;
    return app_engine_open(served->config, served->path, served->context, err);
}

/* A model's own file, or for a folder the one that says what it is. */
static int64_t created_at(struct arena *arena, const char *path)
{
    struct stat info;
    bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    if (folder) {
        path = arena_printf(arena, "%s/config.json", path).s;
    }
    return stat(path, &info) == 0 ? (int64_t)info.st_mtime : 0;
}

static const char *real_path(const struct serving *all, const char *path)
{
    char *real = realpath(path, NULL);
    const char *kept = real ? arena_cstr(all->arena, str_of(real)) : NULL;
    free(real);
    return kept;
}

static struct served *find_served(const struct serving *all, const char *real)
{
    for (size_t i = 0; real && i < all->n; i++) {
        if (all->list[i].real && strcmp(all->list[i].real, real) == 0) {
            return &all->list[i];
        }
    }
    return NULL;
}

/* NULL: there is one of this path already. */
static struct served *new_served(struct serving *all, const struct native_wish *wish,
                                 struct err *err)
{
    const char *real = real_path(all, wish->path);
    const struct served *known = find_served(all, real);
    if (known) {
        err_set(err, ERR_USAGE, "%.100s is served as %.*s already; an alias gives it another name",
                wish->path, STR_ARG(known->id));
        return NULL;
    }
    struct served *served = &all->list[all->n++];
    *served = (struct served){
        .config = all->config, .id = wish->id, .path = wish->path, .real = real,
        .context = wish->context,
    };
    return served;
}

static struct backend *make_native(struct serving *all, struct served *served,
                                   struct engine *engine, struct str name, uint32_t context,
                                   uint64_t bytes, struct err *err)
{
    const struct config *config = all->config;
    struct native_options native = {
        .card = {
            .id = served->id,
            .display_name = name.n ? name : served->id,
            .created_at = created_at(all->arena, served->path),
            .max_input_tokens = context,
            .max_tokens = context,
        },
        .open = open_served,
        .context = served,
        .engine = engine,
        .bytes = bytes,
        .cache_dir = config->cache_disk_max && config->cache_dir[0] ? config->cache_dir : NULL,
        .seeded = config->seed != 0,
        .seed = config->seed,
        .advised = strcmp(config->sampling, "model") == 0,
    };
    return native_new(all->loop, all->memory, &native, err);
}

/* What the engine will make of --kv-memory and a wish for a context: as the model was trained at
 * most, and no longer than the memory holds. */
static uint64_t kv_bytes(const struct config *config, uint32_t wanted, uint64_t token,
                         uint32_t trained)
{
    uint64_t context = wanted ? wanted : trained;
    return config->kv_memory ? config->kv_memory : engine_kv_default(context * token);
}

static uint32_t context_of(const struct config *config, uint32_t wanted, uint64_t token,
                           uint32_t trained)
{
    uint64_t held = kv_bytes(config, wanted, token, trained) / (token * KV_PAGE) * KV_PAGE;
    uint64_t most = wanted ? wanted : held;
    return most < trained ? (uint32_t)most : trained;
}

static struct str first_of(struct str a, struct str b)
{
    return a.n ? a : b;
}

struct backend *serve_now(struct serving *all, const struct native_wish *wish,
                          struct engine **engine, struct err *err)
{
    struct served *served = new_served(all, wish, err);
    *engine = served ? open_served(served, err) : NULL;
    if (!*engine) {
        return NULL;
    }
    const struct model_info *info = engine_info(*engine);
    struct backend *backend =
        make_native(all, served, *engine, first_of(wish->display_name, info->name), info->context,
                    info->file_bytes + kv_bytes(all->config, wish->context, info->kv_bytes_token,
                                                info->context_trained), err);
    if (!backend) {
        engine_close(*engine);
    }
    return backend;
}

struct backend *serve_later(struct serving *all, const struct native_wish *wish, struct err *err)
{
    struct served *served = new_served(all, wish, err);
    struct checkpoint *checkpoint = served ? checkpoint_open(wish->path, err) : NULL;
    struct backend *backend = NULL;
    if (checkpoint) {
        const struct hparams *h = &checkpoint->hparams;
        uint64_t token = hparams_kv_bytes(h);
        served->context = context_of(all->config, wish->context, token, h->context_trained);
        backend = make_native(all, served, NULL, first_of(wish->display_name, checkpoint->name),
                              served->context, checkpoint->file_bytes +
                              kv_bytes(all->config, wish->context, token, served->context), err);
        checkpoint_close(checkpoint);
    }
    all->n -= served && !backend;
    return backend;
}

static struct native_wish wish_of(const struct serving *all, const struct model_entry *entry)
{
    return (struct native_wish){.path = entry->path, .id = entry->id,
                                .context = (uint32_t)all->config->context};
}

static bool add_default(struct serving *all, struct serve_default *out, struct err *err)
{
    const struct config *config = all->config;
    struct model_entry entry;
    if (!models_resolve(all->models, all->arena, config->models.items[0].s, &entry, err)) {
        return false;
    }
    struct native_wish wish = wish_of(all, &entry);
    if (config->model_id[0]) {
        wish.id = str_of(config->model_id);
    }
    out->backend = serve_now(all, &wish, &out->engine, err);
    if (out->backend) {
        backends_add(all->backends, out->backend);
    }
    return out->backend != NULL;
}

/* A model that is opened later. One that is there already is as good. */
static bool add_later(struct serving *all, const struct model_entry *entry, struct err *err)
{
    const struct native_wish wish = wish_of(all, entry);
    if (find_served(all, real_path(all, entry->path))) {
        return true;
    }
    struct backend *backend = serve_later(all, &wish, err);
    if (backend) {
        backends_add(all->backends, backend);
    }
    return backend != NULL;
}

static bool add_named(struct serving *all, struct err *err)
{
    const struct config_list *names = &all->config->models;
    struct model_entry entry;
    for (size_t i = 1; i < names->n; i++) {
        if (!models_resolve(all->models, all->arena, names->items[i].s, &entry, err) ||
            !add_later(all, &entry, err)) {
            return false;
        }
    }
    return true;
}

/* What is broken there is no reason not to serve the rest. A section's name hides it, too. */
static void add_folder(struct serving *all)
{
    for (size_t i = 0; i < all->models->n; i++) {
        const struct model_entry *entry = &all->models->list[i];
        struct err why = {0};
        if (config_model_find(all->config, entry->id) || add_later(all, entry, &why)) {
            continue;
        }
        char name[160], reason[300];
        log_event(LOG_WARN, "model_skipped", "model=%s reason=%s",
                  log_quote(name, sizeof(name), entry->id),
                  log_quote(reason, sizeof(reason), str_of(why.text)));
        backends_add_broken(all->backends, entry->id, why.text);
    }
}

/* An id of the server, or any name that --model takes too, of a model that it has. */
static bool add_alias(struct serving *all, struct str text, struct err *err)
{
    const char *equals = memchr(text.s, '=', text.n);
    struct str pattern = {text.s, equals ? (size_t)(equals - text.s) : 0};
    struct model_entry entry;
    if (pattern.n == 0 || !equals[1]) {
        return err_set(err, ERR_USAGE, "--alias %.100s: an alias is NAME=MODEL", text.s);
    }
    if (backends_alias(all->backends, pattern, str_of(equals + 1))) {
        return true;
    }
    if (!models_resolve(all->models, all->arena, equals + 1, &entry, err)) {
        err->code = ERR_USAGE;
        return err_prefix(err, "--alias %.100s", text.s);
    }
    const struct served *served = find_served(all, real_path(all, entry.path));
    return (served && backends_alias(all->backends, pattern, served->id)) ||
           err_set(err, ERR_USAGE, "--alias %.100s: that model is not one of this server's; "
                   "name it with --model, too", text.s);
}

bool serve_models(const struct config *config, struct arena *arena, uv_loop_t *loop,
                  struct memory *memory, struct backends *backends, struct serve_default *out,
                  struct err *err)
{
    struct models models = app_models(config, arena);
    struct serving all = {
        .config = config, .arena = arena, .loop = loop, .memory = memory, .backends = backends,
        .models = &models,
        .list = arena_array(arena, config->models.n + config->model_sections.n + models.n,
                            sizeof(struct served)),
        .chains = arena_array(arena, config->model_sections.n, sizeof(struct backend *)),
    };
    bool named = config->models.n > 0;
    *out = (struct serve_default){0};
    if (named && (!add_default(&all, out, err) || !add_named(&all, err))) {
        return false;
    }
    if (!serve_sections(&all, named ? NULL : out, err)) {
        return false;
    }
    add_folder(&all);
    if (!serve_sections_link(&all, err)) {
        return false;
    }
    for (size_t i = 0; i < config->aliases.n; i++) {
        if (!add_alias(&all, config->aliases.items[i], err)) {
            return false;
        }
    }
    while (backends_nth(backends, out->more + 1)) {
        out->more++;
    }
    return true;
}

uint64_t serve_memory_max(const struct config *config)
{
    uint64_t machine = uv_get_total_memory(), allowed = uv_get_constrained_memory();
    uint64_t most = allowed && allowed < machine ? allowed : machine;
    return config->memory_max ? config->memory_max : most;
}
