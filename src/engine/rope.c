/* rope.c - the frequencies of each kind of scaling, and the angles they make. */
#include "engine/rope.h"

#include <math.h>

static const double TURN = 2 * 3.14159265358979323846;

static double clamp01(double x)
{
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

/* Waves that fit the original context more than `high` times stay, those that fit less than `low`
 * times are stretched by the factor, and between them it is a mixture. */
static double scale_llama3(const struct rope *rope, double frequency)
{
    const double fits = rope->original_context * frequency / TURN;
    const double low = (double)rope->low, high = (double)rope->high;
    const double kept = clamp01((fits - low) / (high - low));

    return frequency * (kept + (1 - kept) / (double)rope->factor);
}

/* The pair, as a real number, whose wave fits the original context `times` times. */
static double yarn_pair(const struct rope *rope, uint32_t rotary, double times)
{
    return rotary * log(rope->original_context / (times * TURN)) / (2 * log((double)rope->base));
}

/* As Llama 3's, but the ramp is over the number of the pair, between whole ones. */
static double scale_yarn(const struct rope *rope, uint32_t rotary, uint32_t i, double frequency)
{
    double from = yarn_pair(rope, rotary, (double)rope->high);
    double to = yarn_pair(rope, rotary, (double)rope->low);

    if (!rope->ramp_exact) {
        from = floor(from);
        to = ceil(to);
    }
    from = from < 0 ? 0 : from;
    to = to > rotary - 1 ? rotary - 1 : to;
    const double stretched = clamp01((i - from) / (to > from ? to - from : 0.001));
    return frequency * (1 - stretched + stretched / (double)rope->factor);
}

static double frequency_of(const struct rope *rope, uint32_t rotary, uint32_t i,
                           enum rope_variant variant)
{
    double frequency = pow((double)rope->base, -2.0 * i / rotary);

    if (rope->factors)
        frequency /= (double)rope->factors[i];
    switch (rope->scaling) {
    case ROPE_LINEAR: return frequency / (double)rope->factor;
    case ROPE_LLAMA3: return scale_llama3(rope, frequency);
    case ROPE_YARN: return scale_yarn(rope, rotary, i, frequency);
    case ROPE_LONGROPE:
        return frequency / (double)(variant == ROPE_LONG ? rope->long_factors
                                                         : rope->short_factors)[i];
    case ROPE_PLAIN: break;
    }
    return frequency;
}

static double magnitude_of(const struct rope *rope, uint32_t context_trained)
{
    const double ratio = (double)context_trained / (rope->original_context ? rope->original_context
                                                                           : context_trained);

    if (rope->magnitude > 0)
        return (double)rope->magnitude;
    if (rope->scaling == ROPE_LONGROPE && ratio > 1)
        return sqrt(1 + log(ratio) / log(rope->original_context));
    if (rope->scaling == ROPE_YARN && rope->factor > 1)
        return 0.1 * log((double)rope->factor) + 1;
    return 1;
}

void rope_table_fill(struct rope_table *table, const struct rope *rope, uint32_t rotary,
                     uint32_t context_trained, enum rope_variant variant)
{
    for (uint32_t i = 0; i < rotary / 2; i++)
        table->frequencies[i] = frequency_of(rope, rotary, i, variant);
    table->magnitude = (float)magnitude_of(rope, context_trained);
}

void rope_angles(const struct rope_table *table, uint32_t rotary, uint32_t position, float *cos_out,
                 float *sin_out)
{
    for (uint32_t i = 0; i < rotary / 2; i++) {
        const double angle = position * table->frequencies[i];
        cos_out[i] = (float)cos(angle) * table->magnitude;
        sin_out[i] = (float)sin(angle) * table->magnitude;
    }
}
