/* bench.c - how fast prompts are read and answers written, at growing context and by several at once.
 *
 * It goes through the whole engine, as a request does: scheduling, sampling and callbacks are in the
 * numbers. Prompts are synthetic tokens, other ones each time, so that no shared prefix makes prefill
 * look free; decoding then continues each prompt, whose prefix is cached by then. A sequence may end
 * by itself before it has written enough: then all are continued with other seeds until they have. */
#include "app/app.h"

#include <stdlib.h>

#include "app/batch.h"
#include "base/buf.h"
#include "base/random.h"

enum { BENCH_VALUES_MAX = 64, BENCH_TRIES_MAX = 1000, BENCH_WARM_LENGTH = 64 };

struct point {
    uint32_t length, batch;     /* tokens of a prompt, prompts at once */
    double prefill_tps, decode_tps;     /* of all of them together; one round's, then the medians */
};

struct values {
    uint32_t items[BENCH_VALUES_MAX];
    size_t n;
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof(values[0]), by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* Ordinary tokens at random: control tokens (which spell nothing) could mean something. */
static void fill_prompt(const struct engine *engine, struct rng *rng, struct tokens *prompt,
                        uint32_t length)
{
    uint32_t vocab = engine_info(engine)->vocab_size;
    prompt->n = length;
    for (size_t i = 0; i < length; i++) {
        do {
            prompt->ids[i] = (int32_t)(rng_next(rng) % vocab);
        } while (engine_token_text(engine, prompt->ids[i], false).n == 0);
    }
}

/* Prefill of the whole prompts, one after the other; then decoding from their ends, all at once. */
static bool measure(struct engine *engine, struct rng *rng, struct tokens *prompts,
                    uint32_t decode_tokens, struct point *point, struct err *err)
{
    struct sequence_result result = {0};
    const struct sampling sampling = {.temperature = 1, .top_p = 1};
    double ms = 0;
    for (uint32_t i = 0; i < point->batch; i++) {
        fill_prompt(engine, rng, &prompts[i], point->length);
        if (!app_sequence(engine, &prompts[i], 0, sampling, NULL, &result, err)) {
            return false;
        }
        ms += result.prefill_ms;
    }
    point->prefill_tps = (double)point->batch * point->length * 1e3 / ms;
    uint32_t steps = 0, tokens = 0;
    double seconds = 0;
    for (int tries = 0; steps < decode_tokens && tries < BENCH_TRIES_MAX; tries++) {
        struct batch_time time;
        if (!batch_decode(engine, prompts, point->batch, decode_tokens - steps, rng_next(rng),
                          &time, err)) {
            return false;
        }
        steps += time.steps;
        tokens += time.tokens;
        seconds += time.seconds;
    }
    if (steps < decode_tokens) {
        return err_set(err, ERR_INTERNAL, "the model ends every answer at once: nothing to time");
    }
    point->decode_tps = tokens / seconds;
    return true;
}

static bool values_parse(const char *option, const struct config_list *list, uint32_t limit,
                         struct values *out, struct err *err)
{
    for (size_t i = 0; i < list->n; i++) {
        char *end;
        unsigned long value = strtoul(list->items[i].s, &end, 10);
        if (*end || list->items[i].s[0] == '-' || value < 1 || value > limit) {
            return err_set(err, ERR_USAGE, "--%s: %.60s is not between 1 and %u", option,
                           list->items[i].s, limit);
        }
        if (out->n == BENCH_VALUES_MAX) {
            return err_set(err, ERR_USAGE, "--%s: more than %d", option, BENCH_VALUES_MAX);
        }
        out->items[out->n++] = (uint32_t)value;
    }
    return true;
}

static uint32_t largest(const struct values *values)
{
    uint32_t most = 0;
    for (size_t i = 0; i < values->n; i++) {
        most = values->items[i] > most ? values->items[i] : most;
    }
    return most;
}

/* What is measured: every length for every batch. */
static bool plan(const struct config *config, uint32_t limit, struct values *lengths,
                 struct values *batches, struct err *err)
{
    if (!values_parse("lengths", &config->lengths, limit, lengths, err) ||
        !values_parse("batch", &config->batches, BATCH_MAX, batches, err)) {
        return false;
    }
    if (lengths->n == 0) {
        lengths->items[lengths->n++] = 1;
        for (uint32_t length = 128; length <= limit && length <= 4096; length *= 2) {
            lengths->items[lengths->n++] = length;
        }
    }
    if (batches->n == 0) {
        batches->items[batches->n++] = 1;
    }
    return true;
}

static void print_point(bool json, bool first, const struct point *point)
{
    if (json) {
        printf("%s{\"length\":%u,\"batch\":%u,\"prefill_tps\":%.2f,\"decode_tps\":%.2f,"
               "\"step_ms\":%.3f}",
               first ? "" : ",", point->length, point->batch, point->prefill_tps,
               point->decode_tps, point->batch * 1e3 / point->decode_tps);
    } else {
        printf("%8u %8u %14.1f %14.1f\n", point->length, point->batch, point->prefill_tps,
               point->decode_tps);
    }
    fflush(stdout);
}

static bool bench(struct engine *engine, const struct config *config, struct arena *arena,
                  struct err *err)
{
    const struct model_info *info = engine_info(engine);
    struct values lengths = {.n = 0}, batches = {.n = 0};
    const uint32_t decode_tokens = (uint32_t)config->decode_tokens;
    if (info->context <= decode_tokens + 1) {
        return err_set(err, ERR_USAGE, "--decode: the context holds only %u tokens", info->context);
    }
    uint32_t limit = info->context - decode_tokens - 1;
    if (!plan(config, limit, &lengths, &batches, err)) {
        return false;
    }
    const uint32_t longest = largest(&lengths);
    size_t rounds = (size_t)config->rounds;
    double *prefill = arena_array(arena, rounds, sizeof(*prefill));
    double *decode = arena_array(arena, rounds, sizeof(*decode));
    struct tokens prompts[BATCH_MAX];
    for (size_t i = 0; i < largest(&batches); i++) {
        prompts[i] = (struct tokens){arena_array(arena, longest, sizeof(int32_t)), 0};
    }
    struct rng rng;
    rng_seed(&rng, random_u64());
    printf(config->json ? "{\"cpu\":\"%s\",\"threads\":%u,\"points\":["
                        : "%s, %u threads; tokens a second, medians\n"
                          "  prompt  at once        prefill         decode\n",
           engine_cpu(engine), app_threads(config));
    struct point warm = {.length = longest < BENCH_WARM_LENGTH ? longest : BENCH_WARM_LENGTH,
                         .batch = 1};
    if (!measure(engine, &rng, prompts, 2, &warm, err)) {
        return false;
    }
    for (size_t i = 0; i < lengths.n * batches.n; i++) {
        struct point point = {.length = lengths.items[i / batches.n],
                              .batch = batches.items[i % batches.n]};
        for (size_t round = 0; round < rounds; round++) {
            if (!measure(engine, &rng, prompts, decode_tokens, &point, err)) {
                return false;
            }
            prefill[round] = point.prefill_tps;
            decode[round] = point.decode_tps;
        }
        point.prefill_tps = median(prefill, rounds);
        point.decode_tps = median(decode, rounds);
        print_point(config->json, i == 0, &point);
    }
    fputs(config->json ? "]}\n" : "", stdout);
    return true;
}

bool cmd_bench(const struct config *config, struct arena *arena, struct err *err)
{
    struct engine *engine = app_engine_only(config, arena, err);
    if (!engine) {
        return false;
    }
    bool done = bench(engine, config, arena, err);
    engine_close(engine);
    return done;
}
