/* The sampler against a plain one: the same choice from the same point, token by token; and the
 * frequencies of what it draws against the probabilities it should draw with. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/sampler.h"

static float *logits_random(size_t n, uint64_t seed, float spread)
{
    float *logits = malloc(n * sizeof *logits);
    struct rng rng;

    rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++) {            /* nearly normal: a sum of uniform ones */
        double x = 0;
        for (int j = 0; j < 4; j++)
            x += rng_uniform(&rng) - 0.5;
        logits[i] = (float)(x * spread);
    }
    return logits;
}

/* ---- the plain one: doubles, a full sort, and the rules read aloud ---- */

static const float *plain_logits;

static int plain_order(const void *pa, const void *pb)
{
    const int32_t a = *(const int32_t *)pa, b = *(const int32_t *)pb;

    if (plain_logits[a] != plain_logits[b])
        return plain_logits[a] > plain_logits[b] ? -1 : 1;
    return a < b ? -1 : 1;
}

static void plain_probabilities(double *p, const float *logits, size_t n, struct sampling s)
{
    int32_t *order = malloc(n * sizeof *order);
    size_t alive = 0;
    double total = 0, mass = 0, best = -INFINITY;

    for (size_t i = 0; i < n; i++) {
        p[i] = 0;
        if (!isnan(logits[i]) && logits[i] > -INFINITY) {
            order[alive++] = (int32_t)i;
            best = fmax(best, logits[i]);
        }
    }
    plain_logits = logits;
    qsort(order, alive, sizeof *order, plain_order);
    if (s.top_k && s.top_k < alive)
        alive = s.top_k;
    for (size_t i = 0; i < alive; i++)
        total += exp((logits[order[i]] - best) / s.temperature);
    size_t kept = 0;
    while (kept < alive && (kept == 0 || s.top_p >= 1 || mass < s.top_p * total))
        mass += exp((logits[order[kept++]] - best) / s.temperature);
    for (size_t i = 0; i < kept; i++)
        p[order[i]] = exp((logits[order[i]] - best) / s.temperature) / mass;
    free(order);
}

static int32_t plain_draw(const double *p, size_t n, double uniform)
{
    for (size_t i = 0; i < n; i++) {
        uniform -= p[i];
        if (uniform < 0)
            return (int32_t)i;
    }
    return -1;
}

static void compare(size_t n, uint64_t seed, float spread, struct sampling settings)
{
    float *logits = logits_random(n, seed, spread);
    double *p = malloc(n * sizeof *p);
    void *scratch = malloc(sampler_scratch_bytes(n));
    struct sampler sampler;
    struct rng rng;
    int others = 0;

    settings.seed = seed;
    sampler_init(&sampler, settings);
    rng_seed(&rng, seed);
    plain_probabilities(p, logits, n, settings);
    for (int i = 0; i < 400; i++) {
        const int32_t chosen = sampler_next(&sampler, logits, n, scratch);
        assert_in_range(chosen, 0, n - 1);
        assert_true(p[chosen] > 0);
        others += chosen != plain_draw(p, n, rng_uniform(&rng));
    }
    /* The point falls within rounding of a border once in many thousand draws. */
    assert_true(others <= 1);
    free(scratch);
    free(p);
    free(logits);
}

static void test_equals_the_plain_one(void **state)
{
    static const struct { float temperature, top_p; uint32_t top_k; } settings[] = {
        {1, 1, 0}, {0.7f, 1, 0}, {2, 1, 0}, {1, 0.9f, 0}, {1, 0.1f, 0}, {0.5f, 0.99f, 0},
        {1, 1, 40}, {1, 1, 2}, {0.8f, 0.95f, 50}, {1.5f, 0.5f, 1000}, {0.05f, 0.9f, 0}, {1, 0, 0},
    };
    static const size_t sizes[] = {1, 2, 15, 16, 17, 511, 513, 5000};
    static const float spreads[] = {1, 6, 40};

    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++)
            for (size_t k = 0; k < sizeof spreads / sizeof *spreads; k++)
                compare(sizes[j], 1 + i * 100 + j * 10 + k, spreads[k], (struct sampling){
                    .temperature = settings[i].temperature, .top_p = settings[i].top_p,
                    .top_k = settings[i].top_k});
}

