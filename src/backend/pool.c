/* pool.c - see pool.h. One try at a time of a request: a member is picked, asked, and what it says
 * is passed on; until a block has begun, its failure may become another member's try.
 *
 * The hard thing is a failure that arrives in the middle of the failed member's own event: by then
 * it has let go of the request, so the next one is asked from within that event, and the caller
 * never sees a generation that nobody works on. A start that came to nothing has been told already;
 * the next member's start is then swallowed, and its usage comes with the end. */
#include "backend/pool.h"

#include <assert.h>
#include <stdlib.h>

#include "backend/affinity.h"
#include "backend/caller.h"
#include "backend/circuit.h"
#include "base/log.h"

_Static_assert(POOL_MEMBERS_MAX <= 64, "a try has a bit for each");

struct member {
    struct pool *pool;
    struct backend *backend;
    const char *name;
    bool owned;
    struct circuit circuit;
    uint32_t running;
    uint64_t asked, served, failed, moved;
    uint64_t busy_until;                /* loop time: it said it is overloaded */
    uint64_t probe_at;                  /* loop time */
    uint32_t misses;                    /* failed probes in a row */
    bool probing;
    struct err why;                     /* the last failure */
};

struct pool {
    struct backend backend;             /* first: the ops get this */
    uv_loop_t *loop;
    uv_timer_t timer;                   /* for the next probe */
    struct arena *arena;
    enum pool_policy policy;
    uint64_t probe_ms;
    struct affinity *affinity;          /* SHARE */
    struct member members[POOL_MEMBERS_MAX];
    size_t n;
};

/* A request on its way through the members. */
struct tries {
    struct pool *pool;
    const struct message_request *request;
    uint64_t key;                       /* the conversation */
    uint64_t asked;                     /* a bit for each member */
    struct member *member;              /* the one that is at it */
    struct err error;                   /* the most useful of those who failed */
};

/* What a backend gives out is its own business: this is what a generation of a pool is. */
struct relay {
    struct tries tries;
    struct arena *arena;
    gen_event_fn *on_event;
    void *context;
    struct generation *inner;           /* the member's */
    bool started;                       /* it was reported */
    bool begun;                         /* a block has: nobody else can go on with it */
    bool cancelled, paused;
};

static struct pool *pool_of(struct backend *backend)
{
    return (struct pool *)backend;
}

static struct relay *relay_of(struct generation *generation)
{
    return (struct relay *)(void *)generation;
}

/* ---- whose fault an error is ---- */

enum blame {
    BLAME_REQUEST,                      /* it would fail everywhere */
    BLAME_MEMBER,
    BLAME_LOAD,                         /* the member is well, and has too much to do */
    BLAME_NOBODY,                       /* cancelled */
};

static const enum blame blames[ERR_CODES] = {
    [ERR_NONE] = BLAME_MEMBER,
    [ERR_AUTH] = BLAME_MEMBER,          /* our key for it; the client's was good enough for us */
    [ERR_FORBIDDEN] = BLAME_MEMBER,
    [ERR_NOT_FOUND] = BLAME_MEMBER,     /* it does not have the model that it was said to have */
    [ERR_METHOD] = BLAME_MEMBER,
    [ERR_INTERNAL] = BLAME_MEMBER,
    [ERR_TIMEOUT] = BLAME_MEMBER,
    [ERR_FORMAT] = BLAME_MEMBER,
    [ERR_IO] = BLAME_MEMBER,
    [ERR_USAGE] = BLAME_MEMBER,
    [ERR_RATE] = BLAME_LOAD,
    [ERR_OVERLOADED] = BLAME_LOAD,
    [ERR_CANCELLED] = BLAME_NOBODY,
};

static enum blame blame_of(const struct err *error)
{
    return (unsigned)error->code < ERR_CODES ? blames[error->code] : BLAME_MEMBER;
}

/* ---- which member ---- */

static uint64_t now_of(const struct pool *pool)
{
    return uv_now(pool->loop);
}

static bool is_probed(const struct member *member)
{
    return member->owned && member->pool->probe_ms && member->backend->ops->probe;
}

static bool is_free(const struct tries *tries, const struct member *member)
{
    return !(tries->asked & (1ull << (member - tries->pool->members))) &&
           backend_takes(member->backend, tries->request, NULL) && circuit_allows(&member->circuit);
}

