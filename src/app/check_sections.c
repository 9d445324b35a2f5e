/* check_sections.c - see check_sections.h. What one line or the file alone can get wrong was found
 * when it was read; here it meets the disk, the environment and what makes a backend of it. */
#include "app/check_sections.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include "app/follow.h"
#include "app/serve_sections.h"

extern char **environ;

/* Without importing it, which takes seconds. */
static char looks_for_mlx[] = "import importlib.util, sys; "
                              "sys.exit(importlib.util.find_spec('mlx_lm') is None)";

static bool check_python(const char *name, struct arena *arena, struct err *err)
{
    const char *path = follow_find(arena, name);
    char *argv[] = {arena_cstr(arena, str_of(name)), (char[]){"-c"}, looks_for_mlx, NULL};
    int status = 0;
    if (!path) {
        return err_set(err, ERR_NOT_FOUND, "python: there is no program %.200s", name);
    }
    if (!follow_run(path, argv, &status, err)) {
        return false;
    }
    return (WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
           err_set(err, ERR_NOT_FOUND, "python: %.200s has no mlx-lm", path);
}

static bool check_mlx(const struct config_model *model, struct arena *arena, struct err *err)
{
    struct stat info;
    if (stat(arena_printf(arena, "%s/config.json", model->path).s, &info) != 0) {
        return err_set(err, ERR_IO, "%s is no MLX folder: it has no config.json", model->path);
    }
    return check_python(model->python, arena, err);
}

/* Makes one that is never asked. */
static bool check_upstream(const struct config_upstream *upstream, struct err *err)
{
    const struct model_card card = {.id = str_of(upstream->section.name)};
    uv_loop_t loop;
    if (uv_loop_init(&loop) != 0) {
        return err_set(err, ERR_IO, "libuv does not start");
    }
    struct backend *backend = serve_upstream(&loop, upstream, &card, true, err);
    if (backend) {
        backend->ops->free(backend);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return backend != NULL;
}

/* Those that are URLs: sections are checked by themselves. */
static bool check_urls(const struct config *config, const struct config_model *model,
                       struct arena *arena, struct err *err)
{
    for (size_t i = 0; i < model->upstreams.n; i++) {
        struct config_upstream upstream;
        if (config_upstream_find(config, model->upstreams.items[i])) {
            continue;
        }
        if (!config_upstream_of(config, arena, model->upstreams.items[i], &upstream, err) ||
            !check_upstream(&upstream, err)) {
            return err_prefix(err, "upstream");
        }
    }
    return true;
}

/* What its backend needs. */
static bool check_backend(const struct config *config, const struct models *models,
                          const struct config_model *model, struct arena *arena, struct err *err)
{
    struct model_entry entry;
    if (strcmp(model->backend, "native") == 0) {
        return models_resolve(models, arena, config_model_path(model), &entry, err);
    }
    return strcmp(model->backend, "mlx") == 0 ? check_mlx(model, arena, err)
                                              : check_urls(config, model, arena, err);
}

/* A model that --model names, one of another section, or one of the models folder. */
static bool is_served(const struct config *config, const struct models *models, struct arena *arena,
                      struct str name)
{
    struct err ignored = {0};
    struct model_entry entry;
    for (size_t i = 0; i < config->models.n; i++) {
        if (!models_resolve(models, arena, config->models.items[i].s, &entry, &ignored)) {
            continue;
        }
        bool renamed = i == 0 && config->model_id[0];
        if (renamed ? str_is(name, config->model_id) : str_equal(entry.id, name)) {
            return true;
        }
    }
    for (size_t i = 0; i < models->n; i++) {
        if (str_equal(models->list[i].id, name)) {
            return true;
        }
    }
    return config_model_find(config, name) != NULL;
}

static bool check_model(const struct config *config, const struct models *models,
                        const struct config_model *model, struct arena *arena, struct err *err)
{
    if (!check_backend(config, models, model, arena, err)) {
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

bool check_sections(const struct config *config, const struct models *models, struct arena *arena,
                    struct err *err)
{
    size_t wrong = 0;
    for (size_t i = 0; i < config->model_sections.n; i++) {
        const struct config_model *model = config->model_sections.items[i];
        struct err why = {0};
        bool right = check_model(config, models, model, arena, &why);
        printf("%s: %s: %s\n", model->section.where, model->backend, right ? "right" : why.text);
        wrong += !right;
    }
    for (size_t i = 0; i < config->upstream_sections.n; i++) {
        const struct config_upstream *upstream = config->upstream_sections.items[i];
        struct err why = {0};
        bool right = check_upstream(upstream, &why);
        printf("%s: %s, %s: %s\n", upstream->section.where, upstream->url, upstream->kind,
               right ? "right" : why.text);
        wrong += !right;
    }
    fflush(stdout);
    if (!sections_read_keys(config, arena, environ, err)) {
        return false;
    }
    return wrong == 0 || err_set(err, ERR_USAGE, "%zu of %zu sections won't do", wrong,
                                 config->model_sections.n + config->upstream_sections.n);
}
