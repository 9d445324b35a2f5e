/* No token depends on the schedule: random days of real engines with tiny real models, whose every
 * answer must be, token for token, what the same prompt gives alone, uncached and unbatched.
 *
 * A day is an engine with options drawn by lot (chunk, places, threads, speculation, and memory for
 * little more than one context; on some days also a folder where pages outlive the engine), and
 * SCHEDULES_A_DAY times a handful of prompts with common beginnings that arrive, halt, go on, are
 * cancelled and sent again at random moments; the cache stays from one to the next.
 * PENSIEVE_SCHEDULES says how many to run; without it as many as a test has time for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "base/queue.h"
#include "base/random.h"
#include "engine/kvcache.h"
#include "pensieve/engine.h"
#include "support/folder.h"
#include "support/golden.h"

enum {
    CONTEXT = 192, PROMPTS = 8, OUT_MAX = 12, RUNS = 6,
    SCHEDULES_DEFAULT = 12, SCHEDULES_A_DAY = 4,
};

struct prompt {
    int32_t ids[CONTEXT], expected[OUT_MAX];
    uint32_t n, expected_n;
    enum sequence_end end;
};

struct run {
    struct sequence *sequence;
    const struct prompt *prompt;
    struct queue *done;
    int32_t out[OUT_MAX];
    uint32_t out_n;
    bool cancelled;
    struct sequence_result result;
};

static struct arena *arena;

static uint32_t draw(struct rng *rng, uint32_t from, uint32_t to)
{
    return from + (uint32_t)(rng_next(rng) % (to - from + 1));
}

static struct engine *open_with(const struct engine_options *options)
{
    struct err err = {0};
    struct engine *engine = engine_open(options, &err);

    if (!engine)
        fail_msg("%s", err.text);
    return engine;
}

static bool on_token(void *context, struct sequence *sequence, int32_t id, struct str text)
{
    struct run *run = context;

    assert_true(run->out_n < OUT_MAX);
    run->out[run->out_n++] = id;
    return true;
}

static void on_done(void *context, const struct sequence_result *result)
{
    struct run *run = context;

    run->result = *result;
    queue_put(run->done, run);
}

static void run_start(struct run *run, struct engine *engine, const struct prompt *prompt,
                      struct rng *rng)
{
    struct err err;
    const struct sequence_params params = {
        .tokens = prompt->ids, .tokens_n = prompt->n, .max_tokens = OUT_MAX,
        .sampling = {.temperature = 0, .top_p = 1},
        .owner = draw(rng, 0, 2), .flow = draw(rng, 0, 3), .space = draw(rng, 0, 4) == 0,
        .rank = (enum sequence_rank)draw(rng, 0, SEQUENCE_RANKS - 1),
        .context = run, .on_token = on_token, .on_done = on_done,
    };

    *run = (struct run){.prompt = prompt, .done = queue_new(1, NULL, NULL)};
    run->sequence = engine_submit(engine, &params, &err);
    if (!run->sequence)
        fail_msg("%s", err.text);
}

static void run_end(struct run *run)
{
    if (!queue_wait(run->done, 60000))
        fail_msg("a sequence has not ended after a minute");
    sequence_free(run->sequence);
    queue_free(run->done);
    run->sequence = NULL;
}

static void run_check(const struct run *run, uint64_t day)
{
    const struct prompt *prompt = run->prompt;

    if (run->out_n > prompt->expected_n ||
        memcmp(run->out, prompt->expected, run->out_n * sizeof *run->out) != 0)
        fail_msg("day %llu: other tokens than alone", (unsigned long long)day);
    if (run->cancelled && run->result.end == SEQUENCE_CANCELLED)
        return;
    assert_int_equal(run->result.end, prompt->end);
    assert_int_equal(run->out_n, prompt->expected_n);
}

/* Prompts of three families, so that beginnings are common; each answered alone, in an engine of
 * its own, a token a step. */
