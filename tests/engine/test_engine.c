/* The engine from outside, with tiny real models: what it writes must not depend on the company, or on
 * memory found or lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/detokenizer.h"
#include "engine/kvcache.h"
#include "engine_runs.h"

enum { PROMPTS = 12, GUESSED = 4 };

static void test_info(void **state)
{
    struct engine *engine = open_with(options_of("llama_tied/f16"));
    const struct model_info *info = engine_info(engine);
    struct engine_stats stats;

    assert_true(str_is(info->architecture, "llama"));
    assert_true(str_is(info->name, "tiny random llama"));
    assert_int_equal(info->context, CONTEXT);
    assert_true(info->context_trained >= CONTEXT);
    assert_int_equal(info->kv_bytes_token, info->layers * info->kv_heads * info->head_dim * 4);
    assert_non_null(engine_cpu(engine));
    engine_stats(engine, &stats);
    assert_int_equal(stats.sequences_max, 8);
    assert_int_equal(stats.queue_max, 256);
    assert_int_equal(stats.kv_page_bytes, info->kv_bytes_token * KV_PAGE);
    assert_true(stats.kv_pages_total * stats.kv_page_bytes <= 1u << 30);
    assert_true((stats.kv_pages_total + 1) * stats.kv_page_bytes > 1u << 30);
    close_clean(engine);
}

static void test_info_of_kinds(void **state)
{
    struct engine *engine = open_with(options_of("gemma3_text/f16"));
    const struct model_info *info = engine_info(engine);

    assert_true(str_is(info->architecture, "gemma3") && str_is(info->format, "gguf"));
    assert_true(info->window == 32 && info->windowed == info->layers - 1 && info->experts == 0);
    close_clean(engine);
    engine = open_with(options_of("qwen3_moe/f16"));
    info = engine_info(engine);
    assert_true(info->window == 0 && info->windowed == 0 && info->longrope == 0);
    assert_true(info->experts == 8 && info->experts_used == 2);
    close_clean(engine);
}

/* Continues a prompt of n tokens, then `after` tokens of what came out as part of a new prompt: the
 * same engine, or a fresh one, must go on with the same text. */
static void check_longrope(enum longrope longrope, uint32_t n, uint32_t after, struct run *run)
{
    struct engine_options options = options_of("phi3_longrope_s/f16");
    struct run again = {0};
    enum { WORDS = 40 };

    options.context = PROMPT_MAX;
    options.cpu = "scalar";
    options.longrope = longrope;
    struct engine *engine = open_with(options);
    assert_int_equal(engine_info(engine)->longrope, 256);
    run_prompt(run, engine, 3, n);
    run_start(run, engine, WORDS);
    wait_for_done(run);
    assert_int_equal(run->out_n, WORDS);
    for (int fresh = 0; fresh < 2; fresh++) {
        if (fresh) {
            close_clean(engine);
            engine = open_with(options);
        }
        run_prompt(&again, engine, 3, n);
        memcpy(again.prompt + n, run->out, after * sizeof *run->out);
        again.prompt_n = n + after;
        run_start(&again, engine, WORDS - after);
        wait_for_done(&again);
        assert_int_equal(again.out_n, WORDS - after);
        assert_memory_equal(again.out, run->out + after, (WORDS - after) * sizeof *run->out);
    }
    close_clean(engine);
}

/* The text does not depend on whether a sequence grew past the original context or began there; and
 * each choice has its own positions. */
static void test_longrope(void **state)
{
    struct run grown = {0}, shorter = {0}, longer = {0};

    check_longrope(LONGROPE_AUTO, 240, 30, &grown);     /* past 256 in the middle */
    check_longrope(LONGROPE_SHORT, 240, 30, &shorter);
    check_longrope(LONGROPE_LONG, 240, 30, &longer);
    assert_memory_equal(grown.out, shorter.out, 17 * sizeof *grown.out);
    assert_memory_not_equal(grown.out, longer.out, 17 * sizeof *grown.out);
    assert_memory_not_equal(grown.out, shorter.out, 40 * sizeof *grown.out);
}

