/* model.c - from options to an open engine, and what a person should do where that fails. */
#include "app/app.h"

#include <errno.h>
#include <unistd.h>
#include <uv.h>

uint32_t app_threads(const struct config *config)
{
    return config->threads ? (uint32_t)config->threads : (uint32_t)uv_available_parallelism();
}

struct str app_model_id(const struct config *config)
{
    if (config->model_id[0]) {
        return str_of(config->model_id);
    }
    const char *slash = strrchr(config->model, '/');
    struct str name = str_of(slash ? slash + 1 : config->model);
    if (str_ends(name, STR(".gguf")) && name.n > 5) {
        name.n -= 5;
    }
    return name;
}

struct engine *app_engine_open(const struct config *config, const char *model_path,
                               struct err *err)
{
    if (access(model_path, R_OK) != 0) {
        if (errno == ENOENT) {
            err_set(err, ERR_IO,
                    "there is no model at %s; `make model` fetches the default one, "
                    "--model PATH names yours", model_path);
        } else {
            err_set(err, ERR_IO, "%s can't be read: %s", model_path, strerror(errno));
        }
        return NULL;
    }
    struct engine_options engine = {
        .model_path = model_path,
        .cpu = config->cpu[0] ? config->cpu : NULL,
        .threads = app_threads(config),
        .context = (uint32_t)config->context,
        .prefill_chunk = (uint32_t)config->prefill_chunk,
        .sequences_max = (uint32_t)config->sequences_max,
        .queue_max = (uint32_t)config->queue_max,
        .kv_bytes_max = config->kv_memory,
    };
    return engine_open(&engine, err);
}
