/* body_acts.h - which groups of activations there are to quantise: whole ones, the end of a column,
 * and the columns that fill up the last panel. The file that includes this gives quantize_group. */
#include <string.h>

#include "kernels/acts.h"

static void acts_quantize(struct acts *x, size_t begin, size_t end)
{
    size_t lanes = acts_lanes(x->columns), groups = x->k_padded / ACT_GROUP;
    if (end == x->columns)      /* the columns that fill up the last panel are zero */
        end = (end + lanes - 1) / lanes * lanes;
    for (size_t c = begin; c < end; c++) {
        const float *values = x->f32 + c * x->stride;
        size_t whole = c < x->columns ? x->k / ACT_GROUP : 0, g = 0;
        for (; g < whole; g++)
            quantize_group(x, lanes, c, g, values + g * ACT_GROUP);
        for (; g < groups; g++) {
            float padded[ACT_GROUP] = {0};
            if (c < x->columns)
                memcpy(padded, values + g * ACT_GROUP, (x->k - g * ACT_GROUP) * sizeof *padded);
            quantize_group(x, lanes, c, g, padded);
        }
    }
}
