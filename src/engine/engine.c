/* engine.c - the engine thread: takes submissions, runs steps, sleeps when there is nothing to do.
 *
 * The model, the pages and the scheduler belong to that thread from engine_open to engine_close.
 * Others reach it through the inbox (a bounded queue), the flags of their sequences, and numbers it
 * publishes after each step. */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "engine/constraint.h"
#include "engine/door.h"
#include "engine/fingerprint.h"
#include "engine/grammars.h"
#include "engine/kvcache.h"
#include "engine/kvdisk.h"
#include "engine/model.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "engine/tokenizer.h"
#include "engine/vocab.h"
#include "pensieve/engine.h"

enum {
    PREFILL_CHUNK_DEFAULT = 256, PREFILL_CHUNK_MAX = 8192,
    SEQUENCES_DEFAULT = 64, SEQUENCES_MAX = 1024,
    QUEUE_DEFAULT = 256, QUEUE_MAX = 1 << 16,
};

#define KV_BYTES_DEFAULT ((uint64_t)1 << 30)

/* What the engine thread last said of itself. Each number is whole; together they may be of two
 * steps. */
struct published {
    _Atomic uint32_t running;
    _Atomic uint64_t kv_used, kv_cached, kv_pinned, kv_evicted, kv_evicted_pinned;
    _Atomic uint64_t prompt_tokens, cached_tokens, output_tokens;
    _Atomic uint64_t prefill_tokens, preemptions;
    _Atomic uint64_t decode_steps, drafted_tokens, accepted_tokens;
    _Atomic double prefill_tps, decode_tps;
};

struct engine {
    struct model_info info;
    struct model *model;
    const struct kernels *kernels;
    struct pool *pool;
    struct kv_cache *cache;
    struct kv_disk *disk;               /* the cache's, or NULL */
    struct forward *forward;
    struct scheduler *scheduler;
    struct grammars *grammars;
    struct queue *inbox;
    uint32_t sequences_max, queue_max;
    uint64_t kv_pages_total, kv_page_bytes;
    struct door *door;                  /* submitted, never run yet */
    _Atomic bool closing;
    struct published published;
    pthread_t thread;
    bool thread_runs;
};

/* ---- the engine thread ---- */

static void publish(struct engine *engine)
{
    const struct kv_counts counts = kv_cache_counts(engine->cache);
    const struct scheduler_stats stats = scheduler_stats(engine->scheduler);
    struct published *published = &engine->published;

    atomic_store(&published->running, stats.running);
    atomic_store(&published->kv_used, counts.used);
    atomic_store(&published->kv_cached, counts.cached);
    atomic_store(&published->kv_pinned, counts.pinned);
    atomic_store(&published->kv_evicted, counts.evicted);
    atomic_store(&published->kv_evicted_pinned, counts.evicted_pinned);
    atomic_store(&published->prompt_tokens, stats.prompt_tokens);
    atomic_store(&published->cached_tokens, stats.cached_tokens);
    atomic_store(&published->output_tokens, stats.output_tokens);
    atomic_store(&published->prefill_tokens, stats.prefill_rows);
    atomic_store(&published->preemptions, stats.preemptions);
    atomic_store(&published->decode_steps, stats.decode_steps);
    atomic_store(&published->drafted_tokens, stats.drafted_tokens);
    atomic_store(&published->accepted_tokens, stats.accepted_tokens);
    atomic_store(&published->prefill_tps, stats.prefill_tps);
    atomic_store(&published->decode_tps, stats.decode_tps);
}

static void fail_all(struct engine *engine)
{
    struct sequence *sequence;
    struct err error;

    err_set(&error, ERR_OVERLOADED, "the server is shutting down");
    while ((sequence = queue_take(engine->inbox)))
        scheduler_add(engine->scheduler, sequence);
    scheduler_fail_all(engine->scheduler, &error);
}

static void *engine_main(void *context)
{
    struct engine *engine = context;

    while (!atomic_load(&engine->closing)) {
        struct sequence *sequence;
        while ((sequence = queue_take(engine->inbox)))
            scheduler_add(engine->scheduler, sequence);
        const bool worked = scheduler_step(engine->scheduler);
        publish(engine);
        if (worked)
            continue;
        sequence = queue_wait(engine->inbox, UINT32_MAX);
        if (sequence)
            scheduler_add(engine->scheduler, sequence);
    }
    fail_all(engine);
    return NULL;
}

