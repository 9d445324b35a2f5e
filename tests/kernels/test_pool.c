/* test_pool.c - parallel_for: every task exactly once, results visible after it returns, thread
 * numbers distinct at any moment; many short calls, calls after the workers went to sleep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "kernels/pool.h"

enum { TASKS_MAX = 1000, THREADS_MAX = 8 };

struct counts {
    unsigned char runs[TASKS_MAX];              /* plain memory: a race would be TSan's to see */
    _Atomic unsigned inside[THREADS_MAX];
    _Atomic bool clash;
    unsigned threads;
};

static void count(void *context, size_t task, unsigned thread)
{
    struct counts *counts = context;
    if (thread >= counts->threads || atomic_fetch_add(&counts->inside[thread], 1) != 0)
        atomic_store(&counts->clash, true);
    counts->runs[task]++;
    atomic_fetch_sub(&counts->inside[thread], 1);
}

static void run_and_check(struct pool *pool, struct counts *counts, size_t tasks)
{
    for (size_t i = 0; i < TASKS_MAX; i++)
        counts->runs[i] = 0;
    parallel_for(pool, tasks, count, counts);
    for (size_t i = 0; i < TASKS_MAX; i++)
        assert_int_equal(counts->runs[i], i < tasks);
    assert_false(atomic_load(&counts->clash));
}

static void test_every_task_once(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 3, 7, 8, 9, 100, TASKS_MAX};
    for (unsigned threads = 1; threads <= THREADS_MAX; threads++) {
        struct counts counts = {.threads = threads};
        struct err err;
        struct pool *pool = pool_new(threads, &err);
        assert_non_null(pool);
        assert_int_equal(pool_threads(pool), threads);
        for (size_t round = 0; round < 20; round++) {
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
                run_and_check(pool, &counts, sizes[i]);
        }
        pool_free(pool);
    }
}

struct sum {
    uint64_t parts[4], total;
};

static void add_part(void *context, size_t task, unsigned thread)
{
    struct sum *sum = context;
    sum->parts[task] += task + 1;
}

/* Thousands of short calls in a row, as in a forward pass; each reads what the last one wrote. */
static void test_short_calls(void **state)
{
    enum { CALLS = 20000 };
    struct err err;
    struct pool *pool = pool_new(3, &err);
    assert_non_null(pool);
    struct sum sum = {0};
    for (uint64_t call = 1; call <= CALLS; call++) {
        parallel_for(pool, 4, add_part, &sum);
        sum.total = sum.parts[0] + sum.parts[1] + sum.parts[2] + sum.parts[3];
        assert_int_equal(sum.total, call * 10);
    }
    pool_free(pool);
}

/* Workers that sleep are woken, and burn nothing while they sleep. */
static void test_sleep_and_wake(void **state)
{
    struct counts counts = {.threads = 4};
    struct err err;
    struct pool *pool = pool_new(4, &err);
    assert_non_null(pool);
    for (int i = 0; i < 20; i++) {
        run_and_check(pool, &counts, 50);
        usleep(3000);
    }
    usleep(20 * 1000);      /* all asleep by now */
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    usleep(100 * 1000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    double burnt = (double)(after.tv_sec - before.tv_sec) +
                   (double)(after.tv_nsec - before.tv_nsec) * 1e-9;
    assert_true(burnt < 0.02);
    run_and_check(pool, &counts, 50);
    pool_free(pool);
}

static void busy(void *context, size_t task, unsigned thread)
{
    _Atomic unsigned *used = context;
    uint64_t start = clock_ns();
    while (clock_ns() - start < 2 * 1000 * 1000)
        continue;
    atomic_fetch_or(used, 1u << thread);
}

/* Long tasks really are shared: other threads than the caller's take some. */
static void test_shared(void **state)
{
    struct err err;
    struct pool *pool = pool_new(2, &err);
    assert_non_null(pool);
    _Atomic unsigned used = 0;
    for (int i = 0; i < 50 && atomic_load(&used) != 3; i++)
        parallel_for(pool, 10, busy, &used);
    assert_int_equal(atomic_load(&used), 3);
    pool_free(pool);
}

static void test_bounds(void **state)
{
    struct err err = {0};
    assert_null(pool_new(0, &err));
    assert_int_equal(err.code, ERR_USAGE);
    assert_null(pool_new(POOL_THREADS_MAX + 1, &err));
    pool_free(NULL);
    for (int i = 0; i < 100; i++) {     /* never called: nobody is in the middle of anything */
        struct pool *pool = pool_new(4, &err);
        assert_non_null(pool);
        pool_free(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_task_once), cmocka_unit_test(test_short_calls),
        cmocka_unit_test(test_sleep_and_wake),  cmocka_unit_test(test_shared),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
