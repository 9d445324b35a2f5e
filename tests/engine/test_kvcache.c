/* Pages: what is shared, what is kept, what goes first, and that everything comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/random.h"
#include "engine/kvcache.h"

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
    assert_int_equal(b.chain, a.chain);
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
    uint32_t n;
    bool alive;
};

static uint16_t digest(const int32_t *tokens, uint32_t n)
{
    uint32_t x = 17;
    for (uint32_t i = 0; i < n; i++)
        x = x * 31 + (uint32_t)tokens[i];
    return (uint16_t)(x ^ x >> 16);
}

static void life_check(struct kv_cache *cache, const struct life *life)
{
    for (uint32_t i = 0; i < life->table.length; i++)
        assert_int_equal(kv_page_k(cache, life->table.pages[i / KV_PAGE], 0, 0)[i % KV_PAGE],
                         digest(life->tokens, i + 1));
}

static void life_grow(struct kv_cache *cache, struct life *life, uint32_t length)
{
    if (!kv_table_reserve(cache, &life->table, length))
        return;
    for (uint32_t i = life->table.length; i < length; i++)
        kv_page_k(cache, life->table.pages[i / KV_PAGE], 0, 0)[i % KV_PAGE] =
            digest(life->tokens, i + 1);
    kv_table_commit(cache, &life->table, life->tokens, length);
}

static void test_random_lives(void **state)
{
    struct kv_cache *cache = cache_of(40);
    struct life *lives = calloc(LIVES, sizeof *lives);
    struct rng rng;
    uint64_t found = 0;

    rng_seed(&rng, 42);
    for (int step = 0; step < 20000; step++) {
        struct life *life = &lives[rng_next(&rng) % LIVES];
        if (!life->alive) {
            const uint32_t common = (uint32_t)(rng_next(&rng) % LIFE_MAX);
            tokens_fill(life->tokens, LIFE_MAX, rng_next(&rng) % 3);
            for (uint32_t i = common; i < LIFE_MAX; i++)
                life->tokens[i] = (int32_t)(rng_next(&rng) % 2);
            kv_table_init(&life->table, 0);
            life->n = 1 + (uint32_t)(rng_next(&rng) % LIFE_MAX);
            life->alive = true;
            found += kv_table_lookup(cache, &life->table, life->tokens, life->n);
            assert_true(life->table.length < life->n);
        } else if (life->table.length == life->n || rng_next(&rng) % 8 == 0) {
            life_check(cache, life);
            kv_table_release(cache, &life->table);
            life->alive = false;
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
        cmocka_unit_test(test_eviction_takes_the_oldest_and_ends_first),
        cmocka_unit_test(test_freed_pages_come_first),
        cmocka_unit_test(test_random_lives),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
