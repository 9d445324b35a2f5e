/* avxvnni.c - what AVX-VNNI (Alder Lake and later, Zen 5) has over AVX2: quantised products.
 *
 * vpdpbusd multiplies unsigned by signed bytes and adds four of them to 32 bits at once, so nothing
 * overflows and nothing needs widening. The hard thing is what to do with signed weights: before
 * many columns they have 128 added, which is taken off again through the activations' sums. */
#include "kernels/simd_avx2.h"
#include "kernels/simd_bytes_x86.h"

#include "kernels/isa.h"

enum { GEMM_Q8_BIAS = 128 };
#include "kernels/body_gemm.h"

/* sums + u . s in four neighbouring bytes each, u unsigned, s signed. */
static inline __m256i dot_add(__m256i sums, __m256i u, __m256i s)
{
    return _mm256_dpbusd_avx_epi32(sums, u, s);
}

enum { PLAIN_WORDS = 0 };
#include "kernels/body_x86.h"

enum { R = 3, V = 2 };          /* 3 rows by 2 vectors of 8 columns */

/* Where a group's sums begin: with what their weights' middle takes off. */
__attribute__((always_inline)) static inline void
group_begin(__m256i *sums, const struct row_panel *rows, size_t row, const struct column_panel *x,
            size_t g, const enum kind kind)
{
    for (size_t j = 0; j < R * V; j++) {
        const __m256i halves = vb_load(x->halves + 2 * (g * V + j % V) * 8);
        if (kind == KIND_BYTES || kind == KIND_BYTES_M)
            sums[j] = _mm256_madd_epi16(halves, _mm256_set1_epi16(-GEMM_Q8_BIAS));
        else if (kind == KIND_SIXTEENS)
            sums[j] = _mm256_madd_epi16(halves, vb_load_quad(rows->fix[row + j / V][g]));
        else
            sums[j] = _mm256_setzero_si256();
    }
}

/* One group's products. Where 16 numbers have a scale, they have up to 6 bits, and the products of
 * two quads fit the 16 bits in which it is applied. */
__attribute__((always_inline)) static inline void
group_sums(__m256i *sums, const struct row_panel *rows, size_t row, size_t stride,
           const struct column_panel *x, size_t g, const enum kind kind)
{
    const bool sixteens = is_sixteens(kind);
    const size_t step = sixteens ? 2 : 1, next = ACT_LANES_MAX * ACT_QUAD;
    const uint8_t *n = rows->n + row * stride + g * ACT_GROUP;
    const int8_t *q = x->q + g * ACT_GROUP * ACT_LANES_MAX;
    group_begin(sums, rows, row, x, g, kind);
    for (size_t quad = 0; quad < ACT_GROUP / ACT_QUAD; quad += step, q += step * next) {
        for (size_t j = 0; j < R * V; j++) {
            const uint8_t *left = n + j / V * stride + quad * ACT_QUAD;
            const int8_t *right = q + j % V * 32;
            if (!sixteens) {
                sums[j] = dot_add(sums[j], vb_load_quad(left), vb_load(right));
                continue;
            }
            __m256i a = _mm256_maddubs_epi16(vb_load_quad(left), vb_load(right));
            __m256i b = _mm256_maddubs_epi16(vb_load_quad(left + ACT_QUAD), vb_load(right + next));
            sums[j] = _mm256_dpwssd_avx_epi32(sums[j], _mm256_add_epi16(a, b),
                                              vb_load_quad(rows->sub[row + j / V][g][quad / 4]));
        }
    }
}

#include "kernels/body_tile.h"

const struct kernels kernels_avx_vnni = {
    .isa = "avx-vnni",
    .matmul = {
        [QUANT_Q8_0 ... QUANT_COUNT - 1] = matmul_groups,
    },
    .acts_quantize = acts_quantize,     /* arranges columns as matmul_groups wants them */
};
