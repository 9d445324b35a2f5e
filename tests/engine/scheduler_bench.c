/* scheduler_bench.c - see scheduler_bench.h. */
#include "scheduler_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/random.h"
#include "engine/kvdisk.h"

/* What a run is held to: the first of them a usual guess, then a likely one, then two that are not. */
static const int32_t says[SAYS_N] = {6, 12, 400, 7};

enum speculate speculate;
const char *disk_dir;

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

struct scheduler_model fake_model(struct bench *bench)
{
    return (struct scheduler_model){bench, VOCAB + PADDING, VOCAB, fake_step, fake_is_end, fake_text};
}

struct bench *bench_new(uint32_t pages)
{
    struct bench *bench = calloc(1, sizeof *bench);
    struct err err;

    bench->cache = kv_cache_new(1, 1, 8, (uint64_t)pages * KV_PAGE * 8 * 2 * 2, &err);
    assert_non_null(bench->cache);
    if (disk_dir)
        use_disk(bench);
    const struct scheduler_options options = {
        .model = fake_model(bench),
        .variant_length = VARIANT_LENGTH, .cache = bench->cache, .context = CONTEXT,
        .prefill_chunk = CHUNK, .sequences_max = SLOTS, .speculate = speculate,
    };
    bench->scheduler = scheduler_new(&options, &err);
    assert_non_null(bench->scheduler);
    bench->inbox = queue_new(1, NULL, NULL);
    bench->door = door_new(2 * RUNS_MAX);
    return bench;
}

void bench_free(struct bench *bench)
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

void run_restart(struct bench *bench, int i, uint32_t prompt_n, uint32_t max_tokens)
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

struct run *run_start(struct bench *bench, int i, uint32_t prompt_n, uint32_t max_tokens,
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
    run_restart(bench, i, prompt_n, max_tokens);
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

void check_run(const struct run *run)
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

void run_all(struct bench *bench)
{
    while (scheduler_step(bench->scheduler) || (disk_dir && !all_done(bench)))
        assert_true(bench->steps < 1000000);
}
