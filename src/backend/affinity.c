/* affinity.c - see affinity.h. A key may lie in one of AFFINITY_WAYS places, as in a processor's
 * cache: no chains, no resizing, and the oldest of a few is as good as the oldest of all. */
#include "backend/affinity.h"

#include <stdlib.h>

enum { SETS = AFFINITY_CONVERSATIONS / AFFINITY_WAYS };

_Static_assert((SETS & (SETS - 1)) == 0, "a set is a hash's low bits");

struct entry {
    uint64_t key;                       /* 0: free */
    uint64_t used;
    int number;
};

struct affinity {
    uint64_t clock;                     /* how often it was asked */
    struct entry entries[SETS][AFFINITY_WAYS];
};

struct affinity *affinity_new(void)
{
    struct affinity *affinity = calloc(1, sizeof *affinity);

    if (!affinity)
        abort();                        /* as arenas do: the machine is out of memory */
    return affinity;
}

void affinity_free(struct affinity *affinity)
{
    free(affinity);
}

static struct entry *find(struct affinity *affinity, uint64_t key)
{
    struct entry *set = affinity->entries[key & (SETS - 1)];

    for (int i = 0; i < AFFINITY_WAYS; i++)
        if (set[i].key == key)
            return &set[i];
    return NULL;
}

int affinity_find(struct affinity *affinity, uint64_t key)
{
    struct entry *entry = find(affinity, key);

    if (!entry)
        return -1;
    entry->used = ++affinity->clock;
    return entry->number;
}

void affinity_put(struct affinity *affinity, uint64_t key, int number)
{
    struct entry *set = affinity->entries[key & (SETS - 1)], *entry = find(affinity, key);

    for (int i = 0; i < AFFINITY_WAYS && !entry; i++)
        if (set[i].key == 0)
            entry = &set[i];
    if (!entry) {
        entry = &set[0];
        for (int i = 1; i < AFFINITY_WAYS; i++)
            entry = set[i].used < entry->used ? &set[i] : entry;
    }
    *entry = (struct entry){key, ++affinity->clock, number};
}
