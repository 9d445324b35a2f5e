/* serve_sections.h - the models that have a section of the configuration file each. */
#ifndef PENSIEVE_APP_SERVE_SECTIONS_H
#define PENSIEVE_APP_SERVE_SECTIONS_H

#include "app/serve_models.h"

/* One model of the server that its own engine runs. Lives as long as the server. */
struct served {
    const struct config *config;
    struct str id;
    const char *path;
    const char *real;                   /* to see that two names mean one model; NULL: no file */
    uint32_t context;                   /* to open it with */
};

/* What serve_models works on. */
struct serving {
    const struct config *config;
    struct arena *arena;
    uv_loop_t *loop;
    struct memory *memory;
    struct backends *backends;
    const struct models *models;        /* the folder's */
    struct served *list;
    size_t n;
    struct backend **chains;            /* by section; NULL: it has no fallbacks */
};

/* A native model that is to be served. */
struct native_wish {
    const char *path;
    struct str id;
    struct str display_name;            /* n == 0: the model's own, else its id */
    uint32_t context;                   /* 0: as the model and the memory have it */
};

/* The backend of a native model whose engine is opened now, and stays; or when somebody asks for
 * it. NULL: err says why. ERR_USAGE: the same path is served already. */
struct backend *serve_now(struct serving *all, const struct native_wish *wish,
                          struct engine **engine, struct err *err);
struct backend *serve_later(struct serving *all, const struct native_wish *wish, struct err *err);

/* An upstream for the model of this card. alone: nobody else could be asked instead, so it is asked
 * again. ERR_USAGE: its section makes no sense. */
struct backend *serve_upstream(uv_loop_t *loop, const struct config_upstream *upstream,
                               const struct model_card *card, bool alone, struct err *err);

/* Adds them all, in the file's order. out: not NULL: the first of them is the default model. */
bool serve_sections(struct serving *all, struct serve_default *out, struct err *err);
/* Their aliases and fallbacks, once all models are there. */
bool serve_sections_link(struct serving *all, struct err *err);

#endif
