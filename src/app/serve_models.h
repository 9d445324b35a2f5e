/* serve_models.h - the models a server has. */
#ifndef PENSIEVE_APP_SERVE_MODELS_H
#define PENSIEVE_APP_SERVE_MODELS_H

#include "app/app.h"
#include "backend/backends.h"

struct serve_default {
    struct backend *backend;
    struct engine *engine;              /* owned by its backend; NULL: it is not in this process */
    size_t more;                        /* models besides it */
};

/* Fills backends. config and arena must live as long as they. false: the default model, one that
 * was named or has a section, a fallback, or an alias won't do. */
bool serve_models(const struct config *config, struct arena *arena, uv_loop_t *loop,
                  struct memory *memory, struct backends *backends, struct serve_default *out,
                  struct err *err);
/* --memory-max, or what this machine (or this container) has. */
uint64_t serve_memory_max(const struct config *config);

#endif