/* Chi-square with 99 degrees of freedom: 160 is passed by chance once in ten thousand. */
static void test_frequencies(void **state)
{
    enum { N = 100, DRAWS = 200000 };
    float *logits = logits_random(N, 5, 2);
    void *scratch = malloc(sampler_scratch_bytes(N));
    double p[N], chi = 0;
    int seen[N] = {0};
    struct sampler sampler;

    for (uint64_t seed = 1; seed <= 3; seed++) {
        const struct sampling settings = {.temperature = 1, .top_p = 1, .seed = seed};
        sampler_init(&sampler, settings);
        plain_probabilities(p, logits, N, settings);
        memset(seen, 0, sizeof seen);
        chi = 0;
        for (int i = 0; i < DRAWS; i++)
            seen[sampler_next(&sampler, logits, N, scratch)]++;
        for (int i = 0; i < N; i++)
            chi += (seen[i] - p[i] * DRAWS) * (seen[i] - p[i] * DRAWS) / (p[i] * DRAWS);
        assert_true(chi < 160);
        assert_true(chi > 50);
    }
    free(scratch);
    free(logits);
}

static void test_same_seed_same_tokens(void **state)
{
    enum { N = 3000, DRAWS = 64 };
    float *logits = logits_random(N, 9, 4);
    void *scratch = malloc(sampler_scratch_bytes(N));
    struct sampling settings = {.temperature = 1, .top_p = 0.9f, .top_k = 500, .seed = 7};
    struct sampler a, b, c;
    int differences = 0;

    sampler_init(&a, settings);
    sampler_init(&b, settings);
    settings.seed = 8;
    sampler_init(&c, settings);
    for (int i = 0; i < DRAWS; i++) {
        const int32_t x = sampler_next(&a, logits, N, scratch);
        assert_int_equal(x, sampler_next(&b, logits, N, scratch));
        differences += x != sampler_next(&c, logits, N, scratch);
    }
    assert_true(differences > DRAWS / 2);
    free(scratch);
    free(logits);
}

static int32_t choose(const float *logits, size_t n, struct sampling settings)
{
    char *scratch = malloc(sampler_scratch_bytes(n));
    struct sampler sampler;

    sampler_init(&sampler, settings);
    const int32_t chosen = sampler_next(&sampler, logits, n, scratch);
    free(scratch);
    return chosen;
}

static void test_greedy_and_ties(void **state)
{
    const struct sampling greedy = {.temperature = 0, .top_p = 1};
    float logits[100];

    for (size_t n = 1; n <= 100; n++)
        for (size_t best = 0; best < n; best++) {
            for (size_t i = 0; i < n; i++)
                logits[i] = i == best || i == n - 1 ? 3.0f : -(float)i;
            assert_int_equal(choose(logits, n, greedy), best);
        }
    /* A cut among equals keeps the lower ids. */
    for (size_t i = 0; i < 100; i++)
        logits[i] = 1;
    for (uint64_t seed = 0; seed < 200; seed++) {
        assert_in_range(choose(logits, 100, (struct sampling){1, 1, 3, seed}), 0, 2);
        assert_in_range(choose(logits, 100, (struct sampling){1, 0.045f, 0, seed}), 0, 4);
        assert_int_equal(choose(logits, 100, (struct sampling){1, 1, 1, seed}), 0);
        assert_int_equal(choose(logits, 100, (struct sampling){1, 0, 0, seed}), 0);
    }
}

static void test_strange_logits(void **state)
{
    const struct sampling settings[] = {
        {0, 1, 0, 1}, {1, 1, 0, 1}, {1, 0.5f, 0, 1}, {1, 1, 2, 1}, {1, 0.9f, 3, 1},
        {1e-40f, 1, 0, 1}, {1e-6f, 0.9f, 2, 1},
    };
    float logits[40];

    for (size_t s = 0; s < sizeof settings / sizeof *settings; s++)
        for (size_t n = 1; n <= 40; n++) {
            for (size_t i = 0; i < n; i++)
                logits[i] = i % 2 ? NAN : -INFINITY;
            assert_int_equal(choose(logits, n, settings[s]), -1);
            logits[n / 2] = -1e30f;
            assert_int_equal(choose(logits, n, settings[s]), n / 2);
            logits[n / 2] = 3e38f;
            logits[0] = -3e38f;
            assert_int_equal(choose(logits, n, settings[s]), n / 2);
            logits[n - 1] = INFINITY;
            assert_int_equal(choose(logits, n, settings[s]), n - 1);
        }
    assert_int_equal(choose(logits, 0, settings[0]), -1);
    assert_int_equal(choose(logits, 0, settings[4]), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_the_plain_one),
        cmocka_unit_test(test_frequencies),
        cmocka_unit_test(test_same_seed_same_tokens),
        cmocka_unit_test(test_greedy_and_ties),
        cmocka_unit_test(test_strange_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
