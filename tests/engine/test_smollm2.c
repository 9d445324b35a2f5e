/* The real model: SmolLM2-135M-Instruct in Q4_1, and as an MLX folder of the same weights
 * (tests/golden/scripts/exact_mlx.py), against float32 arithmetic on them.
 *
 * The reference is teacher-forced: after each prompt come the tokens that float32 chose, and ours
 * must choose the same ones but for near-ties. int8 activations move single logits by up to 6 on
 * this model (bench/kl.py measures the distance properly), so no single logit is held to anything
 * tight. Skipped where the model has not been fetched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/model.h"
#include "engine/tokenizer.h"
#include "support/golden.h"
#include "support/runner.h"

enum { TOKENS_MAX = 256, ROWS_MAX = 64, PROMPTS = 4 };

static const char gguf_file[] = "../models/SmolLM2-135M-Instruct.Q4_1.gguf";
static const char mlx_folder[] = "../build/golden-smollm2";

/* Counts how many of the reference's choices are ours too; adds up the top logits' differences. */
static void run_prompt(struct runner *runner, yyjson_val *entry, struct arena *arena,
                       uint32_t *same, uint32_t *all, double *difference)
{
    const size_t vocab = runner->hparams->vocab;
    uint32_t prompt_n, chosen_n, top_n;
    const int32_t *prompt = golden_ids(arena, yyjson_obj_get(entry, "ids"), &prompt_n);
    const int32_t *chosen = golden_ids(arena, yyjson_obj_get(entry, "greedy_mlx_f32"), &chosen_n);
    const int32_t *top = golden_ids(arena, yyjson_obj_get(entry, "top8_ids"), &top_n);
    int32_t ids[TOKENS_MAX];
    float *logits = calloc((size_t)TOKENS_MAX * vocab, sizeof *logits);

    assert_true(logits && prompt_n + chosen_n <= TOKENS_MAX);
    for (uint32_t i = 0; i < prompt_n + chosen_n; i++)
        ids[i] = i < prompt_n ? prompt[i] : chosen[i - prompt_n];
    assert_true(runner_logits(runner, ids, prompt_n + chosen_n, ROWS_MAX, logits));
    for (uint32_t i = 0; i < chosen_n; i++, ++*all)
        *same += golden_highest(logits + (prompt_n - 1 + i) * vocab, (uint32_t)vocab) ==
                 (uint32_t)chosen[i];

    yyjson_val *expected = yyjson_obj_get(entry, "top8_logits_f32");
    for (uint32_t i = 0; i < top_n; i++)
        *difference += fabs(logits[(prompt_n - 1) * vocab + (size_t)top[i]] -
                            yyjson_get_num(yyjson_arr_get(expected, i))) / top_n;
    free(logits);
}

/* Measured over all prompts: 290 of 301 choices from GGUF, 286 from MLX. A few of them, for this is slow
 * under sanitizers; `make bench-accuracy` measures. */
static void against_float32(const char *model)
{
    struct arena *arena = arena_new(1 << 16);
    const char *path = golden_path(arena, model);
    yyjson_val *prompts = golden_json(arena, "golden/smollm2/golden.json"), *entry;
    uint32_t same = 0, all = 0;
    double difference = 0;
    struct runner runner;
    struct err err;
    size_t i, n;

    if (access(path, R_OK) != 0) {
        print_message("skipped: %s is not there (`make run` fetches it)\n", path);
        arena_free(arena);
        skip();
    }
    if (!runner_open(&runner, path, kernels_select(NULL, &err), 2, ROWS_MAX, &err))
        fail_msg("%s", err.text);
    yyjson_arr_foreach(prompts, i, n, entry)
        if (i < PROMPTS)
            run_prompt(&runner, entry, arena, &same, &all, &difference);
    n = n < PROMPTS ? n : PROMPTS;
    print_message("%u of %u choices are float32's, top logits differ by %.3f in the mean\n", same,
                  all, difference / (double)n);
    assert_true(all > 20 * n);
    assert_true(same * 100 >= all * 90);
    assert_true(difference / (double)n < 0.5);
    runner_close(&runner);
    arena_free(arena);
}

static void test_gguf_against_float32(void **state)
{
    against_float32(gguf_file);
}

static void test_mlx_against_float32(void **state)
{
    against_float32(mlx_folder);
}

/* One text, the same tokens, whichever form the vocabulary came from. */
static void test_same_tokens(void **state)
{
    static const char *const texts[] = {
        "What is the capital of France?", "  def f(x):\n\treturn x ** 2  # 1234567\n\n\n",
        "Grüße aus Köln, 東京で会いましょう 🎉🎉", "I'll, we've; DON'T -- (ok)...\r\n", "<|im_start|>user",
    };
    struct arena *arena = arena_new(1 << 16);
    const char *paths[] = {golden_path(arena, gguf_file), golden_path(arena, mlx_folder)};
    struct model *models[2];
    struct err err;

    if (access(paths[0], R_OK) != 0) {
        arena_free(arena);
        skip();
    }
    for (size_t m = 0; m < 2; m++)
        if (!(models[m] = model_open(paths[m], &err)))
            fail_msg("%s", err.text);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct tokens tokens[2];
        for (size_t m = 0; m < 2; m++)
            assert_true(tokenizer_encode(model_vocab(models[m]), arena, str_of(texts[i]), NULL, 0,
                                         true, &tokens[m], &err));
        assert_true(tokens[0].n > 0 && tokens[0].n == tokens[1].n);
        assert_memory_equal(tokens[0].ids, tokens[1].ids, tokens[0].n * sizeof *tokens[0].ids);
    }
    for (size_t m = 0; m < 2; m++)
        model_close(models[m]);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf_against_float32),
        cmocka_unit_test(test_mlx_against_float32),
        cmocka_unit_test(test_same_tokens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