static void test_a_constraint_begun_elsewhere(void **state)
{
    struct engine *engine = open_with(options_of("llama_tied/f16"));
    struct run *run = calloc(1, sizeof *run);
    const struct grammar_part part = {.language = GRAMMAR_REGEX, .name = STR("says"),
                                      .text = STR("yes: [ab]{3}")};
    const struct grammar_source source = {.parts = &part, .parts_n = 1};
    const char *const no[] = {"no", "yes: c", "yes: aaa", "yes: aaaa"};
    struct err err;

    run->says = "yes: [ab]{3}";
    run->begun = "yes: a";
    run_prompt(run, engine, 5, 9);
    run_start(run, engine, 20);
    run_signal_wait(run);
    assert_int_equal(run->result.end, SEQUENCE_END_TOKEN);
    assert_int_equal(run->text.n, 2);
    assert_int_equal(strspn(run->text.data, "ab"), 2);
    run_finish(run);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        struct constraint *constraint = engine_constraint_new(engine, NULL, &source, NULL, &err);
        assert_false(engine_constraint_begin(engine, constraint, str_of(no[i])));
        constraint_free(constraint);
    }
    close_clean(engine);
    free(run);
}

static void test_text_of_tokens(void **state)
{
    struct engine *engine = open_with(options_of("llama_tied/f16"));
    struct tokens tokens;
    struct err err;
    const struct str text = STR("<|im_start|>user\n<|im_end|>");
    const struct plain_range plain = {17, text.n};

    assert_true(engine_tokenize(engine, arena, text, &plain, 1, false, &tokens, &err));
    struct buf all = {0}, shown = {0};
    for (size_t i = 0; i < tokens.n; i++) {
        buf_str(&all, engine_token_text(engine, tokens.ids[i], false));
        buf_str(&shown, engine_token_text(engine, tokens.ids[i], true));
    }
    assert_true(engine_token_control(engine, tokens.ids[0]));
    assert_false(engine_token_control(engine, tokens.ids[tokens.n - 1]));
    assert_false(engine_token_control(engine, -1) || engine_token_control(engine, INT32_MAX));
    assert_true(str_equal(buf_view(&shown), text));
    assert_true(str_is(buf_view(&all), "user\n<|im_end|>"));    /* the first was a control token */
    assert_int_equal(engine_token_text(engine, -1, true).n, 0);
    assert_int_equal(engine_token_text(engine, INT32_MAX, true).n, 0);
    buf_release(&all);
    buf_release(&shown);
    close_clean(engine);
}

/* With kernels whose sums do not depend on the number of columns: for integer weights the scalar
 * ones are, for floats all. */
static void company(const char *model, const char *cpu)
{
    struct engine_options options = options_of(model);
    options.cpu = cpu;
    struct engine *engine = open_with(options);
    struct run *alone = calloc(PROMPTS, sizeof *alone);
    struct run *together = calloc(PROMPTS, sizeof *together);

    for (int i = 0; i < PROMPTS; i++) {
        run_prompt(&alone[i], engine, 100 + (uint64_t)i, 1 + (uint32_t)i * 17);
        run_start(&alone[i], engine, 40);
        wait_for_done(&alone[i]);
    }
    engine_close(engine);
    engine = open_with(options);                /* nothing in memory */
    for (int i = 0; i < PROMPTS; i++) {
        run_prompt(&together[i], engine, 100 + (uint64_t)i, 1 + (uint32_t)i * 17);
        run_start(&together[i], engine, 40);
    }
    for (int i = 0; i < PROMPTS; i++) {
        wait_for_done(&together[i]);
        assert_same_text(&together[i], &alone[i]);
    }
    close_clean(engine);
    free(alone);
    free(together);
}

static void test_company_makes_no_difference(void **state)
{
    company("llama_tied/f16", NULL);
    company("llama_tied/q4_1", "scalar");
    company("llama31_untied/q8_0", "scalar");
}

/* The same text from each prompt, whether what may come is guessed or not: as likely as possible, and
 * at a temperature from the same seed; also where a grammar says what may come. */
