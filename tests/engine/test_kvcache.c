/* Pages: what is shared, what is kept, what goes first, and that everything comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/random.h"
#include "engine/kvcache.h"
#include "engine/kvmarks.h"

enum { LAYERS = 2, HEADS = 3, DIM = 16, PAGE_BYTES = LAYERS * HEADS * DIM * KV_PAGE * 2 * 2 };

static struct kv_cache *cache_of(uint32_t pages)
{
    struct err err;
    struct kv_cache *cache = kv_cache_new(LAYERS, HEADS, DIM, (uint64_t)pages * PAGE_BYTES, &err);
    assert_non_null(cache);
    assert_int_equal(kv_cache_counts(cache).total, pages);
    assert_int_equal(kv_cache_counts(cache).page_bytes, PAGE_BYTES);
    return cache;
}

static void tokens_fill(int32_t *tokens, size_t n, uint64_t seed)
{
    struct rng rng;
    rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++)
        tokens[i] = (int32_t)(rng_next(&rng) % 1000);
}

/* A sequence's life up to `n` computed positions; returns what was found. */
static uint32_t run(struct kv_cache *cache, struct kv_table *table, const int32_t *tokens,
                    uint32_t n)
{
    kv_table_init(table, 0);
    const uint32_t found = kv_table_lookup(cache, table, tokens, n);
    assert_true(kv_table_reserve(cache, table, n));
    kv_table_commit(cache, table, tokens, n);
    return found;
}

static void test_layout(void **state)
{
    struct kv_cache *cache = cache_of(4);
    const size_t half = (size_t)KV_PAGE * DIM;

    /* Every (page, layer, head, k or v) has its own place, and all of them fill the pages. */
    for (uint32_t page = 0; page < 4; page++)
        for (uint32_t layer = 0; layer < LAYERS; layer++)
            for (uint32_t head = 0; head < HEADS; head++) {
                const uint16_t mark = (uint16_t)((page * LAYERS + layer) * HEADS + head);
                for (size_t i = 0; i < half; i++) {
                    kv_page_k(cache, page, layer, head)[i] = mark;
                    kv_page_v(cache, page, layer, head)[i] = (uint16_t)(mark + 1000);
                }
                assert_int_equal((uintptr_t)kv_page_k(cache, page, layer, head) % 64, 0);
            }
    for (uint32_t page = 0; page < 4; page++)
        for (uint32_t layer = 0; layer < LAYERS; layer++)
            for (uint32_t head = 0; head < HEADS; head++) {
                const uint16_t mark = (uint16_t)((page * LAYERS + layer) * HEADS + head);
                for (size_t i = 0; i < half; i++) {
                    assert_int_equal(kv_page_k(cache, page, layer, head)[i], mark);
                    assert_int_equal(kv_page_v(cache, page, layer, head)[i], mark + 1000);
                }
            }
    kv_cache_free(cache);
}

static void test_sharing(void **state)
{
    struct kv_cache *cache = cache_of(16);
    int32_t tokens[4 * KV_PAGE];
    struct kv_table a, b;

    tokens_fill(tokens, 4 * KV_PAGE, 1);
    assert_int_equal(run(cache, &a, tokens, 3 * KV_PAGE + 5), 0);
    assert_int_equal(run(cache, &b, tokens, 3 * KV_PAGE + 5), 3 * KV_PAGE);
    for (int i = 0; i < 3; i++)
        assert_int_equal(a.pages[i], b.pages[i]);
    assert_int_not_equal(a.pages[3], b.pages[3]);
    assert_int_equal(kv_cache_counts(cache).used, 5);

    kv_table_release(cache, &a);
    assert_int_equal(kv_cache_counts(cache).used, 4);
    assert_int_equal(kv_cache_counts(cache).cached, 0);
    kv_table_release(cache, &b);
    assert_int_equal(kv_cache_counts(cache).used, 0);
    assert_int_equal(kv_cache_counts(cache).cached, 3);

    /* At least one token is always left to compute. */
    assert_int_equal(run(cache, &a, tokens, 3 * KV_PAGE), 2 * KV_PAGE);
    kv_table_release(cache, &a);
    assert_int_equal(run(cache, &a, tokens, 1), 0);
    kv_table_release(cache, &a);
    assert_int_equal(kv_cache_counts(cache).used, 0);
    kv_cache_free(cache);
}

