/* restore.c - how long it takes until a conversation's keys and values are back from disk.
 *
 *   restore FOLDER [TOKENS] [ROUNDS]
 *
 * Writes pages of the default model's shape (SmolLM2-135M: 30 layers, 3 KV heads of 64) for TOKENS
 * positions (14,000) through the prefix cache, then ROUNDS times opens the folder anew, as after a
 * restart, and restores all of them into memory that was never touched. The files are in the system's
 * cache ("warm") unless the folder lies where they can't be. Every page is compared with what was
 * written. Prints one JSON line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/random.h"
#include "engine/kvcache.h"
#include "engine/kvdisk.h"

enum { LAYERS = 30, KV_HEADS = 3, HEAD_DIM = 64 };

static const uint64_t CACHE_BYTES = (uint64_t)4 << 30;

static void fail(const char *what)
{
    fprintf(stderr, "restore: %s\n", what);
    exit(1);
}

static struct kv_cache *open_cache(const char *folder, double *open_s)
{
    struct err err;
    struct kv_cache *cache = kv_cache_new(LAYERS, KV_HEADS, HEAD_DIM, CACHE_BYTES, &err);
    if (!cache)
        fail(err.text);
    const uint64_t begin = clock_ns();
    struct kv_disk *disk = kv_disk_open(&(struct kv_disk_options){
        .dir = folder, .bytes_max = CACHE_BYTES, .fingerprint = {1, 2},
        .page_bytes = kv_cache_counts(cache).page_bytes,
    }, &err);
    *open_s = clock_seconds_since(begin);
    if (!disk || !kv_cache_use_disk(cache, disk))
        fail(err.text);
    return cache;
}

/* What a page holds is random, as far as a disk or a checksum could tell. */
static void fill(const struct kv_cache *cache, uint32_t page, uint64_t seed)
{
    uint64_t *words = (uint64_t *)(void *)kv_page_k(cache, page, 0, 0);
    struct rng rng;

    rng_seed(&rng, seed);
    for (size_t i = 0; i < kv_cache_counts(cache).page_bytes / 8; i++)
        words[i] = rng_next(&rng);
}

static bool holds(const struct kv_cache *cache, uint32_t page, uint64_t seed)
{
    const uint64_t *words = (const uint64_t *)(const void *)kv_page_k(cache, page, 0, 0);
    struct rng rng;

    rng_seed(&rng, seed);
    for (size_t i = 0; i < kv_cache_counts(cache).page_bytes / 8; i++)
        if (words[i] != rng_next(&rng))
            return false;
    return true;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static double write_all(const char *folder, const int32_t *tokens, uint32_t n)
{
    double open_s;
    struct kv_cache *cache = open_cache(folder, &open_s);
    struct kv_table table;

    kv_table_init(&table, 0);
    if (!kv_table_reserve(cache, &table, n))
        fail("no pages");
    for (uint32_t i = 0; i < table.pages_n; i++)
        fill(cache, table.pages[i], i);
    const uint64_t begin = clock_ns();
    for (uint32_t length = KV_PAGE; length <= n; length += KV_PAGE) {
        kv_table_commit(cache, &table, tokens, length);
        kv_cache_poll(cache);
    }
    kv_table_release(cache, &table);
    kv_cache_free(cache);               /* waits for the writer */
    return clock_seconds_since(begin);
}

static double restore(const char *folder, const int32_t *tokens, uint32_t n, double *open_s)
{
    struct kv_cache *cache = open_cache(folder, open_s);
    struct kv_table table;
    uint32_t found;

    kv_table_init(&table, 0);
    const uint64_t begin = clock_ns();
    kv_table_lookup(cache, &table, tokens, n);
    if (!kv_table_reserve(cache, &table, n))
        fail("no pages");
    const uint32_t asked = kv_table_read(cache, &table, tokens, n);
    for (; kv_cache_poll(cache), !kv_table_settle(cache, &table, tokens, &found);)
        pause_ms(1);
    const double seconds = clock_seconds_since(begin);
    if (asked != (n - 1) / KV_PAGE * KV_PAGE || found != asked)
        fail("not all of it was found");
    for (uint32_t i = 0; i < found / KV_PAGE; i++)
        if (!holds(cache, table.pages[i], i))
            fail("a page holds something else");
    kv_table_release(cache, &table);
    kv_cache_free(cache);
    return seconds;
}

static double checksum_gbs(void)
{
    enum { BYTES = 1 << 20, TIMES = 400 };
    unsigned char *bytes = malloc(BYTES);
    struct kv_sum sum;
    double best = 1e9;

    memset(bytes, 7, BYTES);
    kv_sum_init(&sum);
    for (int round = 0; round < 5; round++) {
        const uint64_t begin = clock_ns();
        for (int i = 0; i < TIMES; i++)
            kv_sum_add(&sum, bytes, BYTES);
        const double seconds = clock_seconds_since(begin);
        best = seconds < best ? seconds : best;
    }
    free(bytes);
    return sum.lanes[0] == 0 ? 0 : (double)BYTES * TIMES / best / 1e9;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        fail("usage: restore FOLDER [TOKENS] [ROUNDS]");
    const uint32_t n = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 14000;
    const int rounds = argc > 3 ? atoi(argv[3]) : 5;
    int32_t *tokens = calloc(n + 1, sizeof *tokens);
    double best = 1e9, worst = 0, open_s = 0, open_worst = 0;

    if (!tokens)
        fail("no memory");
    for (uint32_t i = 0; i <= n; i++)
        tokens[i] = (int32_t)(i * 2654435761u >> 8);
    const double write_s = write_all(argv[1], tokens, n + 1);
    for (int i = 0; i < rounds; i++) {
        const double s = restore(argv[1], tokens, n + 1, &open_s);
        best = s < best ? s : best;
        worst = s > worst ? s : worst;
        open_worst = open_s > open_worst ? open_s : open_worst;
    }
    printf("{\"tokens\": %u, \"bytes\": %llu, \"write_s\": %.3f, \"open_s\": %.4f, "
           "\"restore_s\": %.3f, \"restore_worst_s\": %.3f, \"checksum_gb_s\": %.1f}\n",
           n, (unsigned long long)(n / KV_PAGE) * LAYERS * KV_HEADS * HEAD_DIM * KV_PAGE * 4,
           write_s, open_worst, best, worst, checksum_gbs());
    free(tokens);
    return 0;
}
