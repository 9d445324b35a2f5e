/* The scheduler against a model that checks its work: the fake one writes every token it is given
 * into the pages, reads the whole sequence back out of them, and lets the next token follow from
 * all of it. A row left out, a page shared wrongly or reused too early, a preemption that loses
 * something, a refused guess left in a page: each changes the text. It repeats itself enough that
 * most guesses are right; all tests run without guesses, with all of them, and with those that pay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/random.h"
#include "engine/kvdisk.h"
#include "engine/scheduler.h"
#include "support/folder.h"

enum {
    VOCAB = 500, END = 0,
    VARIANT_LENGTH = 300,               /* longer sequences are computed in the other variant, */
    VARIANT_BIT = 1 << 15,              /* which this one marks in what it writes into pages */
    PADDING = 12,                       /* logits past the vocabulary: no tokens, so never sampled */
    CONTEXT = 512, CHUNK = 64, SLOTS = 8,
    RUNS_MAX = 64,
    SAYS_N = 4,
};

/* What a run is held to: the first of them a usual guess, then a likely one, then two that are not. */
static const int32_t says[SAYS_N] = {6, 12, 400, 7};

static enum speculate speculate;

/* What a token and all before it lead to. */
static uint32_t follow(uint32_t hash, int32_t token)
{
    hash = (hash ^ (uint32_t)token) * 0x01000193u;
    return hash ^ hash >> 15;
}

/* Mostly what follows from the last token alone. END comes about once in 200. */
static int32_t answer(uint32_t hash, int32_t last)
{
    return (hash >> 8) % 200 == 0  ? END
           : (hash >> 16) % 8 == 0 ? 1 + (int32_t)(hash % (VOCAB - 1))
                                   : 1 + last * 7 % 31;
}

struct run {
    struct sequence *sequence;
    int32_t prompt[CONTEXT], out[CONTEXT];
    uint32_t prompt_n, max_tokens, out_n, stop_at, pause_at, cancel_at;
    uint32_t says_at, says_times;       /* held to `says` so often, once so many tokens are said */
    enum constraint_after says_after;
    bool done, begun;
    uint64_t space;
    struct cache_mark marks[CACHE_MARKS_MAX];
    uint32_t marks_n;
    struct sequence_start start;        /* as on_start gave it */
    struct sequence_result result;
};

struct bench {
    struct kv_cache *cache;
    struct scheduler *scheduler;
    struct queue *inbox;
    struct door *door;
    struct run runs[RUNS_MAX];
    uint64_t owner, flow;               /* of those that start now */
    enum sequence_rank rank;
    uint32_t steps, rows, rows_most, prefill_most, sequences_most;
};

static void fake_step(void *context, const struct batch_row *rows, uint32_t rows_n)
{
    struct bench *bench = context;
    uint32_t sequences = 0, prefill = 0;

    for (uint32_t i = 0; i < rows_n; i++) {
        const struct kv_table *table = rows[i].table;
        const bool first = i == 0 || rows[i - 1].table != table;
        const bool last = i + 1 == rows_n || rows[i + 1].table != table;
        uint32_t hash = 1;

        assert_int_equal(rows[i].position, first ? table->length : rows[i - 1].position + 1);
        assert_true(rows[i].position < table->pages_n * KV_PAGE);
        for (uint32_t j = 0; first && j < i; j++)
            assert_ptr_not_equal(rows[j].table, table);
        kv_page_k(bench->cache, table->pages[rows[i].position / KV_PAGE], 0, 0)
            [rows[i].position % KV_PAGE] =
                (uint16_t)(rows[i].token | (table->variant ? VARIANT_BIT : 0));
        for (uint32_t p = 0; p <= rows[i].position; p++)
            hash = follow(hash, kv_page_k(bench->cache, table->pages[p / KV_PAGE], 0, 0)
                          [p % KV_PAGE]);
        if (rows[i].logits) {
            assert_true(last || rows[i + 1].logits);
            for (int t = 0; t < VOCAB; t++)
                rows[i].logits[t] = 0;
            rows[i].logits[answer(hash, rows[i].token)] = 1;
            for (int t = VOCAB; t < VOCAB + PADDING; t++)
                rows[i].logits[t] = 2;
        }
        sequences += first;
        prefill += !(first && (last || rows[i].logits));        /* or guesses */
    }
    bench->steps++;
    bench->rows += rows_n;
    bench->rows_most = rows_n > bench->rows_most ? rows_n : bench->rows_most;
    bench->prefill_most = prefill > bench->prefill_most ? prefill : bench->prefill_most;
    bench->sequences_most = sequences > bench->sequences_most ? sequences : bench->sequences_most;
    assert_true(rows_n > 0);
    assert_true(sequences <= SLOTS);
    assert_true(prefill <= CHUNK);
}

static bool fake_is_end(void *context, int32_t id) { return id == END; }
static struct str fake_text(void *context, int32_t id) { return STR("x"); }

