/* native.c - the engine in this process as a backend: its model comes and goes, requests wait for it. */
#include "backend/native.h"

#include <assert.h>

#include "backend/replays.h"
#include "chat/dialect.h"

static struct native *native_of_resident(struct resident *resident)
{
    return (struct native *)((char *)resident - offsetof(struct native, resident));
}

bool native_enter(struct native *native)
{
    uv_ref((uv_handle_t *)&native->wake);
    return resident_enter(&native->resident);
}

void native_leave(struct native *native)
{
    resident_leave(&native->resident);
    if (native->resident.users == 0)
        uv_unref((uv_handle_t *)&native->wake);
}

/* ---- the model comes and goes ---- */

/* Its secret lasts as long as what was sampled is known. */
static void open_signer(struct native *native)
{
    struct hash_key secret[2];

    for (uint64_t i = 0; native->replays && i < 2; i++)
        secret[i] = replay_secret(native->replays, i);
    signer_init(&native->signer, native->replays ? secret : NULL);
}

static bool take_engine(struct native *native, struct engine *engine, struct err *err)
{
    const struct model_info *info = engine_info(engine);

    if (info->chat_template.n) {
        native->tmpl = template_new(info->chat_template, info->bos, info->eos, err);
        if (!native->tmpl)
            return err_prefix(err, "chat template");
    }
    if (!native->replays) {
        native->replays = replays_open(native->options.cache_dir, info);
        open_signer(native);
    }
    native->engine = engine;
    return true;
}

static bool load(struct resident *resident, struct err *err)
{
    struct native *native = native_of_resident(resident);
    struct engine *engine = native->options.open(native->options.context, err);

    if (!engine)
        return false;
    if (take_engine(native, engine, err))
        return true;
    engine_close(engine);
    return false;
}

static void unload(struct resident *resident)
{
    struct native *native = native_of_resident(resident);

    engine_close(native->engine);
    template_free(native->tmpl);
    native->engine = NULL;
    native->tmpl = NULL;
}

/* What is known of a model once it was here. On the loop, where the card is read. */
static void describe(struct native *native)
{
    struct str open, close;

    native->backend.card.thinks = dialect_thinks(template_dialect(native->tmpl), &open, &close);
    native->backend.card.effort = template_has_efforts(native->tmpl);
}

static void settled(struct resident *resident, const struct err *error)
{
    struct native *native = native_of_resident(resident);

    if (!error)
        describe(native);
    answers_settled(native, error);
    counts_settled(native, error);
}

static const struct resident_ops resident_ops = {
    .load = load, .unload = unload, .settled = settled,
};

/* ---- the backend ---- */

_Static_assert((int)SEQUENCE_RANKS == (int)BACKEND_RANKS, "the engine's ranks are the status's");

static void native_status(struct backend *backend, struct backend_status *status)
{
    const struct native *native = native_of(backend);
    struct engine_stats stats;

    *status = (struct backend_status){
        .ready = true, .kind = backend->ops->kind, .state = residence_name(native->resident.state),
        .memory_bytes = native->resident.state == RESIDENT_AWAY ? 0 : native->resident.bytes,
    };
    if (native->resident.state != RESIDENT_HERE) {
        status->queued = native->resident.users;
        return;
    }
    engine_stats(native->engine, &stats);
    status->cpu = engine_cpu(native->engine);
    status->queued = stats.queued;
    status->running = stats.running;
    status->sequences_max = stats.sequences_max;
    status->queue_max = stats.queue_max;
    for (int rank = 0; rank < BACKEND_RANKS; rank++) {
        status->ranks[rank].queued = stats.queued_by[rank];
        status->ranks[rank].admitted = stats.admitted[rank];
        status->ranks[rank].waited_ms = stats.waited_ms[rank];
    }
    status->retry_after_s = stats.retry_after_s;
    status->prefill_tokens = stats.prefill_tokens;
    status->preemptions = stats.preemptions;
    status->kv_bytes_total = stats.kv_pages_total * stats.kv_page_bytes;
    status->kv_bytes_used = stats.kv_pages_used * stats.kv_page_bytes;
    status->kv_bytes_cached = stats.kv_pages_cached * stats.kv_page_bytes;
    status->prompt_tokens = stats.prompt_tokens;
    status->cached_tokens = stats.cached_tokens;
    status->output_tokens = stats.output_tokens;
    status->decode_steps = stats.decode_steps;
    status->drafted_tokens = stats.drafted_tokens;
    status->accepted_tokens = stats.accepted_tokens;
    status->prefill_tps = stats.prefill_tps;
    status->decode_tps = stats.decode_tps;
    replays_status(native->replays, status);
}

static void closed(uv_handle_t *handle)
{
    struct native *native = handle->data;

    if (--native->handles > 0)
        return;
    replay_free(native->replays);
    arena_free(native->arena);          /* native lies in it */
}

static void native_free(struct backend *backend)
{
    struct native *native = native_of(backend);

    assert(native->resident.users == 0);
    if (native->resident.state == RESIDENT_HERE)
        unload(&native->resident);
    uv_close((uv_handle_t *)&native->wake, closed);
    uv_close((uv_handle_t *)&native->moment, closed);
}

static const struct backend_ops native_ops = {
    .kind = "native", .generate = native_generate, .count = native_count, .pause = native_pause,
    .resume = native_resume, .cancel = native_cancel, .status = native_status, .free = native_free,
};

struct backend *native_new(uv_loop_t *loop, struct memory *memory,
                           const struct native_options *options, struct err *err)
{
    struct arena *arena = arena_new(sizeof(struct native) + 512);
    struct native *native = arena_alloc(arena, sizeof *native);
    struct model_card *card = &native->backend.card;

    *native = (struct native){
        .backend = {.ops = &native_ops, .card = options->card},
        .arena = arena, .loop = loop, .options = *options,
    };
    card->id = arena_str(arena, card->id);
    card->display_name = arena_str(arena, card->display_name);
    card->structured = true;
    native->resident = (struct resident){
        .ops = &resident_ops, .name = card->id, .bytes = options->bytes,
        .stays = options->engine != NULL,
        .state = options->engine ? RESIDENT_HERE : RESIDENT_AWAY,
    };
    if (options->engine && !take_engine(native, options->engine, err)) {
        arena_free(arena);
        return NULL;
    }
    if (native->engine)
        describe(native);
    if (uv_async_init(loop, &native->wake, answers_wake) != 0) {
        template_free(native->tmpl);
        replay_free(native->replays);
        arena_free(arena);
        err_set(err, ERR_IO, "the event loop has no room for the model's backend");
        return NULL;
    }
    uv_timer_init(loop, &native->moment);
    native->handles = 2;
    native->wake.data = native->moment.data = native;
    uv_unref((uv_handle_t *)&native->wake);
    uv_unref((uv_handle_t *)&native->moment);
    memory_add(memory, &native->resident);
    return &native->backend;
}
