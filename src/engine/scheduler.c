/* scheduler.c - continuous batching: every step carries one row of each sequence that decodes, and
 * prompt rows up to one chunk of those whose turn it is (fairness.h).
 *
 * The hard thing is memory that runs out in the middle. A sequence is admitted with pages for its
 * whole prompt and one more token; while it decodes it takes further pages as it goes. When there
 * is none, a victim gives its pages up (one that is paused before one that is not, then the least
 * urgent, then the youngest) and waits until it can prefill all it had: prompt and outputs. Its
 * sampler goes on where it was. The oldest of the most urgent is never the victim while others are,
 * and any one sequence fits alone, so there is always progress and nothing fails half-way.
 *
 * Guesses at what a sequence will say next (speculate.h) come as further rows of its own. Each row
 * has the logits that follow it, and the sampler draws from them in order, as it would have one
 * step after another, until it draws something else than was guessed; rows after that are
 * forgotten: only what was drawn is ever committed, and the places in the pages are written anew.
 *
 * A sequence that grows past variant_length gives its pages up in the same way, for all its keys
 * are others in the other variant; it is prefilled again, and what was sampled stays.
 *
 * Sequences with the same beginning never compute it at the same time: the one that is ahead gets
 * the turns of those behind it, and they take its pages over (leader_of). */
#include "engine/scheduler.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/constraint.h"
#include "engine/drafting.h"
#include "engine/pace.h"
#include "engine/victims.h"

/* Ordered by age. */
struct list {
    struct sequence *oldest, *newest;
    uint32_t n;
};

/* In one step, of those that wait: so many turns may pass without a row. It bounds the search. */
enum { PASSED_MAX = 16 };

struct scheduler {
    struct scheduler_options options;
    struct list waiting, running;
    uint64_t serial;            /* of the last that arrived */
    uint64_t turn;              /* decoding begins after this one when not all fit into a step */
    struct fairness fairness;
    struct pace pace;
    struct batch_row *rows;
    float *logits;              /* [sequences_max + drafts_max][vocab] */
    void *sampler_scratch;
    struct buf characters;      /* that one token completes */
    struct scheduler_stats stats;
    struct rate prefill, decode;
    struct drafting drafting;
};

uint32_t scheduler_rows_max(const struct scheduler_options *options)
{
    return options->sequences_max + options->prefill_chunk;
}

/* Guesses take their rows from the chunk's, and leave most of it. */
static uint32_t drafts_max(const struct scheduler_options *options)
{
    return options->speculate == SPECULATE_OFF ? 0 : options->prefill_chunk / 4;
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
        scheduler->logits = calloc(options->sequences_max + drafts_max(options),
                                   vocab * sizeof *scheduler->logits);
        scheduler->sampler_scratch = malloc(sampler_scratch_bytes(vocab));
        scheduler->drafting = (struct drafting){
            .mode = options->speculate, .cache = options->cache, .context = options->context,
            .variant_length = options->variant_length, .rows_max = drafts_max(options),
        };
    }
    if (!scheduler || !scheduler->rows || !scheduler->logits || !scheduler->sampler_scratch ||
        !drafting_init(&scheduler->drafting, options->sequences_max)) {
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
    drafting_release(&scheduler->drafting);
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
    fairness_leave(&scheduler->fairness, &sequence->ticket);
    kv_table_release(scheduler->options.cache, &sequence->table);
    drafting_leave(sequence);
    scheduler->stats.cached_tokens += sequence->start.memory_tokens + sequence->start.disk_tokens;
    sequence_end(sequence, end, error);
}

static uint32_t variant_of(const struct scheduler *scheduler, const struct sequence *sequence)
{
    return sequence->n > scheduler->options.variant_length;
}

/* Rows that it will have to compute, as far as is known now. */
static uint32_t rows_expected(struct scheduler *scheduler, struct sequence *sequence)
{
    struct kv_cache *cache = scheduler->options.cache;

    sequence->table.variant = variant_of(scheduler, sequence);
    const uint32_t found = kv_table_lookup(cache, &sequence->table, sequence->ids, sequence->n);
    kv_table_release(cache, &sequence->table);
    return sequence->n - found;
}