static void on_start(void *context, const struct sequence_start *start)
{
    struct run *run = context;

    assert_false(run->done || run->begun);
    assert_int_equal(start->prompt_tokens, run->prompt_n);
    assert_in_range(start->diverged_at, start->memory_tokens, run->prompt_n);
    run->begun = true;
    run->start = *start;
}

static bool on_token(void *context, struct sequence *sequence, int32_t id, struct str text)
{
    struct run *run = context;

    assert_true(run->begun && !run->done);
    run->out[run->out_n++] = id;
    if (run->says_times && run->out_n >= run->says_at && (run->out_n - run->says_at) % SAYS_N == 0 &&
        run->out_n < run->says_at + run->says_times * SAYS_N)
        sequence_constrain(sequence, engine_constraint_tokens(says, SAYS_N, NULL), run->says_after);
    if (run->out_n == run->pause_at)
        sequence_pause(run->sequence);
    if (run->out_n == run->cancel_at)
        sequence_cancel(run->sequence);
    return !(run->stop_at && run->out_n == run->stop_at);
}

static void on_done(void *context, const struct sequence_result *result)
{
    struct run *run = context;

    assert_false(run->done);
    run->done = true;
    run->result = *result;
}

static const char *disk_dir;            /* pages are kept there, if set */

static void use_disk(struct bench *bench)
{
    const struct kv_disk_options options = {
        .dir = disk_dir, .bytes_max = 64 << 20, .fingerprint = {1, 1},
        .page_bytes = kv_cache_counts(bench->cache).page_bytes,
    };
    struct err err;
    struct kv_disk *disk = kv_disk_open(&options, &err);

    assert_non_null(disk);
    assert_true(kv_cache_use_disk(bench->cache, disk));
}

static struct bench *bench_new(uint32_t pages)
{
    struct bench *bench = calloc(1, sizeof *bench);
    struct err err;

    bench->cache = kv_cache_new(1, 1, 8, (uint64_t)pages * KV_PAGE * 8 * 2 * 2, &err);
    assert_non_null(bench->cache);
    if (disk_dir)
        use_disk(bench);
    const struct scheduler_options options = {
        .model = {bench, VOCAB + PADDING, VOCAB, fake_step, fake_is_end, fake_text},
        .variant_length = VARIANT_LENGTH, .cache = bench->cache, .context = CONTEXT,
        .prefill_chunk = CHUNK, .sequences_max = SLOTS, .speculate = speculate,
    };
    bench->scheduler = scheduler_new(&options, &err);
    assert_non_null(bench->scheduler);
    bench->inbox = queue_new(1, NULL, NULL);
    bench->door = door_new(2 * RUNS_MAX);
    return bench;
}

static void bench_free(struct bench *bench)
{
    while (disk_dir && kv_cache_counts(bench->cache).used)      /* reads nobody waits for */
        kv_cache_poll(bench->cache);
    assert_int_equal(kv_cache_counts(bench->cache).used, 0);
    assert_int_equal(scheduler_stats(bench->scheduler).running, 0);
    for (int i = 0; i < RUNS_MAX; i++)
        if (bench->runs[i].sequence) {
            assert_true(bench->runs[i].done);
            sequence_free(bench->runs[i].sequence);
        }
    scheduler_free(bench->scheduler);
    kv_cache_free(bench->cache);
    queue_free(bench->inbox);
    door_free(bench->door);             /* asserts that nobody waits */
    free(bench);
}

/* With the prompt that is there. */
static void restart(struct bench *bench, int i, uint32_t prompt_n, uint32_t max_tokens)
{
    struct run *run = &bench->runs[i];
    const struct sequence_params params = {
        .tokens = run->prompt, .tokens_n = prompt_n, .max_tokens = max_tokens,
        .sampling = {.temperature = 0, .top_p = 1}, .owner = bench->owner, .flow = bench->flow,
        .rank = bench->rank, .context = run, .on_token = on_token, .on_done = on_done,
        .space = run->space, .marks = run->marks, .marks_n = run->marks_n, .on_start = on_start,
    };

    assert_null(run->sequence);
    run->prompt_n = prompt_n;
    run->max_tokens = max_tokens;
    assert_true(door_enter(bench->door, params.owner, params.rank, prompt_n, NULL));
    run->sequence = sequence_new(&params, CONTEXT, bench->inbox, bench->door);
    scheduler_add(bench->scheduler, run->sequence);
}

/* The prompt: `common` tokens that depend on `family` alone, then its own. */
static struct run *start(struct bench *bench, int i, uint32_t prompt_n, uint32_t max_tokens,
                         uint64_t family, uint32_t common)
{
    struct run *run = &bench->runs[i];
    struct rng rng;

    rng_seed(&rng, family);
    for (uint32_t j = 0; j < prompt_n; j++) {
        if (j == common)
            rng_seed(&rng, family * 1000 + (uint64_t)i + 1);
        run->prompt[j] = 1 + (int32_t)(rng_next(&rng) % (VOCAB - 1));
    }
    restart(bench, i, prompt_n, max_tokens);
    return run;
}

