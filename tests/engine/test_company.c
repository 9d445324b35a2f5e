/* A row's bits do not depend on its company: the logits of a prompt are the same to the last bit in
 * one chunk, in small ones, token by token, beside another sequence, and on any number of threads.
 * The kernels' check says so of each kernel; this says it of the whole pass, of every kind of layer
 * there is, over more positions than attention takes in one part. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "support/golden.h"
#include "support/runner.h"

enum {
    TOKENS = 2 * ATTEND_PART + 70,
    OTHERS = 3,                 /* rows a step of the other sequence */
    WANTED = 9,                 /* logits are kept of every so many'th position */
};

struct way { uint32_t chunk; unsigned threads; bool beside; };

static const struct way whole = {TOKENS, 2, false};
static const struct way ways[] = {
    {1, 2, false}, {7, 1, true}, {64, 5, false}, {50, 3, true},
};

/* Adds rows of a table from where it ends; logits: NULL, or of the whole sequence. */
static uint32_t add_rows(struct runner *runner, struct batch_row *rows, struct kv_table *table,
                         const int32_t *ids, uint32_t n, float *logits)
{
    assert_true(kv_table_reserve(runner->cache, table, table->length + n));
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t p = table->length + i;
        const bool wanted = logits && p % WANTED == 0;
        rows[i] = (struct batch_row){
            .token = ids[p], .position = p, .table = table,
            .logits = wanted ? logits + (size_t)(p / WANTED) * runner->hparams->vocab : NULL};
    }
    return n;
}

/* The logits of the sequence by way of `way`. */
static void run(struct runner *runner, const int32_t *ids, const struct way *way, float *logits)
{
    struct batch_row rows[TOKENS + OTHERS];
    struct kv_table table, other;

    kv_table_init(&table, 0);
    kv_table_init(&other, 0);
    for (uint32_t step = 0; table.length < TOKENS; step++) {
        const uint32_t left = TOKENS - table.length, n = left < way->chunk ? left : way->chunk;
        const uint32_t others = way->beside && other.length + OTHERS <= TOKENS ? OTHERS : 0;
        uint32_t rows_n = 0;
        if (step % 2)
            rows_n += add_rows(runner, rows, &other, ids + 1, others, NULL);
        rows_n += add_rows(runner, rows + rows_n, &table, ids, n, logits);
        if (step % 2 == 0)
            rows_n += add_rows(runner, rows + rows_n, &other, ids + 1, others, NULL);
        forward_step(runner->forward, rows, rows_n);
        kv_table_commit(runner->cache, &table, ids, table.length + n);
        kv_table_commit(runner->cache, &other, ids + 1, other.length + others);
    }
    kv_table_release(runner->cache, &table);
    kv_table_release(runner->cache, &other);
}

static void run_way(struct arena *arena, const char *model, const int32_t *ids,
                    const struct way *way, float **logits, size_t *n)
{
    struct runner runner;
    struct err err;

    if (!runner_open(&runner, golden_path(arena, arena_printf(arena, TINY "%s", model).s),
                     kernels_select(NULL, &err), way->threads, TOKENS + OTHERS, &err))
        fail_msg("%s", err.text);
    *n = (size_t)((TOKENS - 1) / WANTED + 1) * runner.hparams->vocab;
    *logits = arena_array(arena, *n, sizeof **logits);
    run(&runner, ids, way, *logits);
    runner_close(&runner);
}

static void check_model(const char *model, const int32_t *ids)
{
    struct arena *arena = arena_new(1 << 16);
    float *want, *got;
    size_t n;

    run_way(arena, model, ids, &whole, &want, &n);
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        run_way(arena, model, ids, &ways[w], &got, &n);
        for (size_t i = 0; i < n; i++)
            if (memcmp(&want[i], &got[i], sizeof *want) != 0)
                fail_msg("%s, chunks of %u, %u threads%s: number %zu is %a, not %a", model,
                         ways[w].chunk, ways[w].threads, ways[w].beside ? ", in company" : "", i,
                         (double)got[i], (double)want[i]);
    }
    arena_free(arena);
}

static void test_company(void **state)
{
    static const char *const models[] = {
        "llama_tied/q4_1.gguf", "llama_k256/q4_k.gguf", "mistral/f16.gguf", "gemma2/q8_0.gguf",
        "gemma3_text/f16.gguf", "gpt_oss/mxfp4_q8_0.gguf", "qwen3_moe/mlx-4bit-g64",
        "phi3_longrope_s/q4_0.gguf", "olmo2/mlx-4bit-g64",
    };
    struct arena *arena = arena_new(1 << 16);
    const struct goldens goldens = goldens_read(arena);
    int32_t *ids = arena_array(arena, TOKENS + 1, sizeof *ids);

    assert_true(goldens.ids_n > 0);
    for (uint32_t i = 0; i <= TOKENS; i++)      /* every prompt of the tiny models, again and again */
        ids[i] = goldens.ids[(i + i / goldens.ids_n) % goldens.ids_n];
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        check_model(models[i], ids);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_company)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