/* The same tokens in a page mean nothing if those before it differ. */
static void test_same_page_other_beginning(void **state)
{
    struct kv_cache *cache = cache_of(16);
    int32_t one[3 * KV_PAGE], two[3 * KV_PAGE];
    struct kv_table a, b;

    tokens_fill(one, 3 * KV_PAGE, 1);
    tokens_fill(two, 3 * KV_PAGE, 1);
    two[7]++;
    run(cache, &a, one, 3 * KV_PAGE);
    assert_int_equal(run(cache, &b, two, 3 * KV_PAGE), 0);
    for (int i = 0; i < 3; i++)
        assert_int_not_equal(a.pages[i], b.pages[i]);
    kv_table_release(cache, &a);
    kv_table_release(cache, &b);
    /* And a page that repeats its own tokens is another page at each place. */
    for (int i = 0; i < 3 * KV_PAGE; i++)
        one[i] = 5;
    run(cache, &a, one, 3 * KV_PAGE);
    assert_int_not_equal(a.pages[0], a.pages[1]);
    assert_int_not_equal(a.pages[1], a.pages[2]);
    kv_table_release(cache, &a);
    kv_cache_free(cache);
}

/* Two that computed the same page at the same time end with one copy; a later lookup of a sequence
 * under way takes what the other has finished. */
static void test_twins_and_late_lookup(void **state)
{
    struct kv_cache *cache = cache_of(16);
    int32_t tokens[4 * KV_PAGE];
    struct kv_table a, b;

    tokens_fill(tokens, 4 * KV_PAGE, 3);
    kv_table_init(&a, 0);
    kv_table_init(&b, 0);
    assert_true(kv_table_reserve(cache, &a, 4 * KV_PAGE));
    assert_true(kv_table_reserve(cache, &b, 4 * KV_PAGE));
    kv_table_commit(cache, &a, tokens, KV_PAGE);
    kv_table_commit(cache, &b, tokens, KV_PAGE);
    assert_int_equal(a.pages[0], b.pages[0]);
    assert_int_equal(kv_cache_counts(cache).used, 7);

    kv_table_commit(cache, &a, tokens, 3 * KV_PAGE + 10);
    assert_int_equal(kv_table_lookup(cache, &b, tokens, 4 * KV_PAGE), 2 * KV_PAGE);
    assert_int_equal(b.length, 3 * KV_PAGE);
    assert_int_equal(b.pages_n, 4);
    for (int i = 0; i < 3; i++)
        assert_int_equal(a.pages[i], b.pages[i]);
    assert_int_equal(kv_cache_counts(cache).used, 5);
    kv_table_commit(cache, &b, tokens, 3 * KV_PAGE + 1);
    assert_int_equal(kv_table_lookup(cache, &b, tokens, 4 * KV_PAGE), 0);   /* inside a page */
    kv_table_release(cache, &a);
    kv_table_release(cache, &b);
    assert_int_equal(kv_cache_counts(cache).used, 0);
    assert_int_equal(kv_cache_counts(cache).cached, 3);
    kv_cache_free(cache);
}

/* The same tokens have other keys in another variant: nothing is shared, from the first page on. */
static void test_variants_share_nothing(void **state)
{
    struct kv_cache *cache = cache_of(16);
    int32_t tokens[2 * KV_PAGE + 1];
    struct kv_table a, b;

    tokens_fill(tokens, 2 * KV_PAGE + 1, 5);
    run(cache, &a, tokens, 2 * KV_PAGE);
    kv_table_init(&b, 1);
    assert_int_equal(kv_table_lookup(cache, &b, tokens, 2 * KV_PAGE + 1), 0);
    assert_true(kv_table_reserve(cache, &b, 2 * KV_PAGE));
    kv_table_commit(cache, &b, tokens, 2 * KV_PAGE);
    assert_int_not_equal(a.pages[0], b.pages[0]);
    assert_int_not_equal(a.pages[1], b.pages[1]);
    const uint32_t page = b.pages[1];
    kv_table_release(cache, &a);
    kv_table_release(cache, &b);
    assert_int_equal(b.variant, 1);
    assert_int_equal(kv_table_lookup(cache, &b, tokens, 2 * KV_PAGE + 1), 2 * KV_PAGE);
    assert_int_equal(b.pages[1], page);
    kv_table_release(cache, &b);
    kv_cache_free(cache);
}