/* Of the first n tokens, all of them in the variant that so many are computed in. */
static uint32_t hash_all(const struct run *run, uint32_t n)
{
    uint32_t hash = 1;

    for (uint32_t i = 0; i < n; i++) {
        const int32_t token = i < run->prompt_n ? run->prompt[i] : run->out[i - run->prompt_n];
        hash = follow(hash, token | (n > VARIANT_LENGTH ? VARIANT_BIT : 0));
    }
    return hash;
}

/* What must have come out, from the rule alone. */
static void check_run(const struct run *run)
{
    uint32_t n = run->prompt_n, out_n = 0, ends_sampled = 1;
    enum sequence_end end = SEQUENCE_MAX_TOKENS;

    assert_true(run->done);
    while (out_n < run->max_tokens) {
        if (n == CONTEXT) {
            end = SEQUENCE_CONTEXT_FULL;
            break;
        }
        const int32_t last = out_n ? run->out[out_n - 1] : run->prompt[n - 1];
        const uint32_t held_end = run->says_at + run->says_times * SAYS_N;
        const bool held = out_n >= run->says_at && out_n < held_end;
        const int32_t id = held ? says[(out_n - run->says_at) % SAYS_N]
                                : answer(hash_all(run, n), last);
        if (run->says_times && run->says_after == CONSTRAINT_THEN_END && out_n == held_end) {
            end = SEQUENCE_END_TOKEN;
            ends_sampled = 0;
            break;
        }
        if (id == END) {
            end = SEQUENCE_END_TOKEN;
            break;
        }
        assert_true(out_n < run->out_n);
        assert_int_equal(run->out[out_n], id);
        out_n++;
        n++;
        if (out_n == run->stop_at) {
            end = SEQUENCE_STOPPED;
            break;
        }
    }
    assert_int_equal(run->out_n, out_n);
    assert_int_equal(run->result.end, end);
    assert_int_equal(run->result.start.prompt_tokens, run->prompt_n);
    assert_int_equal(run->result.output_tokens, 
                     out_n + (end == SEQUENCE_END_TOKEN ? ends_sampled : 0));
    assert_true(run->result.start.memory_tokens < run->prompt_n);
    if (run->result.output_tokens)              /* the first comes out of the prompt */
        assert_int_equal(run->result.output_tokens,
                         1 + run->result.decode_steps + run->result.accepted_tokens);
}

static bool all_done(const struct bench *bench)
{
    for (int i = 0; i < RUNS_MAX; i++)
        if (bench->runs[i].sequence && !bench->runs[i].done)
            return false;
    return true;
}

static void run_all(struct bench *bench)
{
    while (scheduler_step(bench->scheduler) || (disk_dir && !all_done(bench)))
        assert_true(bench->steps < 1000000);
}

static void test_lengths_and_limits(void **state)
{
    struct bench *bench = bench_new(64);
    static const uint32_t prompts[] = {1,   2,   63,  64,  65,  127, 128, 129, 200,
                                       280, 298, 299, 300, 301, 448, 510, 511, 512};
    int n = 0;

    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++)
        for (uint32_t max_tokens = 0; max_tokens <= 100; max_tokens += 50)
            start(bench, n++, prompts[i], max_tokens, 7 + i, 0);
    run_all(bench);
    for (int i = 0; i < n; i++)
        check_run(&bench->runs[i]);
    assert_int_equal(bench->sequences_most, SLOTS);
    assert_true(bench->rows_most > CHUNK);              /* decoding went on beside a chunk */
    bench_free(bench);
}

/* The switch costs one prefill more, shares no page with the other variant, and is no preemption. */
static void test_variants(void **state)
{
    struct bench *bench = bench_new(64);

    start(bench, 0, VARIANT_LENGTH - 10, 5, 1, VARIANT_LENGTH);
    run_all(bench);
    if (speculate == SPECULATE_OFF)
        assert_int_equal(bench->rows, VARIANT_LENGTH - 10 + 4);
    start(bench, 1, VARIANT_LENGTH + 1, 5, 1, VARIANT_LENGTH);  /* knows nothing of the first */
    run_all(bench);
    assert_int_equal(bench->runs[1].result.start.memory_tokens, 0);
    const uint32_t before = bench->rows;
    struct run *run = start(bench, 2, VARIANT_LENGTH - 10, 40, 2, 0);
    run_all(bench);
    assert_int_equal(run->out_n, 40);
    if (speculate == SPECULATE_OFF)
        assert_int_equal(bench->rows - before, VARIANT_LENGTH + (VARIANT_LENGTH + 1) + 40 - 12);
    for (int i = 0; i < 3; i++)
        check_run(&bench->runs[i]);
    assert_int_equal(scheduler_stats(bench->scheduler).preemptions, 0);
    bench_free(bench);
}

/* A long answer takes far fewer steps than tokens, and what it left in pages is what it said: the
 * next turn, which begins with all of it, finds them. */
