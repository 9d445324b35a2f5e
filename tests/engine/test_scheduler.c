/* What the scheduler makes of sequences, against a model that checks its work (scheduler_bench.h): all
 * tests run without guesses, with all of them, and with those that pay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/random.h"
#include "scheduler_bench.h"
#include "support/folder.h"

static void test_lengths_and_limits(void **state)
{
    struct bench *bench = bench_new(64);
    static const uint32_t prompts[] = {1,   2,   63,  64,  65,  127, 128, 129, 200,
                                       280, 298, 299, 300, 301, 448, 510, 511, 512};
    int n = 0;

    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++)
        for (uint32_t max_tokens = 0; max_tokens <= 100; max_tokens += 50)
            run_start(bench, n++, prompts[i], max_tokens, 7 + i, 0);
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

    run_start(bench, 0, VARIANT_LENGTH - 10, 5, 1, VARIANT_LENGTH);
    run_all(bench);
    if (speculate == SPECULATE_OFF)
        assert_int_equal(bench->rows, VARIANT_LENGTH - 10 + 4);
    run_start(bench, 1, VARIANT_LENGTH + 1, 5, 1, VARIANT_LENGTH);  /* knows nothing of the first */
    run_all(bench);
    assert_int_equal(bench->runs[1].result.start.memory_tokens, 0);
    const uint32_t before = bench->rows;
    struct run *run = run_start(bench, 2, VARIANT_LENGTH - 10, 40, 2, 0);
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
        struct run *run = run_start(bench, i, 20 + (uint32_t)i * 23, 280, 70 + (uint64_t)i, 0);
        run_all(bench);
        check_run(run);
        struct run *next = &bench->runs[i + 8];
        memcpy(next->prompt, run->prompt, run->prompt_n * sizeof *run->prompt);
        memcpy(next->prompt + run->prompt_n, run->out, run->out_n * sizeof *run->out);
        const uint32_t n = run->prompt_n + run->out_n;
        run_restart(bench, i + 8, n, CONTEXT - n);
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
        struct run *run = run_start(bench, i, 100, 150, 90, CONTEXT);
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
        struct run *run = run_start(bench, i, 30, 60, 3, 0);
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
        struct run *run = run_start(bench, i, 30, 60, 3, 0);
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
        struct run *run = run_start(bench, i, 30, 60, 3, 0);
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

    run_start(bench, 0, 300, 5, 1, 290);
    run_all(bench);
    const uint32_t first = bench->rows;
    run_start(bench, 1, 310, 5, 1, 290);
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
        run_start(bench, i, i == 3 ? 100 : 300, 5, 1, i == 1 ? 290 : 300);
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
        run_start(bench, 5, 20, 200, 31, 0);
        while (bench->runs[5].out_n < 3)
            assert_true(scheduler_step(bench->scheduler));
        for (int i = 0; i < 4; i++) {
            bench->runs[i].space = i == 2 ? 9 : 1;
            run_start(bench, i, 290, 5, 1, 290);
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
        struct run *run = run_start(bench, 0, 500, 3, 1, 500);
        if (life) {
            scheduler_step(bench->scheduler);
            sequence_cancel(run->sequence);
            scheduler_step(bench->scheduler);
            assert_true(run->done);
        }
        if (life > 3)
            run_start(bench, 1, 500, 3, 1, 500);
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

    run_start(bench, 0, 400, 5, 1, 390);
    assert_true(scheduler_step(bench->scheduler));
    for (int i = 1; i < 6; i++)
        run_start(bench, i, 400, 5, 1, 390);
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
            run_start(bench, i, 400, 1, 1, 400);
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

/* Cancel one of three at every step of its life: all pages come back, the others do not notice. */
static void test_cancel_at_every_step(void **state)
{
    bool outlived = false;

    for (uint32_t k = 0; !outlived; k++) {
        struct bench *bench = bench_new(CONTEXT / KV_PAGE + 1);
        for (int i = 0; i < 3; i++)
            run_start(bench, i, 150 + (uint32_t)i, 100, 50, 140);
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
            run_start(bench, i, 100, 100, 61 + (uint64_t)i, 0);
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
                run_start(bench, n, prompt_n, (uint32_t)(rng_next(&rng) % 200), rng_next(&rng) % 4,
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
        .model = fake_model(NULL), .cache = cache, .variant_length = UINT32_MAX, .context = CONTEXT,
        .prefill_chunk = CHUNK, .sequences_max = SLOTS,
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