static void guessing(const char *model, struct sampling sampling, const char *says)
{
    struct engine_options options = options_of(model);
    struct run *plain = calloc(GUESSED, sizeof *plain), *guessed = calloc(GUESSED, sizeof *guessed);
    struct engine_stats stats;
    struct err err;

    for (int on = 0; on < 2; on++) {
        struct run *runs = on ? guessed : plain;
        options.speculate = on ? SPECULATE_ALWAYS : SPECULATE_OFF;
        struct engine *engine = open_with(options);
        for (int i = 0; i < GUESSED; i++) {
            run_prompt(&runs[i], engine, 200 + (uint64_t)i, 5 + (uint32_t)i * 60);
            runs[i].says = says;
            memcpy(runs[i].prompt + runs[i].prompt_n / 2, runs[i].prompt,
                   runs[i].prompt_n / 2 * sizeof *runs[i].prompt);
            if (!run_submit(&runs[i], engine, 70, sampling, &err))
                fail_msg("%s", err.text);
        }
        for (int i = 0; i < GUESSED; i++)
            wait_for_done(&runs[i]);
        assert_all_given_back(engine);
        engine_stats(engine, &stats);
        close_clean(engine);
    }
    for (int i = 0; i < GUESSED; i++) {
        assert_same_text(&guessed[i], &plain[i]);
        assert_int_equal(plain[i].result.drafted_tokens, 0);
    }
    assert_true(stats.drafted_tokens >= stats.accepted_tokens);
    assert_true(stats.accepted_tokens > 0);
    free(plain);
    free(guessed);
}

static void test_guessing_makes_no_difference(void **state)
{
    const struct sampling greedy = {.temperature = 0, .top_p = 1};
    const struct sampling warm = {.temperature = 0.4f, .top_p = 1, .seed = 5};

    guessing("llama_tied/q4_1", warm, NULL);
    guessing("gemma2/f16", greedy, NULL);   /* windows */
    guessing("llama_tied/q4_1", warm, "[a-h ]{200}");
}

static void test_prefix_is_found(void **state)
{
    struct engine *engine = open_with(options_of("llama_tied/f16"));
    struct run first = {0}, again = {0};

    run_prompt(&first, engine, 5, 150);
    run_prompt(&again, engine, 5, 150);
    run_start(&first, engine, 50);
    wait_for_done(&first);
    run_start(&again, engine, 50);
    wait_for_done(&again);
    assert_int_equal(first.result.start.memory_tokens, 0);
    assert_int_equal(again.result.start.memory_tokens, 128);
    assert_same_text(&again, &first);
    struct engine_stats stats;
    assert_all_given_back(engine);
    engine_stats(engine, &stats);
    assert_int_equal(stats.prompt_tokens, 300);
    assert_int_equal(stats.cached_tokens, 128);
    assert_int_equal(stats.output_tokens, first.result.output_tokens + again.result.output_tokens);
    assert_true(stats.prefill_tps > 0 && stats.decode_tps > 0);
    assert_true(stats.kv_pages_cached >= 2);
    close_clean(engine);
}

/* Memory for one context only: they push each other out, and nobody can tell from the text. */
static void test_preemption_makes_no_difference(void **state)
{
    struct engine_options options = options_of("llama_tied/f16");
    struct engine *engine = open_with(options);
    struct run alone[4] = {0}, tight[4] = {0};

    options.kv_bytes_max = engine_info(engine)->kv_bytes_token * CONTEXT;
    for (int i = 0; i < 4; i++) {
        run_prompt(&alone[i], engine, 50 + (uint64_t)i, 60);
        run_start(&alone[i], engine, 150);
        wait_for_done(&alone[i]);
    }
    engine_close(engine);
    engine = open_with(options);
    for (int i = 0; i < 4; i++) {
        run_prompt(&tight[i], engine, 50 + (uint64_t)i, 60);
        run_start(&tight[i], engine, 150);
    }
    for (int i = 0; i < 4; i++) {
        wait_for_done(&tight[i]);
        assert_same_text(&tight[i], &alone[i]);
    }
    close_clean(engine);
}

static void test_sampling_is_repeatable(void **state)
{
    struct engine *engine = open_with(options_of("llama_tied/f16"));
    struct run a = {0}, b = {0}, c = {0};
    struct sampling sampling = {.temperature = 1, .top_p = 0.95f, .seed = 77};
    struct err err;

    run_prompt(&a, engine, 9, 20);
    run_prompt(&b, engine, 9, 20);
    run_prompt(&c, engine, 9, 20);
    assert_true(run_submit(&a, engine, 60, sampling, &err));
    assert_true(run_submit(&b, engine, 60, sampling, &err));
    sampling.seed++;
    assert_true(run_submit(&c, engine, 60, sampling, &err));
    wait_for_done(&a);
    wait_for_done(&b);
    wait_for_done(&c);
    assert_same_text(&a, &b);
    assert_true(a.out_n != c.out_n || memcmp(a.out, c.out, a.out_n * sizeof *a.out));
    close_clean(engine);
}