/* ---- the model, as the scheduler sees it ---- */

static void step(void *context, const struct batch_row *rows, uint32_t rows_n)
{
    const struct engine *engine = context;

    forward_step(engine->forward, rows, rows_n);
}

static bool is_end(void *context, int32_t id)
{
    const struct engine *engine = context;

    return vocab_is_end(model_vocab(engine->model), id);
}

static struct str text(void *context, int32_t id)
{
    return engine_token_text(context, id, false);
}

/* ---- opening ---- */

static uint32_t cores(void)
{
#ifdef __linux__
    cpu_set_t set;                      /* what this process may use, not what the machine has */
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (uint32_t)CPU_COUNT(&set);
#endif
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint32_t)online : 1;
}

static bool take(uint32_t *out, const char *what, uint32_t given, uint32_t otherwise, uint32_t max,
                 struct err *err)
{
    *out = given ? given : otherwise < max ? otherwise : max;
    return *out <= max ||
           err_set(err, ERR_USAGE, "%s: %u is more than the limit of %u", what, given, max);
}

uint64_t engine_kv_default(uint64_t context_bytes)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    const uint64_t quarter = pages > 0 ? (uint64_t)pages * (uint64_t)page_bytes / 4 : 0;
    const uint64_t wanted = context_bytes < quarter ? context_bytes : quarter;

    return wanted > KV_BYTES_DEFAULT ? wanted : KV_BYTES_DEFAULT;
}

/* A context that nobody asked for is no longer than what the memory holds. */
static bool open_kv(struct engine *engine, uint64_t bytes_max, bool context_asked, struct err *err)
{
    const struct hparams *h = model_hparams(engine->model);
    const uint64_t pages = (engine->info.context + KV_PAGE - 1) / KV_PAGE;
    const uint64_t context_bytes = pages * KV_PAGE * engine->info.kv_bytes_token;
    uint64_t bytes = bytes_max;

    if (bytes == 0)
        bytes = engine_kv_default(context_bytes);
    engine->cache = kv_cache_new(h->layers, h->kv_heads, h->head_dim, bytes, err);
    if (!engine->cache)
        return false;
    const struct kv_counts counts = kv_cache_counts(engine->cache);
    engine->kv_pages_total = counts.total;
    engine->kv_page_bytes = counts.page_bytes;
    if (!context_asked && (uint64_t)counts.total * KV_PAGE < engine->info.context)
        engine->info.context = counts.total * KV_PAGE;
    return true;
}

static void wake(void *context)
{
    struct engine *engine = context;

    queue_kick(engine->inbox);          /* it is there before the first page is */
}

static void log_disk(const struct engine *engine)
{
    struct kv_disk_counts counts;
    char path[512];

    kv_disk_counts(engine->disk, &counts);
    log_event(LOG_INFO, "kv_disk", "folder=%s blocks=%llu bytes=%llu max=%llu mode=%s",
              log_quote(path, sizeof path, str_of(kv_disk_path(engine->disk))),
              (unsigned long long)counts.blocks, (unsigned long long)counts.bytes,
              (unsigned long long)counts.bytes_max,
              counts.writable ? "write" : "read_only_another_server_writes");
}

/* A model that can't be kept on disk is served all the same. */
static void open_disk(struct engine *engine, const struct engine_options *options)
{
    struct kv_disk_options disk = {
        .dir = options->cache_dir, .bytes_max = options->cache_disk_max,
        .page_bytes = engine->kv_page_bytes, .wake = wake, .context = engine,
    };
    struct err err;
    char text[512];

    if (!options->cache_dir || options->cache_disk_max == 0)
        return;
    model_fingerprint(engine->model, engine->kernels->isa, disk.fingerprint);
    engine->disk = kv_disk_open(&disk, &err);
    if (engine->disk && !kv_cache_use_disk(engine->cache, engine->disk)) {
        kv_disk_close(engine->disk, 0);
        engine->disk = NULL;
        err_set(&err, ERR_IO, "no memory for the list of pages to write");
    }
    if (engine->disk)
        log_disk(engine);
    else
        log_event(LOG_WARN, "kv_disk_off", "reason=%s",
                  log_quote(text, sizeof text, str_of(err.text)));
}