static void prompts_make(struct prompt *prompts, const char *path, uint64_t seed)
{
    const struct engine_options alone = {
        .model_path = path, .threads = 1, .context = CONTEXT, .prefill_chunk = 1,
        .sequences_max = 1, .speculate = SPECULATE_OFF,
    };
    struct rng rng, family;

    rng_seed(&rng, seed);
    for (int i = 0; i < PROMPTS; i++) {
        struct prompt *prompt = &prompts[i];
        struct engine *engine = open_with(&alone);
        const uint32_t common = draw(&rng, 40, 150), vocab = engine_info(engine)->vocab_size;
        struct run run;

        rng_seed(&family, seed * 3 + (uint64_t)i % 3);
        prompt->n = draw(&rng, 1, CONTEXT - OUT_MAX / 2);
        for (uint32_t j = 0; j < prompt->n; j++)
            prompt->ids[j] = (int32_t)draw(j < common ? &family : &rng, 3, vocab - 1);
        run_start(&run, engine, prompt, &rng);
        run_end(&run);
        prompt->end = run.result.end;
        prompt->expected_n = run.out_n;
        memcpy(prompt->expected, run.out, sizeof run.out);
        engine_close(engine);
    }
}

static void schedule_run(struct engine *engine, const struct prompt *prompts, struct rng *rng,
                         uint64_t day)
{
    struct run runs[RUNS];
    uint32_t n = 0;

    while (n < RUNS) {
        struct run *some = n ? &runs[draw(rng, 0, n - 1)] : NULL;
        switch (some ? draw(rng, 0, 7) : 0) {
        case 0:
            run_start(&runs[n++], engine, &prompts[draw(rng, 0, PROMPTS - 1)], rng);
            break;
        case 1:                                 /* the same once more, as after a lost connection */
            run_start(&runs[n++], engine, some->prompt, rng);
            break;
        case 2:
            sequence_pause(some->sequence);
            break;
        case 3:
            sequence_resume(some->sequence);
            break;
        case 4:
            some->cancelled |= draw(rng, 0, 1);
            if (some->cancelled)
                sequence_cancel(some->sequence);
            break;
        default:
            nanosleep(&(struct timespec){.tv_nsec = (long)draw(rng, 0, 3000) * 1000}, NULL);
            break;
        }
    }
    for (uint32_t i = 0; i < n; i++)
        sequence_resume(runs[i].sequence);
    for (uint32_t i = 0; i < n; i++) {
        run_end(&runs[i]);
        run_check(&runs[i], day);
    }
}

static void day_run(const char *path, const char *folder, const struct prompt *prompts,
                    uint64_t day)
{
    struct rng rng;
    struct engine_options options = {.model_path = path, .context = CONTEXT};

    rng_seed(&rng, day);
    struct engine *engine = open_with(&options);
    const uint64_t page_bytes = engine_info(engine)->kv_bytes_token * KV_PAGE;
    engine_close(engine);
    options.threads = draw(&rng, 1, 2);
    options.prefill_chunk = draw(&rng, 1, 2) == 1 ? draw(&rng, 1, 20) : draw(&rng, 20, 200);
    options.sequences_max = draw(&rng, 1, 8);
    options.step_ms = draw(&rng, 0, 2);
    options.speculate = (enum speculate)draw(&rng, SPECULATE_AUTO, SPECULATE_ALWAYS);
    options.kv_bytes_max = page_bytes * (CONTEXT / KV_PAGE + draw(&rng, 0, 8));
    if (draw(&rng, 0, 1)) {
        options.cache_dir = folder;
        options.cache_disk_max = page_bytes * draw(&rng, 2, 60);
    }
    engine = open_with(&options);
    for (int i = 0; i < SCHEDULES_A_DAY; i++)
        schedule_run(engine, prompts, &rng, day);
    engine_close(engine);
}

static const char *const models[] = {
    "llama_tied/f16",
    "gpt_oss/f16",                      /* layers that see a window, experts */
    "phi3_longrope_s/q4_0",             /* grows out of its short positions */
};

enum { MODELS = sizeof models / sizeof *models };

static void test_schedules(void **state)
{
    const char *asked = getenv("PENSIEVE_SCHEDULES");
    const uint64_t days = (asked ? strtoull(asked, NULL, 10) : SCHEDULES_DEFAULT) / SCHEDULES_A_DAY;
    struct prompt prompts[PROMPTS];

    for (uint64_t i = 0; i < MODELS; i++) {
        const char *folder = folder_new(arena);
        char name[96];
        snprintf(name, sizeof name, TINY "%s.gguf", models[i]);
        const char *path = golden_path(arena, name);
        prompts_make(prompts, path, i + 1);
        for (uint64_t day = i; day < days; day += MODELS)
            day_run(path, folder, prompts, day);
        folder_remove(folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_schedules)};

    arena = arena_new(4096);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_free(arena);
    return failed;
}
