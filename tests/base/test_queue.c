/* test_queue.c - bounded, in order, woken; several producers at once (run under TSan too). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/queue.h"

enum { PRODUCERS = 4, EACH = 5000, CAPACITY = 16 };

static void *item(uintptr_t number)
{
    return (void *)number;
}

static void test_first_in_first_out(void **state)
{
    struct queue *queue = queue_new(3, NULL, NULL);

    assert_null(queue_take(queue));
    for (int round = 0; round < 5; round++) {           /* around the ring */
        for (uintptr_t i = 1; i <= 3; i++)
            assert_true(queue_put(queue, item(i)));
        assert_false(queue_put(queue, item(4)));
        assert_int_equal(queue_length(queue), 3);
        assert_ptr_equal(queue_take(queue), item(1));
        assert_true(queue_put(queue, item(4)));
        for (uintptr_t i = 2; i <= 4; i++)
            assert_ptr_equal(queue_wait(queue, 0), item(i));
        assert_int_equal(queue_length(queue), 0);
    }
    queue_free(queue);
    queue_free(NULL);
}

static void count_wakes(void *context)
{
    (*(int *)context)++;
}

static void test_wake_after_each_put(void **state)
{
    int wakes = 0;
    struct queue *queue = queue_new(2, count_wakes, &wakes);

    queue_put(queue, item(1));
    queue_put(queue, item(2));
    assert_int_equal(wakes, 2);
    assert_false(queue_put(queue, item(3)));
    assert_int_equal(wakes, 2);
    queue_free(queue);
}

static void test_wait_gives_up(void **state)
{
    struct queue *queue = queue_new(2, NULL, NULL);
    const uint64_t start = clock_ns();

    assert_null(queue_wait(queue, 30));
    assert_true(clock_seconds_since(start) >= 0.029);
    queue_free(queue);
}

static void test_kick(void **state)
{
    struct queue *queue = queue_new(2, NULL, NULL);

    queue_kick(queue);
    assert_null(queue_wait(queue, UINT32_MAX));         /* at once: the kick came before */
    const uint64_t start = clock_ns();
    assert_null(queue_wait(queue, 20));                 /* and was used up */
    assert_true(clock_seconds_since(start) >= 0.019);
    queue_kick(queue);
    queue_put(queue, item(1));
    assert_ptr_equal(queue_wait(queue, UINT32_MAX), item(1));
    queue_free(queue);
}

static void *kick_later(void *queue)
{
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    queue_kick(queue);
    return NULL;
}

static void test_kick_ends_a_wait(void **state)
{
    struct queue *queue = queue_new(2, NULL, NULL);
    pthread_t thread;

    pthread_create(&thread, NULL, kick_later, queue);
    assert_null(queue_wait(queue, UINT32_MAX));
    pthread_join(thread, NULL);
    queue_free(queue);
}

struct producer {
    struct queue *queue;
    uintptr_t number;
    atomic_int *wakes;
};

static void *produce(void *context)
{
    const struct producer *p = context;

    for (uintptr_t i = 0; i < EACH; i++)
        while (!queue_put(p->queue, item(p->number << 32 | (i + 1))))
            sched_yield();
    return NULL;
}

static void count_wakes_atomically(void *context)
{
    atomic_fetch_add((atomic_int *)context, 1);
}

/* Nothing is lost, nothing comes twice, and each producer's items come in its order. */
static void test_many_producers(void **state)
{
    atomic_int wakes = 0;
    struct queue *queue = queue_new(CAPACITY, count_wakes_atomically, &wakes);
    struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    uintptr_t last[PRODUCERS] = {0};

    for (uintptr_t i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){queue, i, &wakes};
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    for (int taken = 0; taken < PRODUCERS * EACH; taken++) {
        const uintptr_t number = (uintptr_t)queue_wait(queue, UINT32_MAX);
        const uintptr_t who = number >> 32;
        assert_true(number != 0 && who < PRODUCERS);
        assert_int_equal(number & 0xFFFFFFFF, ++last[who]);
        assert_true(queue_length(queue) <= CAPACITY);
    }
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    assert_null(queue_take(queue));
    assert_int_equal(atomic_load(&wakes), PRODUCERS * EACH);
    queue_free(queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_in_first_out),
        cmocka_unit_test(test_wake_after_each_put),
        cmocka_unit_test(test_wait_gives_up),
        cmocka_unit_test(test_kick),
        cmocka_unit_test(test_kick_ends_a_wait),
        cmocka_unit_test(test_many_producers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
