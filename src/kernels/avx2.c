/* avx2.c - the table for AVX2 with FMA and F16C (every x86 server since 2013, and Zen).
 *
 * Without a dot product instruction, maddubs multiplies unsigned by signed bytes and adds pairs
 * into 16 bits. The hard thing is to stay within them for as long as possible before widening:
 * 4-bit weights (15 * 127 * 2 = 3810) for 8 steps, that is a whole group; 6-bit ones (63 * 127 * 2)
 * for 2; 8-bit ones (128 * 127 * 2) for 1. */
#include "kernels/simd_avx2.h"

#include "kernels/body_float.h"
#include "kernels/body_attend.h"

/* 8-bit weights stay signed: their sign goes over to the activations (tile_bytes). */
enum { GEMM_Q8_BIAS = 0 };
#include "kernels/body_gemm.h"

/* sums + u . s in four neighbouring bytes each, u unsigned, s signed; see above for the range. */
static inline __m256i dot_add(__m256i sums, __m256i u, __m256i s)
{
    return _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(u, s),
                                                    _mm256_set1_epi16(1)));
}

/* u0 . s0 + u1 . s1 for 4-bit u, widened once. */
static inline __m256i dot_nibbles(__m256i u0, __m256i s0, __m256i u1, __m256i s1)
{
    __m256i sum = _mm256_add_epi16(_mm256_maddubs_epi16(u0, s0), _mm256_maddubs_epi16(u1, s1));
    return _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
}

#include "kernels/body_x86.h"

static inline __m256i load_quad(const void *at)
{
    int32_t quad;
    memcpy(&quad, at, sizeof quad);
    return _mm256_set1_epi32(quad);
}

static inline __m256i load_bytes(const void *at)
{
    return _mm256_loadu_si256(at);
}

/* Compilers would rather gather the products of a whole group before they add any, and then run out
 * of registers: each sum is to be complete after each step. */
static inline void settle(__m256i *sums, size_t n)
{
    for (size_t i = 0; i < n; i++)
        __asm__("" : "+x"(sums[i]));
}

/* 4-bit weights: R rows by V vectors of 8 columns, 2 * R * V + V + 2 registers. */
__attribute__((always_inline)) static inline void
tile_nibbles(struct row_panel *rows, size_t row, const struct column_panel *x, size_t groups,
             const size_t R, const size_t V)
{
    const uint8_t *n = rows->n + row * groups * ACT_GROUP;
    const int8_t *q = x->q;
    __m256 total[6];
    for (size_t j = 0; j < R * V; j++)
        total[j] = _mm256_setzero_ps();
    for (size_t g = 0; g < groups; g++, n += ACT_GROUP) {
        __m256i sums[6];
        for (size_t j = 0; j < R * V; j++)
            sums[j] = _mm256_setzero_si256();
        for (size_t quad = 0; quad < ACT_GROUP / ACT_QUAD; quad++, q += x->lanes * ACT_QUAD) {
            __m256i right[2];
            for (size_t v = 0; v < V; v++)
                right[v] = load_bytes(q + v * 32);
            for (size_t r = 0; r < R; r++) {
                __m256i left = load_quad(n + r * groups * ACT_GROUP + quad * ACT_QUAD);
                for (size_t v = 0; v < V; v++)
                    sums[r * V + v] = _mm256_add_epi16(sums[r * V + v],
                                                       _mm256_maddubs_epi16(left, right[v]));
            }
            settle(sums, R * V);
        }
        for (size_t v = 0; v < V; v++) {
            __m256 scale = _mm256_loadu_ps(x->scale + g * x->lanes + v * 8);
            __m256 sum = _mm256_loadu_ps(x->sum + g * x->lanes + v * 8);
            for (size_t r = 0; r < R; r++) {
                __m256i wide = _mm256_madd_epi16(sums[r * V + v], _mm256_set1_epi16(1));
                __m256 d = _mm256_mul_ps(scale, _mm256_set1_ps(rows->d[row + r][g]));
                __m256 *t = &total[r * V + v];
                *t = _mm256_fmadd_ps(_mm256_cvtepi32_ps(wide), d, *t);
                *t = _mm256_fmadd_ps(_mm256_set1_ps(rows->m[row + r][g]), sum, *t);
            }
        }
    }
    for (size_t r = 0; r < R; r++) {
        for (size_t v = 0; v < V; v++)
            _mm256_storeu_ps(&rows->tile[row + r][v * 8], total[r * V + v]);
    }
}

