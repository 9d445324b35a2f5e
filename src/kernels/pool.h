/* pool.h - the worker threads: they only run parallel_for.
 *
 * The calling thread works too, so a pool of 1 has no threads at all. Workers spin briefly for the
 * next call, then sleep: an idle server burns nothing. */
#ifndef PENSIEVE_KERNELS_POOL_H
#define PENSIEVE_KERNELS_POOL_H

#include <stddef.h>

#include "base/err.h"

struct pool;

/* threads: the caller included, 1..POOL_THREADS_MAX. */
enum { POOL_THREADS_MAX = 256 };
struct pool *pool_new(unsigned threads, struct err *err);
void pool_free(struct pool *pool);
unsigned pool_threads(const struct pool *pool);

/* Calls fn(context, task, thread) once for each task in [0, tasks); thread in [0, threads) names
 * the scratch to use. Returns when all are done. Tasks are handed out one at a time, so uneven ones
 * balance. One caller at a time. */
void parallel_for(struct pool *pool, size_t tasks,
                  void (*fn)(void *context, size_t task, unsigned thread), void *context);

#endif
