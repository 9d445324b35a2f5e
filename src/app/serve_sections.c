/* serve_sections.c - from a section [model NAME] to the backend that answers under that name: a
 * native model, an MLX bridge, or a pool of upstreams; with fallbacks, a chain that begins with it.
 *
 * A chain's later members are other models of the server, which may come after it in the file. So
 * all are made first, and linked when they are there. */
#include "app/serve_sections.h"

#include "backend/mlx.h"
#include "backend/pool.h"
#include "backend/upstream.h"

_Static_assert((int)CONFIG_MEMBERS_MAX < (int)POOL_MEMBERS_MAX,
               "a chain is a model and its fallbacks");

static struct str name_of(const struct config_model *model)
{
    return str_of(model->section.name);
}

/* Where nobody but the section knows one. */
static struct str shown_name(const struct config_model *model)
{
    return model->display_name[0] ? str_of(model->display_name) : name_of(model);
}

/* 0: the model's own. */
static uint32_t context_of(const struct config *config, const struct config_model *model)
{
    return (uint32_t)(model->context ? model->context : config->context);
}

/* ---- the three kinds ---- */

static struct backend *make_native(struct serving *all, const struct config_model *model,
                                   struct engine **engine, struct err *err)
{
    struct model_entry entry;
    if (!models_resolve(all->models, all->arena, config_model_path(model), &entry, err)) {
        return NULL;
    }
    const struct native_wish wish = {
        .path = entry.path, .id = name_of(model), .display_name = str_of(model->display_name),
        .context = context_of(all->config, model),
    };
    return engine ? serve_now(all, &wish, engine, err) : serve_later(all, &wish, err);
}

static struct backend *make_mlx(struct serving *all, const struct config_model *model,
                                struct engine **engine, struct err *err)
{
    const struct config *config = all->config;
    const struct mlx_options mlx = {
        .card = {
            .id = name_of(model), .display_name = shown_name(model),
            .max_tokens = (uint32_t)model->max_tokens,
        },
        .model_path = model->path, .python = model->python,
        .processes = (uint32_t)model->processes, .context = context_of(config, model),
        .seeded = config->seed != 0, .seed = config->seed,
    };
    (void)engine;
    return mlx_new(all->loop, &mlx, err);
}

/* What is known of a model that is not in this process. */
static struct model_card card_of(const struct config_model *model)
{
    uint32_t context = (uint32_t)(model->context ? model->context : CONFIG_CONTEXT_UNKNOWN);
    return (struct model_card){
        .id = name_of(model),
        .display_name = shown_name(model),
        .max_input_tokens = context,
        .max_tokens = model->max_tokens ? (uint32_t)model->max_tokens : context,
    };
}

struct backend *serve_upstream(uv_loop_t *loop, const struct config_upstream *upstream,
                               const struct model_card *card, bool alone, struct err *err)
{
    const struct upstream_options wish = {
        .card = *card,
        .name = upstream->section.name,
        .kind = strcmp(upstream->kind, "anthropic") == 0 ? UPSTREAM_ANTHROPIC : UPSTREAM_OPENAI,
        .base_url = upstream->url,
        .key = upstream->key,
        .model = upstream->model,
        .extra = upstream->extra,
        .insecure = upstream->insecure,
        .connect_ms = upstream->connect_ms,
        .first_byte_ms = upstream->first_byte_ms,
        .stall_ms = upstream->stall_ms,
        .retries = alone ? (uint32_t)upstream->retries : 0,
    };
    return upstream_new(loop, &wish, err);
}

static bool add_upstream(struct serving *all, struct backend *pool,
                         const struct config_model *model, struct str name, struct err *err)
{
    const struct model_card card = card_of(model);
    struct config_upstream upstream;
    if (!config_upstream_of(all->config, all->arena, name, &upstream, err)) {
        return false;
    }
    struct backend *backend =
        serve_upstream(all->loop, &upstream, &card, model->upstreams.n == 1, err);
    if (!backend) {
        return err_prefix(err, "upstream %.60s", upstream.section.name);
    }
    backend_pool_add(pool, upstream.section.name, backend, true);
    return true;
}

