/* engine_runs.h - an engine with a tiny real model, and sequences of it that are watched from their first
 * token to their end. */
#ifndef PENSIEVE_TESTS_ENGINE_RUNS_H
#define PENSIEVE_TESTS_ENGINE_RUNS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/queue.h"
#include "pensieve/engine.h"

enum { CONTEXT = 256, PROMPT_MAX = 400, OUT_MAX = CONTEXT };

extern struct arena *arena;             /* for paths: a test program's own, from its start to its end */

struct engine_options options_of(const char *model);
struct engine *open_with(struct engine_options options);
/* Once all memory of its sequences has come back. */
void close_clean(struct engine *engine);
/* Numbers are published after the step in which the last one ended. */
void assert_all_given_back(const struct engine *engine);

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

/* n tokens by chance. */
void run_prompt(struct run *run, const struct engine *engine, uint64_t seed, uint32_t n);
bool run_submit(struct run *run, struct engine *engine, uint32_t max_tokens,
                struct sampling sampling, struct err *err);
/* Always the most likely token. */
void run_start(struct run *run, struct engine *engine, uint32_t max_tokens);
void run_signal_wait(struct run *run);
/* Waits for its end. */
void run_finish(struct run *run);
void wait_for_done(struct run *run);
void assert_same_text(const struct run *a, const struct run *b);

#endif
