/* scheduler.c - continuous batching: every step carries one row of each sequence that decodes, and
 * prompt rows of those that don't yet, oldest first, up to one chunk.
 *
 * The hard thing is memory that runs out in the middle. A sequence is admitted with pages for its
 * whole prompt and one more token; while it decodes it takes further pages as it goes. When there
 * is none, the youngest sequence gives its pages up (one that is paused before one that is not) and
 * waits, at its age's place in the queue, until it can prefill all it had: prompt and outputs. Its
 * sampler goes on where it was. The oldest is never the victim while others are, and any one
 * sequence fits alone, so there is always progress and nothing fails half-way.
 *
 * A sequence that grows past variant_length gives its pages up in the same way, for all its keys
 * are others in the other variant; it is prefilled again, and what was sampled stays. */
#include "engine/scheduler.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"

/* Ordered by age. */
struct list {
    struct sequence *oldest, *newest;
    uint32_t n;
};

struct rate {
    double tokens, seconds;     /* both fade with RATE_SECONDS of work */
};

static const double RATE_SECONDS = 4;

struct scheduler {
    struct scheduler_options options;
    struct list waiting, running;
    uint64_t serial;            /* of the last that arrived */
    uint64_t turn;              /* decoding begins after this one when not all fit into a step */
    struct batch_row *rows;
    float *logits;              /* [sequences_max][vocab] */
    void *sampler_scratch;
    struct buf characters;      /* that one token completes */
    struct scheduler_stats stats;
    struct rate prefill, decode;
};

uint32_t scheduler_rows_max(const struct scheduler_options *options)
{
    return options->sequences_max + options->prefill_chunk;
}

struct scheduler *scheduler_new(const struct scheduler_options *options, struct err *err)
{
    const struct kv_counts counts = kv_cache_counts(options->cache);
    const size_t vocab = options->model.vocab;

    if (counts.total * KV_PAGE < options->context) {
        err_set(err, ERR_USAGE, "the KV cache of %llu MiB holds %llu tokens, less than one context "
                "of %u: give it more memory, or make the context smaller",
                (unsigned long long)(counts.total * counts.page_bytes >> 20),
                (unsigned long long)counts.total * KV_PAGE, options->context);
        return NULL;
    }
    struct scheduler *scheduler = calloc(1, sizeof *scheduler);
    if (scheduler) {
        scheduler->options = *options;
        scheduler->rows = calloc(scheduler_rows_max(options), sizeof *scheduler->rows);
        scheduler->logits = calloc(options->sequences_max, vocab * sizeof *scheduler->logits);
        scheduler->sampler_scratch = malloc(sampler_scratch_bytes(vocab));
    }
    if (!scheduler || !scheduler->rows || !scheduler->logits || !scheduler->sampler_scratch) {
        scheduler_free(scheduler);
        err_set(err, ERR_IO, "no memory for the logits of %u sequences", options->sequences_max);
        return NULL;
    }
    return scheduler;
}

void scheduler_free(struct scheduler *scheduler)
{
    if (!scheduler)
        return;
    assert(!scheduler->waiting.oldest && !scheduler->running.oldest);
    free(scheduler->rows);
    free(scheduler->logits);
    free(scheduler->sampler_scratch);
    buf_release(&scheduler->characters);
    free(scheduler);
}

static void list_insert(struct list *list, struct sequence *sequence)
{
    struct sequence *older = list->newest;

    while (older && older->serial > sequence->serial)
        older = older->older;
    sequence->older = older;
    sequence->newer = older ? older->newer : list->oldest;
    *(older ? &older->newer : &list->oldest) = sequence;
    *(sequence->newer ? &sequence->newer->older : &list->newest) = sequence;
    list->n++;
}

static void list_remove(struct list *list, struct sequence *sequence)
{
    *(sequence->older ? &sequence->older->newer : &list->oldest) = sequence->newer;
    *(sequence->newer ? &sequence->newer->older : &list->newest) = sequence->older;
    list->n--;
}