/* One space never finds another's pages, whatever their tokens, nor compares itself with them. */
static void test_spaces_share_nothing(void **state)
{
    struct kv_cache *cache = cache_of(16);
    int32_t tokens[2 * KV_PAGE + 1];
    struct kv_table tables[3];

    tokens_fill(tokens, 2 * KV_PAGE + 1, 5);
    for (uint64_t space = 0; space < 3; space++) {
        struct kv_table *table = &tables[space];
        kv_table_init(table, 0);
        table->space = space;
        assert_int_equal(kv_table_lookup(cache, table, tokens, 2 * KV_PAGE + 1), 0);
        assert_int_equal(kv_table_diverged(cache, table, tokens, 2 * KV_PAGE + 1), 0);
        assert_true(kv_table_reserve(cache, table, 2 * KV_PAGE + 1));
        kv_table_commit(cache, table, tokens, 2 * KV_PAGE + 1);
        kv_table_mark(cache, table, tokens, KV_PAGE + (uint32_t)space, 300);
    }
    for (uint64_t space = 0; space < 3; space++) {
        kv_table_release(cache, &tables[space]);
        assert_int_equal(tables[space].space, space);
        assert_int_equal(kv_table_lookup(cache, &tables[space], tokens, 2 * KV_PAGE + 1),
                         2 * KV_PAGE);
        assert_int_equal(kv_table_marked(cache, &tables[space], tokens, 2 * KV_PAGE + 1),
                         KV_PAGE + space);
        kv_table_release(cache, &tables[space]);
    }
    kv_cache_free(cache);
}

/* Where a prompt leaves what is known: by the nearest of several, within a page, at its end. */
static void test_diverged(void **state)
{
    struct kv_cache *cache = cache_of(16);
    int32_t tokens[3 * KV_PAGE], other[3 * KV_PAGE];
    struct kv_table table;

    tokens_fill(tokens, 3 * KV_PAGE, 5);
    for (int i = 0; i < 3 * KV_PAGE; i++)
        other[i] = tokens[i];
    run(cache, &table, tokens, 3 * KV_PAGE);
    kv_table_release(cache, &table);
    other[KV_PAGE + 3]++;
    run(cache, &table, other, 3 * KV_PAGE);
    kv_table_release(cache, &table);

    static const struct { uint32_t n, differs, at; } cases[] = {
        {3 * KV_PAGE, KV_PAGE + 20, KV_PAGE + 20},
        {3 * KV_PAGE, KV_PAGE + 2, KV_PAGE + 2},
        {3 * KV_PAGE, 0, 0},
        {3 * KV_PAGE, KV_PAGE, KV_PAGE},
        {3 * KV_PAGE, 2 * KV_PAGE - 1, 2 * KV_PAGE - 1},
        {KV_PAGE + 20, UINT32_MAX, KV_PAGE + 20},       /* is all known: differs nowhere */
        {2 * KV_PAGE, UINT32_MAX, 2 * KV_PAGE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int j = 0; j < 3 * KV_PAGE; j++)
            other[j] = tokens[j] + (j == (int)cases[i].differs);
        kv_table_init(&table, 0);
        kv_table_lookup(cache, &table, other, cases[i].n);
        assert_int_equal(kv_table_diverged(cache, &table, other, cases[i].n), cases[i].at);
        kv_table_release(cache, &table);
    }
    kv_cache_free(cache);
}

static uint64_t test_now;
static uint64_t test_clock(void) { return test_now; }
static const uint64_t SECOND = 1000000000;

