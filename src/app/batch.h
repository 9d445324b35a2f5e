/* batch.h - sequences that decode side by side, timed from outside the engine. */
#ifndef PENSIEVE_APP_BATCH_H
#define PENSIEVE_APP_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "pensieve/engine.h"

enum { BATCH_MAX = 64 };        /* sequences: what the engine runs in one step */

struct batch_time {
    uint32_t steps;             /* tokens of one of them */
    uint32_t tokens;            /* of all */
    double seconds;
};

/* Continues the prompts[0..n), n between 1 and BATCH_MAX, by `steps` tokens each. Timed are the steps
 * in which all of them decode and no prompt is read: from the moment when the last has its first
 * token, to the `steps`-th token after it. A model may end one of them before that: then fewer steps
 * were timed, maybe none. Tokens are sampled with temperature 1, seeds from `seed` on. */
bool batch_decode(struct engine *engine, const struct tokens *prompts, uint32_t n, uint32_t steps,
                  uint64_t seed, struct batch_time *out, struct err *err);

#endif