static uint64_t load_of(const struct member *member)
{
    const bool busy = now_of(member->pool) < member->busy_until;

    return member->running + (busy ? UINT32_MAX : 0ull);
}

static bool is_busier(const struct member *a, const struct member *b)
{
    const uint64_t load_a = load_of(a), load_b = load_of(b);

    return load_a != load_b ? load_a > load_b : a->asked > b->asked;
}

static bool is_far_busier(const struct member *a, const struct member *b)
{
    const uint64_t load_a = load_of(a), load_b = load_of(b);

    return load_a > load_b + POOL_AHEAD_MAX && load_a > load_b * POOL_AHEAD_TIMES;
}

/* The least busy one that may be asked, or the first. */
static struct member *find_free(const struct tries *tries)
{
    struct pool *pool = tries->pool;
    struct member *found = NULL;

    for (size_t i = 0; i < pool->n; i++) {
        struct member *member = &pool->members[i];
        if (!is_free(tries, member))
            continue;
        if (!found || (pool->policy == POOL_SHARE && is_busier(found, member)))
            found = member;
    }
    return found;
}

/* Who has rested may be tried: one that has no probe, or (all) where nobody else is left. */
static void wake(struct pool *pool, bool all)
{
    for (size_t i = 0; i < pool->n; i++)
        if (all || !is_probed(&pool->members[i]))
            circuit_wake(&pool->members[i].circuit, now_of(pool));
}

static struct member *pick(struct tries *tries)
{
    struct pool *pool = tries->pool;

    wake(pool, false);
    struct member *least = find_free(tries);
    if (!least) {
        wake(pool, true);
        least = find_free(tries);
    }
    if (!least || pool->policy != POOL_SHARE)
        return least;
    const int at = affinity_find(pool->affinity, tries->key);
    struct member *home = at < 0 ? NULL : &pool->members[at];
    if (home && is_free(tries, home) && !is_far_busier(home, least))
        return home;
    if (home)
        home->moved++;
    affinity_put(pool->affinity, tries->key, (int)(least - pool->members));
    return least;
}

/* Nobody was asked, for all rest. */
static void say_all_rest(const struct tries *tries, struct err *error)
{
    const struct pool *pool = tries->pool;
    const struct member *first = &pool->members[0];

    err_set(error, ERR_OVERLOADED, "nobody who answers for this model is well: %s",
            pool->n == 0 ? "there is nobody"
            : first->why.code ? first->why.text : "the one there is, is being tried");
}

/* false: there is none left, and tries->error says why. */
static bool tries_next(struct tries *tries)
{
    struct member *member = pick(tries);

    tries->member = member;
    if (!member) {
        if (tries->error.code == ERR_NONE)
            say_all_rest(tries, &tries->error);
        return false;
    }
    tries->asked |= 1ull << (member - tries->pool->members);
    member->asked++;
    member->running++;
    circuit_begin(&member->circuit);
    return true;
}

/* The member that is at it has failed. Whether another one may be asked. */
static bool tries_failed(struct tries *tries, const struct err *error)
{
    struct member *member = tries->member;
    const struct pool *pool = tries->pool;
    const enum blame blame = blame_of(error);
    const bool was_well = circuit_allows(&member->circuit);
    struct backend_status status = {0};
    char shown[300];

    if (blame == BLAME_NOBODY) {
        circuit_nothing(&member->circuit);
        return false;
    }
    if (blame == BLAME_REQUEST) {
        circuit_success(&member->circuit);
        tries->error = *error;
        return false;
    }
    if (tries->error.code == ERR_NONE ||
        (blame == BLAME_LOAD && blame_of(&tries->error) != BLAME_LOAD))
        tries->error = *error;
    member->failed++;
    member->why = *error;
    if (blame == BLAME_LOAD) {
        member->backend->ops->status(member->backend, &status);
        member->busy_until =
            now_of(pool) + 1000 * (status.retry_after_s ? status.retry_after_s : 1ull);
        circuit_nothing(&member->circuit);
    } else {
        circuit_failure(&member->circuit, now_of(pool));
    }
    log_event(LOG_WARN, "member_failed", "model=%.*s member=%s resting=%d reason=%s",
              STR_ARG(pool->backend.card.id), member->name,
              was_well && member->circuit.state == CIRCUIT_OPEN,
              log_quote(shown, sizeof shown, str_of(error->text)));
    return true;
}

