/* group.h - a group of weights of any quantised format as plain numbers: the reference reading. */
#ifndef PENSIEVE_KERNELS_GROUP_H
#define PENSIEVE_KERNELS_GROUP_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* ACT_GROUP numbers of a row: w[i] = d[i / 16] * n[i] + m[i / 16]. */
struct group {
    int16_t n[ACT_GROUP];
    float d[2], m[2];
};

/* Group g of a row of w. */
void group_read(struct group *group, const struct matrix *w, size_t row, size_t g);

/* What the sixteen nibbles of iq4_nl and iq4_xs stand for, and twice what those of mxfp4 do. */
extern const int8_t group_iq4_curve[16], group_mxfp4_curve[16];

#endif