/* A mark fits where its tokens do, to the token; lives from its last use; falls with its pages. */
static void test_marks(void **state)
{
    struct kv_cache *cache = cache_of(16);
    int32_t tokens[4 * KV_PAGE], other[4 * KV_PAGE];
    struct kv_table table;

    test_now = 7 * SECOND;
    kv_cache_clock(cache, test_clock);
    tokens_fill(tokens, 4 * KV_PAGE, 1);
    run(cache, &table, tokens, 3 * KV_PAGE + 10);
    assert_int_equal(kv_table_marked(cache, &table, tokens, 3 * KV_PAGE + 10), 0);
    kv_table_mark(cache, &table, tokens, 5, 3600);
    kv_table_mark(cache, &table, tokens, KV_PAGE + 7, 300);
    kv_table_mark(cache, &table, tokens, 3 * KV_PAGE, 300);
    kv_table_release(cache, &table);

    const struct { uint32_t n, differs, marked; } cases[] = {
        {4 * KV_PAGE, 4 * KV_PAGE - 1, 3 * KV_PAGE},
        {3 * KV_PAGE + 1, UINT32_MAX, 3 * KV_PAGE},
        {3 * KV_PAGE, UINT32_MAX, 3 * KV_PAGE},     /* all but the last token's page is found */
        {3 * KV_PAGE, 3 * KV_PAGE - 1, KV_PAGE + 7},
        {4 * KV_PAGE, KV_PAGE + 7, KV_PAGE + 7},
        {4 * KV_PAGE, KV_PAGE + 6, 5},
        {KV_PAGE + 7, UINT32_MAX, KV_PAGE + 7},
        {KV_PAGE + 6, UINT32_MAX, 5},
        {4 * KV_PAGE, 5, 5},
        {4 * KV_PAGE, 4, 0},
        {4, UINT32_MAX, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int j = 0; j < 4 * KV_PAGE; j++)
            other[j] = tokens[j] + (j == (int)cases[i].differs);
        kv_table_init(&table, 0);
        kv_table_lookup(cache, &table, other, cases[i].n);
        assert_int_equal(kv_table_marked(cache, &table, other, cases[i].n), cases[i].marked);
        kv_table_release(cache, &table);
    }
    static const struct { uint32_t wait; uint32_t marked; } waits[] = {
        {299, 3 * KV_PAGE}, {299, 3 * KV_PAGE}, {300, 5}, {3599, 5}, {3600, 0},
    };
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        test_now += waits[i].wait * SECOND;
        kv_table_lookup(cache, &table, tokens, 4 * KV_PAGE);
        assert_int_equal(kv_table_marked(cache, &table, tokens, 4 * KV_PAGE), waits[i].marked);
        kv_table_release(cache, &table);
    }
    kv_cache_free(cache);
}

/* A table full of marks gives up the one that ends first, and only that. */
static void test_marks_are_bounded(void **state)
{
    struct kv_marks *marks = calloc(1, sizeof *marks);
    const struct kv_name name = {.lo = 1, .hi = 2};
    int32_t tokens[KV_MARKS_MAX + 2] = {0};

    for (uint32_t i = 1; i <= KV_MARKS_MAX + 1; i++) {
        for (int twice = 0; twice < 2; twice++)
            kv_marks_declare(marks, name, tokens, i, i == 77 ? 300 : 3600, i);
        assert_int_equal(marks->n, i <= KV_MARKS_MAX ? i : KV_MARKS_MAX);
    }
    bool there[KV_MARKS_MAX + 2] = {false};
    for (uint32_t i = 0; i < marks->n; i++)
        there[marks->list[i].tokens] = kv_mark_begins(&marks->list[i], name, tokens, 5000);
    for (uint32_t i = 1; i <= KV_MARKS_MAX + 1; i++)
        assert_int_equal(there[i], i != 77);
    kv_marks_declare(marks, name, tokens, 77, 300, 4000 * SECOND);      /* all have ended */
    assert_int_equal(marks->n, KV_MARKS_MAX);
    free(marks);
}

/* Fills the whole cache with other sequences and says how many pages of the tokens are left. */
static uint32_t left_after_flood(struct kv_cache *cache, const int32_t *tokens, uint32_t n,
                                 uint32_t flood_pages, bool side)
{
    struct kv_table table;
    int32_t other[KV_PAGE];
    static uint64_t seed = 1000;

    for (uint32_t i = 0; i < flood_pages; i++) {
        tokens_fill(other, KV_PAGE, ++seed);
        kv_table_init(&table, 0);
        table.side = side;
        assert_true(kv_table_reserve(cache, &table, KV_PAGE));
        kv_table_commit(cache, &table, other, KV_PAGE);
        kv_table_release(cache, &table);
    }
    kv_table_init(&table, 0);
    table.side = true;                  /* looking changes nothing but the age */
    const uint32_t found = kv_table_lookup(cache, &table, tokens, n + 1) / KV_PAGE;
    kv_table_release(cache, &table);
    return found;
}