static void test_guesses(void **state)
{
    struct bench *bench = bench_new(64);

    for (int i = 0; i < 8; i++) {
        struct run *run = start(bench, i, 20 + (uint32_t)i * 23, 280, 70 + (uint64_t)i, 0);
        run_all(bench);
        check_run(run);
        struct run *next = &bench->runs[i + 8];
        memcpy(next->prompt, run->prompt, run->prompt_n * sizeof *run->prompt);
        memcpy(next->prompt + run->prompt_n, run->out, run->out_n * sizeof *run->out);
        const uint32_t n = run->prompt_n + run->out_n;
        restart(bench, i + 8, n, CONTEXT - n);
        run_all(bench);
        check_run(next);
        if (n <= VARIANT_LENGTH)
            assert_int_equal(next->result.start.memory_tokens, (n - 1) / KV_PAGE * KV_PAGE);
    }
    const struct scheduler_stats stats = scheduler_stats(bench->scheduler);
    if (speculate == SPECULATE_ALWAYS)
        assert_true(stats.accepted_tokens > stats.decode_steps / 2);
    if (speculate == SPECULATE_OFF)
        assert_int_equal(stats.drafted_tokens, 0);
    assert_true(stats.drafted_tokens >= stats.accepted_tokens);
    bench_free(bench);
}

/* Asked for again in the same conversation, an answer is known by heart; in another's, it is
 * not. */
static void test_said_before(void **state)
{
    struct bench *bench = bench_new(64);

    for (int i = 0; i < 4; i++) {
        bench->flow = i == 2 ? 8 : 7;
        bench->owner = i == 3;
        struct run *run = start(bench, i, 100, 150, 90, CONTEXT);
        run_all(bench);
        check_run(run);
        assert_int_equal(run->out_n, 150);
        if (speculate == SPECULATE_ALWAYS && i == 1)
            assert_true(run->result.decode_steps < 20);
        if (speculate == SPECULATE_ALWAYS && i != 1)
            assert_true(run->result.decode_steps > 60);
    }
    bench_free(bench);
}

/* Paused or cancelled by what it says, a sequence says nothing more, however much was guessed. */
static void test_pause_and_cancel_at_a_token(void **state)
{
    struct bench *bench = bench_new(64);

    for (int i = 0; i < 60; i++) {
        struct run *run = start(bench, i, 30, 60, 3, 0);
        run->pause_at = i < 30 ? 1 + (uint32_t)i : 0;
        run->cancel_at = i < 30 ? 0 : (uint32_t)i - 29;
    }
    run_all(bench);
    for (int i = 0; i < 60; i++) {
        struct run *run = &bench->runs[i];
        if (run->cancel_at && run->out_n == run->cancel_at) {
            assert_int_equal(run->result.end, SEQUENCE_CANCELLED);
            continue;
        }
        if (!run->done) {
            assert_int_equal(run->out_n, run->pause_at);
            sequence_resume(run->sequence);
            run_all(bench);
        }
        check_run(run);
    }
    bench_free(bench);
}

/* From the next token on, also among rows that guess otherwise; and what is complete is not the end if
 * on_token has given something else to say. */
static void test_constrained_on_the_way(void **state)
{
    struct bench *bench = bench_new(64);

    for (int i = 0; i < 60; i++) {
        struct run *run = start(bench, i, 30, 60, 3, 0);
        run->says_at = 1 + (uint32_t)i / 3 * 2;
        run->says_times = (uint32_t)i % 3;
        run->says_after = i % 2 ? CONSTRAINT_THEN_END : CONSTRAINT_THEN_FREE;
        run->pause_at = i % 5 ? 0 : run->says_at + 1;
    }
    run_all(bench);
    for (int i = 0; i < 60; i++) {
        struct run *run = &bench->runs[i];
        if (!run->done)
            sequence_resume(run->sequence);
    }
    run_all(bench);
    for (int i = 0; i < 60; i++)
        check_run(&bench->runs[i]);
    bench_free(bench);
}

static void test_stop(void **state)
{
    struct bench *bench = bench_new(64);

    for (int i = 0; i < 20; i++) {
        struct run *run = start(bench, i, 30, 60, 3, 0);
        run->stop_at = 1 + (uint32_t)i;
    }
    run_all(bench);
    for (int i = 0; i < 20; i++)
        check_run(&bench->runs[i]);
    bench_free(bench);
}

static void test_prefix_is_shared(void **state)
{
    struct bench *bench = bench_new(64);

    start(bench, 0, 300, 5, 1, 290);
    run_all(bench);
    const uint32_t first = bench->rows;
    start(bench, 1, 310, 5, 1, 290);
    run_all(bench);
    assert_int_equal(bench->runs[0].result.start.memory_tokens, 0);
    assert_int_equal(bench->runs[1].result.start.memory_tokens, 256);
    assert_true(bench->rows - first <= 310 - 256 + 5);
    check_run(&bench->runs[0]);
    check_run(&bench->runs[1]);
    assert_int_equal(scheduler_stats(bench->scheduler).cached_tokens, 256);
    bench_free(bench);
}

/* What on_start says: in its own space all but the last page, and the longest mark; in another
 * nothing. */
