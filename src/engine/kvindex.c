/* kvindex.c - a hash table and a list through one array. */
#include "engine/kvindex.h"

#include <stdlib.h>
#include <string.h>

#define NONE KV_INDEX_NONE

bool kv_index_init(struct kv_index *index, uint32_t capacity)
{
    uint32_t buckets_n = 16;

    while (buckets_n < capacity)
        buckets_n *= 2;
    *index = (struct kv_index){
        .entries = calloc(capacity, sizeof *index->entries), .capacity = capacity,
        .buckets = malloc(buckets_n * sizeof *index->buckets), .buckets_mask = buckets_n - 1,
    };
    if (!index->entries || !index->buckets) {
        kv_index_release(index);
        return false;
    }
    kv_index_clear(index);
    return true;
}

void kv_index_release(struct kv_index *index)
{
    free(index->entries);
    free(index->buckets);
    *index = (struct kv_index){0};
}

void kv_index_clear(struct kv_index *index)
{
    memset(index->buckets, 0xFF, (index->buckets_mask + 1) * sizeof *index->buckets);
    for (uint32_t i = 0; i < index->capacity; i++)
        index->entries[i].bucket_next = i + 1 < index->capacity ? i + 1 : NONE;
    index->free = 0;
    index->n = 0;
    index->oldest = index->newest = NONE;
}

uint32_t kv_index_find(const struct kv_index *index, struct kv_name name)
{
    uint32_t id = index->buckets[name.lo & index->buckets_mask];

    while (id != NONE && !kv_name_same(index->entries[id].name, name))
        id = index->entries[id].bucket_next;
    return id;
}

static void list_append(struct kv_index *index, uint32_t id)
{
    struct kv_index_entry *entry = &index->entries[id];

    entry->older = index->newest;
    entry->newer = NONE;
    *(entry->older == NONE ? &index->oldest : &index->entries[entry->older].newer) = id;
    index->newest = id;
}

static void list_remove(struct kv_index *index, uint32_t id)
{
    const struct kv_index_entry *entry = &index->entries[id];

    *(entry->older == NONE ? &index->oldest : &index->entries[entry->older].newer) = entry->newer;
    *(entry->newer == NONE ? &index->newest : &index->entries[entry->newer].older) = entry->older;
}

uint32_t kv_index_add(struct kv_index *index, struct kv_name name, uint64_t before)
{
    const uint32_t id = index->free;
    uint32_t *bucket = &index->buckets[name.lo & index->buckets_mask];

    if (id == NONE)
        return NONE;
    index->free = index->entries[id].bucket_next;
    index->entries[id] = (struct kv_index_entry){
        .name = name, .before = before, .bucket_next = *bucket,
    };
    *bucket = id;
    list_append(index, id);
    index->n++;
    return id;
}

void kv_index_touch(struct kv_index *index, uint32_t id)
{
    list_remove(index, id);
    list_append(index, id);
}

void kv_index_remove(struct kv_index *index, uint32_t id)
{
    uint32_t *link = &index->buckets[index->entries[id].name.lo & index->buckets_mask];

    while (*link != id)
        link = &index->entries[*link].bucket_next;
    *link = index->entries[id].bucket_next;
    list_remove(index, id);
    index->entries[id].bucket_next = index->free;
    index->free = id;
    index->n--;
}

static uint32_t find_half(const struct kv_index *index, uint64_t lo)
{
    uint32_t id = index->buckets[lo & index->buckets_mask];

    while (id != NONE && index->entries[id].name.lo != lo)
        id = index->entries[id].bucket_next;
    return id;
}

static void list_prepend(struct kv_index *index, uint32_t id)
{
    struct kv_index_entry *entry = &index->entries[id];

    entry->newer = index->oldest;
    entry->older = NONE;
    *(entry->newer == NONE ? &index->newest : &index->entries[entry->newer].older) = id;
    index->oldest = id;
}

/* From the newest to the oldest: each is put at the old end of a new list, after those before it that
 * have no place there yet. `placed` also ends circles, which only invented names can form. */
void kv_index_parents_first(struct kv_index *index)
{
    uint32_t *order = malloc(((size_t)index->n + 1) * 2 * sizeof *order), *way = order + index->n;
    const uint32_t n = index->n;
    uint32_t i = 0;

    if (!order)
        return;
    for (uint32_t id = index->newest; id != NONE; id = index->entries[id].older) {
        index->entries[id].placed = false;
        order[i++] = id;
    }
    index->oldest = index->newest = NONE;
    for (i = 0; i < n; i++) {
        uint32_t depth = 0;
        for (uint32_t id = order[i]; id != NONE && !index->entries[id].placed;
             id = find_half(index, index->entries[id].before)) {
            index->entries[id].placed = true;
            way[depth++] = id;
        }
        while (depth)
            list_prepend(index, way[--depth]);
    }
    free(order);
}