static void finish(struct scheduler *scheduler, struct list *list, struct sequence *sequence,
                   enum sequence_end end, const struct err *error)
{
    list_remove(list, sequence);
    kv_table_release(scheduler->options.cache, &sequence->table);
    scheduler->stats.cached_tokens += sequence->cached_n;
    sequence_end(sequence, end, error);
}

void scheduler_add(struct scheduler *scheduler, struct sequence *sequence)
{
    sequence->serial = ++scheduler->serial;
    list_insert(&scheduler->waiting, sequence);
    if (sequence->params.max_tokens && sequence->prompt_n == scheduler->options.context)
        finish(scheduler, &scheduler->waiting, sequence, SEQUENCE_CONTEXT_FULL, NULL);
}

/* Reads the flags once, so that a step sees them unchanged. */
static void read_flags(struct scheduler *scheduler, struct list *list)
{
    struct sequence *newer;

    for (struct sequence *sequence = list->oldest; sequence; sequence = newer) {
        newer = sequence->newer;
        sequence->held = atomic_load(&sequence->paused);
        sequence->rows_n = 0;
        if (atomic_load(&sequence->cancelled))
            finish(scheduler, list, sequence, SEQUENCE_CANCELLED, NULL);
    }
}

/* ---- memory ---- */

/* Gives its pages up and waits until it can prefill all it had. */
static void send_back(struct scheduler *scheduler, struct sequence *sequence)
{
    kv_table_release(scheduler->options.cache, &sequence->table);
    sequence->rows_n = 0;
    if (sequence->output_n == 0)
        sequence->cached_n = 0;         /* will be looked up anew */
    list_remove(&scheduler->running, sequence);
    list_insert(&scheduler->waiting, sequence);
}

static void preempt(struct scheduler *scheduler, struct sequence *sequence)
{
    log_event(LOG_DEBUG, "sequence_preempted", "serial=%llu tokens=%u",
              (unsigned long long)sequence->serial, sequence->n);
    send_back(scheduler, sequence);
    scheduler->stats.preemptions++;
}

static uint32_t variant_of(const struct scheduler *scheduler, const struct sequence *sequence)
{
    return sequence->n > scheduler->options.variant_length;
}

static struct sequence *youngest_held(const struct scheduler *scheduler)
{
    struct sequence *sequence = scheduler->running.newest;

    while (sequence && !sequence->held)
        sequence = sequence->older;
    return sequence;
}

/* Room for one more token of a running sequence, whoever has to go; false: itself. */
static bool make_room(struct scheduler *scheduler, struct sequence *sequence)
{
    while (!kv_table_reserve(scheduler->options.cache, &sequence->table, sequence->n)) {
        struct sequence *victim = youngest_held(scheduler);
        if (!victim)
            victim = scheduler->running.newest;
        preempt(scheduler, victim);
        if (victim == sequence)
            return false;
    }
    return true;
}

/* ---- who takes part ---- */

static uint32_t due(const struct sequence *sequence)
{
    return sequence->n - sequence->table.length;
}

static bool is_decoding(const struct sequence *sequence)
{
    return sequence->output_n && due(sequence) == 1;
}

/* More sequences than fit may want to decode after a pause ends: then they take turns. */
static uint32_t choose_decoding(struct scheduler *scheduler, uint32_t slots)
{
    const uint64_t turn = scheduler->turn;
    uint32_t chosen = 0;

    for (int round = 0; round < 2; round++) {
        struct sequence *newer;
        for (struct sequence *sequence = scheduler->running.oldest; sequence; sequence = newer) {
            newer = sequence->newer;
            if (sequence->held || !is_decoding(sequence) || (sequence->serial > turn) == round)
                continue;
            if (chosen == slots)
                return chosen;
            const bool fits = make_room(scheduler, sequence);
            newer = fits ? sequence->newer : NULL;      /* those that went were younger */
            sequence->rows_n = fits;
            chosen += fits;
            scheduler->turn = sequence->serial;
        }
    }
    scheduler->turn = 0;
    return chosen;
}

static uint32_t choose_chunk(struct scheduler *scheduler, struct sequence *sequence,
                             uint32_t budget)
{
    const uint32_t found = kv_table_lookup(scheduler->options.cache, &sequence->table,
                                           sequence->ids, sequence->n);

    if (sequence->output_n == 0)
        sequence->cached_n += found;
    sequence->rows_n = due(sequence) < budget ? due(sequence) : budget;
    return sequence->rows_n;
}