static void test_start_says_what_was_found(void **state)
{
    struct bench *bench = bench_new(64);

    for (int i = 0; i < 4; i++) {
        struct run *run = &bench->runs[i];
        run->space = i == 2 ? 9 : 1;
        run->marks[0] = (struct cache_mark){70, 300};
        run->marks[1] = (struct cache_mark){i == 0 ? 200 : 250, 3600};
        run->marks_n = i == 3 ? 1 : 2;
        start(bench, i, i == 3 ? 100 : 300, 5, 1, i == 1 ? 290 : 300);
        run_all(bench);
        check_run(run);
    }
    static const struct sequence_start wanted[] = {
        {300, 0, 0, 0, 0}, {300, 256, 0, 200, 256}, {300, 0, 0, 0, 0}, {100, 64, 0, 70, 100},
    };
    for (int i = 0; i < 4; i++)
        assert_memory_equal(&bench->runs[i].start, &wanted[i], sizeof wanted[i]);
    bench_free(bench);
}

/* A new scheduler finds on disk what another computed; two that want the same read it once; and
 * while they wait for it, a third one's decoding goes on. */
static void test_restart(void **state)
{
    const struct place *place = *state;
    struct bench *bench;

    disk_dir = place->root;
    for (int life = 0; life < 3; life++) {
        bench = bench_new(64);
        start(bench, 5, 20, 200, 31, 0);
        while (bench->runs[5].out_n < 3)
            assert_true(scheduler_step(bench->scheduler));
        for (int i = 0; i < 4; i++) {
            bench->runs[i].space = i == 2 ? 9 : 1;
            start(bench, i, 290, 5, 1, 290);
        }
        const uint32_t before = bench->runs[5].out_n;
        assert_true(scheduler_step(bench->scheduler));
        assert_true(bench->runs[5].out_n > before || bench->runs[5].done);
        run_all(bench);
        for (int i = 0; i < 6; i++)
            if (i != 4)
                check_run(&bench->runs[i]);
        const uint32_t disk = life ? 256 : 0;
        const struct sequence_start *starts[] = {
            &bench->runs[0].result.start, &bench->runs[1].result.start,
            &bench->runs[2].result.start, &bench->runs[3].result.start,
        };
        assert_int_equal(starts[0]->disk_tokens, disk);
        assert_int_equal(starts[0]->memory_tokens, 0);
        assert_int_equal(starts[1]->disk_tokens, 0);
        assert_int_equal(starts[1]->memory_tokens, 256);
        assert_int_equal(starts[2]->disk_tokens, disk);
        assert_int_equal(starts[3]->memory_tokens, 256);
        bench_free(bench);
    }
    disk_dir = NULL;
}

/* Cancelled while the disk reads for it: it ends at once, and its pages come back. */
static void test_cancel_while_restoring(void **state)
{
    const struct place *place = *state;

    disk_dir = place->root;
    for (int life = 0; life < 6; life++) {
        struct bench *bench = bench_new(CONTEXT / KV_PAGE);
        struct run *run = start(bench, 0, 500, 3, 1, 500);
        if (life) {
            scheduler_step(bench->scheduler);
            sequence_cancel(run->sequence);
            scheduler_step(bench->scheduler);
            assert_true(run->done);
        }
        if (life > 3)
            start(bench, 1, 500, 3, 1, 500);
        run_all(bench);
        bench_free(bench);
    }
    disk_dir = NULL;
}

/* Those that come while the first is still prefilling wait for its pages rather than compute them
 * again. */
static void test_prefix_of_one_under_way(void **state)
{
    struct bench *bench = bench_new(64);

    start(bench, 0, 400, 5, 1, 390);
    assert_true(scheduler_step(bench->scheduler));
    for (int i = 1; i < 6; i++)
        start(bench, i, 400, 5, 1, 390);
    run_all(bench);
    for (int i = 0; i < 6; i++)
        check_run(&bench->runs[i]);
    for (int i = 1; i < 6; i++)
        assert_int_equal(bench->runs[i].result.start.memory_tokens, 384);
    bench_free(bench);
}

/* A leader that goes, or halts, leaves what it has done; those behind go on from there. So nothing is
 * computed twice but what follows the last full page. */
static void test_leader_goes(void **state)
{
    for (int way = 0; way < 3; way++) {
        struct bench *bench = bench_new(64);
        for (int i = 0; i < 4; i++) {
            bench->flow = way == 2 ? (uint64_t)i + 1 : 0;
            bench->rank = way == 2 ? (enum sequence_rank)(3 - i) : RANK_MAIN;
            start(bench, i, 400, 1, 1, 400);
            if (i == 0)
                scheduler_step(bench->scheduler);
        }
        scheduler_step(bench->scheduler);
        scheduler_step(bench->scheduler);
        if (way == 0)
            sequence_cancel(bench->runs[0].sequence);
        if (way == 1)
            sequence_pause(bench->runs[0].sequence);
        run_all(bench);
        sequence_resume(bench->runs[0].sequence);
        run_all(bench);
        for (int i = way == 0; i < 4; i++)
            check_run(&bench->runs[i]);
        assert_int_equal(bench->rows, 384 + (way == 0 ? 3 : 4) * 16);
        bench_free(bench);
    }
}

