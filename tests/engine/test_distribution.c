/* What is sampled with every guess verified is distributed as the model says: a fake model, whose next
 * token depends on the last two alone, so that all chances are known; counts are held against them by
 * chi-square. Seeds are fixed: the test can't fail by chance. And each text is the very one that its
 * seed gives without guesses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <math.h>

#include "base/random.h"
#include "engine/scheduler.h"

enum { VOCAB = 5, CONTEXT = 512, PROMPT = 12, TEXTS = 120, TOKENS = 400, SLOTS = 8 };

static const float TEMPERATURE = 0.7f;

/* Logits after two tokens: skewed, so that what followed once often follows again. */
static float logit(int32_t before, int32_t last, int32_t next)
{
    return 2.2f * (float)((before * 3 + last * 2 + next) % VOCAB == 0) +
           0.4f * (float)((before + last * 3 + next * 2) % VOCAB);
}

static void step(void *context, const struct batch_row *rows, uint32_t rows_n)
{
    struct kv_cache *cache = context;

    for (uint32_t i = 0; i < rows_n; i++) {
        const struct kv_table *table = rows[i].table;
        const uint32_t p = rows[i].position;
        kv_page_k(cache, table->pages[p / KV_PAGE], 0, 0)[p % KV_PAGE] = (uint16_t)rows[i].token;
        const uint32_t q = p ? p - 1 : 0;
        const int32_t before = kv_page_k(cache, table->pages[q / KV_PAGE], 0, 0)[q % KV_PAGE];
        for (int32_t next = 0; rows[i].logits && next < VOCAB; next++)
            rows[i].logits[next] = logit(before, rows[i].token, next);
    }
}

static bool is_end(void *context, int32_t id) { return false; }
static struct str text(void *context, int32_t id) { return STR("x"); }

struct run {
    struct sequence *sequence;
    int32_t prompt[PROMPT], out[TOKENS];
    uint32_t out_n;
    struct sequence_result result;
};

static bool on_token(void *context, struct sequence *sequence, int32_t id, struct str characters)
{
    struct run *run = context;

    run->out[run->out_n++] = id;
    return true;
}

static void on_done(void *context, const struct sequence_result *result)
{
    struct run *run = context;

    run->result = *result;
}

/* TEXTS texts from as many seeds. */
static struct scheduler_stats sample_all(struct run *runs, enum speculate speculate,
                                         struct sampling sampling)
{
    struct err err;
    struct kv_cache *cache = kv_cache_new(1, 1, 8, (uint64_t)80 * KV_PAGE * 8 * 2 * 2, &err);
    const struct scheduler_options options = {
        .model = {cache, VOCAB, VOCAB, step, is_end, text}, .cache = cache, .context = CONTEXT,
        .variant_length = UINT32_MAX, .prefill_chunk = 256, .sequences_max = SLOTS,
        .speculate = speculate,
    };
    struct scheduler *scheduler = scheduler_new(&options, &err);
    struct queue *inbox = queue_new(1, NULL, NULL);
    struct door *door = door_new(4 * TEXTS);
    struct rng rng;

    rng_seed(&rng, 1);
    for (int i = 0; i < TEXTS; i++) {
        struct run *run = &runs[i];
        for (int j = 0; j < PROMPT; j++)
            run->prompt[j] = (int32_t)(rng_next(&rng) % VOCAB);
        sampling.seed = 1000 + (uint64_t)i;
        const struct sequence_params params = {
            .tokens = run->prompt, .tokens_n = PROMPT, .max_tokens = TOKENS, .sampling = sampling,
            .flow = 1 + (uint64_t)i % 3, .context = run, .on_token = on_token, .on_done = on_done,
        };
        assert_true(door_enter(door, params.owner, params.rank, PROMPT, NULL));
        run->sequence = sequence_new(&params, CONTEXT, inbox, door);
        scheduler_add(scheduler, run->sequence);
    }
    while (scheduler_step(scheduler)) {
    }
    const struct scheduler_stats stats = scheduler_stats(scheduler);
    for (int i = 0; i < TEXTS; i++)
        sequence_free(runs[i].sequence);
    scheduler_free(scheduler);
    kv_cache_free(cache);
    queue_free(inbox);
    door_free(door);
    return stats;
}