/* The longest known beginning, and pages for all of the rest and one token more. A sequence that
 * is paused gives way to one that is not. */
static bool admit(struct scheduler *scheduler, struct sequence *sequence)
{
    struct kv_cache *cache = scheduler->options.cache;
    const uint32_t context = scheduler->options.context;
    const uint32_t wanted = sequence->n < context ? sequence->n + 1 : context;

    kv_table_init(&sequence->table, variant_of(scheduler, sequence));
    const uint32_t found = kv_table_lookup(cache, &sequence->table, sequence->ids, sequence->n);
    while (!kv_table_reserve(cache, &sequence->table, wanted)) {
        struct sequence *victim = youngest_held(scheduler);
        if (!victim) {
            kv_table_release(cache, &sequence->table);
            return false;
        }
        preempt(scheduler, victim);
    }
    list_remove(&scheduler->waiting, sequence);
    list_insert(&scheduler->running, sequence);
    if (sequence->output_n == 0)
        sequence->cached_n = found;
    if (!sequence->started) {
        sequence->started = true;
        sequence->started_ns = clock_ns();
        scheduler->stats.prompt_tokens += sequence->prompt_n;
        atomic_fetch_sub(sequence->waiting, 1);
    }
    return true;
}

static struct sequence *next_waiting(const struct scheduler *scheduler)
{
    struct sequence *sequence = scheduler->waiting.oldest;

    while (sequence && sequence->held)
        sequence = sequence->newer;
    return sequence;
}

/* Whatever was begun is finished first; so those that wait behind find its pages computed. */
static void choose_prefilling(struct scheduler *scheduler, uint32_t slots, uint32_t active)
{
    uint32_t budget = scheduler->options.prefill_chunk;

    for (struct sequence *sequence = scheduler->running.oldest; sequence && budget && slots;
         sequence = sequence->newer) {
        if (sequence->held || is_decoding(sequence))
            continue;
        budget -= choose_chunk(scheduler, sequence, budget);
        slots--;
    }
    while (budget && slots && active < scheduler->options.sequences_max) {
        struct sequence *sequence = next_waiting(scheduler);
        if (!sequence || !admit(scheduler, sequence))
            return;
        budget -= choose_chunk(scheduler, sequence, budget);
        slots--;
        active++;
    }
}

static void choose(struct scheduler *scheduler)
{
    const uint32_t slots = scheduler->options.sequences_max;
    uint32_t active = 0, prefilling = 0;

    for (struct sequence *sequence = scheduler->running.oldest; sequence;
         sequence = sequence->newer) {
        active += !sequence->held;
        prefilling += !sequence->held && !is_decoding(sequence);
    }
    const uint32_t decoding = choose_decoding(scheduler, slots - (prefilling > 0));
    choose_prefilling(scheduler, slots - decoding, active);
}

/* ---- the step ---- */

static uint32_t build_rows(struct scheduler *scheduler, uint32_t *prefill_rows)
{
    uint32_t rows_n = 0, logits_n = 0;

    *prefill_rows = 0;
    for (struct sequence *sequence = scheduler->running.oldest; sequence;
         sequence = sequence->newer) {
        const bool whole = sequence->rows_n == due(sequence);
        sequence->logits = NULL;
        if (sequence->rows_n && whole && sequence->params.max_tokens)
            sequence->logits = scheduler->logits +
                               (size_t)logits_n++ * scheduler->options.model.vocab;
        for (uint32_t i = 0; i < sequence->rows_n; i++) {
            const uint32_t position = sequence->table.length + i;
            scheduler->rows[rows_n++] = (struct batch_row){
                .token = sequence->ids[position], .position = position, .table = &sequence->table,
                .logits = i + 1 == sequence->rows_n ? sequence->logits : NULL,
            };
        }
        if (!is_decoding(sequence))
            *prefill_rows += sequence->rows_n;
    }
    return rows_n;
}