static void test_pins(void **state)
{
    struct kv_cache *cache = cache_of(8);
    int32_t tokens[6 * KV_PAGE + 1];
    struct kv_table table;

    test_now = 7 * SECOND;
    kv_cache_clock(cache, test_clock);
    tokens_fill(tokens, 6 * KV_PAGE + 1, 1);
    run(cache, &table, tokens, 6 * KV_PAGE);
    kv_table_mark(cache, &table, tokens, 4 * KV_PAGE + 9, 300);
    kv_table_mark(cache, &table, tokens, 2 * KV_PAGE, 3600);
    kv_table_release(cache, &table);
    assert_int_equal(kv_cache_counts(cache).pinned, 4);

    assert_int_equal(left_after_flood(cache, tokens, 6 * KV_PAGE, 20, false), 4);
    assert_int_equal(kv_cache_counts(cache).evicted_pinned, 0);
    test_now += 300 * SECOND;
    assert_int_equal(left_after_flood(cache, tokens, 6 * KV_PAGE, 20, false), 2);
    assert_int_equal(kv_cache_counts(cache).pinned, 2);
    assert_int_equal(kv_cache_counts(cache).evicted_pinned, 0);

    /* Nothing else is left: then a pinned one goes, the end before the beginning. */
    kv_table_init(&table, 0);
    assert_true(kv_table_reserve(cache, &table, 7 * KV_PAGE));
    assert_int_equal(kv_cache_counts(cache).evicted_pinned, 1);
    assert_int_equal(left_after_flood(cache, tokens, 6 * KV_PAGE, 0, false), 1);
    kv_table_release(cache, &table);
    test_now += 3600 * SECOND;
    assert_int_equal(left_after_flood(cache, tokens, 6 * KV_PAGE, 20, false), 0);
    assert_int_equal(kv_cache_counts(cache).evicted_pinned, 1);
    kv_cache_free(cache);
}

/* When a pin ends its page is as old as it is: it goes before what was used after it. */
static void test_ended_pin_has_its_age(void **state)
{
    struct kv_cache *cache = cache_of(8);
    int32_t tokens[3][2 * KV_PAGE + 1];
    struct kv_table table;

    test_now = 7 * SECOND;
    kv_cache_clock(cache, test_clock);
    for (uint64_t i = 0; i < 3; i++) {
        tokens_fill(tokens[i], 2 * KV_PAGE + 1, i);
        run(cache, &table, tokens[i], 2 * KV_PAGE);
        if (i == 1)
            kv_table_mark(cache, &table, tokens[i], 2 * KV_PAGE, 300);
        kv_table_release(cache, &table);
    }
    test_now += 300 * SECOND;
    left_after_flood(cache, tokens[0], 2 * KV_PAGE, 6, false);  /* two were free, four had to go */
    assert_int_equal(left_after_flood(cache, tokens[0], 2 * KV_PAGE, 0, false), 0);
    assert_int_equal(left_after_flood(cache, tokens[1], 2 * KV_PAGE, 0, false), 0);
    assert_int_equal(left_after_flood(cache, tokens[2], 2 * KV_PAGE, 0, false), 2);
    kv_cache_free(cache);
}

/* Side requests evict each other, and what they share with a main one is the main one's. */
static void test_side_requests_evict_no_main_page(void **state)
{
    struct kv_cache *cache = cache_of(8);
    int32_t tokens[4 * KV_PAGE + 1];
    struct kv_table table;

    tokens_fill(tokens, 4 * KV_PAGE + 1, 1);
    kv_table_init(&table, 0);
    table.side = true;                  /* a side request may even be the first with them */
    assert_true(kv_table_reserve(cache, &table, 4 * KV_PAGE));
    kv_table_commit(cache, &table, tokens, 4 * KV_PAGE);
    kv_table_release(cache, &table);
    assert_int_equal(run(cache, &table, tokens, 3 * KV_PAGE + 1), 3 * KV_PAGE);
    kv_table_release(cache, &table);
    assert_int_equal(left_after_flood(cache, tokens, 4 * KV_PAGE, 40, true), 3);
    assert_int_equal(left_after_flood(cache, tokens, 4 * KV_PAGE, 8, false), 0);
    kv_cache_free(cache);
}

