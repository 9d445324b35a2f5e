/* rope.h - positions as angles: what a struct rope comes to, in numbers.
 *
 * Sources of the formulas: RoFormer (Su et al. 2021); Llama 3's, LongRoPE's (Ding et al. 2024) and
 * YaRN's (Peng et al. 2023) scaling as Hugging Face's configurations define their fields. */
#ifndef PENSIEVE_ENGINE_ROPE_H
#define PENSIEVE_ENGINE_ROPE_H

#include <stdint.h>

#include "engine/hparams.h"

/* Longrope turns all of a sequence by one list of factors while it fits the original context and by
 * another past it. Other ropes have equal variants. */
enum rope_variant { ROPE_SHORT, ROPE_LONG, ROPE_VARIANTS };

struct rope_table {
    double *frequencies;        /* [rotary / 2]: radians a position */
    float magnitude;            /* of cos and sin */
};

/* Fills table->frequencies, which the caller has placed, and the magnitude. */
void rope_table_fill(struct rope_table *table, const struct rope *rope, uint32_t rotary,
                     uint32_t context_trained, enum rope_variant variant);
/* cos and sin [rotary / 2] of one position. */
void rope_angles(const struct rope_table *table, uint32_t rotary, uint32_t position, float *cos_out,
                 float *sin_out);

#endif
