/* sampler.h - logits to one token: temperature, top_k, top_p, a seed; 0 is greedy. */
#ifndef PENSIEVE_ENGINE_SAMPLER_H
#define PENSIEVE_ENGINE_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "base/random.h"
#include "pensieve/engine.h"

struct sampler {
    struct sampling settings;
    struct rng rng;
};

void sampler_init(struct sampler *sampler, struct sampling settings);
/* scratch: sampler_scratch_bytes(n), aligned to 8. Ties go to the lower id; NaN and -infinity are
 * never chosen. -1: there is nothing else. */
int32_t sampler_next(struct sampler *sampler, const float *logits, size_t n, void *scratch);
size_t sampler_scratch_bytes(size_t n);

#endif