static void test_eviction_takes_the_oldest_and_ends_first(void **state)
{
    struct kv_cache *cache = cache_of(4);
    int32_t old[2 * KV_PAGE], recent[2 * KV_PAGE], other[2 * KV_PAGE];
    struct kv_table table, held;

    tokens_fill(old, 2 * KV_PAGE, 1);
    tokens_fill(recent, 2 * KV_PAGE, 2);
    tokens_fill(other, 2 * KV_PAGE, 3);
    run(cache, &table, old, 2 * KV_PAGE);
    kv_table_release(cache, &table);
    run(cache, &table, recent, 2 * KV_PAGE);
    kv_table_release(cache, &table);
    assert_int_equal(kv_cache_counts(cache).cached, 4);

    run(cache, &held, other, KV_PAGE);         /* takes the last page of the oldest */
    kv_table_init(&table, 0);
    assert_int_equal(kv_table_lookup(cache, &table, old, 2 * KV_PAGE), KV_PAGE);
    kv_table_release(cache, &table);
    int32_t longer[2 * KV_PAGE + 1];
    for (int i = 0; i < 2 * KV_PAGE; i++)
        longer[i] = old[i];
    longer[2 * KV_PAGE] = 0;
    assert_int_equal(kv_table_lookup(cache, &table, longer, 2 * KV_PAGE + 1), KV_PAGE);
    kv_table_release(cache, &table);
    for (int i = 0; i < 2 * KV_PAGE; i++)
        longer[i] = recent[i];
    assert_int_equal(kv_table_lookup(cache, &table, longer, 2 * KV_PAGE + 1), 2 * KV_PAGE);

    /* What is referenced is never taken, and a refusal changes nothing. */
    struct kv_table more;
    kv_table_init(&more, 0);
    assert_false(kv_table_reserve(cache, &more, 2 * KV_PAGE));
    assert_int_equal(more.pages_n, 0);
    assert_int_equal(kv_cache_counts(cache).used, 3);
    assert_int_equal(kv_cache_counts(cache).cached, 1);
    assert_true(kv_table_reserve(cache, &more, KV_PAGE));
    assert_int_equal(kv_cache_counts(cache).cached, 0);
    kv_table_release(cache, &more);
    kv_table_release(cache, &table);
    kv_table_release(cache, &held);
    assert_int_equal(kv_cache_counts(cache).used, 0);
    kv_cache_free(cache);
}

static void test_freed_pages_come_first(void **state)
{
    struct kv_cache *cache = cache_of(1000);
    int32_t tokens[KV_PAGE];
    struct kv_table table;

    tokens_fill(tokens, KV_PAGE, 1);
    for (int i = 0; i < 500; i++) {             /* never full, so nothing to keep */
        run(cache, &table, tokens, KV_PAGE - 1);
        assert_int_equal(table.pages[0], 0);
        kv_table_release(cache, &table);
    }
    kv_cache_free(cache);
}

/* Many sequences over a few beginnings in little memory. Each page carries a digest of the whole
 * sequence up to its end, so that a wrongly shared or too early reused page shows. */
enum { LIVES = 24, LIFE_MAX = 6 * KV_PAGE };

struct life {
    struct kv_table table;
    int32_t tokens[LIFE_MAX];
    uint32_t n, space;
    bool alive;
};

static uint16_t digest(const struct life *life, uint32_t n)
{
    uint32_t x = 17 + life->space;
    for (uint32_t i = 0; i < n; i++)
        x = x * 31 + (uint32_t)life->tokens[i];
    return (uint16_t)(x ^ x >> 16);
}

static void life_check(struct kv_cache *cache, const struct life *life)
{
    for (uint32_t i = 0; i < life->table.length; i++)
        assert_int_equal(kv_page_k(cache, life->table.pages[i / KV_PAGE], 0, 0)[i % KV_PAGE],
                         digest(life, i + 1));
}