static uint32_t steps_until_done(struct bench *bench, const struct run *run)
{
    const uint32_t before = bench->steps;

    while (!run->done)
        assert_true(scheduler_step(bench->scheduler));
    return bench->steps - before;
}

/* Behind a prompt of many chunks, a short one waits for one chunk, whoever asks; and one that decodes
 * has a token in every step meanwhile. */
static void test_short_prompt_passes(void **state)
{
    for (int rank = 0; rank < SEQUENCE_RANKS; rank++) {
        struct bench *bench = bench_new(64);
        struct run *decoding = start(bench, 0, 10, 400, 20, 0);
        scheduler_step(bench->scheduler);
        bench->owner = 1;
        bench->flow = 1;
        struct run *longer = start(bench, 1, 500, 1, 21, 0);
        scheduler_step(bench->scheduler);
        bench->owner = rank % 2 ? 2 : 1;
        bench->flow = 2;
        bench->rank = (enum sequence_rank)rank;
        struct run *shorter = start(bench, 2, 30, 1, 22, 0);
        const uint32_t out_n = decoding->out_n;
        const uint32_t steps = steps_until_done(bench, shorter);
        assert_true(steps <= 2);
        assert_false(longer->done);
        assert_true(decoding->done || decoding->out_n == out_n + steps);
        run_all(bench);
        for (int i = 0; i < 3; i++)
            check_run(&bench->runs[i]);
        bench_free(bench);
    }
}

/* Two keys, one with ten prompts: the other's single one is done after as many rows of the first. */
static void test_owners_share(void **state)
{
    struct bench *bench = bench_new(128);

    bench->owner = 1;
    for (int i = 0; i < 10; i++)
        start(bench, i, 4 * CHUNK, 1, 30 + (uint64_t)i, 0);
    scheduler_step(bench->scheduler);
    bench->owner = 2;
    struct run *other = start(bench, 10, 4 * CHUNK, 1, 50, 0);
    assert_true(steps_until_done(bench, other) <= 8);
    run_all(bench);
    for (int i = 0; i <= 10; i++)
        check_run(&bench->runs[i]);
    bench_free(bench);
}

/* All places are one key's, which write for long: another key's request gets one of them, its second
 * too, but not more than are even; and the same key's waits. */
static void test_places_are_shared(void **state)
{
    struct bench *bench = bench_new(64);
    int n = 0;

    bench->owner = 1;
    for (; n < SLOTS + 1; n++)
        start(bench, n, 10, 400, 300 + (uint64_t)n, 0);
    for (int i = 0; i < 3; i++)
        scheduler_step(bench->scheduler);
    assert_false(bench->runs[SLOTS].out_n);
    bench->owner = 2;
    for (; n < 2 * SLOTS + 1; n++)
        start(bench, n, 10, 60, 300 + (uint64_t)n, 0);
    for (int i = 0; i < SLOTS; i++)
        scheduler_step(bench->scheduler);
    int ran = 0;
    for (int i = SLOTS + 1; i < n; i++)
        ran += bench->runs[i].out_n > 0;
    assert_int_equal(ran, SLOTS / 2);
    assert_int_equal(scheduler_stats(bench->scheduler).preemptions, SLOTS / 2);
    run_all(bench);
    for (int i = 0; i < n; i++)
        check_run(&bench->runs[i]);
    bench_free(bench);
}

/* Without pages for all, the least urgent give theirs up, also to let a more urgent one in. */
static void test_preemption_by_rank(void **state)
{
    struct bench *bench = bench_new(CONTEXT / KV_PAGE + 1);

    bench->rank = RANK_BATCH;
    for (int i = 0; i < 4; i++)
        start(bench, i, 100, 250, 70 + (uint64_t)i, 0);
    for (int i = 0; i < 12; i++)
        scheduler_step(bench->scheduler);
    bench->rank = RANK_MAIN;
    struct run *urgent = start(bench, 4, 300, 100, 80, 0);
    bench->rank = RANK_AGENT;
    struct run *helper = start(bench, 5, 200, 150, 81, 0);
    const uint32_t alone = 5 + 100;
    assert_in_range(steps_until_done(bench, urgent), 1, alone + 10);
    assert_true(scheduler_stats(bench->scheduler).preemptions > 0);
    run_all(bench);
    check_run(helper);
    for (int i = 0; i < 5; i++)
        check_run(&bench->runs[i]);
    bench_free(bench);
}

/* One that needs most of the memory is passed by small ones for a while, not for ever. */
static void test_large_one_gets_in(void **state)
{
    struct bench *bench = bench_new(CONTEXT / KV_PAGE + 1);
    int n = 0;

    for (; n < 6; n++)
        start(bench, n, 64, 60, 90 + (uint64_t)n, 0);
    scheduler_step(bench->scheduler);
    struct run *large = start(bench, n++, 450, 5, 99, 0);
    while (!large->done && n < RUNS_MAX) {
        start(bench, n, 64, 60, 100 + (uint64_t)n, 0);
        n++;
        for (int i = 0; i < 20; i++)
            scheduler_step(bench->scheduler);
    }
    assert_in_range(n, 10, 30);
    assert_true(large->done);
    run_all(bench);
    for (int i = 0; i < n; i++)
        check_run(&bench->runs[i]);
    bench_free(bench);
}