static void tries_served(struct tries *tries)
{
    tries->member->served++;
    circuit_success(&tries->member->circuit);
}

/* ---- generations ---- */

static void relay_event(void *context, const struct gen_event *event);

/* Asks one member after the other until one takes it. */
static bool relay_start(struct relay *relay)
{
    struct tries *tries = &relay->tries;
    struct err error;

    while (tries_next(tries)) {
        struct backend *backend = tries->member->backend;
        relay->inner = backend->ops->generate(backend, relay->arena, tries->request, relay_event,
                                              relay, &error);
        if (relay->inner) {
            if (relay->paused)
                backend->ops->pause(relay->inner);
            return true;
        }
        tries->member->running--;
        if (!tries_failed(tries, &error))
            return false;
    }
    return false;
}

static void relay_failed(struct relay *relay, const struct gen_event *event)
{
    const bool may_move = tries_failed(&relay->tries, &event->error);
    struct gen_event failed = *event;

    if (may_move && !relay->begun && !relay->cancelled) {
        if (relay_start(relay))
            return;
        failed.error = relay->tries.error;
    }
    relay->on_event(relay->context, &failed);
}

static void relay_event(void *context, const struct gen_event *event)
{
    struct relay *relay = context;
    struct member *member = relay->tries.member;
    struct gen_event told = *event;

    if (!told.served_by)
        told.served_by = member->name;
    if (event->type == GEN_DONE || event->type == GEN_FAILED) {
        relay->inner = NULL;
        member->running--;
    }
    if (event->type == GEN_FAILED) {
        relay_failed(relay, &told);
        return;
    }
    if (event->type == GEN_STARTED && relay->started)
        return;
    relay->started |= event->type == GEN_STARTED;
    if (!relay->begun && (event->type == GEN_BLOCK_START || event->type == GEN_PASS ||
                         event->type == GEN_DONE)) {
        relay->begun = true;
        tries_served(&relay->tries);
    }
    relay->on_event(relay->context, &told);
}

/* A chain's context is its first member's, who may have learnt it since. */
static void follow_card(struct pool *pool)
{
    if (pool->policy != POOL_ORDER || pool->n == 0)
        return;
    const struct model_card *first = &pool->members[0].backend->card;
    pool->backend.card.max_input_tokens = first->max_input_tokens;
    pool->backend.card.max_tokens = first->max_tokens;
}

static struct generation *pool_generate(struct backend *backend, struct arena *arena,
                                        const struct message_request *request,
                                        gen_event_fn *on_event, void *context, struct err *err)
{
    struct relay *relay = arena_alloc(arena, sizeof *relay);

    *relay = (struct relay){
        .tries = {.pool = pool_of(backend), .request = request, .key = caller_flow(request)},
        .arena = arena, .on_event = on_event, .context = context,
    };
    follow_card(pool_of(backend));
    if (relay_start(relay))
        return (struct generation *)(void *)relay;
    *err = relay->tries.error;
    return NULL;
}

static const struct backend_ops *inner_ops(const struct relay *relay)
{
    return relay->tries.member->backend->ops;
}

static void pool_pause(struct generation *generation)
{
    struct relay *relay = relay_of(generation);

    relay->paused = true;
    inner_ops(relay)->pause(relay->inner);
}

static void pool_resume(struct generation *generation)
{
    struct relay *relay = relay_of(generation);

    relay->paused = false;
    inner_ops(relay)->resume(relay->inner);
}

static void pool_cancel(struct generation *generation)
{
    struct relay *relay = relay_of(generation);

    relay->cancelled = true;
    inner_ops(relay)->cancel(relay->inner);
}

/* ---- counting ---- */

struct count_relay {
    struct tries tries;
    struct arena *arena;
    count_fn *on_count;
    void *context;
};

static void counted(void *context, uint32_t input_tokens, const struct err *error);

static bool count_start(struct count_relay *relay)
{
    struct tries *tries = &relay->tries;
    struct err error;

    while (tries_next(tries)) {
        struct backend *backend = tries->member->backend;
        if (backend->ops->count(backend, relay->arena, tries->request, counted, relay, &error))
            return true;
        tries->member->running--;
        if (!tries_failed(tries, &error))
            return false;
    }
    return false;
}