static uint32_t variant_length(const struct engine *engine, enum longrope longrope)
{
    const uint32_t length = model_variant_length(engine->model);

    if (length == UINT32_MAX || longrope == LONGROPE_SHORT)
        return UINT32_MAX;
    return longrope == LONGROPE_LONG ? 0 : length;
}

static bool open_scheduler(struct engine *engine, const struct engine_options *options,
                           struct err *err)
{
    const uint32_t tokens = (uint32_t)vocab_size(model_vocab(engine->model));
    struct scheduler_options s = {
        .model = {
            .context = engine, .vocab = engine->info.vocab_size,
            .tokens = engine->info.vocab_size < tokens ? engine->info.vocab_size : tokens,
            .step = step, .is_end = is_end, .text = text,
        },
        .cache = engine->cache,
        .context = engine->info.context,
        .step_s = options->step_ms / 1e3,
        .variant_length = variant_length(engine, options->longrope),
        .speculate = options->speculate,
    };

    if (!take(&s.prefill_chunk, "prefill chunk", options->prefill_chunk, PREFILL_CHUNK_DEFAULT,
              PREFILL_CHUNK_MAX, err) ||
        !take(&s.sequences_max, "sequences at once", options->sequences_max, SEQUENCES_DEFAULT,
              SEQUENCES_MAX, err))
        return false;
    engine->sequences_max = s.sequences_max;
    engine->forward = forward_new(engine->model, engine->kernels, engine->pool, engine->cache,
                                  scheduler_rows_max(&s), err);
    if (!engine->forward)
        return false;
    engine->scheduler = scheduler_new(&s, err);
    if (!engine->scheduler)
        return false;
    engine->grammars = grammars_new(model_vocab(engine->model), s.model.tokens);
    return engine->grammars || err_set(err, ERR_IO, "no memory for grammars");
}

static bool open_parts(struct engine *engine, const struct engine_options *options, struct err *err)
{
    uint32_t threads;

    engine->kernels = kernels_select(options->cpu, err);
    if (!engine->kernels ||
        !take(&threads, "threads", options->threads, cores(), POOL_THREADS_MAX, err) ||
        !take(&engine->queue_max, "queue", options->queue_max, QUEUE_DEFAULT, QUEUE_MAX, err))
        return false;
    engine->model = model_open(options->model_path, err);
    if (!engine->model)
        return false;
    model_describe(engine->model, &engine->info);
    const uint32_t trained = engine->info.context_trained;
    if (options->context > trained)
        return err_set(err, ERR_USAGE, "context: %u is more than the %u tokens that the model was "
                       "trained for", options->context, trained);
    engine->info.context = options->context ? options->context : trained;
    engine->pool = pool_new(threads, err);
    if (!engine->pool || !open_kv(engine, options->kv_bytes_max, options->context != 0, err) ||
        !open_scheduler(engine, options, err))
        return false;
    engine->inbox = queue_new(engine->queue_max, NULL, NULL);
    engine->door = door_new(engine->queue_max);
    if (!engine->inbox || !engine->door)
        return err_set(err, ERR_IO, "no memory for the queue");
    open_disk(engine, options);
    publish(engine);
    const int rc = pthread_create(&engine->thread, NULL, engine_main, engine);
    engine->thread_runs = rc == 0;
    return rc == 0 || err_set(err, ERR_IO, "no engine thread: %s", strerror(rc));
}

struct engine *engine_open(const struct engine_options *options, struct err *err)
{
    struct engine *engine = calloc(1, sizeof *engine);

    if (!engine) {
        err_set(err, ERR_IO, "no memory for an engine");
        return NULL;
    }
    if (!open_parts(engine, options, err)) {
        engine_close(engine);
        return NULL;
    }
    return engine;
}

void engine_close(struct engine *engine)
{
    if (!engine)
        return;
    if (engine->thread_runs) {
        atomic_store(&engine->closing, true);
        queue_kick(engine->inbox);
        pthread_join(engine->thread, NULL);
        fail_all(engine);               /* what came in after the thread's last look */
    }
    scheduler_free(engine->scheduler);
    forward_free(engine->forward);
    kv_cache_free(engine->cache);
    pool_free(engine->pool);
    queue_free(engine->inbox);
    door_free(engine->door);
    grammars_free(engine->grammars);
    model_close(engine->model);
    free(engine);
}

