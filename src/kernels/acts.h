/* acts.h - where in struct acts a number lies, and how much scratch the kernels ask for.
 *
 * Few columns (decode) stand one after another, so that a row's weights meet a column's numbers in
 * the order of the file. Many columns alternate in panels of 8 or 16: then one vector of
 * activations holds 4 numbers of each of 8 (16) columns, a weight kernel broadcasts 4 weights to
 * all of them, and no lane ever needs adding to its neighbour. */
#ifndef PENSIEVE_KERNELS_ACTS_H
#define PENSIEVE_KERNELS_ACTS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

enum {
    ACT_PLAIN_MAX = 4,          /* up to so many columns stand one after another */
    ACT_LANES_MAX = 16,
    ACT_QUAD = 4,               /* numbers of one column side by side in a panel */
};

/* Enough scratch for every table: see body_float.h, body_gemm.h and body_attend.h. */
enum {
    MATMUL_SCRATCH_BYTES = MATMUL_ROWS * 4096,
    ATTEND_LANES_MAX = 16,      /* floats of the widest vector */
};

/* Below this a group is all zero: 127 / amax must stay finite. */
#define ACT_TINY 1e-30f

static inline size_t acts_lanes(size_t columns)
{
    return columns <= ACT_PLAIN_MAX ? 1 : columns <= 8 ? 8 : ACT_LANES_MAX;
}

/* Index in q of the quad that holds number i (a multiple of 4) of a column. */
static inline size_t acts_at(const struct acts *x, size_t lanes, size_t column, size_t i)
{
    if (lanes == 1)
        return column * x->k_padded + i;
    size_t panel = column / lanes, lane = column % lanes;
    return (panel * (x->k_padded / ACT_QUAD) + i / ACT_QUAD) * lanes * ACT_QUAD + lane * ACT_QUAD;
}

/* Index in scale and sum (and, times 2, in halves) of a column's group. */
static inline size_t acts_group_at(const struct acts *x, size_t lanes, size_t column, size_t group)
{
    size_t panel = column / lanes, lane = column % lanes;
    return (panel * (x->k_padded / ACT_GROUP) + group) * lanes + lane;
}

#endif
