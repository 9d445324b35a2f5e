/* test_affinity.c - what is known of conversations, and what is forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "backend/affinity.h"
#include "base/random.h"

static void test_found_and_moved(void **state)
{
    struct affinity *affinity = affinity_new();

    assert_int_equal(affinity_find(affinity, 7), -1);
    affinity_put(affinity, 7, 3);
    affinity_put(affinity, 8, 0);
    assert_int_equal(affinity_find(affinity, 7), 3);
    assert_int_equal(affinity_find(affinity, 8), 0);
    affinity_put(affinity, 7, 1);
    assert_int_equal(affinity_find(affinity, 7), 1);
    affinity_free(affinity);
}

static void test_the_oldest_makes_room(void **state)
{
    struct affinity *affinity = affinity_new();
    const uint64_t step = (uint64_t)1 << 32;            /* keys of one set */

    for (int i = 1; i <= AFFINITY_WAYS; i++)
        affinity_put(affinity, step * (uint64_t)i, i);
    assert_int_equal(affinity_find(affinity, step), 1); /* asked for again: now 2 is the oldest */
    affinity_put(affinity, step * 100, 9);
    assert_int_equal(affinity_find(affinity, step * 2), -1);
    assert_int_equal(affinity_find(affinity, step), 1);
    assert_int_equal(affinity_find(affinity, step * 100), 9);
    affinity_free(affinity);
}

/* Far more conversations than it holds: those of late are there, and none is another's. */
static void test_many(void **state)
{
    struct affinity *affinity = affinity_new();
    struct rng rng;
    int found = 0;

    rng_seed(&rng, 1);
    for (int i = 0; i < 4 * AFFINITY_CONVERSATIONS; i++) {
        const uint64_t key = rng_next(&rng) | 1;
        affinity_put(affinity, key, (int)(key % 61));
    }
    rng_seed(&rng, 1);
    for (int i = 0; i < 4 * AFFINITY_CONVERSATIONS; i++) {
        const uint64_t key = rng_next(&rng) | 1;
        const int at = affinity_find(affinity, key);
        assert_true(at == -1 || at == (int)(key % 61));
        found += i >= 4 * AFFINITY_CONVERSATIONS - AFFINITY_CONVERSATIONS / 8 && at >= 0;
    }
    assert_true(found > AFFINITY_CONVERSATIONS / 8 * 9 / 10);
    affinity_free(affinity);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found_and_moved), cmocka_unit_test(test_the_oldest_makes_room),
        cmocka_unit_test(test_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
