/* body_acts.h - quantising activations: which groups there are (whole ones, the end of a column,
 * and the columns that fill up the last panel), and their scales.
 *
 * The hard thing is latency: a group's numbers wait for its largest, and that for a division. So a
 * batch of groups first finds all its scales, and then converts. The file that includes this gives
 * group_top(values), the largest absolute value, and quantize_group; body_plain.h acts_arrange. */
#include <string.h>

#include "kernels/acts.h"

enum { ACTS_BATCH = 8 };

/* One of few columns, which is there, in each order that a format wants. */
static void acts_arrange(struct acts *x, size_t column);

static void quantize_batch(struct acts *x, size_t lanes, size_t c, size_t g, const float *values,
                           size_t groups)
{
    float scale[ACTS_BATCH] = {0}, inverse[ACTS_BATCH];
    for (size_t i = 0; i < groups; i++)
        scale[i] = group_top(values + i * ACT_GROUP);
    for (size_t i = 0; i < ACTS_BATCH; i++) {
        bool any = scale[i] > ACT_TINY;
        inverse[i] = any ? 127 / scale[i] : 0;
        scale[i] = any ? scale[i] / 127 : 0;
    }
    for (size_t i = 0; i < groups; i++)
        quantize_group(x, lanes, c, g + i, values + i * ACT_GROUP, scale[i], inverse[i]);
}

static void acts_quantize(struct acts *x, size_t begin, size_t end)
{
    size_t lanes = acts_lanes(x->columns), groups = x->k_padded / ACT_GROUP;
    if (end == x->columns)      /* the columns that fill up the last panel are zero */
        end = (end + lanes - 1) / lanes * lanes;
    for (size_t c = begin; c < end; c++) {
        const float *values = x->f32 + c * x->stride;
        size_t whole = c < x->columns ? x->k / ACT_GROUP : 0, g = 0;
        for (; g < whole; g += ACTS_BATCH)
            quantize_batch(x, lanes, c, g, values + g * ACT_GROUP,
                           whole - g < ACTS_BATCH ? whole - g : ACTS_BATCH);
        for (g = whole; g < groups; g++) {
            float padded[ACT_GROUP] = {0};
            if (c < x->columns)
                memcpy(padded, values + g * ACT_GROUP, (x->k - g * ACT_GROUP) * sizeof *padded);
            quantize_batch(x, lanes, c, g, padded, 1);
        }
        if (lanes == 1)
            acts_arrange(x, c);
    }
}