static void counted(void *context, uint32_t input_tokens, const struct err *error)
{
    struct count_relay *relay = context;

    relay->tries.member->running--;
    if (error && tries_failed(&relay->tries, error)) {
        if (count_start(relay))
            return;
        relay->on_count(relay->context, 0, &relay->tries.error);
        return;
    }
    if (!error)
        circuit_success(&relay->tries.member->circuit);
    relay->on_count(relay->context, input_tokens, error);
}

static bool pool_count(struct backend *backend, struct arena *arena,
                       const struct message_request *request, count_fn *on_count, void *context,
                       struct err *err)
{
    struct count_relay *relay = arena_alloc(arena, sizeof *relay);

    *relay = (struct count_relay){
        .tries = {.pool = pool_of(backend), .request = request, .key = caller_flow(request)},
        .arena = arena, .on_count = on_count, .context = context,
    };
    if (count_start(relay))
        return true;
    *err = relay->tries.error;
    return false;
}

/* ---- probes ---- */

static void schedule(struct pool *pool);

static void probed(void *context, const struct err *error)
{
    struct member *member = context;
    struct pool *pool = member->pool;
    struct circuit *circuit = &member->circuit;
    const enum circuit_state before = circuit->state;
    char shown[300];

    member->probing = false;
    member->misses = error ? member->misses + 1 : 0;
    if (error)
        member->why = *error;
    if (error && (before != CIRCUIT_CLOSED || member->misses >= POOL_MISSES_MAX))
        circuit_away(circuit, now_of(pool), pool->probe_ms);
    else if (!error && before == CIRCUIT_OPEN)
        circuit_half(circuit);
    if (circuit->state != before)
        log_event(error ? LOG_WARN : LOG_INFO, error ? "member_away" : "member_back",
                  "model=%.*s member=%s reason=%s", STR_ARG(pool->backend.card.id), member->name,
                  log_quote(shown, sizeof shown, error ? str_of(error->text) : STR("")));
    member->probe_at = circuit->state == CIRCUIT_OPEN ? circuit->rested_at
                                                      : now_of(pool) + pool->probe_ms;
    schedule(pool);
}

static void on_timer(uv_timer_t *timer)
{
    struct pool *pool = timer->data;
    struct err error;

    for (size_t i = 0; i < pool->n; i++) {
        struct member *member = &pool->members[i];
        if (!is_probed(member) || member->probing || now_of(pool) < member->probe_at)
            continue;
        if (circuit_rest_ms(&member->circuit, now_of(pool))) {  /* it has begun to rest since */
            member->probe_at = member->circuit.rested_at;
            continue;
        }
        member->probing = true;
        if (!member->backend->ops->probe(member->backend, probed, member, &error))
            probed(member, &error);
    }
    schedule(pool);
}

static void schedule(struct pool *pool)
{
    uint64_t next = UINT64_MAX;

    for (size_t i = 0; i < pool->n; i++) {
        const struct member *member = &pool->members[i];
        if (is_probed(member) && !member->probing && member->probe_at < next)
            next = member->probe_at;
    }
    const uint64_t now = now_of(pool);
    if (next != UINT64_MAX)
        uv_timer_start(&pool->timer, on_timer, next > now ? next - now : 0, 0);
}

/* ---- the backend ---- */

static const char *state_of(const struct member *member)
{
    static const char *const names[] = {
        [CIRCUIT_CLOSED] = "ready", [CIRCUIT_OPEN] = "resting", [CIRCUIT_HALF] = "trying",
    };

    return names[member->circuit.state];
}

static bool pool_member(struct backend *backend, size_t i, struct backend_member *out)
{
    const struct pool *pool = pool_of(backend);

    if (i >= pool->n)
        return false;
    const struct member *member = &pool->members[i];
    *out = (struct backend_member){
        .name = member->name, .kind = member->backend->ops->kind, .state = state_of(member),
        .retry_ms = circuit_rest_ms(&member->circuit, now_of(pool)), .running = member->running,
        .served = member->served, .failed = member->failed, .moved = member->moved,
        .why = member->why.code ? member->why.text : NULL,
    };
    return true;
}

static uint32_t sooner(uint32_t a, uint32_t b)
{
    return a == 0 || (b && b < a) ? b : a;
}

