/* The forward pass held to a float64 reference (tests/golden/scripts/refmodel.py): every kernel
 * table this CPU runs, every tiny model, prompts cut into chunks in several ways. */
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
 * these small, random models amplify (llama.cpp's own is up to 0.49 on the same files). */
struct tolerance { double most, mean; };
static const struct tolerance float_weights = {1.2e-2, 2.2e-3}, int8_activations = {0.42, 0.11};

enum { ROWS_MAX = 300 };

static bool is_float(const char *model)
{
    return strstr(model, "/f32.gguf") || strstr(model, "/f16.gguf") || strstr(model, "/bf16.gguf");
}

/* Compares the eight highest logits of each golden row and the first 32 of the last. */
static void compare(yyjson_val *entry, const float *logits, uint32_t vocab, const char *what)
{
    const char *model = yyjson_get_str(yyjson_obj_get(entry, "model"));
    const struct tolerance *tolerance = is_float(model) ? &float_weights : &int8_activations;
    yyjson_val *top = yyjson_obj_get(entry, "top"), *row, *pair;
    double most = 0, sum = 0;
    size_t r, rows, i, n, compared = 0, at = 0;

    yyjson_arr_foreach(top, r, rows, row) {
        at = yyjson_get_uint(yyjson_arr_get(yyjson_obj_get(entry, "rows"), r));
        yyjson_arr_foreach(row, i, n, pair) {
            const size_t id = yyjson_get_uint(yyjson_arr_get(pair, 0));
            const double d = fabs(logits[at * vocab + id] - yyjson_get_num(yyjson_arr_get(pair, 1)));
            most = d > most || isnan(d) ? d : most;
            sum += d;
            compared++;
        }
    }
    yyjson_arr_foreach(yyjson_obj_get(entry, "first32"), i, n, pair) {
        const double d = fabs(logits[at * vocab + i] - yyjson_get_num(pair));
        most = d > most || isnan(d) ? d : most;
        sum += d;
        compared++;
    }
    if (getenv("PENSIEVE_VERBOSE"))
        print_message("%-24s n=%-3zu %-20s max %.5f mean %.5f\n", model, at + 1, what, most,
                      sum / compared);
    if (!(most <= tolerance->most) || !(sum / compared <= tolerance->mean))
        fail_msg("%s, %zu tokens, %s: off by %g at most, %g in the mean", model, at + 1, what, most,
                 sum / compared);
}

static void run_entry(struct arena *arena, yyjson_val *entry, const int32_t *ids,
                      const struct kernels *kernels)
{
    const uint32_t chunks[] = {1, 7, ROWS_MAX};
    const uint32_t n = (uint32_t)yyjson_get_uint(yyjson_obj_get(entry, "n"));
    const char *path = arena_printf(arena, "golden/tiny/%s",
                                    yyjson_get_str(yyjson_obj_get(entry, "model"))).s;
    struct runner runner;
    struct err err;

    if (!runner_open(&runner, golden_path(arena, path), kernels, 2, ROWS_MAX, &err))
        fail_msg("%s", err.text);
    const uint32_t vocab = runner.hparams->vocab;
    float *logits = calloc((size_t)n * vocab, sizeof *logits);
    assert_non_null(logits);
    for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
        assert_true(runner_logits(&runner, ids, n, chunks[c], logits));
        compare(entry, logits, vocab, arena_printf(arena, "%s chunk %u", kernels->isa, chunks[c]).s);
    }
    free(logits);
    runner_close(&runner);
}

static void test_goldens(void **state)
{
    struct arena *arena = arena_new(1 << 16);
    yyjson_val *root = golden_json(arena, "golden/tiny/goldens.json"), *entry;
    yyjson_val *entries = yyjson_obj_get(root, "entries");
    const struct kernels *kernels;
    uint32_t ids_n;
    const int32_t *ids = golden_ids(arena, yyjson_obj_get(root, "ids"), &ids_n);
    size_t i, n;

    assert_true(yyjson_arr_size(entries) >= 13);
    for (size_t k = 0; (kernels = kernels_nth(k)); k++)
        yyjson_arr_foreach(entries, i, n, entry)
            run_entry(arena, entry, ids, kernels);
    arena_free(arena);
}

