/* kvcache.h - keys and values of past positions, in pages that sequences share.
 *
 * A page holds KV_PAGE positions of one sequence for all layers and KV heads, f16. A full page
 * never changes: it is named by a hash chain over the exact token ids from the start of the
 * sequence (and verified token by token, so a collision can't share wrong pages), and sequences
 * with the same beginning share it by reference count, within one space (a key's, say) and one
 * variant. Pages that nobody references stay findable, least recently used first to go, and those of
 * a beginning that was declared worth keeping last. With a disk (kvdisk.h) every full page is also
 * written there, and found again after it was evicted or the program restarted. Owned by the engine thread; nothing here locks. */
#ifndef PENSIEVE_ENGINE_KVCACHE_H
#define PENSIEVE_ENGINE_KVCACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/kernels.h"

struct kv_cache;

/* The memory is reserved, and touched only as pages come into use. */
struct kv_cache *kv_cache_new(uint32_t layers, uint32_t kv_heads, uint32_t head_dim,
                              uint64_t bytes_max, struct err *err);
void kv_cache_free(struct kv_cache *cache);
void kv_cache_clock(struct kv_cache *cache, uint64_t (*now_ns)(void));  /* else clock_ns */

struct kv_disk;
/* Before anything else is done with the cache, which then closes the disk. false: no memory, the
 * disk stays the caller's. */
bool kv_cache_use_disk(struct kv_cache *cache, struct kv_disk *disk);
/* Before each step: takes what was read, gives what is to be written. */
void kv_cache_poll(struct kv_cache *cache);

/* Where one layer and KV head of a page lie: keys are [head_dim][KV_PAGE] half floats, values
 * [KV_PAGE][head_dim]. */
uint16_t *kv_page_k(const struct kv_cache *cache, uint32_t page, uint32_t layer, uint32_t head);
uint16_t *kv_page_v(const struct kv_cache *cache, uint32_t page, uint32_t layer, uint32_t head);

/* One sequence's view: pages[i] holds positions [i * KV_PAGE, (i + 1) * KV_PAGE). */
struct kv_table {
    uint32_t *pages;
    uint32_t pages_n, capacity;
    uint32_t length;            /* positions that hold valid keys and values */
    uint32_t variant;           /* of the model's arithmetic that computes it, below KV_VARIANTS */
    uint32_t reading;           /* pages after `length` that the disk fills; see kv_table_read */
    /* To be set before the first lookup, else 0. */
    uint64_t space;
    bool side;                  /* its pages go before those that any other sequence used */
};

/* Pages are shared only within a variant: the same tokens have other keys in another one. */
enum { KV_VARIANTS = 2 };
void kv_table_init(struct kv_table *table, uint32_t variant);
/* Takes the longest run of full pages that is cached for this prompt, but always leaves at least
 * the last token to be computed. Returns the tokens found, by which table->length has grown. May be
 * asked again while length is at the end of a page, when others may have computed more of the same
 * prompt: what is found then takes the place of pages that were reserved. */
uint32_t kv_table_lookup(struct kv_cache *cache, struct kv_table *table, const int32_t *tokens,
                         uint32_t n);
/* Makes room for positions up to `length` (exclusive); evicts unreferenced pages as needed.
 * false: no page can be had now; what was there stays. */
bool kv_table_reserve(struct kv_cache *cache, struct kv_table *table, uint32_t length);
/* After lookup and reserve: begins to read what follows on disk into the reserved pages. Returns how
 * many positions that is. Until kv_table_settle has said true, nothing may be computed into this
 * table; releasing it is allowed. */
uint32_t kv_table_read(struct kv_cache *cache, struct kv_table *table, const int32_t *tokens,
                       uint32_t n);
/* Whether nothing is being read any more. Then, once, `found` positions more are valid. */
bool kv_table_settle(struct kv_cache *cache, struct kv_table *table, const int32_t *tokens,
                     uint32_t *found);
/* Positions up to `length` are now computed; tokens are all of the sequence's from 0. Pages that
 * became full get their names and can be shared from here on. */
void kv_table_commit(struct kv_cache *cache, struct kv_table *table, const int32_t *tokens,
                     uint32_t length);
/* Gives the pages back; full ones stay cached. Variant, space and side stay. */
void kv_table_release(struct kv_cache *cache, struct kv_table *table);
/* After a lookup of a prompt of n tokens: the first place where it differs from what is cached, or
 * the end of what was found if nothing cached goes on from there. */
uint32_t kv_table_diverged(const struct kv_cache *cache, const struct kv_table *table,
                           const int32_t *tokens, uint32_t n);

/* The first `length` of the tokens, which are computed, are worth keeping for `seconds` from the
 * last use: their pages are evicted only when there are no others. */
void kv_table_mark(struct kv_cache *cache, const struct kv_table *table, const int32_t *tokens,
                   uint32_t length, uint32_t seconds);
/* After a lookup of a prompt of n tokens: how many are a beginning that was marked in this space, is
 * still live, and whose full pages were found; 0: none. Each mark that fits was used by this. */
uint32_t kv_table_marked(struct kv_cache *cache, const struct kv_table *table,
                         const int32_t *tokens, uint32_t n);

struct kv_counts {
    uint64_t total, used, cached, page_bytes;
    uint64_t pinned;                    /* of the cached */
    uint64_t evicted, evicted_pinned;   /* since the start */
};
struct kv_counts kv_cache_counts(const struct kv_cache *cache);

#endif
