/* sequence.h - one sequence: what the submitter asked, what any thread may say about it meanwhile,
 * and what the engine thread knows of it.
 *
 * Who may touch what, and until when:
 *   - sequence_new fills everything; putting the handle into the engine's inbox hands all of it to
 *     the engine thread, except the flags, which any thread may set until sequence_free;
 *   - the engine thread sets `done`, calls on_done, and sets `released`: its last touch;
 *   - sequence_free waits for `released` (on_done is about to return, or has long done so), so that
 *     after it neither the handle nor the callbacks' context is anyone else's. */
#ifndef PENSIEVE_ENGINE_SEQUENCE_H
#define PENSIEVE_ENGINE_SEQUENCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/queue.h"
#include "engine/detokenizer.h"
#include "engine/door.h"
#include "engine/fairness.h"
#include "engine/kvcache.h"
#include "engine/recall.h"
#include "engine/sampler.h"
#include "engine/speculate.h"
#include "pensieve/engine.h"

struct sequence {
    struct sequence_params params;      /* tokens is NULL: ids has them */
    struct queue *inbox;                /* the engine's; kicked when a flag should be seen */
    struct door *door;                  /* it has a place there until it is admitted first */
    _Atomic bool cancelled, paused, done, released;

    /* The engine thread's. */
    uint64_t serial;                    /* age: the scheduler's order of arrival */
    struct sequence *older, *newer;     /* neighbours in one of the scheduler's lists */
    struct fair_ticket ticket;
    bool held;                          /* paused, as read at the beginning of the step */
    bool started;                       /* was admitted once */
    struct kv_table table;
    struct sequence_start start;        /* what was found of the prompt */
    struct cache_mark marks[CACHE_MARKS_MAX];   /* params.marks */
    bool told;                          /* on_start was called */
    bool reconstrained;                 /* by on_token, as it was given the last token */
    bool closing;                       /* its end is settled, and being said */
    bool marked;                        /* the prompt is computed, the marks are declared */
    struct sampler sampler;
    struct detokenizer detokenizer;
    uint32_t prompt_n, output_n;
    uint32_t rows_n;                    /* its part in this step */
    bool considered;                    /* had its turn to take prompt rows in this step */
    uint64_t passed;                    /* tokens of those that were let in before it */
    uint64_t in_vain;                   /* the scheduler's progress when it made others go for nothing */
    float *logits;                      /* of its last row in this step that is no guess, and after
                                         * it of its guesses; NULL if not wanted */
    struct speculator speculator;       /* made when it decodes; own is NULL before */
    struct flow *flow;                  /* the conversation's, from then on; may be NULL */
    struct draft draft;                 /* draft.kept: the guesses among its rows in this step */
    uint32_t steps_n, drafted_n, accepted_n;    /* decode steps; guesses computed, and right */
    uint64_t submitted_ns, started_ns, first_token_ns;
    uint32_t n, capacity;
    int32_t ids[];                      /* the prompt, then what was sampled */
};

/* Copies the prompt. The caller has checked the parameters, and taken the place at the door; room is
 * kept for outputs up to the context. NULL: no memory. */
struct sequence *sequence_new(const struct sequence_params *params, uint32_t context,
                              struct queue *inbox, struct door *door);
/* Says a token. false: the reader has had enough. */
bool sequence_say(struct sequence *sequence, int32_t id, struct str characters);
/* Its constraint is complete. false: that is the end. */
bool sequence_goes_free(struct sequence *sequence);
/* It is admitted, for the first time. */
void sequence_start(struct sequence *sequence);
/* The last act: reports the end and lets go. The pages are given back already. */
void sequence_end(struct sequence *sequence, enum sequence_end end, const struct err *error);

#endif
