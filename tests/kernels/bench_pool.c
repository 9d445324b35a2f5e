/* bench_pool - what the worker threads cost: a call of parallel_for that finds them awake or asleep,
 * the same beside processes that want the cores, and results that share a cache line.
 *
 * Each call has one task of 4 us a thread; what is printed is what it takes beyond those 4.
 *
 * bench_pool [threads]. Not a test: it prints, and says nothing about right and wrong. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "kernels/pool.h"

enum { ROUNDS = 200, CALLS = 200, LINE = 64, TASK_NS = 4000, WORK = 20000, BUSY_MAX = 2 * POOL_THREADS_MAX };

/* A task of TASK_NS: without it the caller would be done before anyone could join. */
static void take_time(void *context, size_t task, unsigned thread)
{
    const uint64_t end = clock_ns() + TASK_NS;

    while (clock_ns() < end)
        ;
}

/* What a call with one task a thread takes beyond the task: of many short series. */
static void print_calls(struct pool *pool, const char *what)
{
    const unsigned threads = pool_threads(pool);
    double times[ROUNDS], sum = 0;

    for (int round = 0; round < ROUNDS; round++) {
        const uint64_t start = clock_ns();
        for (int i = 0; i < CALLS; i++)
            parallel_for(pool, threads, take_time, NULL);
        times[round] = (double)(clock_ns() - start) / CALLS - TASK_NS;
        sum += times[round];
        for (int i = round; i > 0 && times[i - 1] > times[i]; i--) {
            const double swap = times[i];
            times[i] = times[i - 1];
            times[i - 1] = swap;
        }
    }
    printf("%-44s least %8.0f ns, median %8.0f ns, mean %8.0f ns\n", what, times[0],
           times[ROUNDS / 2], sum / ROUNDS);
}

/* A call after a pause, when the workers sleep: the caller doesn't wait for them to wake. */
static void print_asleep(struct pool *pool)
{
    double sum = 0, most = 0;

    for (int i = 0; i < ROUNDS / 4; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 2 * 1000 * 1000}, NULL);
        const uint64_t start = clock_ns();
        parallel_for(pool, pool_threads(pool), take_time, NULL);
        const double ns = (double)(clock_ns() - start) - TASK_NS;
        sum += ns;
        most = fmax(most, ns);
    }
    printf("%-44s mean  %8.0f ns, most   %8.0f ns\n", "a call that finds the workers asleep",
           sum / (ROUNDS / 4), most);
}

struct counters { volatile char *base; size_t stride; };

static void count(void *context, size_t task, unsigned thread)
{
    const struct counters *c = context;
    volatile unsigned *counter = (volatile unsigned *)(c->base + task * c->stride);

    for (int i = 0; i < WORK; i++)
        ++*counter;
}

/* Each thread counts in memory; side by side, or a line of memory each. */
static void print_sharing(struct pool *pool, size_t stride, const char *what)
{
    struct counters c = {aligned_alloc(LINE, POOL_THREADS_MAX * LINE), stride};
    double least = INFINITY;

    for (int round = 0; c.base && round < ROUNDS; round++) {
        const uint64_t start = clock_ns();
        parallel_for(pool, pool_threads(pool), count, &c);
        least = fmin(least, (double)(clock_ns() - start) / WORK);
    }
    printf("%-44s least %8.2f ns an addition\n", what, least);
    free((void *)c.base);
}

/* The same calls while a busy process for each thread wants the cores too. */
static void print_beside_others(struct pool *pool)
{
    pid_t busy[BUSY_MAX];
    const unsigned n = pool_threads(pool);

    for (unsigned i = 0; i < n; i++) {
        busy[i] = fork();
        while (busy[i] == 0)
            ;
    }
    print_calls(pool, "a call, a busy process on every core");
    for (unsigned i = 0; i < n; i++)
        if (busy[i] > 0) {
            kill(busy[i], SIGKILL);
            waitpid(busy[i], NULL, 0);
        }
}

int main(int argc, char **argv)
{
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const unsigned threads = argc > 1 ? (unsigned)atoi(argv[1]) : (unsigned)cores;
    struct err err;
    struct pool *pool = pool_new(threads, &err);

    if (!pool) {
        fprintf(stderr, "bench_pool: %s\n", err.text);
        return 1;
    }
    printf("%u threads\n", threads);
    print_calls(pool, "a call that finds the workers spinning");
    print_asleep(pool);
    print_sharing(pool, sizeof(unsigned), "threads count side by side in one line");
    print_sharing(pool, LINE, "threads count in lines of their own");
    print_beside_others(pool);
    pool_free(pool);
    return 0;
}