/* The chances as temperature, top_k and top_p define them, by sorting. */
static void chances(double *out, int32_t before, int32_t last, struct sampling sampling)
{
    int order[VOCAB];
    double total = 0, mass = 0, kept = 0;

    for (int i = 0; i < VOCAB; i++) {
        out[i] = exp((double)(logit(before, last, i) / sampling.temperature));
        order[i] = i;
    }
    for (int i = 0; i < VOCAB; i++)
        for (int j = i + 1; j < VOCAB; j++)
            if (out[order[j]] > out[order[i]]) {
                const int swapped = order[i];
                order[i] = order[j];
                order[j] = swapped;
            }
    for (int i = 0; i < VOCAB; i++) {
        if (sampling.top_k && (uint32_t)i >= sampling.top_k)
            out[order[i]] = 0;
        total += out[order[i]];
    }
    for (int i = 0; i < VOCAB; i++) {
        if (mass >= (double)sampling.top_p * total)
            out[order[i]] = 0;
        mass += out[order[i]];
        kept += out[order[i]];
    }
    for (int i = 0; i < VOCAB; i++)
        out[i] /= kept;
}

static double chi_square(const struct run *runs, struct sampling sampling, uint32_t *freedom)
{
    static double seen[VOCAB][VOCAB][VOCAB];
    double sum = 0;

    memset(seen, 0, sizeof seen);
    *freedom = 0;
    for (int i = 0; i < TEXTS; i++)
        for (uint32_t j = 2; j < runs[i].out_n; j++)
            seen[runs[i].out[j - 2]][runs[i].out[j - 1]][runs[i].out[j]]++;
    for (int a = 0; a < VOCAB; a++)
        for (int b = 0; b < VOCAB; b++) {
            double p[VOCAB], n = 0;
            chances(p, a, b, sampling);
            for (int c = 0; c < VOCAB; c++)
                n += seen[a][b][c];
            if (n < 100)
                continue;
            for (int c = 0; c < VOCAB; c++) {
                assert_true(p[c] > 0 || seen[a][b][c] == 0);
                if (p[c] > 0)
                    sum += (seen[a][b][c] - n * p[c]) * (seen[a][b][c] - n * p[c]) / (n * p[c]);
                *freedom += p[c] > 0;
            }
            --*freedom;
        }
    return sum;
}

static void check(struct sampling sampling)
{
    struct run *plain = calloc(TEXTS, sizeof *plain), *guessed = calloc(TEXTS, sizeof *guessed);
    uint32_t freedom;

    sample_all(plain, SPECULATE_OFF, sampling);
    const struct scheduler_stats stats = sample_all(guessed, SPECULATE_ALWAYS, sampling);
    assert_true(stats.accepted_tokens > TEXTS * TOKENS / 4);
    assert_true(stats.drafted_tokens > 2 * stats.accepted_tokens);      /* and many refused */
    for (int i = 0; i < TEXTS; i++) {
        assert_int_equal(guessed[i].out_n, TOKENS);
        assert_memory_equal(guessed[i].out, plain[i].out, sizeof plain[i].out);
    }
    const double sum = chi_square(guessed, sampling, &freedom);
    print_message("%u of %u guesses right; chi-square %.1f for %u degrees of freedom\n",
                  (unsigned)stats.accepted_tokens, (unsigned)stats.drafted_tokens, sum, freedom);
    /* Beyond 4 sigma: once in some ten thousand sets of seeds. */
    assert_true(freedom > 10 && sum < freedom + 4 * sqrt(2.0 * freedom));
    sampling.temperature *= 1.1f;               /* and the test would see a tenth more heat */
    assert_true(chi_square(guessed, sampling, &freedom) > freedom + 4 * sqrt(2.0 * freedom));
    free(plain);
    free(guessed);
}

static void test_plain_temperature(void **state)
{
    check((struct sampling){.temperature = TEMPERATURE, .top_p = 1});
}

static void test_top_p(void **state)
{
    check((struct sampling){.temperature = TEMPERATURE, .top_p = 0.9f});
}

static void test_top_k(void **state)
{
    check((struct sampling){.temperature = TEMPERATURE, .top_p = 1, .top_k = 3});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_temperature),
        cmocka_unit_test(test_top_p),
        cmocka_unit_test(test_top_k),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
