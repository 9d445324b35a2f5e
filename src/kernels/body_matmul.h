/* body_matmul.h - the way that quantised weights take through a table, by the number of columns.
 *
 * The file that includes this has body_gemm.h, body_plain.h, and its tiles by kind: `tiles`. */
#include "kernels/acts.h"

static void matmul_groups(float *out, size_t out_stride, const struct matrix *w,
                          const struct acts *x, size_t row_begin, size_t row_end, void *scratch)
{
    if (x->columns <= ACT_PLAIN_MAX)
        plain_matmul(out, out_stride, w, x, row_begin, row_end);
    else
        gemm_run(out, out_stride, w, x, row_begin, row_end, scratch, tiles);
}