void scheduler_add(struct scheduler *scheduler, struct sequence *sequence)
{
    const struct sequence_params *params = &sequence->params;

    sequence->serial = ++scheduler->serial;
    list_insert(&scheduler->waiting, sequence);
    fairness_enter(&scheduler->fairness, &sequence->ticket, params->owner, params->rank,
                   params->flow, rows_expected(scheduler, sequence));
    if (params->max_tokens && sequence->prompt_n == scheduler->options.context)
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
        sequence->considered = false;
        sequence->draft.kept = 0;
        if (atomic_load(&sequence->cancelled))
            finish(scheduler, list, sequence, SEQUENCE_CANCELLED, NULL);
    }
}

/* ---- memory ---- */

/* Gives its pages up and waits until it can prefill all it had. */
static void send_back(struct scheduler *scheduler, struct sequence *sequence)
{
    kv_table_release(scheduler->options.cache, &sequence->table);
    sequence->rows_n = sequence->draft.kept = 0;
    if (sequence->output_n == 0)
        sequence->start.memory_tokens = sequence->start.disk_tokens = 0;    /* looked up anew */
    fairness_again(&scheduler->fairness, &sequence->ticket);
    list_remove(&scheduler->running, sequence);
    list_insert(&scheduler->waiting, sequence);
}

static void preempt(struct scheduler *scheduler, struct sequence *sequence)
{
    log_event(LOG_DEBUG, "sequence_preempted", "serial=%llu rank=%d tokens=%u",
              (unsigned long long)sequence->serial, (int)sequence->params.rank, sequence->n);
    send_back(scheduler, sequence);
    scheduler->stats.preemptions++;
}

