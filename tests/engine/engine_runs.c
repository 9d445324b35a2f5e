/* engine_runs.c - see engine_runs.h. */
#include "engine_runs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <cmocka.h>

#include "base/random.h"
#include "base/utf8.h"
#include "support/golden.h"

struct arena *arena;

struct engine_options options_of(const char *model)
{
    char name[96];

    snprintf(name, sizeof name, TINY "%s.gguf", model);
    return (struct engine_options){
        .model_path = golden_path(arena, name), .threads = 2, .context = CONTEXT,
        .prefill_chunk = 32, .sequences_max = 8,
    };
}

struct engine *open_with(struct engine_options options)
{
    struct err err = {0};
    struct engine *engine = engine_open(&options, &err);

    if (!engine)
        fail_msg("%s", err.text);
    return engine;
}

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

void run_prompt(struct run *run, const struct engine *engine, uint64_t seed, uint32_t n)
{
    struct rng rng;

    rng_seed(&rng, seed);
    run->prompt_n = n;
    for (uint32_t i = 0; i < n; i++)
        run->prompt[i] = (int32_t)(3 + rng_next(&rng) % (engine_info(engine)->vocab_size - 3));
}

bool run_submit(struct run *run, struct engine *engine, uint32_t max_tokens,
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

void run_start(struct run *run, struct engine *engine, uint32_t max_tokens)
{
    struct err err;
    const struct sampling greedy = {.temperature = 0, .top_p = 1};

    if (!run_submit(run, engine, max_tokens, greedy, &err))
        fail_msg("%s", err.text);
}

void run_signal_wait(struct run *run)
{
    assert_non_null(queue_wait(run->signals, 60000));
}

/* sequence_free first: it waits until on_done, which still uses the queue, is through. */
void run_finish(struct run *run)
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

void wait_for_done(struct run *run)
{
    run_signal_wait(run);
    run_finish(run);
}

void assert_all_given_back(const struct engine *engine)
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

void close_clean(struct engine *engine)
{
    assert_all_given_back(engine);
    engine_close(engine);
}

void assert_same_text(const struct run *a, const struct run *b)
{
    assert_int_equal(a->result.end, b->result.end);
    assert_int_equal(a->out_n, b->out_n);
    assert_memory_equal(a->out, b->out, a->out_n * sizeof *a->out);
}
