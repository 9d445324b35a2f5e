/* test_random.c - ids of the right shape, and the generator against its authors' numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"

static void test_id_shape(void **state)
{
    static const char letters[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    int seen[58] = {0};

    assert_int_equal(strlen(letters), 58);
    for (int i = 0; i < 2000; i++) {
        char id[sizeof "msg_" + 24];
        memset(id, 'X', sizeof id);
        random_id(id, sizeof id, "msg_");
        assert_int_equal(strlen(id), strlen("msg_01") + 22);
        assert_memory_equal(id, "msg_01", 6);
        for (const char *c = id + 6; *c; c++) {
            const char *letter = strchr(letters, *c);
            assert_non_null(letter);
            seen[letter - letters]++;
        }
    }
    for (int i = 0; i < 58; i++)                /* 44,000 letters: 759 of each, give or take */
        assert_in_range(seen[i], 560, 960);
}

static void test_id_never_overflows(void **state)
{
    char small[8];

    random_id(small, sizeof small, "msg_");
    assert_int_equal(strlen(small), 7);
    assert_memory_equal(small, "msg_01", 6);
}

static void test_kernel_bytes(void **state)
{
    unsigned char bytes[1000] = {0};
    int bits = 0;

    random_bytes(bytes, sizeof bytes);          /* more than getentropy gives at once */
    for (size_t i = 0; i < sizeof bytes; i++)
        bits += __builtin_popcount(bytes[i]);
    assert_in_range(bits, 3600, 4400);          /* 4,000 expected, nine deviations each way */
    assert_true(random_u64() != random_u64());
}

/* xoshiro256++ from the state 1, 2, 3, 4. */
static void test_generator(void **state)
{
    static const uint64_t expected[] = {
        41943041u, 58720359u, 3588806011781223u, 3591011842654386u, 9228616714210784205u,
        9973669472204895162u, 14011001112246962877u, 12406186145184390807u,
        15849039046786891736u, 10450023813501588000u,
    };
    struct rng rng = {{1, 2, 3, 4}};

    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_true(rng_next(&rng) == expected[i]);
}

/* splitmix64 from the seed 1234567. */
static void test_seed(void **state)
{
    struct rng rng;

    rng_seed(&rng, 1234567);
    assert_true(rng.s[0] == 6457827717110365317u && rng.s[1] == 3203168211198807973u &&
                rng.s[2] == 9817491932198370423u && rng.s[3] == 4593380528125082431u);
}

static void test_uniform(void **state)
{
    struct rng rng;
    double sum = 0;

    rng_seed(&rng, 1);
    for (int i = 0; i < 100000; i++) {
        const double x = rng_uniform(&rng);
        assert_true(x >= 0 && x < 1);
        sum += x;
    }
    assert_true(sum > 49500 && sum < 50500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_id_shape),
        cmocka_unit_test(test_id_never_overflows),
        cmocka_unit_test(test_kernel_bytes),
        cmocka_unit_test(test_generator),
        cmocka_unit_test(test_seed),
        cmocka_unit_test(test_uniform),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
