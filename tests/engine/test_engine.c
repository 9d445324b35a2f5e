/* The engine from outside, with tiny real models: what it writes must not depend on the company,
 * on memory found or lost, or on pauses; and every sequence ends once, whatever happens to it. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/queue.h"
#include "base/random.h"
#include "base/utf8.h"
#include "engine/detokenizer.h"
#include "engine/kvcache.h"
#include "pensieve/engine.h"
#include "support/golden.h"

enum { CONTEXT = 256, PROMPT_MAX = 400, OUT_MAX = CONTEXT, PROMPTS = 12, GUESSED = 4 };

static struct arena *arena;

static struct engine_options options_of(const char *model)
{
    char name[96];

    snprintf(name, sizeof name, TINY "%s.gguf", model);
    return (struct engine_options){
        .model_path = golden_path(arena, name), .threads = 2, .context = CONTEXT,
        .prefill_chunk = 32, .sequences_max = 8,
    };
}

static struct engine *open_with(struct engine_options options)
{
    struct err err = {0};
    struct engine *engine = engine_open(&options, &err);

    if (!engine)
        fail_msg("%s", err.text);
    return engine;
}

/* ---- one sequence, watched ---- */

struct run {
    struct sequence *sequence;
    struct queue *signals;              /* an item at done, and at token signal_at */
    struct queue *gate;                 /* the engine is held at the first token until it has one */
    int32_t prompt[PROMPT_MAX];
    uint32_t prompt_n;
    int32_t out[OUT_MAX];
    _Atomic uint32_t out_n;
    uint32_t signal_at, stop_at;
    const char *says;                   /* a regex that the text must match; NULL: anything */
    const char *begun;                  /* what of that is said already; NULL: nothing */
    struct buf text;                    /* what came with the tokens, and the tail */
    _Atomic int dones;
    struct sequence_result result;
};

static bool on_token(void *context, struct sequence *sequence, int32_t id, struct str text)
{
    struct run *run = context;

    run->out[run->out_n++] = id;
    buf_str(&run->text, text);
    if (run->out_n == run->signal_at)
        queue_put(run->signals, run);
    if (run->gate && run->out_n == 1)
        queue_wait(run->gate, 60000);
    return run->out_n != run->stop_at;
}

static void on_done(void *context, const struct sequence_result *result)
{
    struct run *run = context;

    run->result = *result;
    buf_str(&run->text, result->tail);
    run->dones++;
    queue_put(run->signals, run);
}

static void run_prompt(struct run *run, const struct engine *engine, uint64_t seed, uint32_t n)
{
    struct rng rng;

    rng_seed(&rng, seed);
    run->prompt_n = n;
    for (uint32_t i = 0; i < n; i++)
        run->prompt[i] = (int32_t)(3 + rng_next(&rng) % (engine_info(engine)->vocab_size - 3));
}

static bool run_submit(struct run *run, struct engine *engine, uint32_t max_tokens,
                       struct sampling sampling, struct err *err)
{
    struct sequence_params params = {
        .tokens = run->prompt, .tokens_n = run->prompt_n, .max_tokens = max_tokens,
        .sampling = sampling, .context = run, .on_token = on_token, .on_done = on_done,
    };

    if (run->says) {
        const struct grammar_part part = {.language = GRAMMAR_REGEX, .name = STR("says"),
                                          .text = str_of(run->says)};
        const struct grammar_source source = {.parts = &part, .parts_n = 1};
        params.constraint = engine_constraint_new(engine, NULL, &source, NULL, err);
        if (!params.constraint)
            return false;
        if (run->begun)
            assert_true(engine_constraint_begin(engine, params.constraint, str_of(run->begun)));
    }
    run->signals = queue_new(4, NULL, NULL);
    run->text = (struct buf){0};
    run->out_n = 0;
    run->dones = 0;
    run->sequence = engine_submit(engine, &params, err);
    if (!run->sequence) {
        queue_free(run->signals);
        constraint_free(params.constraint);
    }
    return run->sequence != NULL;
}

static void run_start(struct run *run, struct engine *engine, uint32_t max_tokens)
{
    struct err err;
    const struct sampling greedy = {.temperature = 0, .top_p = 1};

    if (!run_submit(run, engine, max_tokens, greedy, &err))
        fail_msg("%s", err.text);
}

static void run_signal_wait(struct run *run)
{
    assert_non_null(queue_wait(run->signals, 60000));
}

/* sequence_free first: it waits until on_done, which still uses the queue, is through. */
static void run_finish(struct run *run)
{
    while (queue_wait(run->signals, run->dones ? 0 : 60000)) {
    }
    sequence_free(run->sequence);
    assert_int_equal(run->dones, 1);
    assert_true(utf8_valid(buf_view(&run->text)));
    buf_release(&run->text);
    assert_int_equal(run->result.start.prompt_tokens, run->prompt_n);
    queue_free(run->signals);
}

static void wait_for_done(struct run *run)
{
    run_signal_wait(run);
    run_finish(run);
}

