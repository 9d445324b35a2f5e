/* body_tile.h - the tile of body_gemm.h in vectors of 8 lanes, which AVX2 and AVX-VNNI share: R
 * rows by V vectors of columns, and the matmul that goes by it.
 *
 * The hard thing is that there are 16 registers: R * V integer sums and as many float totals leave
 * 4 for activations and weights.
 *
 * The file that includes this, after body_gemm.h and body_x86.h, gives R, V and
 * group_sums(sums, rows, row, stride, x, g, kind): the products of group g, [R][V], exactly; of
 * KIND_SIXTEENS with its fixes, of signed weights without GEMM_Q8_BIAS. */
/* Takes one group's sums into the totals. */
__attribute__((always_inline)) static inline void
tile_scale(__m256 *total, const __m256i *sums, const struct row_panel *rows, size_t row,
           const struct column_panel *x, size_t g, const enum kind kind)
{
    for (size_t v = 0; v < V; v++) {
        const size_t at = (g * V + v) * 8;
        __m256 scale = _mm256_loadu_ps(x->scale + at), sum = _mm256_loadu_ps(x->sum + at);
        for (size_t r = 0; r < R; r++) {
            __m256 d = _mm256_mul_ps(scale, _mm256_set1_ps(rows->d[row + r][g]));
            __m256 *t = &total[r * V + v];
            *t = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[r * V + v]), d, *t);
            if (!has_m(kind))
                continue;
            if (kind == KIND_SIXTEENS_M) {
                __m256i fixes = _mm256_madd_epi16(vb_load(x->halves + 2 * at),
                                                  vb_load_quad(rows->fix[row + r][g]));
                sum = _mm256_mul_ps(_mm256_cvtepi32_ps(fixes), scale);
            }
            *t = _mm256_fmadd_ps(_mm256_set1_ps(rows->m[row + r][g]), sum, *t);
        }
    }
}

__attribute__((always_inline)) static inline void
tile(struct row_panel *rows, size_t row, const struct column_panel *x, size_t groups,
     const enum kind kind)
{
    const size_t stride = groups * ACT_GROUP;
    __m256 run[ACT_TOTALS * R * V];
    for (size_t t = 0, g = 0; t < ACT_TOTALS; t++) {
        const size_t end = g + run_length(groups, t);
        __m256 total[R * V];
        for (size_t j = 0; j < R * V; j++)
            total[j] = _mm256_setzero_ps();
        for (; g < end; g++) {
            __m256i sums[R * V];
            group_sums(sums, rows, row, stride, x, g, kind);
            tile_scale(total, sums, rows, row, x, g, kind);
        }
        for (size_t j = 0; j < R * V; j++)
            run[t * R * V + j] = total[j];
    }
    for (size_t j = 0; j < R * V; j++)
        _mm256_storeu_ps(&rows->tile[row + j / V][j % V * 8], run_sum(run + j, R * V));
}

#define TILE(name, kind)                                                                        \
    static void tile_##name(struct row_panel *rows, size_t row, const struct column_panel *x,   \
                            size_t groups)                                                      \
    {                                                                                           \
        tile(rows, row, x, groups, kind);                                                       \
    }
TILE(bits4, KIND_BITS4)
TILE(bits5, KIND_BITS5)
TILE(bits6, KIND_BITS6)
TILE(bytes, KIND_BYTES)
TILE(bytes_m, KIND_BYTES_M)
TILE(sixteens, KIND_SIXTEENS)
TILE(sixteens_m, KIND_SIXTEENS_M)

static const struct gemm_tile tiles[KINDS] = {
    [KIND_BITS4] = {tile_bits4, R},
    [KIND_BITS5] = {tile_bits5, R},
    [KIND_BITS6] = {tile_bits6, R},
    [KIND_BYTES] = {tile_bytes, R},
    [KIND_BYTES_M] = {tile_bytes_m, R},
    [KIND_SIXTEENS] = {tile_sixteens, R},
    [KIND_SIXTEENS_M] = {tile_sixteens_m, R},
};

#include "kernels/body_matmul.h"