/* The next token of a sequence whose last row has its logits. */
static void advance(struct scheduler *scheduler, struct sequence *sequence)
{
    const struct scheduler_model *model = &scheduler->options.model;
    const struct sequence_params *params = &sequence->params;
    struct list *list = &scheduler->running;
    const int32_t id = sampler_next(&sequence->sampler, sequence->logits, model->tokens,
                                    scheduler->sampler_scratch);

    if (id < 0) {
        struct err error;
        err_set(&error, ERR_INTERNAL, "the model gave no probabilities to choose a token by");
        finish(scheduler, list, sequence, SEQUENCE_FAILED, &error);
        return;
    }
    if (sequence->output_n++ == 0)
        sequence->first_token_ns = clock_ns();
    scheduler->stats.output_tokens++;
    if (model->is_end(model->context, id)) {
        finish(scheduler, list, sequence, SEQUENCE_END_TOKEN, NULL);
        return;
    }
    sequence->ids[sequence->n++] = id;
    buf_reset(&scheduler->characters);
    detokenizer_push(&sequence->detokenizer, model->text(model->context, id),
                     &scheduler->characters);
    if (!params->on_token(params->context, id, buf_view(&scheduler->characters)))
        finish(scheduler, list, sequence, SEQUENCE_STOPPED, NULL);
    else if (sequence->output_n == params->max_tokens)
        finish(scheduler, list, sequence, SEQUENCE_MAX_TOKENS, NULL);
    else if (sequence->n == scheduler->options.context)
        finish(scheduler, list, sequence, SEQUENCE_CONTEXT_FULL, NULL);
    else if (sequence->table.variant != variant_of(scheduler, sequence))
        send_back(scheduler, sequence);
}

static void settle(struct scheduler *scheduler)
{
    struct sequence *newer;

    for (struct sequence *sequence = scheduler->running.oldest; sequence; sequence = newer) {
        newer = sequence->newer;
        if (sequence->rows_n == 0)
            continue;
        kv_table_commit(scheduler->options.cache, &sequence->table, sequence->ids,
                        sequence->table.length + sequence->rows_n);
        if (sequence->logits)
            advance(scheduler, sequence);
        else if (due(sequence) == 0)            /* max_tokens 0 */
            finish(scheduler, &scheduler->running, sequence, SEQUENCE_MAX_TOKENS, NULL);
    }
}

static double rate_add(struct rate *rate, uint32_t tokens, double seconds)
{
    if (tokens) {
        const double kept = exp(-seconds / RATE_SECONDS);
        rate->tokens = rate->tokens * kept + tokens;
        rate->seconds = rate->seconds * kept + seconds;
    }
    return rate->seconds > 0 ? rate->tokens / rate->seconds : 0;
}

bool scheduler_step(struct scheduler *scheduler)
{
    const struct scheduler_model *model = &scheduler->options.model;
    const uint64_t begin = clock_ns();
    uint32_t prefill_rows;

    read_flags(scheduler, &scheduler->running);
    read_flags(scheduler, &scheduler->waiting);
    choose(scheduler);
    const uint32_t rows_n = build_rows(scheduler, &prefill_rows);
    if (rows_n == 0)
        return false;
    model->step(model->context, scheduler->rows, rows_n);
    settle(scheduler);

    const double seconds = clock_seconds_since(begin);
    scheduler->stats.prefill_tps = rate_add(&scheduler->prefill, prefill_rows, seconds);
    scheduler->stats.decode_tps = rate_add(&scheduler->decode, rows_n - prefill_rows, seconds);
    return true;
}

void scheduler_fail_all(struct scheduler *scheduler, const struct err *error)
{
    while (scheduler->running.oldest)
        finish(scheduler, &scheduler->running, scheduler->running.oldest, SEQUENCE_FAILED, error);
    while (scheduler->waiting.oldest)
        finish(scheduler, &scheduler->waiting, scheduler->waiting.oldest, SEQUENCE_FAILED, error);
}

struct scheduler_stats scheduler_stats(const struct scheduler *scheduler)
{
    struct scheduler_stats stats = scheduler->stats;

    stats.running = scheduler->running.n;
    return stats;
}
