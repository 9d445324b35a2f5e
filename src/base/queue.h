/* queue.h - a bounded queue between threads: many producers, one consumer, pointers only.
 *
 * Putting a pointer in hands its ownership over. `wake` is called after each put outside the lock,
 * so that a consumer which sleeps in its own event loop (libuv: uv_async_send) can be woken. */
#ifndef PENSIEVE_BASE_QUEUE_H
#define PENSIEVE_BASE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct queue;

struct queue *queue_new(size_t capacity, void (*wake)(void *context), void *context);
void queue_free(struct queue *queue);           /* must be empty or its items owned elsewhere */
bool queue_put(struct queue *queue, void *item);        /* false: full, ownership stays */
void *queue_take(struct queue *queue);                  /* NULL: empty */
/* Waits up to timeout_ms (UINT32_MAX: for ever) for an item or for queue_kick. NULL: none came. */
void *queue_wait(struct queue *queue, uint32_t timeout_ms);
void queue_kick(struct queue *queue);           /* ends one queue_wait early */
size_t queue_length(struct queue *queue);

#endif
