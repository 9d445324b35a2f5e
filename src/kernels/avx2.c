/* avx2.c - the table for AVX2 with FMA and F16C (every x86 server since 2013, and Zen).
 *
 * Without a dot product instruction, maddubs multiplies unsigned by signed bytes and adds pairs
 * into 16 bits. The hard thing is to stay within them for as long as possible before widening:
 * 4-bit weights (15 * 127 * 2 = 3810) for 8 steps, that is a whole group; 5-bit ones for 4; 6-bit
 * ones (63 * 127 * 2) for 2; 8-bit ones (128 * 127 * 2) for 1. */
#include "kernels/simd_avx2.h"
#include "kernels/simd_bytes_x86.h"

#include "kernels/body_float.h"
#include "kernels/body_attend.h"

/* 8-bit weights stay signed: their sign goes over to the activations (group_bytes). */
enum { GEMM_Q8_BIAS = 0 };
#include "kernels/body_gemm.h"

/* sums + u . s in four neighbouring bytes each, u unsigned, s signed; see above for the range. */
static inline __m256i dot_add(__m256i sums, __m256i u, __m256i s)
{
    return _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(u, s),
                                                    _mm256_set1_epi16(1)));
}

enum { PLAIN_WORDS = 1 };
#include "kernels/body_x86.h"

/* Compilers would rather gather the products of a whole group before they add any, and then run out
 * of registers: each sum is to be complete after each step. */
static inline void settle(__m256i *sums, size_t n)
{
    for (size_t i = 0; i < n; i++)
        __asm__("" : "+x"(sums[i]));
}

enum { R = 3, V = 2 };         /* 3 rows by 2 vectors of 8 columns */

/* One group's products with unsigned weights. They gather in 16 bits for as many steps as their
 * kind allows and then in 32; where 16 numbers have a scale, widening multiplies with it. */
__attribute__((always_inline)) static inline void
group_unsigned(__m256i *wide, const struct row_panel *rows, size_t row, size_t stride,
               const struct column_panel *x, size_t g, const enum kind kind)
{
    const size_t quads = ACT_GROUP / ACT_QUAD, lanes = ACT_LANES_MAX;
    const size_t steps = kind == KIND_BITS4 ? quads : kind == KIND_BITS5 ? 4 : 2;
    const bool sixteens = is_sixteens(kind);
    const uint8_t *n = rows->n + row * stride + g * ACT_GROUP;
    const int8_t *q = x->q + g * ACT_GROUP * lanes;
    for (size_t j = 0; j < R * V; j++) {
        const int16_t *halves = x->halves + 2 * (g * V + j % V) * 8;
        wide[j] = kind == KIND_SIXTEENS ? _mm256_madd_epi16(vb_load(halves),
                                                            vb_load_quad(rows->fix[row + j / V][g]))
                                        : _mm256_setzero_si256();
    }
    for (size_t step = 0; step < quads; step += steps) {
        __m256i sums[R * V];
        for (size_t j = 0; j < R * V; j++)
            sums[j] = _mm256_setzero_si256();
        for (size_t i = 0; i < steps; i++, n += ACT_QUAD, q += lanes * ACT_QUAD) {
            __m256i right[2];
            for (size_t v = 0; v < V; v++)
                right[v] = vb_load(q + v * 32);
            for (size_t r = 0; r < R; r++) {
                __m256i left = vb_load_quad(n + r * stride);
                for (size_t v = 0; v < V; v++)
                    sums[r * V + v] = _mm256_add_epi16(sums[r * V + v],
                                                       _mm256_maddubs_epi16(left, right[v]));
            }
            settle(sums, R * V);
        }
        for (size_t j = 0; j < R * V; j++) {
            __m256i factor = sixteens ? vb_load_quad(rows->sub[row + j / V][g][step / 4])
                                      : _mm256_set1_epi16(1);
            wide[j] = _mm256_add_epi32(wide[j], _mm256_madd_epi16(sums[j], factor));
        }
        settle(wide, R * V);
    }
}

/* The same of 8-bit weights: their sign goes over to the activation, which is never -128. */
__attribute__((always_inline)) static inline void
group_bytes(__m256i *sums, const struct row_panel *rows, size_t row, size_t stride,
            const struct column_panel *x, size_t g)
{
    const size_t lanes = ACT_LANES_MAX;
    const uint8_t *n = rows->n + row * stride + g * ACT_GROUP;
    const int8_t *q = x->q + g * ACT_GROUP * lanes;
    for (size_t j = 0; j < R * V; j++)
        sums[j] = _mm256_setzero_si256();
    for (size_t quad = 0; quad < ACT_GROUP / ACT_QUAD; quad++, q += lanes * ACT_QUAD) {
        for (size_t r = 0; r < R; r++) {
            __m256i left = vb_load_quad(n + r * stride + quad * ACT_QUAD);
            __m256i size = _mm256_abs_epi8(left);
            for (size_t v = 0; v < V; v++)
                sums[r * V + v] = dot_add(sums[r * V + v], size,
                                          _mm256_sign_epi8(vb_load(q + v * 32), left));
        }
        settle(sums, R * V);
    }
}

__attribute__((always_inline)) static inline void
group_sums(__m256i *sums, const struct row_panel *rows, size_t row, size_t stride,
           const struct column_panel *x, size_t g, const enum kind kind)
{
    if (kind == KIND_BYTES || kind == KIND_BYTES_M)
        group_bytes(sums, rows, row, stride, x, g);
    else
        group_unsigned(sums, rows, row, stride, x, g, kind);
}

#include "kernels/body_tile.h"

const struct kernels kernels_avx2 = {
    .isa = "avx2",
    .dequant = {
        [QUANT_F16] = dequant_floats,
        [QUANT_BF16] = dequant_floats,
    },
    .matmul = {
        [QUANT_F32] = matmul_floats,
        [QUANT_F16] = matmul_floats,
        [QUANT_BF16] = matmul_floats,
        [QUANT_Q8_0 ... QUANT_COUNT - 1] = matmul_groups,
    },
    .acts_quantize = acts_quantize,
    .rmsnorm = rmsnorm,
    .rope = rope,
    .silu_mul = silu_mul,
    .gelu_mul = gelu_mul,
    .softcap = softcap,
    .add = add,
    .attend = attend,
    .attend_part = attend_part,
    .attend_merge = attend_merge,
    .f32_to_f16 = f32_to_f16,
    .f16_to_f32 = f16_to_f32,
    .softmax_exp = softmax_exp,
};
