/* The engine from outside, with tiny real models: every sequence ends once, whatever happens to it, and by
 * which thread. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "base/random.h"
#include "engine/kvcache.h"
#include "engine_runs.h"

static void test_ends(void **state)
{
    struct engine *engine = open_with(options_of("llama_tied/f16"));
    struct run run = {0};

    run_prompt(&run, engine, 2, 70);
    run_start(&run, engine, 0);
    wait_for_done(&run);
    assert_int_equal(run.result.end, SEQUENCE_MAX_TOKENS);
    assert_int_equal(run.out_n, 0);
    run_start(&run, engine, 3);
    wait_for_done(&run);
    assert_int_equal(run.result.end, SEQUENCE_MAX_TOKENS);
    assert_int_equal(run.out_n, 3);
    assert_int_equal(run.result.start.memory_tokens, KV_PAGE);        /* the prefill left them */
    run.stop_at = 2;
    run_start(&run, engine, 50);
    wait_for_done(&run);
    assert_int_equal(run.result.end, SEQUENCE_STOPPED);
    assert_int_equal(run.out_n, 2);
    run.stop_at = 0;

    for (uint32_t room = 0; room < 3; room++) {
        run_prompt(&run, engine, 3, CONTEXT - room);
        run_start(&run, engine, UINT32_MAX);
        wait_for_done(&run);
        assert_int_equal(run.result.end, SEQUENCE_CONTEXT_FULL);
        assert_int_equal(run.out_n, room);
    }
    run_start(&run, engine, 2);
    wait_for_done(&run);
    assert_int_equal(run.result.end, SEQUENCE_MAX_TOKENS);
    close_clean(engine);
}

/* From another thread after each token, and at any moment before the first. */
static void test_cancel_at_every_step(void **state)
{
    struct engine *engine = open_with(options_of("llama_tied/f16"));
    struct run run = {0}, other = {0}, reference = {0};

    run_prompt(&reference, engine, 31, 100);
    run_start(&reference, engine, 60);
    wait_for_done(&reference);
    for (uint32_t k = 0; k <= 60; k++) {
        run_prompt(&run, engine, 1000 + k, 150);
        run_prompt(&other, engine, 31, 100);
        run.signal_at = k;
        run_start(&other, engine, 60);
        run_start(&run, engine, 60);
        if (k)
            run_signal_wait(&run);
        sequence_cancel(run.sequence);
        run_finish(&run);
        if (run.result.end == SEQUENCE_CANCELLED)
            assert_in_range(run.out_n, k, 59);
        wait_for_done(&other);
        assert_same_text(&other, &reference);
    }
    for (long us = 0; us < 3000; us += 50) {    /* queued, prefilling, decoding */
        run_prompt(&run, engine, 9000 + (uint64_t)us, 200);
        run.signal_at = 0;
        run_start(&run, engine, 56);
        nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
        sequence_cancel(run.sequence);
        wait_for_done(&run);
    }
    close_clean(engine);
}

static void test_pause(void **state)
{
    struct engine *engine = open_with(options_of("llama_tied/f16"));
    struct run reference = {0}, run = {0};

    run_prompt(&reference, engine, 40, 50);
    run_prompt(&run, engine, 40, 50);
    run_start(&reference, engine, 150);
    wait_for_done(&reference);
    assert_true(reference.out_n > 20);
    run.signal_at = 3;
    run_start(&run, engine, 150);
    run_signal_wait(&run);
    sequence_pause(run.sequence);
    uint32_t paused_at;
    do {                                        /* the step under way ends */
        paused_at = run.out_n;
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    } while (run.out_n != paused_at);
    assert_true(paused_at < reference.out_n);
    sequence_resume(run.sequence);
    run_finish(&run);
    assert_same_text(&run, &reference);

    run.signal_at = 3;                          /* a paused one can be cancelled */
    run_start(&run, engine, 150);
    run_signal_wait(&run);
    sequence_pause(run.sequence);
    sequence_cancel(run.sequence);
    run_finish(&run);
    close_clean(engine);
}

