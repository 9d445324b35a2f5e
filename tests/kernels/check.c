/* check.c - every entry of every table this CPU can run, against the scalar one, over random shapes
 * and tails; and the scalar one against the formulas in double precision.
 *
 * check [--seed N] [--isa NAME] [--rounds N] [--bench | --peak]. A failure names the seed that
 * repeats it. --peak looks at the fastest table only, unless told which. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "kernels/isa.h"

enum { PRINT_MAX = 10, ROUNDS = 20 };

size_t check_random(struct check *check, size_t low, size_t high)
{
    return low + (size_t)(rng_next(&check->rng) % (high - low + 1));
}

float check_uniform(struct check *check, float size)
{
    return ((float)(rng_next(&check->rng) >> 40) * 0x1p-23f - 1) * size;
}

__attribute__((format(printf, 2, 0))) static void check_failed(struct check *check,
                                                               const char *what, va_list args)
{
    if (check->failed++ >= PRINT_MAX)
        return;
    printf("FAIL %s: ", check->table->isa);
    vprintf(what, args);
}

void check_near(struct check *check, double got, double want, double tolerance, const char *what,
                ...)
{
    check->compared++;
    if (fabs(got - want) <= tolerance)
        return;
    va_list args;
    va_start(args, what);
    check_failed(check, what, args);
    va_end(args);
    if (check->failed <= PRINT_MAX)
        printf(": %.9g, should be %.9g +- %.3g\n", got, want, tolerance);
}

void check_true(struct check *check, bool ok, const char *what, ...)
{
    check->compared++;
    if (ok)
        return;
    va_list args;
    va_start(args, what);
    check_failed(check, what, args);
    va_end(args);
    if (check->failed <= PRINT_MAX)
        printf("\n");
}

void *check_alloc(size_t bytes)
{
    bytes = (bytes + 63) / 64 * 64;
    void *storage = aligned_alloc(64, bytes ? bytes : 64);
    if (!storage)
        abort();
    return memset(storage, 0xff, bytes);
}

/* Returns whether all went well. */
static bool check_table(const struct kernels *table, uint64_t seed, unsigned rounds)
{
    struct check check = {.scalar = kernels_nth(0), .table = table};
    rng_seed(&check.rng, seed);
    for (unsigned i = 0; i < rounds; i++) {
        check_formats(&check);
        check_matmul(&check);
        check_attend(&check);
        check_floats(&check);
    }
    printf("%s: %u compared, %u failed (seed %llu)\n", table->isa, check.compared, check.failed,
           (unsigned long long)seed);
    return check.failed == 0;
}

#ifdef CHECK_EMULATED
/* A file compiled over an emulation of its instructions, for CPUs that lack them; over AVX2's. */
extern const struct kernels kernels_emulated;

static const struct kernels *nth_table(size_t i)
{
    static struct kernels table;
    if (i > 0)
        return NULL;
    table = *kernels_nth(1);
    kernels_overlay(&table, &kernels_emulated);
    return &table;
}
#else
static const struct kernels *nth_table(size_t i)
{
    return kernels_nth(i);
}
#endif

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    unsigned rounds = ROUNDS;
    const char *isa = NULL;
    bool bench = false, peak = false, ok = true, any = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0) {
            bench = true;
        } else if (strcmp(argv[i], "--peak") == 0) {
            peak = true;
        } else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0) {
            seed = strtoull(argv[++i], NULL, 10);
        } else if (i + 1 < argc && strcmp(argv[i], "--rounds") == 0) {
            rounds = (unsigned)strtoul(argv[++i], NULL, 10);
        } else if (i + 1 < argc && strcmp(argv[i], "--isa") == 0) {
            isa = argv[++i];
        } else {
            fprintf(stderr, "usage: %s [--seed N] [--isa NAME] [--rounds N] [--bench | --peak]\n",
                    argv[0]);
            return 2;
        }
    }
    const struct kernels *table;
    for (size_t i = 0; (table = nth_table(i)); i++) {
        if (isa && strcmp(isa, table->isa) != 0)
            continue;
        if (peak && !isa && nth_table(i + 1))
            continue;
        any = true;
        if (peak)
            ok &= peak_run(table);
        else if (bench)
            bench_run(table, kernels_nth(0));
        else
            ok &= check_table(table, seed, rounds);
    }
    if (!any)
        fprintf(stderr, "this machine can't run %s\n", isa ? isa : "any table");
    return ok && any ? 0 : 1;
}