/* Room for one more token of a running sequence, whoever has to go; false: itself. */
static bool make_room(struct scheduler *scheduler, struct sequence *sequence)
{
    while (!kv_table_reserve(scheduler->options.cache, &sequence->table, sequence->n)) {
        struct sequence *victim = victim_of(scheduler->running.newest);
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

/* The one whose turn it is by age after `turn`; NULL: all that decode have a row. */
static struct sequence *next_decoding(const struct scheduler *scheduler)
{
    struct sequence *first = NULL;

    for (struct sequence *sequence = scheduler->running.oldest; sequence;
         sequence = sequence->newer) {
        if (sequence->held || sequence->rows_n || !is_decoding(sequence))
            continue;
        if (sequence->serial > scheduler->turn)
            return sequence;
        first = first ? first : sequence;
    }
    return first;
}

/* More sequences than fit may want to decode after a pause ends: then they take turns. */
static uint32_t choose_decoding(struct scheduler *scheduler, uint32_t slots)
{
    struct sequence *sequence;
    uint32_t chosen = 0;

    while (chosen < slots && (sequence = next_decoding(scheduler))) {
        scheduler->turn = sequence->serial;
        sequence->rows_n = make_room(scheduler, sequence);
        chosen += sequence->rows_n;
    }
    if (chosen < slots)
        scheduler->turn = 0;
    return chosen;
}

/* ---- whose prompt is computed ---- */

/* Takes what others have computed meanwhile, and gives it rows. */
static uint32_t choose_chunk(struct scheduler *scheduler, struct sequence *sequence,
                             uint32_t budget)
{
    const uint32_t found = kv_table_lookup(scheduler->options.cache, &sequence->table,
                                           sequence->ids, sequence->n);

    if (sequence->output_n == 0)
        sequence->start.memory_tokens += found;
    sequence->rows_n = due(sequence) < budget ? due(sequence) : budget;
    return sequence->rows_n;
}

/* Tells the submitter, once, what its prompt was spared. */
static void tell_start(struct scheduler *scheduler, struct sequence *sequence)
{
    struct kv_cache *cache = scheduler->options.cache;
    struct sequence_start *start = &sequence->start;
    const uint32_t n = sequence->prompt_n;

    if (sequence->told)
        return;
    sequence->told = true;
    start->marked_tokens = kv_table_marked(cache, &sequence->table, sequence->ids, n);
    start->diverged_at = kv_table_diverged(cache, &sequence->table, sequence->ids, n);
    if (sequence->params.on_start)
        sequence->params.on_start(sequence->params.context, start);
}

/* Sequences whose pages the disk was filling, and now has, go on from there. */
static void take_restored(struct scheduler *scheduler)
{
    for (struct sequence *sequence = scheduler->running.oldest; sequence;
         sequence = sequence->newer) {
        uint32_t found;
        if (!sequence->table.reading ||
            !kv_table_settle(scheduler->options.cache, &sequence->table, sequence->ids, &found))
            continue;
        if (sequence->output_n == 0)
            sequence->start.disk_tokens += found;
        tell_start(scheduler, sequence);
    }
}

/* Once the whole prompt is computed, its marks are worth something to the next one. */
static void declare_marks(struct scheduler *scheduler, struct sequence *sequence)
{
    if (sequence->marked || sequence->table.length < sequence->prompt_n)
        return;
    sequence->marked = true;
    for (uint32_t i = 0; i < sequence->params.marks_n; i++)
        kv_table_mark(scheduler->options.cache, &sequence->table, sequence->ids,
                      sequence->marks[i].tokens, sequence->marks[i].seconds);
}

/* Whether `ahead` will complete a page, or is about to, that `sequence` needs next; or the disk is
 * about to for it. */
static bool leads(const struct scheduler *scheduler, const struct sequence *ahead,
                  const struct sequence *sequence)
{
    const uint32_t length = ahead->table.length, end = (length / KV_PAGE + 1) * KV_PAGE;
    const bool waits = sequence->table.pages_n == 0;
    const uint32_t variant = waits ? variant_of(scheduler, sequence) : sequence->table.variant;

    return ahead != sequence && !ahead->held && !is_decoding(ahead) &&
           ahead->table.space == sequence->table.space &&
           (length > sequence->table.length ||
            (length == sequence->table.length && (ahead->rows_n > 0 || ahead->table.reading))) &&
           end <= ahead->n && end < sequence->n && ahead->table.variant == variant &&
           memcmp(ahead->ids, sequence->ids, end * sizeof *sequence->ids) == 0;
}

/* Who computes in this sequence's turn: the furthest of those that compute the beginning which it
 * needs, or itself. */
static struct sequence *leader_of(struct scheduler *scheduler, struct sequence *sequence)
{
    struct sequence *leader = sequence;

    for (struct sequence *ahead = scheduler->running.oldest; ahead; ahead = ahead->newer)
        if (leads(scheduler, ahead, sequence) &&
            (leader == sequence || ahead->table.length > leader->table.length))
            leader = ahead;
    return leader;
}

static bool make_way(struct scheduler *scheduler, const struct sequence *sequence)
{
    struct sequence *victim = victim_of(scheduler->running.newest);

    if (!victim || !victim_makes_way(victim, sequence))
        return false;
    preempt(scheduler, victim);
    return true;
}

/* Whether `wanted` positions could be had if all that may be sent away were. Pages that they share
 * with others count too often; so this may be too hopeful, and never the other way. */
static bool could_enter(const struct scheduler *scheduler, const struct sequence *sequence,
                        uint32_t wanted)
{
    const struct kv_counts counts = kv_cache_counts(scheduler->options.cache);
    uint64_t pages = counts.total - counts.used + sequence->table.pages_n;

    for (const struct sequence *victim = scheduler->running.oldest; victim; victim = victim->newer)
        pages += victim_makes_way(victim, sequence) ? victim->table.pages_n : 0;
    return pages * KV_PAGE >= wanted;
}

/* Grows with all that is computed. */
static uint64_t progress(const struct scheduler *scheduler)
{
    return 1 + scheduler->stats.prefill_rows + scheduler->stats.output_tokens;
}

static bool make_pages_free(struct scheduler *scheduler, struct sequence *sequence, uint32_t wanted)
{
    const uint64_t preempted = scheduler->stats.preemptions;

    while (!kv_table_reserve(scheduler->options.cache, &sequence->table, wanted)) {
        if (make_way(scheduler, sequence))
            continue;
        if (scheduler->stats.preemptions > preempted)
            sequence->in_vain = progress(scheduler);
        return false;
    }
    return true;
}

/* Pages for the whole prompt and one token more, and a place among those that run. Whoever sent
 * others away in vain waits until they have computed something before it does so again. */
static bool make_room_to_enter(struct scheduler *scheduler, struct sequence *sequence)
{
    const uint32_t context = scheduler->options.context;
    const uint32_t wanted = sequence->n < context ? sequence->n + 1 : context;

    if (sequence->in_vain == progress(scheduler) || !could_enter(scheduler, sequence, wanted))
        return false;
    while (sequences_active(scheduler->running.newest, NULL) >= scheduler->options.sequences_max) {
        struct sequence *victim = victim_for_place(scheduler->running.newest, sequence);
        if (!victim)
            return false;
        preempt(scheduler, victim);
    }
    return make_pages_free(scheduler, sequence, wanted);
}

/* With the longest known beginning: what of it is not in memory, the disk begins to read. */
static bool admit(struct scheduler *scheduler, struct sequence *sequence)
{
    struct kv_cache *cache = scheduler->options.cache;

    sequence->table.variant = variant_of(scheduler, sequence);
    const uint32_t found = kv_table_lookup(cache, &sequence->table, sequence->ids, sequence->n);
    if (!make_room_to_enter(scheduler, sequence)) {
        kv_table_release(cache, &sequence->table);
        return false;
    }
    list_remove(&scheduler->waiting, sequence);
    list_insert(&scheduler->running, sequence);
    if (sequence->output_n == 0)
        sequence->start.memory_tokens = found;
    if (!sequence->started) {
        scheduler->stats.prompt_tokens += sequence->prompt_n;
        sequence_start(sequence);
    }
    if (!kv_table_read(cache, &sequence->table, sequence->ids, sequence->n))
        tell_start(scheduler, sequence);
    return true;
}

/* The best of a list that is better than `best` and had no turn in this step yet. */
static struct sequence *best_of(const struct list *list, struct sequence *best)
{
    for (struct sequence *sequence = list->oldest; sequence; sequence = sequence->newer) {
        if (sequence->held || sequence->considered || sequence->rows_n || !sequence->ticket.wants ||
            sequence->table.reading)
            continue;
        if (!best || fairness_before(&sequence->ticket, &best->ticket))
            best = sequence;
    }
    return best;
}

/* The turns of one step. Where one of those that wait can't come in for want of pages, others
 * may, until they have had as many tokens as it wants itself; then none before it. */
struct turns {
    uint32_t budget, slots;             /* prompt rows, and sequences, that still fit */
    uint32_t passed;                    /* turns without rows, of those that wait */
    struct sequence *shut_out;          /* the first of those without room */
};

static bool may_enter(const struct turns *turns)
{
    return turns->passed < PASSED_MAX &&
           (!turns->shut_out || turns->shut_out->passed < turns->shut_out->n);
}

static bool enter(struct scheduler *scheduler, struct turns *turns, struct sequence *sequence)
{
    if (!admit(scheduler, sequence)) {
        if (!turns->shut_out)
            turns->shut_out = sequence;
        return false;
    }
    if (turns->shut_out)
        turns->shut_out->passed += due(sequence);
    return true;
}

static void take_turn(struct scheduler *scheduler, struct turns *turns, struct sequence *sequence)
{
    const bool waits = sequence->table.pages_n == 0;
    struct sequence *leader = leader_of(scheduler, sequence);

    sequence->considered = true;
    if ((leader != sequence && (leader->rows_n || leader->table.reading)) ||
        (leader == sequence && waits && !enter(scheduler, turns, sequence))) {
        turns->passed += waits;
        return;
    }
    if (leader->table.reading)
        return;
    const uint32_t rows = choose_chunk(scheduler, leader, turns->budget);
    fairness_prompt(&scheduler->fairness, &sequence->ticket, rows,
                    due(sequence) - sequence->rows_n);
    turns->budget -= rows;
    turns->slots--;
}

static uint32_t prompt_budget(const struct scheduler *scheduler, uint32_t decoding)
{
    const struct scheduler_options *options = &scheduler->options;
    const uint32_t rows = decoding && options->step_s > 0
                              ? pace_rows(&scheduler->pace, options->step_s) : UINT32_MAX;

    return rows < options->prefill_chunk ? rows : options->prefill_chunk;
}

/* false: nobody got rows. */
static bool choose_prefilling(struct scheduler *scheduler, uint32_t slots, uint32_t budget)
{
    struct turns turns = {.budget = budget, .slots = slots};

    while (turns.budget && turns.slots) {
        struct sequence *sequence = best_of(&scheduler->running, NULL);
        if (may_enter(&turns))
            sequence = best_of(&scheduler->waiting, sequence);
        if (!sequence)
            break;
        take_turn(scheduler, &turns, sequence);
    }
    return turns.slots < slots;
}

/* The next of those that wait can have the place of one that runs. */
static bool place_is_due(const struct scheduler *scheduler)
{
    const struct sequence *next = best_of(&scheduler->waiting, NULL);
    struct sequence *newest = scheduler->running.newest;

    return next && sequences_active(newest, NULL) >= scheduler->options.sequences_max &&
           victim_for_place(newest, next);
}

static void choose(struct scheduler *scheduler)
{
    const uint32_t slots = scheduler->options.sequences_max;
    bool prefilling = place_is_due(scheduler);

    for (struct sequence *sequence = scheduler->running.oldest; sequence;
         sequence = sequence->newer)
        prefilling |= !sequence->held && !is_decoding(sequence) && !sequence->table.reading;
    const uint32_t decoding = choose_decoding(scheduler, slots - prefilling);
    const uint32_t prompts = prompt_budget(scheduler, decoding);
    const uint32_t guesses = drafting_choose(&scheduler->drafting, scheduler->running.oldest,
                                             prefilling || scheduler->waiting.n ? prompts : 0);
    const uint32_t rows = prompts > guesses ? prompts - guesses : 0;
    if (!choose_prefilling(scheduler, slots - decoding, rows) && prefilling && decoding == 0)
        choose_decoding(scheduler, slots);      /* the place that was kept was of no use */
}

/* ---- the step ---- */

static float *logits_at(const struct scheduler *scheduler, float *logits, uint32_t row)
{
    return logits + (size_t)row * scheduler->options.model.vocab;
}

/* Row i of a sequence's: one of its tokens, or of the guesses after them. */
static struct batch_row row_of(const struct scheduler *scheduler, const struct sequence *sequence,
                               uint32_t i)
{
    const uint32_t position = sequence->table.length + i;
    const uint32_t sure = sequence->rows_n - sequence->draft.kept;

    return (struct batch_row){
        .token = i < sure ? sequence->ids[position] : sequence->draft.tokens[i - sure],
        .position = position, .table = &sequence->table,
        .logits = sequence->logits && i + 1 >= sure
                  ? logits_at(scheduler, sequence->logits, i + 1 - sure) : NULL,
    };
}

static uint32_t build_rows(struct scheduler *scheduler, uint32_t *prefill_rows)
{
    uint32_t rows_n = 0, logits_n = 0;

    *prefill_rows = 0;
    for (struct sequence *sequence = scheduler->running.oldest; sequence;
         sequence = sequence->newer) {
        const bool whole = sequence->rows_n == due(sequence) + sequence->draft.kept;
        sequence->logits = NULL;
        if (sequence->rows_n && whole && sequence->params.max_tokens)
            sequence->logits = logits_at(scheduler, scheduler->logits, logits_n);
        logits_n += sequence->logits ? 1 + sequence->draft.kept : 0;
        for (uint32_t i = 0; i < sequence->rows_n; i++) {
            scheduler->rows[rows_n++] = row_of(scheduler, sequence, i);
        }
        if (!is_decoding(sequence))
            *prefill_rows += sequence->rows_n;
    }
    return rows_n;
}

static void fail(struct scheduler *scheduler, struct sequence *sequence, const struct err *error)
{
    finish(scheduler, &scheduler->running, sequence, SEQUENCE_FAILED, error);
}

/* Which token comes next: -1 and the error filled if there is none to be had. */
static int32_t choose_token(struct scheduler *scheduler, struct sequence *sequence,
                            float *logits, struct err *error)
{
    const uint32_t tokens = scheduler->options.model.tokens;
    struct constraint *constraint = sequence->params.constraint;

    if (constraint && !constraint_mask(constraint, logits, tokens, error))
        return -1;
    const int32_t id = sampler_next(&sequence->sampler, logits, tokens,
                                    scheduler->sampler_scratch);
    if (id < 0)
        err_set(error, ERR_INTERNAL, "the model gave no probabilities to choose a token by");
    return id;
}

/* Hands a token's characters over. false: the reader has had enough. */
static bool say(struct scheduler *scheduler, struct sequence *sequence, int32_t id)
{
    const struct scheduler_model *model = &scheduler->options.model;

    sequence->ids[sequence->n++] = id;
    buf_reset(&scheduler->characters);
    detokenizer_push(&sequence->detokenizer, model->text(model->context, id),
                     &scheduler->characters);
    return sequence_say(sequence, id, buf_view(&scheduler->characters));
}

static void count_output(struct scheduler *scheduler, struct sequence *sequence)
{
    if (sequence->output_n++ == 0)
        sequence->first_token_ns = clock_ns();
    fairness_output(&sequence->ticket);
    scheduler->stats.output_tokens++;
}

/* How many tokens a sequence may still have. */
static uint32_t room(const struct scheduler *scheduler, const struct sequence *sequence)
{
    const uint32_t budget = sequence->params.max_tokens - sequence->output_n;
    const uint32_t context = scheduler->options.context - sequence->n;

    return budget < context ? budget : context;
}

/* The short way to the end, which needs the model no more. */
static void close_in_time(struct scheduler *scheduler, struct sequence *sequence)
{
    size_t n;
    const uint32_t *ids = constraint_closing(sequence->params.constraint, &n);

    sequence->closing = true;
    for (size_t i = 0; i < n; i++) {
        count_output(scheduler, sequence);
        if (!say(scheduler, sequence, (int32_t)ids[i])) {
            finish(scheduler, &scheduler->running, sequence, SEQUENCE_STOPPED, NULL);
            return;
        }
    }
    finish(scheduler, &scheduler->running, sequence, SEQUENCE_END_TOKEN, NULL);
}

/* The next token of a sequence, by its logits. false: that was its last one here. */
static bool advance(struct scheduler *scheduler, struct sequence *sequence, float *logits)
{
    const struct scheduler_model *model = &scheduler->options.model;
    const struct sequence_params *params = &sequence->params;
    struct list *list = &scheduler->running;
    enum constraint_step step = CONSTRAINT_GOES_ON;
    struct err error;
    const int32_t id = choose_token(scheduler, sequence, logits, &error);

    if (id < 0) {
        fail(scheduler, sequence, &error);
        return false;
    }
    const bool end = model->is_end(model->context, id);
    if (params->constraint && !end)
        step = constraint_take(params->constraint, id, room(scheduler, sequence) - 1, &error);
    if (step == CONSTRAINT_BROKEN) {
        fail(scheduler, sequence, &error);
        return false;
    }
    if (step == CONSTRAINT_CLOSE) {
        close_in_time(scheduler, sequence);
        return false;
    }
    count_output(scheduler, sequence);
    if (end)
        finish(scheduler, list, sequence, SEQUENCE_END_TOKEN, NULL);
    else if (!say(scheduler, sequence, id))
        finish(scheduler, list, sequence, SEQUENCE_STOPPED, NULL);
    else if (step == CONSTRAINT_COMPLETE && !sequence_goes_free(sequence))
        finish(scheduler, list, sequence, SEQUENCE_END_TOKEN, NULL);
    else if (sequence->output_n == params->max_tokens)
        finish(scheduler, list, sequence, SEQUENCE_MAX_TOKENS, NULL);
    else if (sequence->n == scheduler->options.context)
        finish(scheduler, list, sequence, SEQUENCE_CONTEXT_FULL, NULL);
    else if (sequence->table.variant != variant_of(scheduler, sequence))
        send_back(scheduler, sequence);
    else
        return true;
    return false;
}

/* Draws one token after another for as long as they are what was guessed. The last one drawn is
 * always left due, so it is not committed here even if its row is there: a sequence that was paused
 * or cancelled by what it said goes no further. */
static void advance_all(struct scheduler *scheduler, struct sequence *sequence)
{
    const struct draft *draft = &sequence->draft;

    if (sequence->output_n) {
        scheduler->stats.decode_steps++;
        sequence->steps_n++;
    }
    scheduler->stats.drafted_tokens += draft->kept;
    sequence->drafted_n += draft->kept;
    for (uint32_t i = 0; advance(scheduler, sequence, logits_at(scheduler, sequence->logits, i)) &&
                         i < draft->kept && sequence->ids[sequence->n - 1] == draft->tokens[i] &&
                         !atomic_load(&sequence->paused) && !atomic_load(&sequence->cancelled);
         i++) {
        scheduler->stats.accepted_tokens++;
        sequence->accepted_n++;
        kv_table_commit(scheduler->options.cache, &sequence->table, sequence->ids, sequence->n);
    }
}

static void settle(struct scheduler *scheduler)
{
    struct sequence *newer;

    for (struct sequence *sequence = scheduler->running.oldest; sequence; sequence = newer) {
        newer = sequence->newer;
        if (sequence->rows_n == 0)
            continue;
        kv_table_commit(scheduler->options.cache, &sequence->table, sequence->ids,
                        sequence->table.length + sequence->rows_n - sequence->draft.kept);
        declare_marks(scheduler, sequence);
        if (sequence->logits)
            advance_all(scheduler, sequence);
        else if (due(sequence) == 0)            /* max_tokens 0 */
            finish(scheduler, &scheduler->running, sequence, SEQUENCE_MAX_TOKENS, NULL);
    }
}

bool scheduler_step(struct scheduler *scheduler)
{
    const struct scheduler_model *model = &scheduler->options.model;
    const uint64_t begin = clock_ns();
    const struct scheduler_stats before = scheduler->stats;
    uint32_t prefill_rows;

    read_flags(scheduler, &scheduler->running);
    read_flags(scheduler, &scheduler->waiting);
    kv_cache_poll(scheduler->options.cache);
    take_restored(scheduler);
    choose(scheduler);
    const uint32_t rows_n = build_rows(scheduler, &prefill_rows);
    if (rows_n == 0)    /* who gave pages up, or could not use them yet, is looked at again */
        return scheduler->stats.preemptions > before.preemptions;
    model->step(model->context, scheduler->rows, rows_n);
    settle(scheduler);

    const double seconds = clock_seconds_since(begin);
    const uint32_t drafts = (uint32_t)(scheduler->stats.drafted_tokens - before.drafted_tokens);
    const uint32_t right = (uint32_t)(scheduler->stats.accepted_tokens - before.accepted_tokens);
    if (prefill_rows == 0)
        worth_note(&scheduler->drafting.worth, rows_n, drafts, seconds);
    pace_learn(&scheduler->pace, prefill_rows, rows_n - prefill_rows, seconds);
    scheduler->stats.prefill_rows += prefill_rows;
    scheduler->stats.prefill_tps = rate_add(&scheduler->prefill, prefill_rows, seconds);
    scheduler->stats.decode_tps = rate_add(&scheduler->decode,
                                            rows_n - prefill_rows - drafts + right, seconds);
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
