/* serve_models.c - the models a server has: the default one, those that were named, and all that
 * lie in the models folder, each under its name, and the aliases.
 *
 * Only the default model is opened for good. Of the others no more is read than what /v1/models
 * says of them; they are opened when somebody asks for one. */
#include "app/serve_models.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "backend/memory.h"
#include "base/log.h"
#include "engine/checkpoint.h"
#include "engine/kvcache.h"

/* One model of the server. Lives as long as the server. */
struct served {
    const struct config *config;
    struct str id;
    const char *path;
    char *real;                         /* to see that two names mean one model */
    uint32_t context;                   /* to open it with */
};

struct serve_models {
    const struct config *config;
    struct arena *arena;
    uv_loop_t *loop;
    struct memory *memory;
    struct backends *backends;
    struct served *list;
    size_t n;
};

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

static struct served *known_path(const struct serve_models *all, const char *real)
{
    for (size_t i = 0; real && i < all->n; i++) {
        if (all->list[i].real && strcmp(all->list[i].real, real) == 0) {
            return &all->list[i];
        }
    }
    return NULL;
}

/* NULL: there is one of this path already. */
static struct served *new_served(struct serve_models *all, const char *path, struct str id)
{
    char *real = realpath(path, NULL);
    struct served *served = NULL;
    if (!known_path(all, real)) {
        served = &all->list[all->n++];
        *served = (struct served){.config = all->config, .id = id, .path = path,
                                  .context = (uint32_t)all->config->context};
        served->real = real ? arena_cstr(all->arena, str_of(real)) : NULL;
    }
    free(real);
    return served;
}

static bool add_backend(struct serve_models *all, struct served *served, struct engine *engine,
                        struct str name, uint32_t context, uint64_t bytes, struct err *err)
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
    struct backend *backend = native_new(all->loop, all->memory, &native, err);
    if (backend) {
        backends_add(all->backends, backend);
    }
    return backend != NULL;
}

/* What the engine will make of --kv-memory and --context: as the model was trained at most, and no
 * longer than the memory holds. */
static uint64_t kv_bytes(const struct config *config, uint64_t token, uint32_t trained)
{
    uint64_t context = config->context ? config->context : trained;
    return config->kv_memory ? config->kv_memory : engine_kv_default(context * token);
}

static uint32_t context_of(const struct config *config, uint64_t token, uint32_t trained)
{
    uint64_t held = kv_bytes(config, token, trained) / (token * KV_PAGE) * KV_PAGE;
    uint64_t wanted = config->context ? config->context : held;
    return wanted < trained ? (uint32_t)wanted : trained;
}

static bool add_default(struct serve_models *all, const struct models *models,
                        struct serve_default *out, struct err *err)
{
    const struct config *config = all->config;
    struct model_entry entry;
    if (!models_resolve(models, all->arena, config->models.items[0].s, &entry, err)) {
        return false;
    }
    out->id = config->model_id[0] ? str_of(config->model_id) : entry.id;
    out->engine = app_engine_open(config, entry.path, (uint32_t)config->context, err);
    if (!out->engine) {
        return false;
    }
    const struct model_info *info = engine_info(out->engine);
    if (add_backend(all, new_served(all, entry.path, out->id), out->engine, info->name,
                    info->context, info->file_bytes +
                    kv_bytes(config, info->kv_bytes_token, info->context_trained), err)) {
        return true;
    }
    engine_close(out->engine);
    return false;
}

/* A model that is opened later. false: it won't do, and err says why. */
static bool add_later(struct serve_models *all, const struct model_entry *entry, struct err *err)
{
    struct served *served = new_served(all, entry->path, entry->id);
    if (!served) {
        return true;
    }
    struct checkpoint *checkpoint = checkpoint_open(entry->path, err);
    bool added = false;
    if (checkpoint) {
        const struct hparams *h = &checkpoint->hparams;
        uint64_t token = hparams_kv_bytes(h);
        served->context = context_of(all->config, token, h->context_trained);
        added = add_backend(all, served, NULL, checkpoint->name, served->context,
                            checkpoint->file_bytes + kv_bytes(all->config, token, served->context),
                            err);
        checkpoint_close(checkpoint);
    }
    all->n -= !added;
    return added;
}

static bool add_named(struct serve_models *all, const struct models *models, struct err *err)
{
    const struct config_list *names = &all->config->models;
    struct model_entry entry;
    for (size_t i = 1; i < names->n; i++) {
        if (!models_resolve(models, all->arena, names->items[i].s, &entry, err) ||
            !add_later(all, &entry, err)) {
            return false;
        }
    }
    return true;
}

/* What is broken there is no reason not to serve the rest. */
static void add_folder(struct serve_models *all, const struct models *models)
{
    for (size_t i = 0; i < models->n; i++) {
        struct err why = {0};
        if (!add_later(all, &models->list[i], &why)) {
            char name[160], reason[300];
            log_event(LOG_WARN, "model_skipped", "model=%s reason=%s",
                      log_quote(name, sizeof(name), models->list[i].id),
                      log_quote(reason, sizeof(reason), str_of(why.text)));
            backends_add_broken(all->backends, models->list[i].id, why.text);
        }
    }
}

/* An id of the server, or any name that --model takes too, of a model that it has. */
static bool add_alias(struct serve_models *all, const struct models *models, struct str text,
                      struct err *err)
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
    if (!models_resolve(models, all->arena, equals + 1, &entry, err)) {
        err->code = ERR_USAGE;
        return err_prefix(err, "--alias %.100s", text.s);
    }
    char *real = realpath(entry.path, NULL);
    const struct served *served = known_path(all, real);
    free(real);
    return (served && backends_alias(all->backends, pattern, served->id)) ||
           err_set(err, ERR_USAGE, "--alias %.100s: that model is not one of this server's; "
                   "name it with --model, too", text.s);
}

bool serve_models(const struct config *config, struct arena *arena, uv_loop_t *loop,
                  struct memory *memory, struct backends *backends, struct serve_default *out,
                  struct err *err)
{
    struct models models = app_models(config, arena);
    struct serve_models all = {
        .config = config, .arena = arena, .loop = loop, .memory = memory, .backends = backends,
        .list = arena_array(arena, config->models.n + models.n, sizeof(struct served)),
    };
    if (!add_default(&all, &models, out, err) || !add_named(&all, &models, err)) {
        return false;
    }
    add_folder(&all, &models);
    for (size_t i = 0; i < config->aliases.n; i++) {
        if (!add_alias(&all, &models, config->aliases.items[i], err)) {
            return false;
        }
    }
    out->more = all.n - 1;
    return true;
}

uint64_t serve_memory_max(const struct config *config)
{
    uint64_t machine = uv_get_total_memory(), allowed = uv_get_constrained_memory();
    uint64_t most = allowed && allowed < machine ? allowed : machine;
    return config->memory_max ? config->memory_max : most;
}
