/* kvcache.c - pages of keys and values: one mapping, a table of what each page holds, two lists.
 *
 * The hard thing is that sharing must be exact. A full page is entered in a hash table under its
 * name (kvname.h), and a find is believed only if space and variant are the same, the page's own
 * tokens are the same one by one, and the page before it is the very page already found; so by
 * induction from the start the whole beginning is the same. That the page before is still what it
 * was follows from the order of eviction: whoever holds a page holds all pages before it, and pages
 * are given back last first, so in the order of giving back a page stands after all that build upon
 * it. Pins keep to that: a mark pins all pages of a beginning, so no page is pinned longer than one
 * before it, and when pins end their pages go back to where their time of giving back puts them.
 *
 * Disk (kvdisk.h) keeps to it as well: a page to be written is copied, so that nothing but tables
 * hold named pages; and a page that is read has no name until all before it have theirs. */
#include "engine/kvcache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/clock.h"
#include "base/random.h"
#include "engine/kvdisk.h"
#include "engine/kvmarks.h"
#include "engine/kvname.h"

enum {
    KV_PAGES_MAX = 1 << 24,
    SIBLINGS_MAX = 256,                 /* compared with a prompt that went another way */
    SAVE_REST_MS = 2000,                /* at the end, for what is not on disk yet */
};

#define NONE UINT32_MAX

struct page {
    int32_t tokens[KV_PAGE];            /* this and what follows: named pages only */
    struct kv_name name;
    uint64_t space;
    uint32_t variant;
    uint32_t parent;                    /* the page before; NONE: it is the first */
    uint32_t bucket_next;               /* among those whose names hash alike */
    uint32_t sibling_next;              /* among those whose parents hash alike */
    uint64_t pinned_ns;                 /* until then; 0: not */
    bool main;                          /* some user was no side request */
    uint64_t given_back;                /* a count: the order of giving back */
    uint32_t older, newer;              /* in a list of the unreferenced */
    uint32_t refs;
    bool named;
    bool reading, good;                 /* the disk fills it; what it was filled with is right */
    bool unsaved[2];                    /* it stands in that list */
};

/* Named pages to be written, first come first served, pinned ones before others. What stands there
 * may have lost its name meanwhile, or have another. */
enum { SAVE_PINNED, SAVE_OTHERS };
struct ring {
    uint32_t *pages, first, n;          /* of pages_n places: each page at most once */
};

/* Unreferenced named pages, in the order of giving back. Those of one list are evicted only when the
 * lists before it are empty. */
enum { LIST_SIDE, LIST_MAIN, LIST_PINNED, LISTS };
struct list {
    uint32_t oldest, newest, n;
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
    uint32_t *buckets, *families, buckets_mask;
    struct list lists[LISTS];
    uint64_t pin_ends_ns;               /* the first of LIST_PINNED, or sooner */
    uint64_t given_back;
    uint64_t evicted, evicted_pinned;
    uint64_t (*now_ns)(void);
    struct kv_key key;
    struct kv_marks *marks;
    struct kv_disk *disk;               /* NULL: none */
    struct ring unsaved[2];
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
    cache->families = malloc(buckets_n * sizeof *cache->families);
    cache->marks = calloc(1, sizeof *cache->marks);
    if (!cache->pages || !cache->free || !cache->buckets || !cache->families || !cache->marks)
        return false;
    memset(cache->buckets, 0xFF, buckets_n * sizeof *cache->buckets);  /* NONE everywhere */
    memset(cache->families, 0xFF, buckets_n * sizeof *cache->families);
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
            .kv_heads = kv_heads, .pages_n = (uint32_t)pages_n,
            .pin_ends_ns = UINT64_MAX, .now_ns = clock_ns,
        };
        for (int i = 0; i < LISTS; i++)
            cache->lists[i] = (struct list){.oldest = NONE, .newest = NONE};
        random_bytes(&cache->key, sizeof cache->key);
        cache->data = mmap(NULL, cache->data_bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    }
#ifdef MADV_HUGEPAGE
    /* A restored conversation is hundreds of megabytes of first touches: half as long in large pages. */
    if (cache && cache->data != MAP_FAILED)
        madvise(cache->data, cache->data_bytes, MADV_HUGEPAGE);
#endif
    if (!cache || cache->data == MAP_FAILED || !cache_alloc_tables(cache)) {
        kv_cache_free(cache);
        err_set(err, ERR_IO, "no memory for a KV cache of %llu bytes",
                (unsigned long long)(pages_n * page_bytes));
        return NULL;
    }
    return cache;
}

