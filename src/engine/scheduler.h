/* scheduler.h - which sequences take part in the next step, and what becomes of its logits.
 *
 * Owned by the engine thread. It sees the model as three functions, so that it can be tested
 * against one whose answers prove that it was given the right rows and pages. */
#ifndef PENSIEVE_ENGINE_SCHEDULER_H
#define PENSIEVE_ENGINE_SCHEDULER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/model.h"
#include "engine/sequence.h"

struct scheduler_model {
    void *context;
    uint32_t vocab;             /* logits a row, */
    uint32_t tokens;            /* of which the first so many are tokens; others are never sampled */
    void (*step)(void *context, const struct batch_row *rows, uint32_t rows_n);
    bool (*is_end)(void *context, int32_t id);
    struct str (*text)(void *context, int32_t id);      /* the bytes a token writes */
};

struct scheduler_options {
    struct scheduler_model model;
    struct kv_cache *cache;     /* borrowed; holds at least one whole context */
    uint32_t context, prefill_chunk, sequences_max;     /* all at least 1 */
    double step_s;              /* a step that decodes takes prompts for so long; 0: a chunk */
    uint32_t variant_length;    /* longer sequences are in kv_table variant 1; UINT32_MAX: none */
    enum speculate speculate;
};

struct scheduler;

/* ERR_USAGE: the cache can't hold one context. */
struct scheduler *scheduler_new(const struct scheduler_options *options, struct err *err);
void scheduler_free(struct scheduler *scheduler);       /* no sequence may be left */
uint32_t scheduler_rows_max(const struct scheduler_options *options);   /* of one step */

void scheduler_add(struct scheduler *scheduler, struct sequence *sequence);
/* Looks at the flags, runs one step. false: there was nothing to compute. */
bool scheduler_step(struct scheduler *scheduler);
/* Ends everything that is left. */
void scheduler_fail_all(struct scheduler *scheduler, const struct err *error);

struct scheduler_stats {
    uint32_t running;                   /* hold pages, paused ones included */
    uint64_t prompt_tokens, cached_tokens, output_tokens;
    uint64_t prefill_rows;              /* computed, again after a preemption included */
    uint64_t decode_steps, drafted_tokens, accepted_tokens;     /* finished sequences', and others' */
    uint64_t preemptions;
    double prefill_tps, decode_tps;
};
struct scheduler_stats scheduler_stats(const struct scheduler *scheduler);

#endif