/* Numbers are published after the step in which the last one ended. */
static void assert_all_given_back(const struct engine *engine)
{
    struct engine_stats stats;

    for (int i = 0; i < 2000; i++) {
        engine_stats(engine, &stats);
        if (stats.kv_pages_used == 0 && stats.running == 0 && stats.queued == 0)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    fail_msg("%u queued, %u running, %llu pages used", stats.queued, stats.running,
             (unsigned long long)stats.kv_pages_used);
}

static void close_clean(struct engine *engine)
{
    assert_all_given_back(engine);
    engine_close(engine);
}

static void assert_same_text(const struct run *a, const struct run *b)
{
    assert_int_equal(a->result.end, b->result.end);
    assert_int_equal(a->out_n, b->out_n);
    assert_memory_equal(a->out, b->out, a->out_n * sizeof *a->out);
}

/* ---- tests ---- */

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

static void test_ends(void **state)
{
    struct engine *engine = open_with(options_of("llama_tied/f16"));
    struct run run = {0};

    run_prompt(&run, engine, 2, 70);
    run_start(&run, engine, 0);
    wait_for_done(&run);
    assert_int_equal(run.result.end, SEQUENCE_MAX_TOKENS);
    assert_int_equal(run.out_n, 0);
    run_start(&run, engine, 3);
    wait_for_done(&run);
    assert_int_equal(run.result.end, SEQUENCE_MAX_TOKENS);
    assert_int_equal(run.out_n, 3);
    assert_int_equal(run.result.start.memory_tokens, KV_PAGE);        /* the prefill left them */
    run.stop_at = 2;
    run_start(&run, engine, 50);
    wait_for_done(&run);
    assert_int_equal(run.result.end, SEQUENCE_STOPPED);
    assert_int_equal(run.out_n, 2);
    run.stop_at = 0;

    for (uint32_t room = 0; room < 3; room++) {
        run_prompt(&run, engine, 3, CONTEXT - room);
        run_start(&run, engine, UINT32_MAX);
        wait_for_done(&run);
        assert_int_equal(run.result.end, SEQUENCE_CONTEXT_FULL);
        assert_int_equal(run.out_n, room);
    }
    run_start(&run, engine, 2);
    wait_for_done(&run);
    assert_int_equal(run.result.end, SEQUENCE_MAX_TOKENS);
    close_clean(engine);
}

/* From another thread after each token, and at any moment before the first. */
static void test_cancel_at_every_step(void **state)
{
    struct engine *engine = open_with(options_of("llama_tied/f16"));
    struct run run = {0}, other = {0}, reference = {0};

    run_prompt(&reference, engine, 31, 100);
    run_start(&reference, engine, 60);
    wait_for_done(&reference);
    for (uint32_t k = 0; k <= 60; k++) {
        run_prompt(&run, engine, 1000 + k, 150);
        run_prompt(&other, engine, 31, 100);
        run.signal_at = k;
        run_start(&other, engine, 60);
        run_start(&run, engine, 60);
        if (k)
            run_signal_wait(&run);
        sequence_cancel(run.sequence);
        run_finish(&run);
        if (run.result.end == SEQUENCE_CANCELLED)
            assert_in_range(run.out_n, k, 59);
        wait_for_done(&other);
        assert_same_text(&other, &reference);
    }
    for (long us = 0; us < 3000; us += 50) {    /* queued, prefilling, decoding */
        run_prompt(&run, engine, 9000 + (uint64_t)us, 200);
        run.signal_at = 0;
        run_start(&run, engine, 56);
        nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
        sequence_cancel(run.sequence);
        wait_for_done(&run);
    }
    close_clean(engine);
}

static void test_pause(void **state)
{
    struct engine *engine = open_with(options_of("llama_tied/f16"));
    struct run reference = {0}, run = {0};

    run_prompt(&reference, engine, 40, 50);
    run_prompt(&run, engine, 40, 50);
    run_start(&reference, engine, 150);
    wait_for_done(&reference);
    assert_true(reference.out_n > 20);
    run.signal_at = 3;
    run_start(&run, engine, 150);
    run_signal_wait(&run);
    sequence_pause(run.sequence);
    uint32_t paused_at;
    do {                                        /* the step under way ends */
        paused_at = run.out_n;
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    } while (run.out_n != paused_at);
    assert_true(paused_at < reference.out_n);
    sequence_resume(run.sequence);
    run_finish(&run);
    assert_same_text(&run, &reference);

    run.signal_at = 3;                          /* a paused one can be cancelled */
    run_start(&run, engine, 150);
    run_signal_wait(&run);
    sequence_pause(run.sequence);
    sequence_cancel(run.sequence);
    run_finish(&run);
    close_clean(engine);
}

static void test_queue_full(void **state)
{
    struct engine_options options = options_of("llama_tied/f16");
    struct run runs[4] = {0};
    struct err err;
    struct engine_stats stats;

    options.sequences_max = 1;
    options.queue_max = 2;
    struct engine *engine = open_with(options);
    for (int i = 0; i < 4; i++)
        run_prompt(&runs[i], engine, 1, 10);
    runs[0].signal_at = 1;
    run_start(&runs[0], engine, 200);
    run_signal_wait(&runs[0]);
    sequence_pause(runs[0].sequence);           /* holds nobody up: so take its place */
    run_start(&runs[1], engine, 200);
    while (runs[1].out_n == 0)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    sequence_pause(runs[1].sequence);
    sequence_resume(runs[1].sequence);
    sequence_cancel(runs[1].sequence);
    run_finish(&runs[1]);
    sequence_resume(runs[0].sequence);
    sequence_cancel(runs[0].sequence);
    run_finish(&runs[0]);

    runs[0].gate = queue_new(1, NULL, NULL);
    for (int i = 0; i < 3; i++) {
        run_start(&runs[i], engine, 5);
        if (i == 0)
            run_signal_wait(&runs[0]);
    }
    engine_stats(engine, &stats);
    assert_int_equal(stats.queued, 2);
    assert_false(run_submit(&runs[3], engine, 5, (struct sampling){.top_p = 1}, &err));
    assert_int_equal(err.code, ERR_OVERLOADED);
    queue_put(runs[0].gate, &runs[0]);
    for (int i = 0; i < 3; i++)
        wait_for_done(&runs[i]);
    queue_free(runs[0].gate);
    close_clean(engine);
}

static void test_close_while_running(void **state)
{
    for (int k = 0; k < 10; k++) {
        struct engine *engine = open_with(options_of("llama_tied/f16"));
        struct run *runs = calloc(20, sizeof *runs);
        for (int i = 0; i < 20; i++) {
            run_prompt(&runs[i], engine, 70 + (uint64_t)i, 100);
            runs[i].signal_at = i == 0 ? (uint32_t)k : 0;
            run_start(&runs[i], engine, 156);
        }
        if (k)
            run_signal_wait(&runs[0]);
        engine_close(engine);
        for (int i = 0; i < 20; i++) {
            assert_int_equal(runs[i].dones, 1);
            if (runs[i].result.end == SEQUENCE_FAILED)
                assert_int_equal(runs[i].result.error.code, ERR_OVERLOADED);
            sequence_cancel(runs[i].sequence);  /* too late, and harmless */
            run_finish(&runs[i]);
        }
        free(runs);
    }
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

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void test_idle_burns_nothing(void **state)
{
    struct engine *engine = open_with(options_of("llama_tied/f16"));
    struct run run = {0};

    run_prompt(&run, engine, 1, 30);
    run.signal_at = 3;
    run_start(&run, engine, 200);
    run_signal_wait(&run);
    sequence_pause(run.sequence);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    const double before = cpu_seconds();
    nanosleep(&(struct timespec){.tv_nsec = 400000000}, NULL);
    assert_true(cpu_seconds() - before < 0.04);
    sequence_cancel(run.sequence);
    run_finish(&run);
    close_clean(engine);
}

/* Four threads do everything at once; ThreadSanitizer looks on. */
static void *trouble(void *context)
{
    struct engine *engine = context;
    struct run *runs = calloc(4, sizeof *runs);
    struct rng rng;

    rng_seed(&rng, (uint64_t)(uintptr_t)runs);
    for (int round = 0; round < 12; round++) {
        for (int i = 0; i < 4; i++) {
            run_prompt(&runs[i], engine, rng_next(&rng) % 5, 1 + (uint32_t)(rng_next(&rng) % 150));
            run_start(&runs[i], engine, (uint32_t)(rng_next(&rng) % 60));
        }
        for (int i = 0; i < 12; i++) {
            struct run *run = &runs[rng_next(&rng) % 4];
            struct engine_stats stats;
            switch (rng_next(&rng) % 4) {
            case 0: sequence_pause(run->sequence); break;
            case 1: sequence_resume(run->sequence); break;
            case 2: sequence_cancel(run->sequence); break;
            default: engine_stats(engine, &stats); break;
            }
        }
        for (int i = 0; i < 4; i++) {
            sequence_resume(runs[i].sequence);
            wait_for_done(&runs[i]);
        }
    }
    free(runs);
    return NULL;
}

static void test_many_threads(void **state)
{
    struct engine_options options = options_of("llama_tied/q8_0");
    pthread_t threads[4];

    struct engine *engine = open_with(options);
    options.kv_bytes_max = engine_info(engine)->kv_bytes_token * (CONTEXT + 3 * KV_PAGE);
    engine_close(engine);
    engine = open_with(options);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, trouble, engine), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    close_clean(engine);
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
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_cancel_at_every_step),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_queue_full),
        cmocka_unit_test(test_close_while_running),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_options_refused),
        cmocka_unit_test(test_idle_burns_nothing),
        cmocka_unit_test(test_many_threads),
    };

    arena = arena_new(4096);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_free(arena);
    return failed;
}
