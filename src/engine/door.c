/* door.c - counts those who wait, by owner and by rank, under one lock. */
#include "engine/door.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"

struct owner {
    uint64_t key;
    uint32_t waiting;                   /* at least one */
};

struct door {
    pthread_mutex_t lock;
    uint32_t places, taken, owners_n;
    uint64_t admitted_ns;               /* the last one, if it left others waiting; else 0 */
    struct door_stats stats;
    struct owner owners[];              /* as many as there are places */
};

struct door *door_new(uint32_t places)
{
    struct door *door = calloc(1, sizeof *door + places * sizeof *door->owners);

    if (door) {
        pthread_mutex_init(&door->lock, NULL);
        door->places = places;
    }
    return door;
}

void door_free(struct door *door)
{
    if (!door)
        return;
    assert(door->taken == 0);
    pthread_mutex_destroy(&door->lock);
    free(door);
}

uint32_t door_share(uint32_t places)
{
    return places - places / 4;
}

static struct owner *find(struct door *door, uint64_t key)
{
    for (uint32_t i = 0; i < door->owners_n; i++)
        if (door->owners[i].key == key)
            return &door->owners[i];
    return NULL;
}

static bool enter(struct door *door, uint64_t key, enum sequence_rank rank, uint32_t tokens,
                  struct err *err)
{
    struct owner *owner = find(door, key);

    if (door->taken == door->places)
        return err_set(err, ERR_OVERLOADED, "%u requests are waiting already, try again later",
                       door->places);
    if (owner && owner->waiting == door_share(door->places))
        return err_set(err, ERR_RATE, "%u requests of this key are waiting already, the other "
                       "places are kept for others; try again later", owner->waiting);
    if (!owner) {
        owner = &door->owners[door->owners_n++];
        *owner = (struct owner){.key = key};
    }
    owner->waiting++;
    door->taken++;
    door->stats.waiting[rank]++;
    door->stats.waiting_tokens += tokens;
    return true;
}

bool door_enter(struct door *door, uint64_t owner, enum sequence_rank rank, uint32_t tokens,
                struct err *err)
{
    pthread_mutex_lock(&door->lock);
    const bool entered = enter(door, owner, rank, tokens, err);
    pthread_mutex_unlock(&door->lock);
    return entered;
}

/* A moving average, over the times at which others waited on. */
static void note_admission(struct door *door)
{
    const double newest = 0.2;
    double *interval = &door->stats.interval_s;

    if (door->admitted_ns)
        *interval += newest * (clock_seconds_since(door->admitted_ns) - *interval);
    door->admitted_ns = door->taken ? clock_ns() : 0;
}

void door_leave(struct door *door, uint64_t key, enum sequence_rank rank, uint32_t tokens,
                double waited_ms)
{
    pthread_mutex_lock(&door->lock);
    struct owner *owner = find(door, key);
    assert(owner);
    if (--owner->waiting == 0)
        *owner = door->owners[--door->owners_n];
    door->taken--;
    door->stats.waiting[rank]--;
    door->stats.waiting_tokens -= tokens;
    if (waited_ms >= 0) {
        door->stats.admitted[rank]++;
        door->stats.waited_ms[rank] += waited_ms;
        note_admission(door);
    }
    pthread_mutex_unlock(&door->lock);
}

struct door_stats door_stats(struct door *door)
{
    pthread_mutex_lock(&door->lock);
    struct door_stats stats = door->stats;
    if (door->admitted_ns) {
        const double since = clock_seconds_since(door->admitted_ns);
        stats.interval_s = since > stats.interval_s ? since : stats.interval_s;
    }
    pthread_mutex_unlock(&door->lock);
    return stats;
}