/* Takes one group's sums, where they are 32 bits wide, into the totals. */
__attribute__((always_inline)) static inline void
tile_scale(__m256 *total, const __m256i *sums, const struct row_panel *rows, size_t row,
           const struct column_panel *x, size_t g, const size_t R, const size_t V)
{
    for (size_t v = 0; v < V; v++) {
        __m256 scale = _mm256_loadu_ps(x->scale + g * x->lanes + v * 8);
        for (size_t r = 0; r < R; r++) {
            __m256 d = _mm256_mul_ps(scale, _mm256_set1_ps(rows->d[row + r][g]));
            total[r * V + v] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[r * V + v]), d,
                                               total[r * V + v]);
        }
    }
}

/* 8-bit weights: the weight's sign goes over to the activation, which is never -128. */
__attribute__((always_inline)) static inline void
tile_bytes(struct row_panel *rows, size_t row, const struct column_panel *x, size_t groups,
           const size_t R, const size_t V)
{
    const uint8_t *n = rows->n + row * groups * ACT_GROUP;
    const int8_t *q = x->q;
    __m256 total[6];
    for (size_t j = 0; j < R * V; j++)
        total[j] = _mm256_setzero_ps();
    for (size_t g = 0; g < groups; g++, n += ACT_GROUP) {
        __m256i sums[6];
        for (size_t j = 0; j < R * V; j++)
            sums[j] = _mm256_setzero_si256();
        for (size_t quad = 0; quad < ACT_GROUP / ACT_QUAD; quad++, q += x->lanes * ACT_QUAD) {
            for (size_t r = 0; r < R; r++) {
                __m256i left = load_quad(n + r * groups * ACT_GROUP + quad * ACT_QUAD);
                __m256i size = _mm256_abs_epi8(left);
                for (size_t v = 0; v < V; v++)
                    sums[r * V + v] = dot_add(sums[r * V + v], size,
                                              _mm256_sign_epi8(load_bytes(q + v * 32), left));
            }
            settle(sums, R * V);
        }
        tile_scale(total, sums, rows, row, x, g, R, V);
    }
    for (size_t r = 0; r < R; r++) {
        for (size_t v = 0; v < V; v++)
            _mm256_storeu_ps(&rows->tile[row + r][v * 8], total[r * V + v]);
    }
}

