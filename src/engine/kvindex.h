/* kvindex.h - which blocks a folder holds, by name, in order of their last use. Nothing here locks. */
#ifndef PENSIEVE_ENGINE_KVINDEX_H
#define PENSIEVE_ENGINE_KVINDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/kvname.h"

#define KV_INDEX_NONE UINT32_MAX

struct kv_index_entry {
    struct kv_name name;
    uint64_t before;            /* name.lo of the page before */
    uint32_t bucket_next, older, newer;
    bool placed;
};

struct kv_index {
    struct kv_index_entry *entries;
    uint32_t *buckets, buckets_mask;
    uint32_t capacity, n;
    uint32_t free;              /* a list through bucket_next */
    uint32_t oldest, newest;
};

bool kv_index_init(struct kv_index *index, uint32_t capacity);      /* false: no memory */
void kv_index_release(struct kv_index *index);                      /* a zeroed one is allowed */
void kv_index_clear(struct kv_index *index);
uint32_t kv_index_find(const struct kv_index *index, struct kv_name name);
/* As the newest. The name must not be there. KV_INDEX_NONE: the index is full. */
uint32_t kv_index_add(struct kv_index *index, struct kv_name name, uint64_t before);
void kv_index_touch(struct kv_index *index, uint32_t id);           /* makes it the newest */
void kv_index_remove(struct kv_index *index, uint32_t id);
/* Makes every block newer than those that build upon it, and else keeps the order: a block is worth
 * nothing without those before it. Bounded whatever the names claim. */
void kv_index_parents_first(struct kv_index *index);

#endif
