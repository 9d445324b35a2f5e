/* scheduler_bench.h - the scheduler with a model that checks its work: the fake one writes every token
 * it is given into the pages, reads the whole sequence back out of them, and lets the next token
 * follow from all of it. A row left out, a page shared wrongly or reused too early, a preemption that
 * loses something, a refused guess left in a page: each changes the text. It repeats itself enough
 * that most guesses are right. */
#ifndef PENSIEVE_TESTS_SCHEDULER_BENCH_H
#define PENSIEVE_TESTS_SCHEDULER_BENCH_H

#include "engine/scheduler.h"

enum {
    VOCAB = 500, END = 0,
    VARIANT_LENGTH = 300,               /* longer sequences are computed in the other variant, */
    VARIANT_BIT = 1 << 15,              /* which this one marks in what it writes into pages */
    PADDING = 12,                       /* logits past the vocabulary: no tokens, so never sampled */
    CONTEXT = 512, CHUNK = 64, SLOTS = 8,
    RUNS_MAX = 64,
    SAYS_N = 4,
};

struct run {
    struct sequence *sequence;
    int32_t prompt[CONTEXT], out[CONTEXT];
    uint32_t prompt_n, max_tokens, out_n, stop_at, pause_at, cancel_at;
    uint32_t says_at, says_times;       /* held to `says` so often, once so many tokens are said */
    enum constraint_after says_after;
    bool done, begun;
    uint64_t space;
    struct cache_mark marks[CACHE_MARKS_MAX];
    uint32_t marks_n;
    struct sequence_start start;        /* as on_start gave it */
    struct sequence_result result;
};

struct bench {
    struct kv_cache *cache;
    struct scheduler *scheduler;
    struct queue *inbox;
    struct door *door;
    struct run runs[RUNS_MAX];
    uint64_t owner, flow;               /* of those that start now */
    enum sequence_rank rank;
    uint32_t steps, rows, rows_most, prefill_most, sequences_most;
};

extern enum speculate speculate;        /* of the schedulers that are opened, */
extern const char *disk_dir;            /* whose pages are kept there, if set */

struct scheduler_model fake_model(struct bench *bench);

struct bench *bench_new(uint32_t pages);
/* Nothing is left of any run. */
void bench_free(struct bench *bench);

/* Run i. The prompt: `common` tokens that depend on `family` alone, then its own. */
struct run *run_start(struct bench *bench, int i, uint32_t prompt_n, uint32_t max_tokens,
                      uint64_t family, uint32_t common);
/* With the prompt that is there. */
void run_restart(struct bench *bench, int i, uint32_t prompt_n, uint32_t max_tokens);
void run_all(struct bench *bench);
/* What must have come out, from the rule alone. */
void check_run(const struct run *run);

#endif