/* Upstreams have no limit that is known. */
static uint32_t added(uint32_t a, uint32_t b)
{
    return b < UINT32_MAX - a ? a + b : UINT32_MAX;
}

static void sum(struct backend_status *all, const struct backend_status *one)
{
    all->queued += one->queued;
    all->running += one->running;
    all->sequences_max = added(all->sequences_max, one->sequences_max);
    all->queue_max += one->queue_max;
    all->memory_bytes += one->memory_bytes;
    all->prompt_tokens += one->prompt_tokens;
    all->cached_tokens += one->cached_tokens;
    all->prefill_tokens += one->prefill_tokens;
    all->output_tokens += one->output_tokens;
    all->retry_after_s = sooner(all->retry_after_s, one->retry_after_s);
}

/* A chain is as its first member is; a pool is all of its members together. */
static void pool_status(struct backend *backend, struct backend_status *status)
{
    struct pool *pool = pool_of(backend);
    uint32_t resting_s = 0;
    size_t resting = 0;

    follow_card(pool);
    *status = (struct backend_status){.kind = "pool", .state = "ready"};
    for (size_t i = 0; i < pool->n; i++) {
        struct member *member = &pool->members[i];
        struct backend_status one = {0};
        const uint64_t rest_ms = circuit_rest_ms(&member->circuit, now_of(pool));
        resting += rest_ms > 0;
        resting_s = sooner(resting_s, (uint32_t)((rest_ms + 999) / 1000));
        if (pool->policy == POOL_ORDER && i > 0)
            continue;
        member->backend->ops->status(member->backend, &one);
        if (pool->policy == POOL_ORDER)
            *status = one;
        else
            sum(status, &one);
    }
    status->ready = resting < pool->n;
    if (!status->ready) {
        status->state = "resting";
        status->retry_after_s = resting_s;
    }
}

static void closed(uv_handle_t *handle)
{
    arena_free(((struct pool *)handle->data)->arena);   /* pool lies in it */
}

static void pool_free(struct backend *backend)
{
    struct pool *pool = pool_of(backend);

    for (size_t i = 0; i < pool->n; i++) {
        assert(pool->members[i].running == 0);
        if (pool->members[i].owned)
            pool->members[i].backend->ops->free(pool->members[i].backend);
    }
    affinity_free(pool->affinity);
    uv_close((uv_handle_t *)&pool->timer, closed);
}

static const struct backend_ops pool_ops = {
    .kind = "pool", .generate = pool_generate, .count = pool_count, .pause = pool_pause,
    .resume = pool_resume, .cancel = pool_cancel, .status = pool_status, .member = pool_member,
    .free = pool_free,
};

struct backend *backend_pool_new(uv_loop_t *loop, const struct pool_options *options,
                                 struct err *err)
{
    struct arena *arena = arena_new(sizeof(struct pool) + 512);
    struct pool *pool = arena_alloc(arena, sizeof *pool);
    const int rc = uv_timer_init(loop, &pool->timer);

    if (rc) {
        arena_free(arena);
        err_set(err, ERR_IO, "the event loop has no room for a pool: %s", uv_strerror(rc));
        return NULL;
    }
    pool->backend = (struct backend){.ops = &pool_ops, .card = options->card};
    pool->backend.card.id = arena_str(arena, options->card.id);
    pool->backend.card.display_name = arena_str(arena, options->card.display_name);
    pool->loop = loop;
    pool->arena = arena;
    pool->policy = options->policy;
    pool->probe_ms = options->probe_ms;
    pool->affinity = options->policy == POOL_SHARE ? affinity_new() : NULL;
    pool->timer.data = pool;
    uv_unref((uv_handle_t *)&pool->timer);
    return &pool->backend;
}

void backend_pool_add(struct backend *backend, const char *name, struct backend *member, bool owned)
{
    struct pool *pool = pool_of(backend);

    assert(pool->n < POOL_MEMBERS_MAX);
    pool->members[pool->n++] = (struct member){
        .pool = pool, .backend = member, .name = arena_cstr(pool->arena, str_of(name)),
        .owned = owned, .probe_at = now_of(pool),
    };
    /* What a chain's first can't do is not sent elsewhere: a fallback is for when it fails. */
    if (pool->policy == POOL_SHARE || pool->n == 1) {
        pool->backend.passes |= member->passes;
        pool->backend.sees |= member->sees;
    }
    schedule(pool);
}
