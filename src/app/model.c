/* model.c - from options to an open engine, and what a person should do where that fails. */
#include "app/app.h"

#include <string.h>

#include <uv.h>

uint32_t app_threads(const struct config *config)
{
    return config->threads ? (uint32_t)config->threads : (uint32_t)uv_available_parallelism();
}

const char *app_size_text(struct arena *arena, uint64_t bytes)
{
    static const char *const names[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double size = (double)bytes;
    size_t i = 0;
    for (; size >= 1024 && i < 4; i++) {
        size /= 1024;
    }
    return arena_printf(arena, i && size < 100 ? "%.1f %s" : "%.0f %s", size, names[i]).s;
}

/* The chosen folder, or the usual one and the one beside us that `make run` fills. */
struct models app_models(const struct config *config, struct arena *arena)
{
    const char *const roots[] = {config->models_dir, "models"};
    return models_scan(arena, roots, config->models_dir_chosen ? 1 : 2);
}

static enum longrope longrope_of(const char *choice)
{
    return strcmp(choice, "short") == 0 ? LONGROPE_SHORT
           : strcmp(choice, "long") == 0 ? LONGROPE_LONG : LONGROPE_AUTO;
}

struct engine *app_engine_open(const struct config *config, const char *path, uint32_t context,
                               struct err *err)
{
    struct engine_options engine = {
        .model_path = path,
        .cpu = config->cpu[0] ? config->cpu : NULL,
        .threads = app_threads(config),
        .context = context,
        .prefill_chunk = (uint32_t)config->prefill_chunk,
        .step_ms = (uint32_t)config->step_ms,
        .sequences_max = (uint32_t)config->sequences_max,
        .queue_max = (uint32_t)config->queue_max,
        .kv_bytes_max = config->kv_memory,
        .cache_dir = config->cache_dir[0] ? config->cache_dir : NULL,
        .cache_disk_max = config->cache_disk_max,
        .longrope = longrope_of(config->longrope),
        .speculate = strcmp(config->speculate, "off") == 0 ? SPECULATE_OFF : SPECULATE_AUTO,
    };
    return engine_open(&engine, err);
}

struct engine *app_engine_alone(const struct config *config, const char *path, struct err *err)
{
    struct config own = *config;
    own.cache_disk_max = 0;
    return app_engine_open(&own, path, (uint32_t)config->context, err);
}

struct engine *app_engine_only(const struct config *config, struct arena *arena, struct err *err)
{
    struct model_entry entry;
    if (config->models.n > 1) {
        err_set(err, ERR_USAGE, "--model: this command takes one model");
        return NULL;
    }
    struct models models = app_models(config, arena);
    if (!models_resolve(&models, arena, config->models.items[0].s, &entry, err)) {
        return NULL;
    }
    return app_engine_alone(config, entry.path, err);
}
