/* kvcache.c - pages of keys and values: one mapping, a table of what each page holds, two lists.
 *
 * The hard thing is that sharing must be exact. A full page is entered in a hash table under the
 * hash chain of all tokens up to its end, and a find is believed only if the page's own tokens are
 * the same one by one and the page before it is the very page already found (before the first
 * stands the variant); so by induction from the start the whole beginning is the same. That the
 * page before is still what it was follows from the order of eviction: whoever holds a page holds
 * all pages before it, and pages are given back last first, so a page never goes before one that
 * builds upon it. */
#include "engine/kvcache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/hash.h"

enum { KV_PAGES_MAX = 1 << 24 };

#define NONE UINT32_MAX
_Static_assert(KV_PAGES_MAX < UINT32_MAX - KV_VARIANTS, "no page has a variant's number");

struct page {
    int32_t tokens[KV_PAGE];            /* named pages only */
    uint64_t chain;
    uint32_t parent;                    /* the page before, see parent_of */
    uint32_t refs;
    uint32_t bucket_next;
    uint32_t older, newer;              /* among the unreferenced named ones */
    bool named;
};

struct kv_cache {
    uint16_t *data;
    size_t data_bytes, page_halves, head_halves;
    uint32_t kv_heads;
    struct page *pages;
    uint32_t pages_n;
    uint32_t fresh;                     /* pages from here on were never used */
    uint32_t *free;                     /* a stack: what was touched last is used first */
    uint32_t free_n;
    uint32_t *buckets, buckets_mask;
    uint32_t oldest, newest, cached_n;  /* unreferenced named pages, by time of the last use */
    struct hash_key key;
};

static bool cache_alloc_tables(struct kv_cache *cache)
{
    uint32_t buckets_n = 16;

    while (buckets_n < cache->pages_n)
        buckets_n *= 2;
    cache->buckets_mask = buckets_n - 1;
    cache->pages = calloc(cache->pages_n, sizeof *cache->pages);
    cache->free = calloc(cache->pages_n, sizeof *cache->free);
    cache->buckets = malloc(buckets_n * sizeof *cache->buckets);
    if (!cache->pages || !cache->free || !cache->buckets)
        return false;
    memset(cache->buckets, 0xFF, buckets_n * sizeof *cache->buckets);  /* NONE everywhere */
    return true;
}

