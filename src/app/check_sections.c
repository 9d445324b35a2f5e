/* check_sections.c - see check_sections.h. What one line or the file alone can get wrong was found when
 * it was read; here it meets the disk and the environment. */
#include "app/check_sections.h"

#include <sys/stat.h>

extern char **environ;

/* Where a native model lies, and whether an MLX folder is one. */
static bool check_path(const struct models *models, const struct config_model *model,
                       struct arena *arena, struct err *err)
{
    const char *path = model->path[0] ? model->path : model->section.name;
    struct model_entry entry;
    struct stat info;
    if (strcmp(model->backend, "native") == 0) {
        return models_resolve(models, arena, path, &entry, err);
    }
    if (strcmp(model->backend, "mlx") == 0 &&
        stat(arena_printf(arena, "%s/config.json", path).s, &info) != 0) {
        return err_set(err, ERR_IO, "%s is no MLX folder: it has no config.json", path);
    }
    return true;
}

/* A model that --model names, one of another section, or one of the models folder. */
static bool is_served(const struct config *config, const struct models *models, struct arena *arena,
                      struct str name)
{
    struct err ignored = {0};
    struct model_entry entry;
    for (size_t i = 0; i < config->models.n; i++) {
        if (models_resolve(models, arena, config->models.items[i].s, &entry, &ignored) &&
            str_equal(entry.id, name)) {
            return true;
        }
    }
    for (size_t i = 0; i < models->n; i++) {
        if (str_equal(models->list[i].id, name)) {
            return true;
        }
    }
    return config_model_find(config, name) || str_is(name, config->model_id);
}

static bool check_model(const struct config *config, const struct models *models,
                        const struct config_model *model, struct arena *arena, struct err *err)
{
    if (!check_path(models, model, arena, err)) {
        return false;
    }
    for (size_t i = 0; i < model->fallbacks.n; i++) {
        if (!is_served(config, models, arena, model->fallbacks.items[i])) {
            return err_set(err, ERR_USAGE, "fallback: this server has no model %.60s",
                           model->fallbacks.items[i].s);
        }
    }
    return true;
}

bool check_sections(const struct config *config, struct arena *arena, struct err *err)
{
    struct models models = app_models(config, arena);
    struct config with_keys = *config;
    size_t wrong = 0;
    for (size_t i = 0; i < config->model_sections.n; i++) {
        const struct config_model *model = config->model_sections.items[i];
        struct err why = {0};
        bool right = check_model(config, &models, model, arena, &why);
        printf("%s: %s: %s\n", model->section.where, model->backend, right ? "right" : why.text);
        wrong += !right;
    }
    for (size_t i = 0; i < config->upstream_sections.n; i++) {
        const struct config_upstream *upstream = config->upstream_sections.items[i];
        printf("%s: %s, %s\n", upstream->section.where, upstream->url, upstream->kind);
    }
    fflush(stdout);
    if (!sections_read_keys(&with_keys, arena, environ, err)) {
        return false;
    }
    return wrong == 0 || err_set(err, ERR_USAGE, "%zu of %zu models are not as the file says", wrong,
                                 config->model_sections.n);
}
