/* bench.c - how fast prompts are read and answers written, at growing context.
 *
 * It goes through the whole engine, as a request does: scheduling, sampling and callbacks are in the
 * numbers. Prompts are synthetic tokens, other ones each time, so that no shared prefix makes prefill
 * look free; decoding then continues each prompt, whose prefix is cached by then. A sequence may end
 * by itself before it has written enough: then it is continued with another seed until it has. */
#include "app/app.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/random.h"

enum { BENCH_LENGTHS_MAX = 64, BENCH_TRIES_MAX = 1000, BENCH_WARM_LENGTH = 64 };

struct point {
    uint32_t length;
    double prefill_tps, decode_tps;     /* of one round, then the medians */
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

/* Prefill of the whole prompt, then decoding from its end. */
static bool measure(struct engine *engine, struct rng *rng, const struct tokens *prompt,
                    uint32_t decode_tokens, struct point *out, struct err *err)
{
    struct sequence_result result = {0};
    struct sampling sampling = {.temperature = 1, .top_p = 1};
    if (!app_sequence(engine, prompt, 0, sampling, NULL, &result, err)) {
        return false;
    }
    out->prefill_tps = prompt->n * 1e3 / result.prefill_ms;
    uint32_t decoded = 0;
    double ms = 0;
    for (int tries = 0; decoded < decode_tokens && tries < BENCH_TRIES_MAX; tries++) {
        sampling.seed = rng_next(rng);
        /* the first token comes out of the prefill: one more than is to be timed */
        uint32_t wanted = decode_tokens - decoded + 1;
        if (!app_sequence(engine, prompt, wanted, sampling, NULL, &result, err)) {
            return false;
        }
        decoded += result.output_tokens > 0 ? result.output_tokens - 1 : 0;
        ms += result.decode_ms;
    }
    if (decoded < decode_tokens) {
        return err_set(err, ERR_INTERNAL, "the model ends every answer at once: nothing to time");
    }
    out->decode_tps = decoded * 1e3 / ms;
    return true;
}

static bool lengths_parse(const struct config *config, uint32_t limit, uint32_t *lengths,
                          size_t *lengths_n, struct err *err)
{
    size_t n = 0;
    for (size_t i = 0; i < config->lengths.n; i++) {
        char *end;
        unsigned long value = strtoul(config->lengths.items[i].s, &end, 10);
        if (*end || config->lengths.items[i].s[0] == '-' || value < 1 || value > limit) {
            return err_set(err, ERR_USAGE, "--lengths: %.60s is not between 1 and %u",
                           config->lengths.items[i].s, limit);
        }
        if (n == BENCH_LENGTHS_MAX) {
            return err_set(err, ERR_USAGE, "--lengths: more than %d", BENCH_LENGTHS_MAX);
        }
        lengths[n++] = (uint32_t)value;
    }
    if (n == 0) {
        lengths[n++] = 1;
        for (uint32_t length = 128; length <= limit && length <= 4096; length *= 2) {
            lengths[n++] = length;
        }
    }
    *lengths_n = n;
    return true;
}

static void print_point(bool json, bool first, const struct point *point)
{
    if (json) {
        printf("%s{\"length\":%u,\"prefill_tps\":%.2f,\"decode_tps\":%.2f}", first ? "" : ",",
               point->length, point->prefill_tps, point->decode_tps);
    } else {
        printf("%8u %14.1f %14.1f\n", point->length, point->prefill_tps, point->decode_tps);
    }
    fflush(stdout);
}

static bool bench(struct engine *engine, const struct config *config, struct arena *arena,
                  struct err *err)
{
    const struct model_info *info = engine_info(engine);
    uint32_t lengths[BENCH_LENGTHS_MAX];
    size_t lengths_n = 0;
    if (info->context <= config->decode_tokens + 1) {
        return err_set(err, ERR_USAGE, "--decode: the context holds only %u tokens", info->context);
    }
    uint32_t limit = info->context - (uint32_t)config->decode_tokens - 1;
    if (!lengths_parse(config, limit, lengths, &lengths_n, err)) {
        return false;
    }
    size_t rounds = (size_t)config->rounds;
    double *prefill = arena_array(arena, rounds, sizeof(*prefill));
    double *decode = arena_array(arena, rounds, sizeof(*decode));
    struct tokens prompt = {arena_array(arena, info->context, sizeof(int32_t)), 0};
    struct rng rng;
    rng_seed(&rng, random_u64());
    printf(config->json ? "{\"cpu\":\"%s\",\"threads\":%u,\"points\":["
                        : "%s, %u threads; tokens a second, medians\n"
                          "  prompt        prefill         decode\n",
           engine_cpu(engine), app_threads(config));
    struct point warm;
    fill_prompt(engine, &rng, &prompt, limit < BENCH_WARM_LENGTH ? limit : BENCH_WARM_LENGTH);
    if (!measure(engine, &rng, &prompt, 2, &warm, err)) {
        return false;
    }
    for (size_t i = 0; i < lengths_n; i++) {
        struct point point = {.length = lengths[i]};
        for (size_t round = 0; round < rounds; round++) {
            fill_prompt(engine, &rng, &prompt, lengths[i]);
            if (!measure(engine, &rng, &prompt, (uint32_t)config->decode_tokens, &point, err)) {
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
