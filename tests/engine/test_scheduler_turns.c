/* Who is computed when, and who gives way: against a model that checks its work (scheduler_bench.h),
 * without guesses, with all of them, and with those that pay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "scheduler_bench.h"

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
        struct run *decoding = run_start(bench, 0, 10, 400, 20, 0);
        scheduler_step(bench->scheduler);
        bench->owner = 1;
        bench->flow = 1;
        struct run *longer = run_start(bench, 1, 500, 1, 21, 0);
        scheduler_step(bench->scheduler);
        bench->owner = rank % 2 ? 2 : 1;
        bench->flow = 2;
        bench->rank = (enum sequence_rank)rank;
        struct run *shorter = run_start(bench, 2, 30, 1, 22, 0);
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
        run_start(bench, i, 4 * CHUNK, 1, 30 + (uint64_t)i, 0);
    scheduler_step(bench->scheduler);
    bench->owner = 2;
    struct run *other = run_start(bench, 10, 4 * CHUNK, 1, 50, 0);
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
        run_start(bench, n, 10, 400, 300 + (uint64_t)n, 0);
    for (int i = 0; i < 3; i++)
        scheduler_step(bench->scheduler);
    assert_false(bench->runs[SLOTS].out_n);
    bench->owner = 2;
    for (; n < 2 * SLOTS + 1; n++)
        run_start(bench, n, 10, 60, 300 + (uint64_t)n, 0);
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
        run_start(bench, i, 100, 250, 70 + (uint64_t)i, 0);
    for (int i = 0; i < 12; i++)
        scheduler_step(bench->scheduler);
    bench->rank = RANK_MAIN;
    struct run *urgent = run_start(bench, 4, 300, 100, 80, 0);
    bench->rank = RANK_AGENT;
    struct run *helper = run_start(bench, 5, 200, 150, 81, 0);
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
        run_start(bench, n, 64, 60, 90 + (uint64_t)n, 0);
    scheduler_step(bench->scheduler);
    struct run *large = run_start(bench, n++, 450, 5, 99, 0);
    while (!large->done && n < RUNS_MAX) {
        run_start(bench, n, 64, 60, 100 + (uint64_t)n, 0);
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
        run_start(bench, i, 20 + (uint32_t)i * 9, 200, 11, 0);
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
        run_start(bench, i, 100, 250, 27 + (uint64_t)i, 0);
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
        run_start(bench, i, 40, 150, 31 + (uint64_t)i, 0);
    for (int i = 0; i < 12; i++)
        scheduler_step(bench->scheduler);
    for (int i = 0; i < SLOTS; i++) {
        sequence_pause(bench->runs[i].sequence);
        before[i] = bench->runs[i].out_n;
    }
    assert_false(scheduler_step(bench->scheduler));
    for (int i = SLOTS; i < 2 * SLOTS; i++)
        run_start(bench, i, 200, 150, 31 + (uint64_t)i, 0);
    run_all(bench);
    for (int i = 0; i < SLOTS; i++) {
        assert_int_equal(bench->runs[i].out_n, before[i]);
        check_run(&bench->runs[SLOTS + i]);
    }
    assert_true(scheduler_stats(bench->scheduler).preemptions > 0);
    for (int i = 0; i < SLOTS; i++)
        sequence_resume(bench->runs[i].sequence);
    for (int i = 2 * SLOTS; i < 3 * SLOTS; i++)         /* more than there are slots */
        run_start(bench, i, 10, 150, 31 + (uint64_t)i, 0);
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
        run_start(bench, i, 3, 400, 100 + (uint64_t)i, 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_prompt_passes),
        cmocka_unit_test(test_owners_share),
        cmocka_unit_test(test_places_are_shared),
        cmocka_unit_test(test_preemption_by_rank),
        cmocka_unit_test(test_large_one_gets_in),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_preempted_counts_once),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_turns),
    };
    int failed = 0;

    for (speculate = SPECULATE_AUTO; speculate <= SPECULATE_ALWAYS; speculate++)
        failed += cmocka_run_group_tests(tests, NULL, NULL);
    return failed;
}
