/* queue.c - a ring of pointers under one mutex; its condition variable is for queue_wait alone. */
#include "base/queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t ready;
    void **items;
    size_t capacity, head, n;
    bool kicked;
    void (*wake)(void *context);
    void *context;
};

struct queue *queue_new(size_t capacity, void (*wake)(void *context), void *context)
{
    struct queue *queue = calloc(1, sizeof *queue);

    if (!queue)
        return NULL;
    queue->items = calloc(capacity, sizeof *queue->items);
    if (!queue->items) {
        free(queue);
        return NULL;
    }
    queue->capacity = capacity;
    queue->wake = wake;
    queue->context = context;
    pthread_mutex_init(&queue->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&queue->ready, &attributes);
    pthread_condattr_destroy(&attributes);
    return queue;
}

void queue_free(struct queue *queue)
{
    if (!queue)
        return;
    pthread_cond_destroy(&queue->ready);
    pthread_mutex_destroy(&queue->lock);
    free(queue->items);
    free(queue);
}

bool queue_put(struct queue *queue, void *item)
{
    pthread_mutex_lock(&queue->lock);
    const bool fits = queue->n < queue->capacity;
    if (fits) {
        queue->items[(queue->head + queue->n) % queue->capacity] = item;
        queue->n++;
        pthread_cond_signal(&queue->ready);
    }
    pthread_mutex_unlock(&queue->lock);
    if (fits && queue->wake)
        queue->wake(queue->context);
    return fits;
}

static void *take_locked(struct queue *queue)
{
    if (queue->n == 0)
        return NULL;
    void *item = queue->items[queue->head];
    queue->head = (queue->head + 1) % queue->capacity;
    queue->n--;
    return item;
}

void *queue_take(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    void *item = take_locked(queue);
    pthread_mutex_unlock(&queue->lock);
    return item;
}

static struct timespec deadline_after(uint32_t timeout_ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += timeout_ms / 1000;
    t.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

void *queue_wait(struct queue *queue, uint32_t timeout_ms)
{
    const struct timespec deadline = deadline_after(timeout_ms == UINT32_MAX ? 0 : timeout_ms);
    int rc = 0;

    pthread_mutex_lock(&queue->lock);
    while (queue->n == 0 && !queue->kicked && rc != ETIMEDOUT) {
        if (timeout_ms == UINT32_MAX)
            pthread_cond_wait(&queue->ready, &queue->lock);
        else
            rc = pthread_cond_timedwait(&queue->ready, &queue->lock, &deadline);
    }
    queue->kicked = false;
    void *item = take_locked(queue);
    pthread_mutex_unlock(&queue->lock);
    return item;
}

void queue_kick(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->kicked = true;
    pthread_cond_signal(&queue->ready);
    pthread_mutex_unlock(&queue->lock);
}

size_t queue_length(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    const size_t n = queue->n;
    pthread_mutex_unlock(&queue->lock);
    return n;
}