/* ---- from any thread ---- */

const struct model_info *engine_info(const struct engine *engine)
{
    return &engine->info;
}

const char *engine_cpu(const struct engine *engine)
{
    return engine->kernels->isa;
}

bool engine_tokenize(const struct engine *engine, struct arena *arena, struct str input,
                     const struct plain_range *plain, size_t plain_n, bool add_bos,
                     struct tokens *out, struct err *err)
{
    return tokenizer_encode(model_vocab(engine->model), arena, input, plain, plain_n, add_bos, out,
                            err);
}

bool engine_tokenize_known(const struct engine *engine, struct arena *arena,
                           const struct known_text *known, struct tokens *out,
                           uint32_t *cut_tokens, struct err *err)
{
    return tokenizer_encode_known(model_vocab(engine->model), arena, known, out, cut_tokens, err);
}

struct str engine_token_text(const struct engine *engine, int32_t id, bool control)
{
    const struct vocab *vocab = model_vocab(engine->model);

    if (id < 0 || (size_t)id >= vocab_size(vocab))
        return (struct str){0};
    if (vocab_type(vocab, id) != TOKEN_CONTROL)
        return vocab_bytes(vocab, id);
    return control ? vocab_spelling(vocab, id) : (struct str){0};
}

bool engine_token_control(const struct engine *engine, int32_t id)
{
    const struct vocab *vocab = model_vocab(engine->model);

    return id >= 0 && (size_t)id < vocab_size(vocab) && vocab_type(vocab, id) == TOKEN_CONTROL;
}

bool engine_token_ends(const struct engine *engine, int32_t id)
{
    const struct vocab *vocab = model_vocab(engine->model);

    return id >= 0 && (size_t)id < vocab_size(vocab) && vocab_is_end(vocab, id);
}

struct constraint *engine_constraint_new(struct engine *engine, struct arena *arena,
                                         const struct grammar_source *given,
                                         struct str *loosened, struct err *err)
{
    struct grammar_source source = *given;

    source.spaced = vocab_decode(model_vocab(engine->model)) != DECODE_PLAIN;
    struct grammar *grammar = grammars_take(engine->grammars, &source, err);
    if (!grammar)
        return NULL;
    const struct str left_out = grammar_loosened(grammar);
    if (source.strict && left_out.n) {
        const char *end = memchr(left_out.s, '\n', left_out.n);
        err_set(err, ERR_INVALID, "`%.*s` is not supported", (int)(end - left_out.s), left_out.s);
        grammars_give_back(engine->grammars, grammar, false);
        return NULL;
    }
    if (arena)
        *loosened = arena_str(arena, left_out);
    return constraint_new(engine->grammars, grammar, err);
}

bool engine_constraint_begin(const struct engine *engine, struct constraint *constraint,
                             struct str begun)
{
    for (size_t i = 0; i < begun.n; i++) {
        const int32_t id = vocab_byte(model_vocab(engine->model), (uint8_t)begun.s[i]);
        if (id < 0 || constraint_take(constraint, id, UINT32_MAX, NULL) != CONSTRAINT_GOES_ON)
            return false;
    }
    return true;
}

static bool params_check(const struct engine *engine, const struct sequence_params *params,
                         struct err *err)
{
    const struct sampling *sampling = &params->sampling;

    if (params->tokens_n == 0)
        return err_set(err, ERR_INVALID, "the prompt is empty");
    if (params->tokens_n > engine->info.context)
        return err_set(err, ERR_INVALID, "prompt is too long: %zu tokens > %u maximum",
                       params->tokens_n, engine->info.context);
    for (size_t i = 0; i < params->tokens_n; i++)
        if (params->tokens[i] < 0 || (uint32_t)params->tokens[i] >= engine->info.vocab_size)
            return err_set(err, ERR_INVALID, "token %zu of the prompt is %d, the vocabulary has %u",
                           i, params->tokens[i], engine->info.vocab_size);
    if ((unsigned)params->rank >= SEQUENCE_RANKS)
        return err_set(err, ERR_INVALID, "there is no rank %d", (int)params->rank);
    for (uint32_t i = 0; i < params->marks_n; i++)
        if (i == CACHE_MARKS_MAX || params->marks[i].tokens > params->tokens_n ||
            params->marks[i].tokens <= (i ? params->marks[i - 1].tokens : 0))
            return err_set(err, ERR_INVALID, "cache mark %u is past the limit of %d, past the "
                           "prompt's end, or not after the one before it", i, CACHE_MARKS_MAX);
    if (!isfinite(sampling->temperature) || sampling->temperature < 0 || isnan(sampling->top_p))
        return err_set(err, ERR_INVALID, "temperature %g and top_p %g can't be sampled with",
                       (double)sampling->temperature, (double)sampling->top_p);
    return true;
}

