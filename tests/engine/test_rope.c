/* Frequencies and magnitudes of each kind of scaling, against the definitions written out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "engine/rope.h"

enum { ROTARY = 64, HALF = ROTARY / 2 };

static const double PI = 3.14159265358979323846;

static void near(double got, double want)
{
    if (!(fabs(got - want) <= 1e-6 * fabs(want)))
        fail_msg("%.9g, not %.9g", got, want);
}

static double plain(double base, int i)
{
    return 1 / pow(base, 2.0 * i / ROTARY);
}

static struct rope_table table_of(const struct rope *rope, uint32_t context,
                                  enum rope_variant variant)
{
    static double frequencies[HALF];
    struct rope_table table = {.frequencies = frequencies};

    rope_table_fill(&table, rope, ROTARY, context, variant);
    return table;
}

static void test_plain_linear_and_given(void **state)
{
    float given[HALF];
    struct rope rope = {.base = 10000};

    for (int i = 0; i < HALF; i++)
        given[i] = 1 + (float)i / 8;
    struct rope_table table = table_of(&rope, 4096, ROPE_SHORT);
    assert_true(table.magnitude == 1);
    for (int i = 0; i < HALF; i++)
        near(table.frequencies[i], plain(10000, i));
    rope.factors = given;
    table = table_of(&rope, 4096, ROPE_SHORT);
    for (int i = 0; i < HALF; i++)
        near(table.frequencies[i], plain(10000, i) / (double)given[i]);
    rope = (struct rope){.base = 1e6f, .scaling = ROPE_LINEAR, .factor = 8};
    table = table_of(&rope, 4096, ROPE_LONG);
    assert_true(table.magnitude == 1);
    for (int i = 0; i < HALF; i++)
        near(table.frequencies[i], plain(1e6, i) / 8);
}

/* By wave lengths, as Llama 3.1's code has it. */
static void test_llama3(void **state)
{
    const struct rope rope = {.base = 500000, .scaling = ROPE_LLAMA3, .factor = 8, .low = 1,
                              .high = 4, .original_context = 8192};
    const struct rope_table table = table_of(&rope, 131072, ROPE_SHORT);
    int kept = 0, stretched = 0, mixed = 0;

    for (int i = 0; i < HALF; i++) {
        const double f = plain(500000, i), wave = 2 * PI / f;
        if (wave < 8192.0 / 4) {
            near(table.frequencies[i], f);
            kept++;
        } else if (wave > 8192.0 / 1) {
            near(table.frequencies[i], f / 8);
            stretched++;
        } else {
            const double smooth = (8192 / wave - 1) / (4 - 1);
            near(table.frequencies[i], (1 - smooth) * f / 8 + smooth * f);
            mixed++;
        }
    }
    assert_true(kept && stretched && mixed);
}

static void test_longrope(void **state)
{
    float few[HALF], many[HALF];
    struct rope rope = {.base = 10000, .scaling = ROPE_LONGROPE, .original_context = 4096,
                        .short_factors = few, .long_factors = many};

    for (int i = 0; i < HALF; i++) {
        few[i] = 1 + (float)i / 64;
        many[i] = 1 + (float)i;
    }
    struct rope_table table = table_of(&rope, 131072, ROPE_SHORT);
    near((double)table.magnitude, 1.1902380714238083);          /* Phi-3's own */
    for (int i = 0; i < HALF; i++)
        near(table.frequencies[i], plain(10000, i) / (double)few[i]);
    table = table_of(&rope, 131072, ROPE_LONG);
    for (int i = 0; i < HALF; i++)
        near(table.frequencies[i], plain(10000, i) / (double)many[i]);
    assert_true(table_of(&rope, 4096, ROPE_LONG).magnitude == 1);
    rope.magnitude = 1.5f;
    assert_true(table_of(&rope, 131072, ROPE_LONG).magnitude == 1.5f);
}

/* The pair whose wave fits the original context `turns` times, by search. */
static double pair_of(double base, double context, double turns)
{
    double low = -1000, high = 1000;

    while (high - low > 1e-10) {
        const double middle = (low + high) / 2;
        *(context * pow(base, -2 * middle / ROTARY) / (2 * PI) > turns ? &low : &high) = middle;
    }
    return low;
}

static void check_yarn(bool exact)
{
    const struct rope rope = {.base = 150000, .scaling = ROPE_YARN, .factor = 32, .low = 1,
                              .high = 32, .original_context = 4096, .ramp_exact = exact};
    const struct rope_table table = table_of(&rope, 131072, ROPE_SHORT);
    double from = pair_of(150000, 4096, 32), to = pair_of(150000, 4096, 1);
    int mixed = 0;

    if (!exact) {
        from = floor(from);
        to = ceil(to);
    }
    near((double)table.magnitude, 0.1 * log(32) + 1);
    for (int i = 0; i < HALF; i++) {
        const double f = plain(150000, i), share = (i - from) / (to - from);
        near(table.frequencies[i], share <= 0   ? f
                                   : share >= 1 ? f / 32
                                                : f / 32 * share + f * (1 - share));
        mixed += share > 0 && share < 1;
    }
    assert_true(mixed > 3);
}

static void test_yarn(void **state)
{
    check_yarn(false);
    check_yarn(true);
}

static void test_angles(void **state)
{
    const struct rope rope = {.base = 10000, .magnitude = 1.25f};
    const struct rope_table table = table_of(&rope, 4096, ROPE_SHORT);
    float c[HALF], s[HALF];

    rope_angles(&table, ROTARY, 100000, c, s);
    for (int i = 0; i < HALF; i++) {
        near((double)c[i] * (double)c[i] + (double)s[i] * (double)s[i], 1.25 * 1.25);
        assert_true(fabs(atan2((double)s[i], (double)c[i]) -
                         remainder(100000 * plain(10000, i), 2 * PI)) < 1e-6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_linear_and_given),
        cmocka_unit_test(test_llama3),
        cmocka_unit_test(test_longrope),
        cmocka_unit_test(test_yarn),
        cmocka_unit_test(test_angles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