/* A context's worth of pages and a little more, for eight sequences that want half of it each. */
static void test_memory_runs_out(void **state)
{
    struct bench *bench = bench_new(CONTEXT / KV_PAGE + 1);

    for (int i = 0; i < 24; i++)
        start(bench, i, 20 + (uint32_t)i * 9, 200, 11, 0);
    run_all(bench);
    for (int i = 0; i < 24; i++)
        check_run(&bench->runs[i]);
    assert_true(scheduler_stats(bench->scheduler).preemptions > 0);
    bench_free(bench);
}

static void test_preempted_counts_once(void **state)
{
    struct bench *bench = bench_new(CONTEXT / KV_PAGE);

    for (int i = 0; i < 4; i++)
        start(bench, i, 100, 250, 27 + (uint64_t)i, 0);
    run_all(bench);
    for (int i = 0; i < 4; i++)
        check_run(&bench->runs[i]);
    assert_true(scheduler_stats(bench->scheduler).preemptions > 0);
    assert_int_equal(scheduler_stats(bench->scheduler).prompt_tokens, 400);
    bench_free(bench);
}

/* Paused ones keep still, take no slot from others, and give their pages up before anyone else. */
static void test_pause(void **state)
{
    struct bench *bench = bench_new(CONTEXT / KV_PAGE + 2);
    uint32_t before[SLOTS];

    for (int i = 0; i < SLOTS; i++)
        start(bench, i, 40, 150, 31 + (uint64_t)i, 0);
    for (int i = 0; i < 12; i++)
        scheduler_step(bench->scheduler);
    for (int i = 0; i < SLOTS; i++) {
        sequence_pause(bench->runs[i].sequence);
        before[i] = bench->runs[i].out_n;
    }
    assert_false(scheduler_step(bench->scheduler));
    for (int i = SLOTS; i < 2 * SLOTS; i++)
        start(bench, i, 200, 150, 31 + (uint64_t)i, 0);
    run_all(bench);
    for (int i = 0; i < SLOTS; i++) {
        assert_int_equal(bench->runs[i].out_n, before[i]);
        check_run(&bench->runs[SLOTS + i]);
    }
    assert_true(scheduler_stats(bench->scheduler).preemptions > 0);
    for (int i = 0; i < SLOTS; i++)
        sequence_resume(bench->runs[i].sequence);
    for (int i = 2 * SLOTS; i < 3 * SLOTS; i++)         /* more than there are slots */
        start(bench, i, 10, 150, 31 + (uint64_t)i, 0);
    run_all(bench);
    for (int i = 0; i < 3 * SLOTS; i++)
        check_run(&bench->runs[i]);
    bench_free(bench);
}

/* More that decode than fit into a step take turns: none is ahead by more than a few tokens. */
static void test_turns(void **state)
{
    struct bench *bench = bench_new(64);
    uint32_t least = UINT32_MAX, most = 0;

    for (int i = 0; i < 2 * SLOTS; i++) {
        start(bench, i, 3, 400, 100 + (uint64_t)i, 0);
        if (i == SLOTS - 1) {
            for (int j = 0; j < 3; j++)
                scheduler_step(bench->scheduler);
            for (int j = 0; j < SLOTS; j++)
                sequence_pause(bench->runs[j].sequence);
        }
    }
    for (int j = 0; j < 3; j++)
        scheduler_step(bench->scheduler);
    for (int j = 0; j < SLOTS; j++)
        sequence_resume(bench->runs[j].sequence);
    for (int j = 0; j < 21; j++)
        scheduler_step(bench->scheduler);
    for (int i = 0; i < 2 * SLOTS; i++) {
        if (bench->runs[i].done)
            continue;
        least = bench->runs[i].out_n < least ? bench->runs[i].out_n : least;
        most = bench->runs[i].out_n > most ? bench->runs[i].out_n : most;
    }
    assert_true(least >= 10);
    if (speculate == SPECULATE_OFF)
        assert_true(most - least <= 2);
    run_all(bench);
    for (int i = 0; i < 2 * SLOTS; i++)
        check_run(&bench->runs[i]);
    bench_free(bench);
}

/* Cancel one of three at every step of its life: all pages come back, the others do not notice. */
static void test_cancel_at_every_step(void **state)
{
    bool outlived = false;

    for (uint32_t k = 0; !outlived; k++) {
        struct bench *bench = bench_new(CONTEXT / KV_PAGE + 1);
        for (int i = 0; i < 3; i++)
            start(bench, i, 150 + (uint32_t)i, 100, 50, 140);
        for (uint32_t i = 0; i < k; i++)
            scheduler_step(bench->scheduler);
        outlived = bench->runs[1].done;
        sequence_cancel(bench->runs[1].sequence);
        run_all(bench);
        check_run(&bench->runs[0]);
        check_run(&bench->runs[2]);
        if (outlived)
            check_run(&bench->runs[1]);
        else
            assert_int_equal(bench->runs[1].result.end, SEQUENCE_CANCELLED);
        bench_free(bench);
        assert_true(k < 1000);
    }
}