struct sequence *engine_submit(struct engine *engine, const struct sequence_params *params,
                               struct err *err)
{
    if (!params_check(engine, params, err))
        return NULL;
    if (atomic_load(&engine->closing)) {
        err_set(err, ERR_OVERLOADED, "the server is shutting down");
        return NULL;
    }
    const uint32_t prompt_n = (uint32_t)params->tokens_n;
    if (!door_enter(engine->door, params->owner, params->rank, prompt_n, err))
        return NULL;
    struct sequence *sequence = sequence_new(params, engine->info.context, engine->inbox,
                                             engine->door);
    if (sequence && !params->continues)
        sequence->detokenizer.decode = vocab_decode(model_vocab(engine->model));
    if (!sequence || !queue_put(engine->inbox, sequence)) {
        free(sequence);
        door_leave(engine->door, params->owner, params->rank, prompt_n, -1);
        err_set(err, ERR_OVERLOADED, "no memory for one more request");
        return NULL;
    }
    return sequence;
}

/* A place is free when one of those who wait begins: as long as the prompt of one takes, or, where it
 * is not prompts that take the time, as long as it took lately. */
static uint32_t retry_after_s(const struct door_stats *door, uint32_t queued, double prefill_tps)
{
    enum { LEAST = 1, MOST = 60 };
    const double prompt = queued && prefill_tps > 0
                              ? (double)door->waiting_tokens / queued / prefill_tps : 0;
    const double seconds = prompt > door->interval_s ? prompt : door->interval_s;

    return seconds < LEAST ? LEAST : seconds < MOST ? (uint32_t)ceil(seconds) : MOST;
}

void engine_stats(const struct engine *engine, struct engine_stats *stats)
{
    const struct published *published = &engine->published;
    const struct door_stats door = door_stats(engine->door);
    struct kv_disk_counts disk = {0};

    if (engine->disk)
        kv_disk_counts(engine->disk, &disk);
    *stats = (struct engine_stats){
        .running = atomic_load(&published->running),
        .sequences_max = engine->sequences_max, .queue_max = engine->queue_max,
        .kv_pages_total = engine->kv_pages_total, .kv_pages_used = atomic_load(&published->kv_used),
        .kv_pages_cached = atomic_load(&published->kv_cached),
        .kv_page_bytes = engine->kv_page_bytes,
        .kv_pages_pinned = atomic_load(&published->kv_pinned),
        .disk_bytes = disk.bytes, .disk_bytes_max = disk.bytes_max,
        .disk_pages_written = disk.written, .disk_pages_read = disk.read,
        .disk_pages_dropped = disk.dropped,
        .kv_evictions = atomic_load(&published->kv_evicted),
        .kv_evictions_pinned = atomic_load(&published->kv_evicted_pinned),
        .prompt_tokens = atomic_load(&published->prompt_tokens),
        .cached_tokens = atomic_load(&published->cached_tokens),
        .output_tokens = atomic_load(&published->output_tokens),
        .prefill_tokens = atomic_load(&published->prefill_tokens),
        .preemptions = atomic_load(&published->preemptions),
        .decode_steps = atomic_load(&published->decode_steps),
        .drafted_tokens = atomic_load(&published->drafted_tokens),
        .accepted_tokens = atomic_load(&published->accepted_tokens),
        .prefill_tps = atomic_load(&published->prefill_tps),
        .decode_tps = atomic_load(&published->decode_tps),
    };
    for (int rank = 0; rank < SEQUENCE_RANKS; rank++) {
        stats->queued += door.waiting[rank];
        stats->queued_by[rank] = door.waiting[rank];
        stats->admitted[rank] = door.admitted[rank];
        stats->waited_ms[rank] = door.waited_ms[rank];
    }
    stats->retry_after_s = retry_after_s(&door, stats->queued, stats->prefill_tps);
}