static void life_grow(struct kv_cache *cache, struct life *life, uint32_t length)
{
    if (!kv_table_reserve(cache, &life->table, length))
        return;
    for (uint32_t i = life->table.length; i < length; i++)
        kv_page_k(cache, life->table.pages[i / KV_PAGE], 0, 0)[i % KV_PAGE] =
            digest(life, i + 1);
    kv_table_commit(cache, &life->table, life->tokens, length);
}

static void test_random_lives(void **state)
{
    struct kv_cache *cache = cache_of(40);
    struct life *lives = calloc(LIVES, sizeof *lives);
    struct rng rng;
    uint64_t found = 0;

    kv_cache_clock(cache, test_clock);

    rng_seed(&rng, 42);
    for (int step = 0; step < 20000; step++) {
        struct life *life = &lives[rng_next(&rng) % LIVES];
        if (!life->alive) {
            const uint32_t common = (uint32_t)(rng_next(&rng) % LIFE_MAX);
            life->space = rng_next(&rng) % 4 == 0;
            tokens_fill(life->tokens, LIFE_MAX, rng_next(&rng) % 3);
            for (uint32_t i = common; i < LIFE_MAX; i++)
                life->tokens[i] = (int32_t)(rng_next(&rng) % 2);
            kv_table_init(&life->table, 0);
            life->table.space = life->space;
            life->table.side = rng_next(&rng) % 2;
            life->n = 1 + (uint32_t)(rng_next(&rng) % LIFE_MAX);
            life->alive = true;
            found += kv_table_lookup(cache, &life->table, life->tokens, life->n);
            assert_true(life->table.length < life->n);
            assert_true(kv_table_marked(cache, &life->table, life->tokens, life->n) <=
                        life->table.length + KV_PAGE);
            assert_in_range(kv_table_diverged(cache, &life->table, life->tokens, life->n),
                            life->table.length, life->n);
        } else if (life->table.length == life->n || rng_next(&rng) % 8 == 0) {
            life_check(cache, life);
            if (life->table.length && rng_next(&rng) % 4 == 0)
                kv_table_mark(cache, &life->table, life->tokens,
                              1 + (uint32_t)(rng_next(&rng) % life->table.length), 300);
            kv_table_release(cache, &life->table);
            life->alive = false;
            test_now += SECOND;
        } else {
            if (rng_next(&rng) % 2)
                found += kv_table_lookup(cache, &life->table, life->tokens, life->n);
            const uint32_t left = life->n - life->table.length;
            life_grow(cache, life, life->table.length + 1 + (uint32_t)(rng_next(&rng) % left));
        }
        const struct kv_counts counts = kv_cache_counts(cache);
        assert_true(counts.used + counts.cached <= counts.total);
    }
    assert_true(found > 1000 * KV_PAGE);
    assert_true(kv_cache_counts(cache).evicted > 1000);
    for (int i = 0; i < LIVES; i++)
        if (lives[i].alive) {
            life_check(cache, &lives[i]);
            kv_table_release(cache, &lives[i].table);
        }
    assert_int_equal(kv_cache_counts(cache).used, 0);
    free(lives);
    kv_cache_free(cache);
}

static void test_refusals(void **state)
{
    struct err err;

    assert_null(kv_cache_new(LAYERS, HEADS, DIM, PAGE_BYTES - 1, &err));
    assert_int_equal(err.code, ERR_USAGE);
    assert_null(kv_cache_new(0, HEADS, DIM, 1 << 20, &err));
    assert_int_equal(err.code, ERR_FORMAT);
    assert_null(kv_cache_new(UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT64_MAX, &err));
    assert_int_equal(err.code, ERR_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_sharing),
        cmocka_unit_test(test_same_page_other_beginning),
        cmocka_unit_test(test_twins_and_late_lookup),
        cmocka_unit_test(test_variants_share_nothing),
        cmocka_unit_test(test_spaces_share_nothing),
        cmocka_unit_test(test_diverged),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_marks_are_bounded),
        cmocka_unit_test(test_pins),
        cmocka_unit_test(test_ended_pin_has_its_age),
        cmocka_unit_test(test_side_requests_evict_no_main_page),
        cmocka_unit_test(test_eviction_takes_the_oldest_and_ends_first),
        cmocka_unit_test(test_freed_pages_come_first),
        cmocka_unit_test(test_random_lives),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
