/* The forward pass held to a float64 reference (tests/golden/scripts/refmodel.py): every kernel
 * table this CPU runs (long prompts only the fastest), every tiny model,
 * prompts cut into chunks in several ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/golden.h"
#include "support/runner.h"

/* How far from exact arithmetic a path may be, measured and given half again as much room. Float
 * weights leave only the f16 keys and values; quantised ones meet int8 activations, whose error
 * these small, random models amplify (llama.cpp's own is up to 0.6 on such files), so that the
 * distributions are compared rather than any single logit. */
struct tolerance { double most, mean, kl; };
static const struct tolerance float_weights = {2e-2, 2.2e-3, 1e-5},
                              int8_activations = {1.0, 0.11, 8e-3};

enum { ROWS_MAX = 300, TOKENS = 100 };

static bool has_part(const char *model, const char *const *parts)
{
    while (*parts && !strstr(model, *parts))
        parts++;
    return *parts;
}

static bool is_float(const char *model)
{
    static const char *const parts[] = {"/hf", "/f32.gguf", "/f16.gguf", "/bf16.gguf", "/mlx-bf16", NULL};

    return has_part(model, parts);
}

static void compare(const struct golden *golden, const float *logits, const char *what)
{
    const struct tolerance *tolerance = is_float(golden->model) ? &float_weights : &int8_activations;
    const struct distance d = golden_distance(golden, logits);

    if (getenv("PENSIEVE_VERBOSE"))
        print_message("%-28s n=%-4u %-20s most %.5f mean %.5f kl %.2e top1 %.3f\n", golden->model,
                      golden->n, what, d.most, d.mean, d.kl, d.top1);
    if (!(d.most <= tolerance->most && d.mean <= tolerance->mean && d.kl <= tolerance->kl))
        fail_msg("%s, %u tokens, %s: off by %g at most, %g in the mean, KL %g", golden->model,
                 golden->n, what, d.most, d.mean, d.kl);
}

/* Short sequences in chunks of all kinds; long ones whole, and in some that do not fit the window. */
static void run_golden(struct arena *arena, const struct golden *golden, const int32_t *ids,
                       const struct kernels *kernels)
{
    static const uint32_t chunks[] = {ROWS_MAX, 7, 1};
    const size_t chunks_n = golden->n <= 16 ? 3 : golden->n <= 100 ? 2 : 1;
    struct runner runner;
    struct err err;

    if (!runner_open(&runner, golden_path(arena, arena_printf(arena, TINY "%s", golden->model).s),
                     kernels, 2, ROWS_MAX, &err))
        fail_msg("%s", err.text);
    float *logits = calloc((size_t)golden->n * golden->vocab, sizeof *logits);
    assert_non_null(logits);
    assert_int_equal(runner.hparams->vocab, golden->vocab);
    for (size_t c = 0; c < chunks_n; c++) {
        assert_true(runner_logits(&runner, ids, golden->n, chunks[c], logits));
        compare(golden, logits, arena_printf(arena, "%s chunk %u", kernels->isa, chunks[c]).s);
    }
    free(logits);
    runner_close(&runner);
}

/* Long ones on the fastest kernels only, the longest there from one file: what length brings (windows,
 * pages, chunks) is the same code for all tables. ThreadSanitizer looks at how threads share the work,
 * which is the same for all lengths and tables: there the short ones on the fastest do. */
static bool is_wanted(const struct golden *golden, const struct kernels *kernels)
{
    const bool fastest = kernels == kernels_select(NULL, NULL);

#ifdef __SANITIZE_THREAD__
    return fastest && golden->n <= 16;
#endif
    return golden->n <= TOKENS ||
           (fastest && (golden->n <= ROWS_MAX || strstr(golden->model, "f16.gguf")));
}

static void test_goldens(void **state)
{
    struct arena *arena = arena_new(1 << 16);
    const struct goldens goldens = goldens_read(arena);
    const struct kernels *kernels;

    assert_true(goldens.n >= 100);
    for (size_t k = 0; (kernels = kernels_nth(k)); k++)
        for (size_t i = 0; i < goldens.n; i++)
            if (is_wanted(&goldens.list[i], kernels))
                run_golden(arena, &goldens.list[i], goldens.ids, kernels);
    arena_free(arena);
}

enum { SEQUENCES = 3, STEPS = 4 };

/* All of a sequence by itself in one step. */
static void run_alone(struct runner *runner, const int32_t *ids, uint32_t variant, float *logits)
{
    struct kv_table table;
    float *rows[TOKENS];

    for (uint32_t p = 0; p < TOKENS; p++)
        rows[p] = logits + (size_t)p * runner->hparams->vocab;
    kv_table_init(&table, variant);
    assert_true(runner_step(runner, &table, ids, TOKENS, rows));
    kv_table_release(runner->cache, &table);
}

/* The sequences side by side, in steps of which they have uneven shares; a third of the logits is
 * not asked for. */
static void run_together(struct runner *runner, const int32_t *const *ids, struct kv_table *tables,
                         float *const *logits)
{
    static const uint32_t shares[SEQUENCES][STEPS] = {{40, 1, 58, 1}, {1, 1, 1, 97}, {0, 70, 0, 30}};

    for (size_t step = 0; step < STEPS; step++) {
        struct batch_row rows[SEQUENCES * TOKENS];
        uint32_t rows_n = 0;
        for (size_t s = 0; s < SEQUENCES; s++) {
            const uint32_t begin = tables[s].length, end = begin + shares[s][step];
            assert_true(kv_table_reserve(runner->cache, &tables[s], end));
            for (uint32_t p = begin; p < end; p++)
                rows[rows_n++] = (struct batch_row){
                    .token = ids[s][p], .position = p, .table = &tables[s],
                    .logits = p % 3 ? logits[s] + (size_t)p * runner->hparams->vocab : NULL};
        }
        forward_step(runner->forward, rows, rows_n);
        for (size_t s = 0; s < SEQUENCES; s++)
            kv_table_commit(runner->cache, &tables[s], ids[s], tables[s].length + shares[s][step]);
    }
}