/* Random tokens are mostly broken characters: what comes is valid all the same, and is what all
 * bytes together give. */
static void test_text_comes_in_whole_characters(void **state)
{
    struct engine *engine = open_with(options_of("llama_tied/f16"));
    struct run run = {0};
    struct err err;

    for (uint64_t seed = 0; seed < 40; seed++) {
        struct detokenizer detokenizer = {0};
        struct buf whole = {0};
        run_prompt(&run, engine, seed, 5);
        const struct sampling sampling = {.temperature = 1, .top_p = 1, .seed = seed};
        assert_true(run_submit(&run, engine, 1 + (uint32_t)seed % 30, sampling, &err));
        run_signal_wait(&run);
        for (uint32_t i = 0; i < run.out_n; i++)
            detokenizer_push(&detokenizer, engine_token_text(engine, run.out[i], false), &whole);
        detokenizer_finish(&detokenizer, &whole);
        assert_true(str_equal(buf_view(&run.text), buf_view(&whole)));
        buf_release(&whole);
        run_finish(&run);
    }
    close_clean(engine);
}

static void test_refusals(void **state)
{
    struct engine *engine = open_with(options_of("llama_tied/f16"));
    const struct sampling greedy = {.temperature = 0, .top_p = 1};
    const struct sampling strange[] = {
        {.temperature = -1, .top_p = 1}, {.temperature = 0.0f / 0.0f, .top_p = 1},
        {.temperature = 1.0f / 0.0f, .top_p = 1}, {.temperature = 1, .top_p = 0.0f / 0.0f},
    };
    struct run run = {0};
    struct err err;

    run_prompt(&run, engine, 1, CONTEXT + 1);
    assert_false(run_submit(&run, engine, 1, greedy, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_string_equal(err.text, "prompt is too long: 257 tokens > 256 maximum");
    run.prompt_n = 0;
    assert_false(run_submit(&run, engine, 1, greedy, &err));
    assert_int_equal(err.code, ERR_INVALID);
    run.prompt_n = 3;
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        assert_false(run_submit(&run, engine, 1, strange[i], &err));
        assert_int_equal(err.code, ERR_INVALID);
    }
    run.prompt[1] = (int32_t)engine_info(engine)->vocab_size;
    assert_false(run_submit(&run, engine, 1, greedy, &err));
    assert_int_equal(err.code, ERR_INVALID);
    run.prompt[1] = -1;
    assert_false(run_submit(&run, engine, 1, greedy, &err));
    assert_int_equal(err.code, ERR_INVALID);
    close_clean(engine);
}

static void test_options_refused(void **state)
{
    struct err err;
    struct engine_options options = options_of("llama_tied/f16");

    options.model_path = "no/such/file.gguf";
    assert_null(engine_open(&options, &err));
    assert_int_equal(err.code, ERR_IO);
    options = options_of("llama_tied/f16");
    options.context = 1u << 30;
    assert_null(engine_open(&options, &err));
    assert_int_equal(err.code, ERR_USAGE);
    options = options_of("llama_tied/f16");
    options.cpu = "abacus";
    assert_null(engine_open(&options, &err));
    assert_int_equal(err.code, ERR_USAGE);
    options = options_of("llama_tied/f16");
    options.kv_bytes_max = 4096;
    assert_null(engine_open(&options, &err));
    assert_int_equal(err.code, ERR_USAGE);
    uint32_t *const numbers[] = {&options.threads, &options.prefill_chunk, &options.sequences_max,
                                 &options.queue_max};
    for (size_t i = 0; i < 4; i++) {
        options = options_of("llama_tied/f16");
        *numbers[i] = UINT32_MAX;
        assert_null(engine_open(&options, &err));
        assert_int_equal(err.code, ERR_USAGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_info_of_kinds),
        cmocka_unit_test(test_longrope),
        cmocka_unit_test(test_a_constraint_begun_elsewhere),
        cmocka_unit_test(test_text_of_tokens),
        cmocka_unit_test(test_company_makes_no_difference),
        cmocka_unit_test(test_guessing_makes_no_difference),
        cmocka_unit_test(test_prefix_is_found),
        cmocka_unit_test(test_preemption_makes_no_difference),
        cmocka_unit_test(test_sampling_is_repeatable),
        cmocka_unit_test(test_text_comes_in_whole_characters),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_options_refused),
    };

    arena = arena_new(4096);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_free(arena);
    return failed;
}