static struct backend *make_upstreams(struct serving *all, const struct config_model *model,
                                      struct engine **engine, struct err *err)
{
    const struct pool_options wish = {
        .card = card_of(model), .policy = POOL_SHARE, .probe_ms = model->probe_ms,
    };
    struct backend *pool = backend_pool_new(all->loop, &wish, err);
    (void)engine;
    for (size_t i = 0; pool && i < model->upstreams.n; i++) {
        if (!add_upstream(all, pool, model, model->upstreams.items[i], err)) {
            pool->ops->free(pool);
            return NULL;
        }
    }
    return pool;
}

static const struct {
    const char *name;
    struct backend *(*make)(struct serving *all, const struct config_model *model,
                            struct engine **engine, struct err *err);
} kinds[] = {
    {"native", make_native}, {"mlx", make_mlx}, {"upstream", make_upstreams},
};

static struct backend *make(struct serving *all, const struct config_model *model,
                            struct engine **engine, struct err *err)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(model->backend, kinds[i].name) == 0) {
            return kinds[i].make(all, model, engine, err);
        }
    }
    err_set(err, ERR_INTERNAL, "backend = %s is in no table", model->backend);
    return NULL;
}

/* ---- all of them ---- */

static struct backend *find(const struct serving *all, struct str id)
{
    struct backend *backend;
    for (size_t i = 0; (backend = backends_nth(all->backends, i)); i++) {
        if (str_equal(backend->card.id, id)) {
            return backend;
        }
    }
    return NULL;
}

/* Puts it at the beginning of a chain. */
static struct backend *chain_of(struct serving *all, struct backend *backend, const char *name,
                                struct err *err)
{
    const struct pool_options pool = {.card = backend->card, .policy = POOL_ORDER};
    struct backend *chain = backend_pool_new(all->loop, &pool, err);
    if (chain) {
        backend_pool_add(chain, name, backend, true);
    } else {
        backend->ops->free(backend);
    }
    return chain;
}

static bool add_section(struct serving *all, size_t i, struct serve_default *out, struct err *err)
{
    const struct config_model *model = all->config->model_sections.items[i];
    if (find(all, name_of(model))) {
        return err_set(err, ERR_USAGE, "there is a model of that name already");
    }
    struct backend *backend = make(all, model, out ? &out->engine : NULL, err);
    if (backend && model->fallbacks.n) {
        backend = all->chains[i] = chain_of(all, backend, model->section.name, err);
    }
    if (!backend) {
        return false;
    }
    backends_add(all->backends, backend);
    if (out) {
        out->backend = backend;
    }
    return true;
}

bool serve_sections(struct serving *all, struct serve_default *out, struct err *err)
{
    for (size_t i = 0; i < all->config->model_sections.n; i++) {
        const struct config_model *model = all->config->model_sections.items[i];
        if (!add_section(all, i, i == 0 ? out : NULL, err)) {
            return err_prefix(err, "%s", model->section.where);
        }
    }
    return true;
}

static bool link_section(struct serving *all, size_t i, struct err *err)
{
    const struct config_model *model = all->config->model_sections.items[i];
    for (size_t k = 0; k < model->fallbacks.n; k++) {
        struct str name = model->fallbacks.items[k];
        struct backend *fallback = find(all, name);
        if (!fallback) {
            return err_set(err, ERR_USAGE, "%s: fallback: this server has no model %.60s",
                           model->section.where, name.s);
        }
        backend_pool_add(all->chains[i], name.s, fallback, false);
    }
    for (size_t k = 0; k < model->aliases.n; k++) {
        backends_alias(all->backends, model->aliases.items[k], name_of(model));
    }
    return true;
}

bool serve_sections_link(struct serving *all, struct err *err)
{
    for (size_t i = 0; i < all->config->model_sections.n; i++) {
        if (!link_section(all, i, err)) {
            return false;
        }
    }
    return true;
}