struct kv_cache *kv_cache_new(uint32_t layers, uint32_t kv_heads, uint32_t head_dim,
                              uint64_t bytes_max, struct err *err)
{
    uint64_t head_halves, page_halves;

    if (!layers || !kv_heads || !head_dim ||
        __builtin_mul_overflow((uint64_t)KV_PAGE * 2, head_dim, &head_halves) ||
        __builtin_mul_overflow(head_halves, (uint64_t)layers * kv_heads, &page_halves) ||
        page_halves > SIZE_MAX / 4) {
        err_set(err, ERR_FORMAT, "the model's attention has an impossible shape: %u layers, "
                "%u KV heads of %u", layers, kv_heads, head_dim);
        return NULL;
    }
    const uint64_t page_bytes = page_halves * 2;
    uint64_t pages_n = bytes_max / page_bytes;
    if (pages_n == 0) {
        err_set(err, ERR_USAGE, "the KV cache may take %llu bytes, but one page of it takes %llu",
                (unsigned long long)bytes_max, (unsigned long long)page_bytes);
        return NULL;
    }
    if (pages_n > KV_PAGES_MAX)
        pages_n = KV_PAGES_MAX;

    struct kv_cache *cache = calloc(1, sizeof *cache);
    if (cache) {
        *cache = (struct kv_cache){
            .data = MAP_FAILED, .data_bytes = (size_t)(pages_n * page_bytes),
            .page_halves = (size_t)page_halves, .head_halves = (size_t)head_halves,
            .kv_heads = kv_heads, .pages_n = (uint32_t)pages_n, .oldest = NONE, .newest = NONE,
            .key = hash_process_key(),
        };
        cache->data = mmap(NULL, cache->data_bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    }
    if (!cache || cache->data == MAP_FAILED || !cache_alloc_tables(cache)) {
        kv_cache_free(cache);
        err_set(err, ERR_IO, "no memory for a KV cache of %llu bytes",
                (unsigned long long)(pages_n * page_bytes));
        return NULL;
    }
    return cache;
}

void kv_cache_free(struct kv_cache *cache)
{
    if (!cache)
        return;
    if (cache->data != MAP_FAILED)
        munmap(cache->data, cache->data_bytes);
    free(cache->pages);
    free(cache->free);
    free(cache->buckets);
    free(cache);
}

/* A page is [layer][head]{K, V}[KV_PAGE][head_dim]: attention reads K, then V, each in one run. */
uint16_t *kv_page_k(const struct kv_cache *cache, uint32_t page, uint32_t layer, uint32_t head)
{
    return cache->data + page * cache->page_halves +
           ((size_t)layer * cache->kv_heads + head) * cache->head_halves;
}

uint16_t *kv_page_v(const struct kv_cache *cache, uint32_t page, uint32_t layer, uint32_t head)
{
    return kv_page_k(cache, page, layer, head) + cache->head_halves / 2;
}

/* ---- the list of unreferenced named pages ---- */

static void list_append(struct kv_cache *cache, uint32_t id)
{
    struct page *page = &cache->pages[id];

    page->older = cache->newest;
    page->newer = NONE;
    if (cache->newest != NONE)
        cache->pages[cache->newest].newer = id;
    else
        cache->oldest = id;
    cache->newest = id;
    cache->cached_n++;
}

static void list_remove(struct kv_cache *cache, uint32_t id)
{
    const struct page *page = &cache->pages[id];

    if (page->older != NONE)
        cache->pages[page->older].newer = page->newer;
    else
        cache->oldest = page->newer;
    if (page->newer != NONE)
        cache->pages[page->newer].older = page->older;
    else
        cache->newest = page->older;
    cache->cached_n--;
}

/* ---- names ---- */

static uint64_t chain_next(const struct kv_cache *cache, uint64_t chain, const int32_t *tokens)
{
    struct { uint64_t chain; int32_t tokens[KV_PAGE]; } link = {.chain = chain};

    memcpy(link.tokens, tokens, sizeof link.tokens);
    return hash_bytes(cache->key, &link, sizeof link);
}

static uint32_t name_find(const struct kv_cache *cache, uint64_t chain, uint32_t parent,
                          const int32_t *tokens)
{
    for (uint32_t id = cache->buckets[chain & cache->buckets_mask]; id != NONE;
         id = cache->pages[id].bucket_next) {
        const struct page *page = &cache->pages[id];
        if (page->chain == chain && page->parent == parent &&
            memcmp(page->tokens, tokens, sizeof page->tokens) == 0)
            return id;
    }
    return NONE;
}

static void name_add(struct kv_cache *cache, uint32_t id, uint64_t chain, uint32_t parent,
                     const int32_t *tokens)
{
    struct page *page = &cache->pages[id];
    uint32_t *bucket = &cache->buckets[chain & cache->buckets_mask];

    memcpy(page->tokens, tokens, sizeof page->tokens);
    page->chain = chain;
    page->parent = parent;
    page->named = true;
    page->bucket_next = *bucket;
    *bucket = id;
}

static void name_remove(struct kv_cache *cache, uint32_t id)
{
    struct page *page = &cache->pages[id];
    uint32_t *link = &cache->buckets[page->chain & cache->buckets_mask];

    while (*link != id)
        link = &cache->pages[*link].bucket_next;
    *link = page->bucket_next;
    page->named = false;
}

/* ---- references ---- */

static void page_share(struct kv_cache *cache, uint32_t id)
{
    if (cache->pages[id].refs++ == 0)
        list_remove(cache, id);
}

static void page_drop(struct kv_cache *cache, uint32_t id)
{
    struct page *page = &cache->pages[id];

    assert(page->refs > 0);
    if (--page->refs)
        return;
    if (page->named)
        list_append(cache, id);
    else
        cache->free[cache->free_n++] = id;
}

static uint32_t pages_available(const struct kv_cache *cache)
{
    return cache->free_n + (cache->pages_n - cache->fresh) + cache->cached_n;
}

/* The caller has made sure that there is one. */
static uint32_t page_take(struct kv_cache *cache)
{
    uint32_t id;

    if (cache->free_n) {
        id = cache->free[--cache->free_n];
    } else if (cache->fresh < cache->pages_n) {
        id = cache->fresh++;
    } else {
        id = cache->oldest;
        list_remove(cache, id);
        name_remove(cache, id);
    }
    cache->pages[id].refs = 1;
    return id;
}

/* ---- tables ---- */

void kv_table_init(struct kv_table *table, uint32_t variant)
{
    *table = (struct kv_table){.variant = variant, .chain = variant};
}

/* The page before page i; before the first stands the variant, as a page that there is not. */
static uint32_t parent_of(const struct kv_table *table, uint32_t i)
{
    return i ? table->pages[i - 1] : NONE - table->variant;
}

static bool table_grow(struct kv_table *table, uint32_t pages_n)
{
    if (pages_n <= table->capacity)
        return true;
    uint32_t capacity = table->capacity ? table->capacity : 8;
    while (capacity < pages_n)
        capacity *= 2;
    uint32_t *pages = realloc(table->pages, capacity * sizeof *pages);
    if (!pages)
        return false;
    table->pages = pages;
    table->capacity = capacity;
    return true;
}

uint32_t kv_table_lookup(struct kv_cache *cache, struct kv_table *table, const int32_t *tokens,
                         uint32_t n)
{
    if (table->length % KV_PAGE || n == 0)
        return 0;
    uint32_t found = table->length / KV_PAGE;
    const uint32_t before = table->length, findable = (n - 1) / KV_PAGE;

    for (; found < findable; found++) {
        const int32_t *own = tokens + (size_t)found * KV_PAGE;
        const uint64_t chain = chain_next(cache, table->chain, own);
        const uint32_t id = name_find(cache, chain, parent_of(table, found), own);
        if (id == NONE || !table_grow(table, found + 1))
            break;
        page_share(cache, id);
        if (found < table->pages_n)
            page_drop(cache, table->pages[found]);      /* was reserved, not needed now */
        else
            table->pages_n++;
        table->pages[found] = id;
        table->chain = chain;
        table->length += KV_PAGE;
    }
    return table->length - before;
}

bool kv_table_reserve(struct kv_cache *cache, struct kv_table *table, uint32_t length)
{
    const uint32_t pages_n = length / KV_PAGE + (length % KV_PAGE != 0);

    if (pages_n <= table->pages_n)
        return true;
    if (pages_n - table->pages_n > pages_available(cache) || !table_grow(table, pages_n))
        return false;
    while (table->pages_n < pages_n)
        table->pages[table->pages_n++] = page_take(cache);
    return true;
}

void kv_table_commit(struct kv_cache *cache, struct kv_table *table, const int32_t *tokens,
                     uint32_t length)
{
    assert(length >= table->length && length <= (uint64_t)table->pages_n * KV_PAGE);
    for (uint32_t i = table->length / KV_PAGE; i < length / KV_PAGE; i++) {
        const int32_t *own = tokens + (size_t)i * KV_PAGE;
        const uint32_t parent = parent_of(table, i);
        table->chain = chain_next(cache, table->chain, own);
        const uint32_t twin = name_find(cache, table->chain, parent, own);
        if (twin == NONE) {
            name_add(cache, table->pages[i], table->chain, parent, own);
        } else {                /* another sequence was first: one copy is enough */
            page_share(cache, twin);
            page_drop(cache, table->pages[i]);
            table->pages[i] = twin;
        }
    }
    table->length = length;
}

void kv_table_release(struct kv_cache *cache, struct kv_table *table)
{
    while (table->pages_n)      /* last first: see the top of this file */
        page_drop(cache, table->pages[--table->pages_n]);
    free(table->pages);
    kv_table_init(table, table->variant);
}

struct kv_counts kv_cache_counts(const struct kv_cache *cache)
{
    return (struct kv_counts){
        .total = cache->pages_n,
        .used = cache->pages_n - pages_available(cache),
        .cached = cache->cached_n,
        .page_bytes = (uint64_t)cache->page_halves * sizeof *cache->data,
    };
}