static void test_fail_all(void **state)
{
    for (int k = 0; k < 8; k++) {
        struct bench *bench = bench_new(64);
        struct err error;
        for (int i = 0; i < 20; i++)
            start(bench, i, 100, 100, 61 + (uint64_t)i, 0);
        for (int i = 0; i < k; i++)
            scheduler_step(bench->scheduler);
        err_set(&error, ERR_OVERLOADED, "enough");
        bool before[20];
        for (int i = 0; i < 20; i++)
            before[i] = bench->runs[i].done;
        scheduler_fail_all(bench->scheduler, &error);
        for (int i = 0; i < 20; i++) {
            if (before[i]) {
                check_run(&bench->runs[i]);
                continue;
            }
            assert_int_equal(bench->runs[i].result.end, SEQUENCE_FAILED);
            assert_int_equal(bench->runs[i].result.error.code, ERR_OVERLOADED);
        }
        bench_free(bench);
    }
}

/* Everything at once, by chance: arrivals, pauses, cancels, too little memory. */
static void test_random_days(void **state)
{
    for (uint64_t day = 1; day <= 30; day++) {
        struct bench *bench = bench_new(CONTEXT / KV_PAGE + (uint32_t)day % 8);
        bool cancelled[RUNS_MAX] = {false};
        struct rng rng;
        int n = 0;

        rng_seed(&rng, day);
        while (n < RUNS_MAX) {
            const uint64_t dice = rng_next(&rng) % 8;
            const int i = n ? (int)(rng_next(&rng) % (uint64_t)n) : 0;
            if (dice == 0 || n == 0) {
                const uint32_t prompt_n = 1 + (uint32_t)(rng_next(&rng) % 400);
                bench->owner = rng_next(&rng) % 3;
                bench->flow = rng_next(&rng) % 4;
                bench->rank = (enum sequence_rank)(rng_next(&rng) % SEQUENCE_RANKS);
                start(bench, n, prompt_n, (uint32_t)(rng_next(&rng) % 200), rng_next(&rng) % 4,
                      (uint32_t)(rng_next(&rng) % 400));
                n++;
            } else if (dice == 1) {
                sequence_pause(bench->runs[i].sequence);
            } else if (dice == 2) {
                sequence_resume(bench->runs[i].sequence);
            } else if (dice == 3 && rng_next(&rng) % 4 == 0) {
                cancelled[i] |= !bench->runs[i].done;
                sequence_cancel(bench->runs[i].sequence);
            } else {
                scheduler_step(bench->scheduler);
            }
        }
        for (int i = 0; i < n; i++)
            sequence_resume(bench->runs[i].sequence);
        run_all(bench);
        for (int i = 0; i < n; i++) {
            if (cancelled[i])
                assert_int_equal(bench->runs[i].result.end, SEQUENCE_CANCELLED);
            else
                check_run(&bench->runs[i]);
        }
        bench_free(bench);
    }
}

static void test_too_little_memory_is_refused(void **state)
{
    struct err err;
    struct kv_cache *cache = kv_cache_new(1, 1, 8, 7 * KV_PAGE * 8 * 2 * 2, &err);
    const struct scheduler_options options = {
        .model = {NULL, VOCAB, VOCAB, fake_step, fake_is_end, fake_text}, .cache = cache,
        .variant_length = UINT32_MAX,
        .context = CONTEXT, .prefill_chunk = CHUNK, .sequences_max = SLOTS,
    };

    assert_non_null(cache);
    assert_null(scheduler_new(&options, &err));
    assert_int_equal(err.code, ERR_USAGE);
    kv_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths_and_limits),
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_guesses),
        cmocka_unit_test(test_said_before),
        cmocka_unit_test(test_pause_and_cancel_at_a_token),
        cmocka_unit_test(test_constrained_on_the_way),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_prefix_is_shared),
        cmocka_unit_test(test_start_says_what_was_found),
        cmocka_unit_test_setup_teardown(test_restart, place_open, place_close),
        cmocka_unit_test_setup_teardown(test_cancel_while_restoring, place_open, place_close),
        cmocka_unit_test(test_prefix_of_one_under_way),
        cmocka_unit_test(test_leader_goes),
        cmocka_unit_test(test_short_prompt_passes),
        cmocka_unit_test(test_owners_share),
        cmocka_unit_test(test_places_are_shared),
        cmocka_unit_test(test_preemption_by_rank),
        cmocka_unit_test(test_large_one_gets_in),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_preempted_counts_once),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_cancel_at_every_step),
        cmocka_unit_test(test_fail_all),
        cmocka_unit_test(test_random_days),
        cmocka_unit_test(test_too_little_memory_is_refused),
    };
    int failed = 0;

    for (speculate = SPECULATE_AUTO; speculate <= SPECULATE_ALWAYS; speculate++)
        failed += cmocka_run_group_tests(tests, NULL, NULL);
    return failed;
}