/* A sequence's logits may not depend on who shares its steps. */
static void test_batched(void **state)
{
    enum { SEQUENCES = 3, TOKENS = 100 };
    static const uint32_t shares[SEQUENCES][4] = {{40, 1, 58, 1}, {1, 1, 1, 97}, {0, 70, 0, 30}};
    struct arena *arena = arena_new(1 << 16);
    struct runner runner;
    struct err err;
    const int32_t *ids[SEQUENCES];
    float *alone[SEQUENCES], *together[SEQUENCES];
    struct kv_table tables[SEQUENCES];
    uint32_t n;

    if (!runner_open(&runner, golden_path(arena, "golden/tiny/llama_tied/f16.gguf"),
                     kernels_select(NULL, &err), 2, ROWS_MAX, &err))
        fail_msg("%s", err.text);
    const size_t bytes = (size_t)TOKENS * runner.hparams->vocab * sizeof(float);
    const int32_t *all = golden_ids(arena, yyjson_obj_get(golden_json(
        arena, "golden/tiny/goldens.json"), "ids"), &n);
    assert_true(n >= TOKENS * SEQUENCES);
    for (size_t s = 0; s < SEQUENCES; s++) {
        ids[s] = all + s * TOKENS;
        alone[s] = arena_alloc(arena, bytes);
        together[s] = arena_alloc(arena, bytes);
        assert_true(runner_logits(&runner, ids[s], TOKENS, TOKENS, alone[s]));
        kv_table_init(&tables[s]);
    }

    for (size_t step = 0; step < 4; step++) {
        struct batch_row rows[SEQUENCES * TOKENS];
        uint32_t rows_n = 0;
        for (size_t s = 0; s < SEQUENCES; s++) {
            const uint32_t begin = tables[s].length, end = begin + shares[s][step];
            assert_true(kv_table_reserve(runner.cache, &tables[s], end));
            for (uint32_t p = begin; p < end; p++)
                rows[rows_n++] = (struct batch_row){
                    .token = ids[s][p], .position = p, .table = &tables[s],
                    .logits = p % 3 ? together[s] + (size_t)p * runner.hparams->vocab : NULL};
        }
        forward_step(runner.forward, rows, rows_n);
        for (size_t s = 0; s < SEQUENCES; s++)
            kv_table_commit(runner.cache, &tables[s], ids[s], tables[s].length + shares[s][step]);
    }
    for (size_t s = 0; s < SEQUENCES; s++) {
        assert_int_equal(tables[s].length, TOKENS);
        for (size_t i = 0; i < bytes / sizeof(float); i++)
            if (i / runner.hparams->vocab % 3 && !(fabsf(alone[s][i] - together[s][i]) <= 1e-3f))
                fail_msg("sequence %zu, number %zu: %g alone, %g together", s, i,
                         (double)alone[s][i], (double)together[s][i]);
        kv_table_release(runner.cache, &tables[s]);
    }
    runner_close(&runner);
    arena_free(arena);
}

/* Rows whose logits nobody wants are not written to, and the others are right all the same. */
static void test_wanted(void **state)
{
    enum { TOKENS = 20 };
    struct arena *arena = arena_new(1 << 16);
    struct runner runner;
    struct err err;
    struct kv_table table;
    float *wanted[TOKENS] = {0};
    uint32_t n;

    if (!runner_open(&runner, golden_path(arena, "golden/tiny/llama31_untied/f16.gguf"),
                     kernels_select(NULL, &err), 1, ROWS_MAX, &err))
        fail_msg("%s", err.text);
    const size_t vocab = runner.hparams->vocab;
    const int32_t *ids = golden_ids(arena, yyjson_obj_get(golden_json(
        arena, "golden/tiny/goldens.json"), "ids"), &n);
    float *all = arena_array(arena, TOKENS * vocab, sizeof *all);
    float *one = arena_array(arena, vocab, sizeof *one);
    assert_true(runner_logits(&runner, ids, TOKENS, TOKENS, all));

    kv_table_init(&table);
    assert_true(runner_step(&runner, &table, ids, TOKENS - 1, wanted));     /* none at all */
    wanted[0] = one;
    assert_true(runner_step(&runner, &table, ids, 1, wanted));
    for (size_t i = 0; i < vocab; i++)
        assert_true(fabsf(one[i] - all[(TOKENS - 1) * vocab + i]) <= 1e-3f);
    kv_table_release(runner.cache, &table);
    runner_close(&runner);
    arena_free(arena);
}

static void test_rows_max(void **state)
{
    struct arena *arena = arena_new(1 << 16);
    struct runner runner;
    struct err err;
    const char *path = golden_path(arena, "golden/tiny/llama_tied/f16.gguf");

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