static void test_queue_full(void **state)
{
    struct engine_options options = options_of("llama_tied/f16");
    struct run runs[4] = {0};
    struct err err;
    struct engine_stats stats;

    options.sequences_max = 1;
    options.queue_max = 2;
    struct engine *engine = open_with(options);
    for (int i = 0; i < 4; i++)
        run_prompt(&runs[i], engine, 1, 10);
    runs[0].signal_at = 1;
    run_start(&runs[0], engine, 200);
    run_signal_wait(&runs[0]);
    sequence_pause(runs[0].sequence);           /* holds nobody up: so take its place */
    run_start(&runs[1], engine, 200);
    while (runs[1].out_n == 0)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    sequence_pause(runs[1].sequence);
    sequence_resume(runs[1].sequence);
    sequence_cancel(runs[1].sequence);
    run_finish(&runs[1]);
    sequence_resume(runs[0].sequence);
    sequence_cancel(runs[0].sequence);
    run_finish(&runs[0]);

    runs[0].gate = queue_new(1, NULL, NULL);
    for (int i = 0; i < 3; i++) {
        run_start(&runs[i], engine, 5);
        if (i == 0)
            run_signal_wait(&runs[0]);
    }
    engine_stats(engine, &stats);
    assert_int_equal(stats.queued, 2);
    assert_false(run_submit(&runs[3], engine, 5, (struct sampling){.top_p = 1}, &err));
    assert_int_equal(err.code, ERR_OVERLOADED);
    queue_put(runs[0].gate, &runs[0]);
    for (int i = 0; i < 3; i++)
        wait_for_done(&runs[i]);
    queue_free(runs[0].gate);
    close_clean(engine);
}

static void test_close_while_running(void **state)
{
    for (int k = 0; k < 10; k++) {
        struct engine *engine = open_with(options_of("llama_tied/f16"));
        struct run *runs = calloc(20, sizeof *runs);
        for (int i = 0; i < 20; i++) {
            run_prompt(&runs[i], engine, 70 + (uint64_t)i, 100);
            runs[i].signal_at = i == 0 ? (uint32_t)k : 0;
            run_start(&runs[i], engine, 156);
        }
        if (k)
            run_signal_wait(&runs[0]);
        engine_close(engine);
        for (int i = 0; i < 20; i++) {
            assert_int_equal(runs[i].dones, 1);
            if (runs[i].result.end == SEQUENCE_FAILED)
                assert_int_equal(runs[i].result.error.code, ERR_OVERLOADED);
            sequence_cancel(runs[i].sequence);  /* too late, and harmless */
            run_finish(&runs[i]);
        }
        free(runs);
    }
}

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void test_idle_burns_nothing(void **state)
{
    struct engine *engine = open_with(options_of("llama_tied/f16"));
    struct run run = {0};

    run_prompt(&run, engine, 1, 30);
    run.signal_at = 3;
    run_start(&run, engine, 200);
    run_signal_wait(&run);
    sequence_pause(run.sequence);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    const double before = cpu_seconds();
    nanosleep(&(struct timespec){.tv_nsec = 400000000}, NULL);
    assert_true(cpu_seconds() - before < 0.04);
    sequence_cancel(run.sequence);
    run_finish(&run);
    close_clean(engine);
}

/* Four threads do everything at once; ThreadSanitizer looks on. */
static void *trouble(void *context)
{
    struct engine *engine = context;
    struct run *runs = calloc(4, sizeof *runs);
    struct rng rng;

    rng_seed(&rng, (uint64_t)(uintptr_t)runs);
    for (int round = 0; round < 12; round++) {
        for (int i = 0; i < 4; i++) {
            run_prompt(&runs[i], engine, rng_next(&rng) % 5, 1 + (uint32_t)(rng_next(&rng) % 150));
            run_start(&runs[i], engine, (uint32_t)(rng_next(&rng) % 60));
        }
        for (int i = 0; i < 12; i++) {
            struct run *run = &runs[rng_next(&rng) % 4];
            struct engine_stats stats;
            switch (rng_next(&rng) % 4) {
            case 0: sequence_pause(run->sequence); break;
            case 1: sequence_resume(run->sequence); break;
            case 2: sequence_cancel(run->sequence); break;
            default: engine_stats(engine, &stats); break;
            }
        }
        for (int i = 0; i < 4; i++) {
            sequence_resume(runs[i].sequence);
            wait_for_done(&runs[i]);
        }
    }
    free(runs);
    return NULL;
}

static void test_many_threads(void **state)
{
    struct engine_options options = options_of("llama_tied/q8_0");
    pthread_t threads[4];

    struct engine *engine = open_with(options);
    options.kv_bytes_max = engine_info(engine)->kv_bytes_token * (CONTEXT + 3 * KV_PAGE);
    engine_close(engine);
    engine = open_with(options);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, trouble, engine), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    close_clean(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_cancel_at_every_step),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_queue_full),
        cmocka_unit_test(test_close_while_running),
        cmocka_unit_test(test_idle_burns_nothing),
        cmocka_unit_test(test_many_threads),
    };

    arena = arena_new(4096);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_free(arena);
    return failed;
}