/* The second sequence is in the other variant: of longrope, its positions are turned otherwise. */
static void check_batched(struct arena *arena, const char *model, const int32_t *all,
                          const struct kernels *kernels, float tolerance)
{
    struct runner runner;
    struct err err;
    const int32_t *ids[SEQUENCES];
    float *alone[SEQUENCES], *together[SEQUENCES];
    struct kv_table tables[SEQUENCES];

    if (!runner_open(&runner, golden_path(arena, arena_printf(arena, TINY "%s", model).s), kernels,
                     2, ROWS_MAX, &err))
        fail_msg("%s", err.text);
    const uint32_t vocab = runner.hparams->vocab;
    for (uint32_t s = 0; s < SEQUENCES; s++) {
        ids[s] = all + s * TOKENS;
        alone[s] = arena_array(arena, (size_t)TOKENS * vocab, sizeof *alone[s]);
        together[s] = arena_array(arena, (size_t)TOKENS * vocab, sizeof *together[s]);
        run_alone(&runner, ids[s], s == 1, alone[s]);
        kv_table_init(&tables[s], s == 1);
    }
    run_together(&runner, ids, tables, together);
    for (size_t s = 0; s < SEQUENCES; s++) {
        for (size_t i = 0; i < (size_t)TOKENS * vocab; i++)
            if (i / vocab % 3 && !(fabsf(alone[s][i] - together[s][i]) <= tolerance))
                fail_msg("%s, %s, sequence %zu, number %zu: %g alone, %g together", model,
                         kernels->isa, s, i, (double)alone[s][i], (double)together[s][i]);
        kv_table_release(runner.cache, &tables[s]);
    }
    runner_close(&runner);
}

/* A sequence's logits may not depend on who shares its steps, or how it was cut into them: to the
 * last bit where sums are always taken in one order, as the scalar kernels do. The sequences are
 * longer than the windows. */
static void test_batched(void **state)
{
    static const char *const models[] = {
        "llama_tied/f16.gguf", "llama_tied/q4_1.gguf", "mistral/hf", "gemma3_text/f16.gguf",
        "phi3_longrope_s/f16.gguf", "qwen2/f16.gguf", "qwen3/f16.gguf", "qwen3_moe/f16.gguf",
        "qwen3_moe/mlx-4bit-g64",
    };
    struct arena *arena = arena_new(1 << 16);
    const struct goldens goldens = goldens_read(arena);
    struct err err;

    assert_true(goldens.ids_n >= TOKENS * SEQUENCES);
#ifndef __SANITIZE_THREAD__             /* as in is_wanted */
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        check_batched(arena, models[i], goldens.ids, kernels_select("scalar", &err), 0);
#endif
    check_batched(arena, "llama_tied/f16.gguf", goldens.ids, kernels_select(NULL, &err), 1e-3f);
    check_batched(arena, "qwen3_moe/f16.gguf", goldens.ids, kernels_select(NULL, &err), 1e-3f);
    arena_free(arena);
}

/* Rows whose logits nobody wants are not written to, and the others are right all the same. */
static void test_wanted(void **state)
{
    enum { FEW = 20 };
    struct arena *arena = arena_new(1 << 16);
    struct runner runner;
    struct err err;
    struct kv_table table;
    float *wanted[FEW] = {0};

    if (!runner_open(&runner, golden_path(arena, TINY "llama31_untied/f16.gguf"),
                     kernels_select(NULL, &err), 1, ROWS_MAX, &err))
        fail_msg("%s", err.text);
    const size_t vocab = runner.hparams->vocab;
    const int32_t *ids = goldens_read(arena).ids;
    float *all = arena_array(arena, FEW * vocab, sizeof *all);
    float *one = arena_array(arena, vocab, sizeof *one);
    assert_true(runner_logits(&runner, ids, FEW, FEW, all));

    kv_table_init(&table, 0);
    assert_true(runner_step(&runner, &table, ids, FEW - 1, wanted));     /* none at all */
    wanted[0] = one;
    assert_true(runner_step(&runner, &table, ids, 1, wanted));
    for (size_t i = 0; i < vocab; i++)
        assert_true(fabsf(one[i] - all[(FEW - 1) * vocab + i]) <= 1e-3f);
    kv_table_release(runner.cache, &table);
    runner_close(&runner);
    arena_free(arena);
}

static void test_rows_max(void **state)
{
    struct arena *arena = arena_new(1 << 16);
    struct runner runner;
    struct err err;
    const char *path = golden_path(arena, TINY "llama_tied/f16.gguf");

    assert_false(runner_open(&runner, path, kernels_select("scalar", &err), 1, 0, &err));
    assert_int_equal(err.code, ERR_USAGE);
    assert_false(runner_open(&runner, path, kernels_select("scalar", &err), 1, 1 << 20, &err));
    assert_int_equal(err.code, ERR_USAGE);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),
        cmocka_unit_test(test_batched),
        cmocka_unit_test(test_wanted),
        cmocka_unit_test(test_rows_max),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