/* 6-bit weights: two steps fit 16 bits; the widening multiplies with the 16 numbers' own scale. */
__attribute__((always_inline)) static inline void
tile_q6(struct row_panel *rows, size_t row, const struct column_panel *x, size_t groups,
        const size_t R, const size_t V)
{
    const uint8_t *n = rows->n + row * groups * ACT_GROUP;
    const int8_t *q = x->q;
    const size_t step = x->lanes * ACT_QUAD;
    __m256 total[6];
    for (size_t j = 0; j < R * V; j++)
        total[j] = _mm256_setzero_ps();
    for (size_t g = 0; g < groups; g++, n += ACT_GROUP) {
        __m256i sums[6];
        for (size_t r = 0; r < R; r++) {
            for (size_t v = 0; v < V; v++)
                sums[r * V + v] =
                    _mm256_madd_epi16(load_bytes(x->halves + 2 * (g * x->lanes + v * 8)),
                                      load_quad(rows->fix[row + r][g]));
        }
        for (size_t pair = 0; pair < ACT_GROUP / ACT_QUAD / 2; pair++, q += 2 * step) {
            for (size_t r = 0; r < R; r++) {
                const uint8_t *left = n + r * groups * ACT_GROUP + pair * 2 * ACT_QUAD;
                __m256i left0 = load_quad(left), left1 = load_quad(left + ACT_QUAD);
                __m256i sub = load_quad(rows->sub[row + r][g][pair / 2]);
                for (size_t v = 0; v < V; v++) {
                    __m256i two = _mm256_add_epi16(
                        _mm256_maddubs_epi16(left0, load_bytes(q + v * 32)),
                        _mm256_maddubs_epi16(left1, load_bytes(q + step + v * 32)));
                    sums[r * V + v] = _mm256_add_epi32(sums[r * V + v],
                                                       _mm256_madd_epi16(two, sub));
                }
            }
            settle(sums, R * V);
        }
        tile_scale(total, sums, rows, row, x, g, R, V);
    }
    for (size_t r = 0; r < R; r++) {
        for (size_t v = 0; v < V; v++)
            _mm256_storeu_ps(&rows->tile[row + r][v * 8], total[r * V + v]);
    }
}

static void tile8_nibbles(struct row_panel *rows, size_t row, const struct column_panel *x,
                          size_t groups)
{
    tile_nibbles(rows, row, x, groups, 6, 1);
}

static void tile16_nibbles(struct row_panel *rows, size_t row, const struct column_panel *x,
                           size_t groups)
{
    tile_nibbles(rows, row, x, groups, 3, 2);
}

static void tile8_bytes(struct row_panel *rows, size_t row, const struct column_panel *x,
                        size_t groups)
{
    tile_bytes(rows, row, x, groups, 6, 1);
}

static void tile16_bytes(struct row_panel *rows, size_t row, const struct column_panel *x,
                         size_t groups)
{
    tile_bytes(rows, row, x, groups, 3, 2);
}

static void tile8_q6(struct row_panel *rows, size_t row, const struct column_panel *x,
                     size_t groups)
{
    tile_q6(rows, row, x, groups, 6, 1);
}

static void tile16_q6(struct row_panel *rows, size_t row, const struct column_panel *x,
                      size_t groups)
{
    tile_q6(rows, row, x, groups, 3, 2);
}

static const struct gemm gemms[QUANT_COUNT] = {
    [QUANT_Q8_0] = {unpack_q8_0, tile8_bytes, tile16_bytes, 6, 3},
    [QUANT_Q4_0] = {unpack_q4_0, tile8_nibbles, tile16_nibbles, 6, 3},
    [QUANT_Q4_1] = {unpack_q4_1, tile8_nibbles, tile16_nibbles, 6, 3},
    [QUANT_Q6_K] = {unpack_q6_k, tile8_q6, tile16_q6, 6, 3},
};

static void matmul_groups(float *out, size_t out_stride, const struct matrix *w,
                          const struct acts *x, size_t row_begin, size_t row_end, void *scratch)
{
    if (x->columns <= ACT_PLAIN_MAX)
        matmul_plain(out, out_stride, w, x, row_begin, row_end);
    else
        gemm_run(out, out_stride, w, x, row_begin, row_end, scratch, &gemms[w->quant]);
}

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
        [QUANT_Q8_0] = matmul_groups,
        [QUANT_Q4_0] = matmul_groups,
        [QUANT_Q4_1] = matmul_groups,
        [QUANT_Q6_K] = matmul_groups,
    },
    .acts_quantize = acts_quantize,
    .rmsnorm = rmsnorm,
    .rope = rope,
    .silu_mul = silu_mul,
    .gelu_mul = gelu_mul,
    .softcap = softcap,
    .add = add,
    .attend = attend,
    .f32_to_f16 = f32_to_f16,
    .f16_to_f32 = f16_to_f32,
    .softmax_exp = softmax_exp,
};
