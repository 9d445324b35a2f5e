/* check_floats.c - the entries that know only floats. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "kernels/half.h"

static float *uniform_floats(struct check *check, size_t n, float size)
{
    float *x = check_alloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = check_uniform(check, size);
    return x;
}

static void check_rmsnorm(struct check *check, size_t n)
{
    float *x = uniform_floats(check, n, 3), *w = uniform_floats(check, n, 2);
    float *out = check_alloc(n * sizeof *out), eps = 1e-5f;
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)x[i] * x[i];
    double factor = 1 / sqrt(squares / (double)n + eps);
    check->table->rmsnorm(out, x, w, n, eps);
    for (size_t i = 0; i < n; i++) {
        double want = x[i] * factor * w[i];
        check_near(check, out[i], want, 4e-6 * fabs(want), "rmsnorm %zu of %zu", i, n);
    }
    check->table->rmsnorm(x, x, w, n, eps);
    check_true(check, memcmp(x, out, n * sizeof *x) == 0, "rmsnorm of %zu in place", n);
    free(out);
    free(w);
    free(x);
}

static void check_rope(struct check *check, size_t half, bool adjacent)
{
    float *x = uniform_floats(check, 2 * half + 1, 3),
          *was = check_alloc((2 * half + 1) * sizeof *was);
    float *angles = uniform_floats(check, half, 3), *c = check_alloc(half * sizeof *c);
    float *s = check_alloc(half * sizeof *s);
    memcpy(was, x, (2 * half + 1) * sizeof *was);
    for (size_t i = 0; i < half; i++) {
        c[i] = cosf(angles[i]);
        s[i] = sinf(angles[i]);
    }
    check->table->rope(x, c, s, 2 * half, adjacent);
    for (size_t i = 0; i < half; i++) {
        size_t a = adjacent ? 2 * i : i, b = adjacent ? 2 * i + 1 : i + half;
        double want_a = (double)was[a] * c[i] - (double)was[b] * s[i];
        double want_b = (double)was[a] * s[i] + (double)was[b] * c[i];
        check_near(check, x[a], want_a, 2e-6, "rope %zu of %zu, first", i, half);
        check_near(check, x[b], want_b, 2e-6, "rope %zu of %zu, second", i, half);
    }
    check_true(check, x[2 * half] == was[2 * half], "rope of %zu wrote past the end", half);
    free(s);
    free(c);
    free(angles);
    free(was);
    free(x);
}

static void check_silu_add(struct check *check, size_t n)
{
    float *gate = uniform_floats(check, n, check_random(check, 0, 3) ? 12 : 200);
    float *up = uniform_floats(check, n, 4), *was = check_alloc(n * sizeof *was);
    memcpy(was, gate, n * sizeof *was);
    check->table->silu_mul(gate, up, n);
    for (size_t i = 0; i < n; i++) {
        double want = was[i] / (1 + exp(-(double)was[i])) * up[i];
        check_near(check, gate[i], want, 1e-6 * fabs(want) + 1e-30, "silu_mul(%g)", was[i]);
    }
    memcpy(gate, was, n * sizeof *was);
    check->table->gelu_mul(gate, up, n);
    for (size_t i = 0; i < n; i++) {
        double x = was[i], half = (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x))) / 2;
        check_near(check, gate[i], x * half * up[i], 2e-6 * fabs(x * half * up[i]) + 2e-6,
                   "gelu_mul(%g)", x);
    }
    memcpy(gate, was, n * sizeof *was);
    check->table->add(gate, up, n);
    for (size_t i = 0; i < n; i++)
        check_true(check, gate[i] == was[i] + up[i], "add %zu of %zu", i, n);
    free(was);
    free(up);
    free(gate);
}

static void check_softcap(struct check *check, size_t n)
{
    float *x = uniform_floats(check, n, check_random(check, 0, 3) ? 60 : 3000);
    float *was = check_alloc(n * sizeof *was), cap = check_random(check, 0, 1) ? 30 : 50;
    memcpy(was, x, n * sizeof *was);
    check->table->softcap(x, n, cap);
    for (size_t i = 0; i < n; i++)
        check_near(check, x[i], cap * tanh((double)was[i] / cap), 3e-7 * cap, "softcap(%g, %g)",
                   (double)was[i], (double)cap);
    free(was);
    free(x);
}

static void check_softmax(struct check *check, size_t n)
{
    float *x = uniform_floats(check, n, check_random(check, 0, 3) ? 20 : 300);
    float *was = check_alloc(n * sizeof *was), best = -INFINITY;
    if (n > 3)
        x[check_random(check, 1, n - 1)] = -INFINITY;
    for (size_t i = 0; i < n; i++)
        best = x[i] > best ? x[i] : best;
    memcpy(was, x, n * sizeof *was);
    float got = check->table->softmax_exp(x, n);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double want = exp((double)(was[i] - best));
        check_near(check, x[i], want, 2e-7 * want + 2e-38, "softmax_exp(%g)", was[i] - best);
        sum += want;
    }
    check_near(check, got, sum, 4e-6 * sum, "softmax_exp, the sum of %zu", n);
    free(was);
    free(x);
}

static void check_from_half(struct check *check)
{
    enum { HALVES = 65536 };
    uint16_t *halves = check_alloc(HALVES * sizeof *halves),
             *back = check_alloc(HALVES * sizeof *back);
    float *floats = check_alloc(HALVES * sizeof *floats);
    for (size_t i = 0; i < HALVES; i++)
        halves[i] = (uint16_t)i;
    check->table->f16_to_f32(floats, halves, HALVES);
    check->table->f32_to_f16(back, floats, HALVES);
    for (size_t i = 0; i < HALVES; i++) {
        unsigned exponent = i >> 10 & 31;
        double fraction = (double)(i & 0x3ff) / 1024, sign = i & 0x8000 ? -1 : 1;
        if (exponent == 31 && fraction != 0) {
            check_true(check, isnan(floats[i]) && (back[i] & 0x7c00) == 0x7c00 && (back[i] & 0x3ff),
                       "half %04zx is no NaN", i);
            continue;
        }
        double want = exponent == 31 ? INFINITY
                      : exponent     ? ldexp(1 + fraction, (int)exponent - 15)
                                     : ldexp(fraction, -14);
        check_true(check, floats[i] == sign * want && back[i] == i, "half %04zx", i);
    }
    free(floats);
    free(back);
    free(halves);
}

/* The nearest half is no further away than its neighbours, and even where two are as near. */
static void check_to_half(struct check *check, size_t n)
{
    static const float edges[] = {65504, 65519.996f, 65520, 1e9f, 0x1p-25f, 0x1.000002p-25f,
                                  0x1.8p-24f, 0x1p-14f, 6.1e-5f, 2049, 2051, 1e-30f, 0};
    enum { EDGES = sizeof edges / sizeof *edges };
    float *x = check_alloc((n + EDGES) * sizeof *x);
    uint16_t *halves = check_alloc((n + EDGES) * sizeof *halves);
    for (size_t i = 0; i < n; i++)
        x[i] = ldexpf(check_uniform(check, 1), (int)check_random(check, 0, 44) - 27);
    for (size_t i = 0; i < EDGES; i++)
        x[n + i] = check_random(check, 0, 1) ? edges[i] : -edges[i];
    check->table->f32_to_f16(halves, x, n + EDGES);
    for (size_t i = 0; i < n + EDGES; i++) {
        uint16_t size = halves[i] & 0x7fff;
        double want = fabs((double)x[i]);
        /* Infinity stands where 2^16 would, for rounding. */
        double got = size == 0x7c00 ? 65536 : half_float(size);
        double up = size >= 0x7bff ? 65536 : half_float((uint16_t)(size + 1));
        double down = size == 0 ? 0 : half_float((uint16_t)(size - 1));
        double off = fabs(got - want);
        bool nearest = size == 0x7c00 ? want >= 65520
                                      : off <= up - want && (size == 0 || off <= want - down);
        bool tie = off == up - want || (size && off == want - down);
        check_true(check, size <= 0x7c00 && nearest && !(tie && size % 2 && size != 0x7c00) &&
                              (halves[i] & 0x8000) == (float_bits(x[i]) >> 16 & 0x8000),
                   "f32_to_f16(%.9g) = %04x", x[i], halves[i]);
    }
    free(halves);
    free(x);
}

void check_floats(struct check *check)
{
    size_t n = check_random(check, 1, 200);
    check_rmsnorm(check, n);
    check_rope(check, check_random(check, 1, 70), false);
    check_rope(check, check_random(check, 1, 70), true);
    check_silu_add(check, n);
    check_softcap(check, n);
    check_softmax(check, n);
    check_from_half(check);
    check_to_half(check, n);
}