static void save(struct kv_cache *cache);

/* For a while: a disk may be slow, and whoever ends us may not wait. */
static void save_rest(struct kv_cache *cache)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    const uint64_t begin = clock_ns();

    for (save(cache); cache->unsaved[SAVE_PINNED].n || cache->unsaved[SAVE_OTHERS].n; save(cache)) {
        if (clock_ns() - begin > SAVE_REST_MS * UINT64_C(1000000))
            break;
        nanosleep(&pause, NULL);
    }
}

void kv_cache_free(struct kv_cache *cache)
{
    if (!cache)
        return;
    if (cache->disk) {
        save_rest(cache);
        kv_disk_close(cache->disk, SAVE_REST_MS);
    }
    free(cache->unsaved[SAVE_PINNED].pages);
    free(cache->unsaved[SAVE_OTHERS].pages);
    if (cache->data != MAP_FAILED)
        munmap(cache->data, cache->data_bytes);
    free(cache->pages);
    free(cache->free);
    free(cache->buckets);
    free(cache->families);
    free(cache->marks);
    free(cache);
}

void kv_cache_clock(struct kv_cache *cache, uint64_t (*now_ns)(void))
{
    cache->now_ns = now_ns;
}

bool kv_cache_use_disk(struct kv_cache *cache, struct kv_disk *disk)
{
    assert(cache->fresh == 0);
    for (int i = 0; i < 2; i++) {
        cache->unsaved[i].pages = calloc(cache->pages_n, sizeof *cache->unsaved[i].pages);
        if (!cache->unsaved[i].pages)
            return false;
    }
    cache->disk = disk;
    cache->key = *kv_disk_key(disk);
    return true;
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

/* ---- the lists of unreferenced named pages ---- */

/* Before `newer`, or as the newest if that is NONE. */
static void list_insert(struct kv_cache *cache, struct list *list, uint32_t id, uint32_t newer)
{
    const uint32_t older = newer == NONE ? list->newest : cache->pages[newer].older;

    cache->pages[id].older = older;
    cache->pages[id].newer = newer;
    *(older == NONE ? &list->oldest : &cache->pages[older].newer) = id;
    *(newer == NONE ? &list->newest : &cache->pages[newer].older) = id;
    list->n++;
}

static void list_remove(struct kv_cache *cache, struct list *list, uint32_t id)
{
    const uint32_t older = cache->pages[id].older, newer = cache->pages[id].newer;

    *(older == NONE ? &list->oldest : &cache->pages[older].newer) = newer;
    *(newer == NONE ? &list->newest : &cache->pages[newer].older) = older;
    list->n--;
}

/* Which of the lists an unreferenced page is in; a pin that has ended counts until pins_end. */
static struct list *list_of(struct kv_cache *cache, uint32_t id)
{
    const struct page *page = &cache->pages[id];

    return &cache->lists[page->pinned_ns ? LIST_PINNED : page->main ? LIST_MAIN : LIST_SIDE];
}

/* Moves pages whose pins have ended to where their age belongs. All lists are in order of age, so
 * one walk through each is enough. */
static void pins_end(struct kv_cache *cache, uint64_t now_ns)
{
    uint32_t places[LISTS], next;

    if (now_ns < cache->pin_ends_ns)
        return;
    cache->pin_ends_ns = UINT64_MAX;
    for (int i = 0; i < LISTS; i++)
        places[i] = cache->lists[i].oldest;
    for (uint32_t id = places[LIST_PINNED]; id != NONE; id = next) {
        struct page *page = &cache->pages[id];
        next = page->newer;
        if (now_ns < page->pinned_ns) {
            if (page->pinned_ns < cache->pin_ends_ns)
                cache->pin_ends_ns = page->pinned_ns;
            continue;
        }
        list_remove(cache, list_of(cache, id), id);
        page->pinned_ns = 0;
        struct list *list = list_of(cache, id);
        uint32_t *place = &places[list - cache->lists];
        while (*place != NONE && cache->pages[*place].given_back < page->given_back)
            *place = cache->pages[*place].newer;
        list_insert(cache, list, id, *place);
    }
}

static void list_append(struct kv_cache *cache, uint32_t id)
{
    struct page *page = &cache->pages[id];

    page->given_back = ++cache->given_back;
    if (page->pinned_ns && page->pinned_ns < cache->pin_ends_ns)
        cache->pin_ends_ns = page->pinned_ns;
    list_insert(cache, list_of(cache, id), id, NONE);
}

/* ---- names ---- */

static bool page_is(const struct page *page, const struct kv_table *table, uint32_t parent)
{
    return page->parent == parent && page->space == table->space &&
           page->variant == table->variant;
}

/* Of the first i pages of a table, which are named. */
static struct kv_name name_after(const struct kv_cache *cache, const struct kv_table *table,
                                 uint32_t i)
{
    return i ? cache->pages[table->pages[i - 1]].name
             : kv_name_root(&cache->key, table->space, table->variant);
}

static uint32_t parent_of(const struct kv_table *table, uint32_t i)
{
    return i ? table->pages[i - 1] : NONE;
}

static uint32_t name_find(const struct kv_cache *cache, const struct kv_table *table,
                          struct kv_name name, uint32_t parent, const int32_t *tokens)
{
    for (uint32_t id = cache->buckets[name.lo & cache->buckets_mask]; id != NONE;
         id = cache->pages[id].bucket_next) {
        const struct page *page = &cache->pages[id];
        if (kv_name_same(page->name, name) && page_is(page, table, parent) &&
            memcmp(page->tokens, tokens, sizeof page->tokens) == 0)
            return id;
    }
    return NONE;
}

/* The pages that follow a page; first pages are a family for each space and variant. */
static uint32_t *family_of(const struct kv_cache *cache, uint32_t parent, uint64_t space,
                           uint32_t variant)
{
    const uint64_t number = parent == NONE ? kv_name_root(&cache->key, space, variant).lo : parent;

    return &cache->families[number & cache->buckets_mask];
}

static void name_add(struct kv_cache *cache, const struct kv_table *table, uint32_t id,
                     struct kv_name name, uint32_t parent, const int32_t *tokens)
{
    struct page *page = &cache->pages[id];
    uint32_t *bucket = &cache->buckets[name.lo & cache->buckets_mask];
    uint32_t *family = family_of(cache, parent, table->space, table->variant);

    memcpy(page->tokens, tokens, sizeof page->tokens);
    page->name = name;
    page->space = table->space;
    page->variant = table->variant;
    page->parent = parent;
    page->pinned_ns = 0;
    page->main = !table->side;
    page->named = true;
    page->bucket_next = *bucket;
    *bucket = id;
    page->sibling_next = *family;
    *family = id;
}

static void name_remove(struct kv_cache *cache, uint32_t id)
{
    struct page *page = &cache->pages[id];
    uint32_t *link = &cache->buckets[page->name.lo & cache->buckets_mask];

    while (*link != id)
        link = &cache->pages[*link].bucket_next;
    *link = page->bucket_next;
    link = family_of(cache, page->parent, page->space, page->variant);
    while (*link != id)
        link = &cache->pages[*link].sibling_next;
    *link = page->sibling_next;
    page->named = false;
}

/* ---- references ---- */

static void save_later(struct kv_cache *cache, uint32_t id, int list)
{
    struct ring *ring = &cache->unsaved[list];

    if (!cache->disk || cache->pages[id].unsaved[list])
        return;
    cache->pages[id].unsaved[list] = true;
    ring->pages[(ring->first + ring->n++) % cache->pages_n] = id;
}

static void page_share(struct kv_cache *cache, const struct kv_table *table, uint32_t id)
{
    if (cache->pages[id].refs++ == 0)
        list_remove(cache, list_of(cache, id), id);
    cache->pages[id].main |= !table->side;
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

static uint32_t cached_n(const struct kv_cache *cache)
{
    uint32_t n = 0;

    for (int i = 0; i < LISTS; i++)
        n += cache->lists[i].n;
    return n;
}

static uint32_t pages_available(const struct kv_cache *cache)
{
    return cache->free_n + (cache->pages_n - cache->fresh) + cached_n(cache);
}

/* The one that was given back first, of the first list that has any. */
static uint32_t page_evict(struct kv_cache *cache)
{
    pins_end(cache, cache->now_ns());
    struct list *list = cache->lists;
    while (list->n == 0)
        list++;
    const uint32_t id = list->oldest;
    cache->evicted++;
    cache->evicted_pinned += list == &cache->lists[LIST_PINNED];
    list_remove(cache, list, id);
    name_remove(cache, id);
    return id;
}

/* The caller has made sure that there is one. */
static uint32_t page_take(struct kv_cache *cache)
{
    uint32_t id;

    if (cache->free_n)
        id = cache->free[--cache->free_n];
    else if (cache->fresh < cache->pages_n)
        id = cache->fresh++;
    else
        id = page_evict(cache);
    cache->pages[id].refs = 1;
    return id;
}

/* ---- tables ---- */

void kv_table_init(struct kv_table *table, uint32_t variant)
{
    *table = (struct kv_table){.variant = variant};
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
    if (table->length % KV_PAGE || n == 0 || table->reading)
        return 0;
    uint32_t found = table->length / KV_PAGE;
    const uint32_t before = table->length, findable = (n - 1) / KV_PAGE;
    struct kv_name name = name_after(cache, table, found);

    for (; found < findable; found++) {
        const int32_t *own = tokens + (size_t)found * KV_PAGE;
        name = kv_name_next(&cache->key, name, own);
        const uint32_t id = name_find(cache, table, name, parent_of(table, found), own);
        if (id == NONE || !table_grow(table, found + 1))
            break;
        page_share(cache, table, id);
        if (found < table->pages_n)
            page_drop(cache, table->pages[found]);      /* was reserved, not needed now */
        else
            table->pages_n++;
        table->pages[found] = id;
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
    struct kv_name name = name_after(cache, table, table->length / KV_PAGE);
    for (uint32_t i = table->length / KV_PAGE; i < length / KV_PAGE; i++) {
        const int32_t *own = tokens + (size_t)i * KV_PAGE;
        const uint32_t parent = parent_of(table, i);
        name = kv_name_next(&cache->key, name, own);
        const uint32_t twin = name_find(cache, table, name, parent, own);
        if (twin == NONE) {
            name_add(cache, table, table->pages[i], name, parent, own);
            save_later(cache, table->pages[i], SAVE_OTHERS);
        } else {                /* another sequence was first: one copy is enough */
            page_share(cache, table, twin);
            page_drop(cache, table->pages[i]);
            table->pages[i] = twin;
        }
    }
    table->length = length;
}

/* What is used in memory is used on disk. */
static void touch_disk(struct kv_cache *cache, const struct kv_table *table)
{
    const uint32_t n = table->length / KV_PAGE;
    struct kv_name *names = cache->disk && n ? malloc(n * sizeof *names) : NULL;

    if (!names)
        return;
    for (uint32_t i = 0; i < n; i++)
        names[i] = cache->pages[table->pages[i]].name;
    kv_disk_touch(cache->disk, names, n);
    free(names);
}

/* Pages that the disk still fills are held by that, and nobody's when it has ended. */
void kv_table_release(struct kv_cache *cache, struct kv_table *table)
{
    touch_disk(cache, table);
    while (table->pages_n)      /* last first: see the top of this file */
        page_drop(cache, table->pages[--table->pages_n]);
    free(table->pages);
    *table = (struct kv_table){
        .variant = table->variant, .space = table->space, .side = table->side,
    };
}

uint32_t kv_table_diverged(const struct kv_cache *cache, const struct kv_table *table,
                           const int32_t *tokens, uint32_t n)
{
    const uint32_t found = table->length / KV_PAGE, from = found * KV_PAGE;
    const uint32_t parent = parent_of(table, found);
    const uint32_t most = n - from < KV_PAGE ? n - from : KV_PAGE;
    uint32_t same_most = 0, compared = 0;

    for (uint32_t id = *family_of(cache, parent, table->space, table->variant); id != NONE && compared < SIBLINGS_MAX;
         id = cache->pages[id].sibling_next, compared++) {
        const struct page *page = &cache->pages[id];
        uint32_t same = 0;
        while (page_is(page, table, parent) && same < most &&
               page->tokens[same] == tokens[from + same])
            same++;
        if (same > same_most)
            same_most = same;
    }
    return from + same_most;
}

/* ---- marks ---- */

static void pin(struct kv_cache *cache, const struct kv_table *table, uint32_t pages_n,
                uint64_t until_ns)
{
    for (uint32_t i = 0; i < pages_n; i++) {
        struct page *page = &cache->pages[table->pages[i]];
        if (page->pinned_ns < until_ns)
            page->pinned_ns = until_ns;
        save_later(cache, table->pages[i], SAVE_PINNED);
    }
}

void kv_table_mark(struct kv_cache *cache, const struct kv_table *table, const int32_t *tokens,
                   uint32_t length, uint32_t seconds)
{
    const uint32_t pages_n = length / KV_PAGE;

    assert(length <= table->length);
    pin(cache, table, pages_n,
        kv_marks_declare(cache->marks, name_after(cache, table, pages_n), tokens, length, seconds,
                         cache->now_ns()));
}

uint32_t kv_table_marked(struct kv_cache *cache, const struct kv_table *table,
                         const int32_t *tokens, uint32_t n)
{
    const uint64_t now_ns = cache->now_ns();
    const uint32_t found = table->length / KV_PAGE;
    uint32_t longest = 0;

    for (uint32_t i = 0; i < cache->marks->n; i++) {
        struct kv_mark *mark = &cache->marks->list[i];
        uint32_t pages_n = mark->tokens / KV_PAGE;
        if (mark->tokens > n)
            continue;
        struct kv_name name;
        if (pages_n <= found) {
            name = name_after(cache, table, pages_n);
        } else if (mark->tokens == n && n == (found + 1) * KV_PAGE) {
            /* All of the prompt: its last page was left out for its last token's sake alone. */
            name = kv_name_next(&cache->key, name_after(cache, table, found),
                                tokens + (size_t)found * KV_PAGE);
            pages_n = found;
        } else {
            continue;
        }
        if (!kv_mark_begins(mark, name, tokens, now_ns))
            continue;
        kv_mark_refresh(mark, now_ns);
        pin(cache, table, pages_n, mark->until_ns);
        if (mark->tokens > longest)
            longest = mark->tokens;
    }
    return longest;
}

/* ---- disk ---- */

static void *page_data(const struct kv_cache *cache, uint32_t id)
{
    return cache->data + id * cache->page_halves;
}

/* Gives the disk what it has room for. */
static void save(struct kv_cache *cache)
{
    for (int list = 0; list < 2; list++) {
        struct ring *ring = &cache->unsaved[list];
        for (; ring->n; ring->first = (ring->first + 1) % cache->pages_n, ring->n--) {
            struct page *page = &cache->pages[ring->pages[ring->first]];
            if (page->named) {
                struct kv_block block = {
                    .name = page->name, .space = page->space, .variant = page->variant,
                    .before = page->parent == NONE
                                  ? kv_name_root(&cache->key, page->space, page->variant)
                                  : cache->pages[page->parent].name,
                };
                memcpy(block.tokens, page->tokens, sizeof block.tokens);
                if (!kv_disk_write(cache->disk, &block, page_data(cache, ring->pages[ring->first])))
                    return;
            }
            page->unsaved[list] = false;
        }
    }
}

void kv_cache_poll(struct kv_cache *cache)
{
    uint32_t id;
    bool good;

    if (!cache->disk)
        return;
    while (kv_disk_take(cache->disk, &id, &good)) {
        cache->pages[id].reading = false;
        cache->pages[id].good = good;
        page_drop(cache, id);
    }
    save(cache);
}

uint32_t kv_table_read(struct kv_cache *cache, struct kv_table *table, const int32_t *tokens,
                       uint32_t n)
{
    uint32_t at = table->length / KV_PAGE;

    if (!cache->disk || table->length % KV_PAGE || table->reading || n == 0)
        return 0;
    struct kv_block block = {
        .name = name_after(cache, table, at), .space = table->space, .variant = table->variant,
    };
    for (; at < (n - 1) / KV_PAGE && at < table->pages_n; at++) {
        const uint32_t id = table->pages[at];
        memcpy(block.tokens, tokens + (size_t)at * KV_PAGE, sizeof block.tokens);
        block.before = block.name;
        block.name = kv_name_next(&cache->key, block.before, block.tokens);
        if (!kv_disk_has(cache->disk, block.name) ||
            !kv_disk_read(cache->disk, &block, page_data(cache, id), id))
            break;
        cache->pages[id].reading = true;
        cache->pages[id].refs++;
        table->reading++;
    }
    return table->reading * KV_PAGE;
}

bool kv_table_settle(struct kv_cache *cache, struct kv_table *table, const int32_t *tokens,
                     uint32_t *found)
{
    const uint32_t *pages = table->pages + table->length / KV_PAGE;
    uint32_t good = 0;

    *found = 0;
    for (uint32_t i = 0; i < table->reading; i++)
        if (cache->pages[pages[i]].reading)
            return false;
    while (good < table->reading && cache->pages[pages[good]].good)
        good++;
    table->reading = 0;
    kv_table_commit(cache, table, tokens, table->length + good * KV_PAGE);
    *found = good * KV_PAGE;
    return true;
}

struct kv_counts kv_cache_counts(const struct kv_cache *cache)
{
    return (struct kv_counts){
        .total = cache->pages_n,
        .used = cache->pages_n - pages_available(cache),
        .cached = cached_n(cache),
        .pinned = cache->lists[LIST_PINNED].n, .evicted = cache->evicted,
        .evicted_pinned = cache->evicted_pinned,
        .page_bytes = (uint64_t)cache->page_halves * sizeof *cache->data,
    };
}
