/* pool.c - the worker threads of parallel_for.
 *
 * A forward pass makes some two hundred short calls a token, so a call must cost about a
 * microsecond: workers watch one atomic word, join by raising its count, and take task numbers from
 * another. The hard thing is that a caller must not wait for a worker that is asleep: it waits for
 * those that joined, and closes the call so that none can join late. */
#include "kernels/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/clock.h"

/* state: the number of the call, whether it is open, and how many workers are in it. */
#define JOINED_MASK ((uint64_t)0xffff)
#define OPEN ((uint64_t)0x10000)
#define CALL_STEP ((uint64_t)0x20000)

enum {
    CACHE_LINE = 64,
    SPIN_NS = 200 * 1000,       /* watching this long before a worker sleeps */
    SPIN_BATCH = 64,            /* looks between two looks at the clock */
    WAIT_SPINS = 4096,          /* looks for the last worker before the caller gives way */
};

struct worker {
    struct pool *pool;
    unsigned number;
    pthread_t thread;
};

struct pool {
    _Alignas(CACHE_LINE) _Atomic uint64_t state;
    _Alignas(CACHE_LINE) _Atomic size_t next;
    _Alignas(CACHE_LINE) size_t tasks; /* this and the next two are still while OPEN or joined */
    void (*fn)(void *context, size_t task, unsigned thread);
    void *context;
    _Alignas(CACHE_LINE) pthread_mutex_t mutex;
    pthread_cond_t wake;
    _Atomic unsigned sleepers;
    _Atomic bool stop;
    unsigned threads, started;
    struct worker workers[];
};

static inline void spin_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void work(struct pool *pool, unsigned thread)
{
    size_t task;
    while ((task = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed)) < pool->tasks)
        pool->fn(pool->context, task, thread);
}

/* Is there an open call that this worker hasn't been in? */
static bool call_is_new(uint64_t state, uint64_t last)
{
    return (state & OPEN) && (state & ~JOINED_MASK) != last;
}

/* Returns the state seen, or one that isn't new when the pool stops. */
static uint64_t wait_for_call(struct pool *pool, uint64_t last)
{
    uint64_t start = clock_ns();
    do {
        for (int i = 0; i < SPIN_BATCH; i++) {
            uint64_t state = atomic_load_explicit(&pool->state, memory_order_relaxed);
            if (call_is_new(state, last))
                return state;
            spin_pause();
        }
    } while (clock_ns() - start < SPIN_NS);

    /* The caller stores state, then reads sleepers; here it is the other way round, all in one
     * order (seq_cst): at least one of the two sees the other. */
    uint64_t state;
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (!call_is_new(state = atomic_load(&pool->state), last) && !atomic_load(&pool->stop))
        pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
    return state;
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct pool *pool = worker->pool;
    uint64_t last = 0;
    while (!atomic_load_explicit(&pool->stop, memory_order_relaxed)) {
        uint64_t state = wait_for_call(pool, last);
        if (!call_is_new(state, last))
            continue;
        if (!atomic_compare_exchange_strong_explicit(&pool->state, &state, state + 1,
                                                     memory_order_acquire, memory_order_relaxed))
            continue;
        last = state & ~JOINED_MASK;
        work(pool, worker->number);
        atomic_fetch_sub_explicit(&pool->state, 1, memory_order_release);
    }
    return NULL;
}

struct pool *pool_new(unsigned threads, struct err *err)
{
    if (threads < 1 || threads > POOL_THREADS_MAX) {
        err_set(err, ERR_USAGE, "%u threads: must be 1 to %d", threads, POOL_THREADS_MAX);
        return NULL;
    }
    size_t bytes = sizeof(struct pool) + (threads - 1) * sizeof(struct worker);
    bytes = (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    struct pool *pool = aligned_alloc(CACHE_LINE, bytes);
    if (!pool) {
        err_set(err, ERR_IO, "out of memory for %u threads", threads);
        return NULL;
    }
    atomic_init(&pool->state, 0);
    atomic_init(&pool->next, 0);
    atomic_init(&pool->sleepers, 0);
    atomic_init(&pool->stop, false);
    pool->tasks = 0;
    pool->threads = threads;
    pool->started = 0;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    for (unsigned i = 0; i + 1 < threads; i++) {
        struct worker *worker = &pool->workers[i];
        *worker = (struct worker){.pool = pool, .number = i + 1};
        if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0) {
            err_set(err, ERR_IO, "the system gives no more than %u of %u threads", i + 1, threads);
            pool_free(pool);
            return NULL;
        }
        pool->started++;
    }
    return pool;
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i < pool->started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

unsigned pool_threads(const struct pool *pool)
{
    return pool->threads;
}

void parallel_for(struct pool *pool, size_t tasks,
                  void (*fn)(void *context, size_t task, unsigned thread), void *context)
{
    if (pool->threads == 1 || tasks <= 1) {
        for (size_t task = 0; task < tasks; task++)
            fn(context, task, 0);
        return;
    }
    pool->tasks = tasks;
    pool->fn = fn;
    pool->context = context;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    uint64_t closed = atomic_load_explicit(&pool->state, memory_order_relaxed);
    atomic_store(&pool->state, closed + CALL_STEP + OPEN);
    if (atomic_load(&pool->sleepers)) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
    work(pool, 0);
    uint64_t state = atomic_fetch_and_explicit(&pool->state, ~OPEN, memory_order_acquire);
    for (unsigned spins = 0; state & JOINED_MASK; spins++) {
        if (spins < WAIT_SPINS)
            spin_pause();
        else
            sched_yield();      /* more threads than cores: let the worker finish */
        state = atomic_load_explicit(&pool->state, memory_order_acquire);
    }
}
