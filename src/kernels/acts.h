/* acts.h - where in struct acts a number lies, in which order a row's groups are added, and how
 * much scratch the kernels ask for.
 *
 * Few columns (decode) stand one after another, so that a row's weights meet a column's numbers in
 * the order of the file. Many columns alternate in panels of 16: then one vector of
 * activations holds 4 numbers of each of several columns, a weight kernel broadcasts 4 weights to
 * all of them, and no lane ever needs adding to its neighbour. */
#ifndef PENSIEVE_KERNELS_ACTS_H
#define PENSIEVE_KERNELS_ACTS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

enum {
    ACT_PLAIN_MAX = 8,          /* up to so many columns stand one after another */
    ACT_LANES_MAX = 16,
    ACT_QUAD = 4,               /* numbers of one column side by side in a panel */
    ACT_RUN = 64,               /* groups that are added up before they meet those before them, */
    ACT_TOTALS = 8,             /* in so many totals: see kernels.h */
};

/* Enough scratch for every table: see body_float.h, body_gemm.h and body_attend.h. */
enum {
    MATMUL_SCRATCH_BYTES = MATMUL_ROWS * 4096,
    ATTEND_LANES_MAX = 16,      /* floats of the widest vector */
    PLAIN_CHUNK = 256,          /* numbers; and what they take with their scales and sums: */
    PLAIN_CHUNK_BYTES = PLAIN_CHUNK + 2 * PLAIN_CHUNK / ACT_GROUP * (int)sizeof(float),
};

/* How the numbers of two groups a and b may stand, where their bits are not spread out to one group
 * after the other: that saves bringing each group's together. */
enum order {
    ORDER_NATURAL,      /* a, b */
    ORDER_HALVES,       /* a's first 16, b's first 16; a's last 16, b's last 16 */
    ORDER_PAIRS,        /* a's even ones, b's even ones; a's odd ones, b's odd ones */
    ORDERS
};

static inline size_t plain_chunks(size_t k)
{
    return (k + PLAIN_CHUNK - 1) / PLAIN_CHUNK;
}

/* One of few columns in an order, filled up with zeros to whole chunks: its numbers, its scales,
 * its sums. Made once by acts_quantize: a row range of matmul may be too short to make it anew. */
static inline uint8_t *acts_arranged(const struct acts *x, size_t column, enum order order)
{
    return x->arranged + (order * ACT_PLAIN_MAX + column) * plain_chunks(x->k) * PLAIN_CHUNK_BYTES;
}

/* Below this a group is all zero: 127 / amax must stay finite. */
#define ACT_TINY 1e-30f

static inline size_t acts_lanes(size_t columns)
{
    return columns <= ACT_PLAIN_MAX ? 1 : ACT_LANES_MAX;
}

/* Of a run of so many groups, how many belong to a total; and the first one's place, where those of
 * one total stand together. */
static inline size_t run_length(size_t groups, size_t total)
{
    return (groups + ACT_TOTALS - 1 - total) / ACT_TOTALS;
}

static inline size_t run_begin(size_t groups, size_t total)
{
    size_t rest = groups % ACT_TOTALS;
    return total * (groups / ACT_TOTALS) + (total < rest ? total : rest);
}

/* A group's place in a panel: runs in order, in a run by totals. */
static inline size_t acts_place(const struct acts *x, size_t group)
{
    size_t begin = group / ACT_RUN * ACT_RUN, i = group - begin;
    size_t rest = x->k_padded / ACT_GROUP - begin;
    return begin + run_begin(rest < ACT_RUN ? rest : ACT_RUN, i % ACT_TOTALS) + i / ACT_TOTALS;
}

/* Index in scale and sum (and, times 2, in halves) of a column's group. */
static inline size_t acts_group_at(const struct acts *x, size_t lanes, size_t column, size_t group)
{
    size_t panel = column / lanes, lane = column % lanes;
    size_t place = lanes == 1 ? group : acts_place(x, group);
    return (panel * (x->k_padded / ACT_GROUP) + place) * lanes + lane;
}

/* Index in q of the quad that holds number i (a multiple of 4) of a column. */
static inline size_t acts_at(const struct acts *x, size_t lanes, size_t column, size_t i)
{
    if (lanes == 1)
        return column * x->k_padded + i;
    size_t lane = column % lanes, group = acts_group_at(x, lanes, column - lane, i / ACT_GROUP);
    return group * ACT_GROUP + i % ACT_GROUP * lanes + lane * ACT_QUAD;
}

#endif
