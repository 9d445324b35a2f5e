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

enum { TILE_ROWS = 3, R = TILE_ROWS, V = 2 };   /* 3 rows by 2 vectors of 8 columns */

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
                __m256i fixes = _mm256_madd_epi16(load_bytes(x->halves + 2 * at),
                                                  load_quad(rows->fix[row + r][g]));
                sum = _mm256_mul_ps(_mm256_cvtepi32_ps(fixes), scale);
            }
            *t = _mm256_fmadd_ps(_mm256_set1_ps(rows->m[row + r][g]), sum, *t);
        }
    }
}

/* One group's products with unsigned weights. They gather in 16 bits for as many steps as their
 * kind allows and then in 32; where 16 numbers have a scale, widening multiplies with it. */
__attribute__((always_inline)) static inline void
group_unsigned(__m256i *wide, const struct row_panel *rows, size_t row, size_t stride,
               const struct column_panel *x, size_t g, const enum kind kind)
{
    const size_t quads = ACT_GROUP / ACT_QUAD, lanes = ACT_LANES_MAX;
    const size_t steps = kind == KIND_BITS4 ? quads : kind == KIND_BITS5 ? 4 : 2;
    const bool sixteens = kind == KIND_SIXTEENS || kind == KIND_SIXTEENS_M;
    const uint8_t *n = rows->n + row * stride + g * ACT_GROUP;
    const int8_t *q = x->q + g * ACT_GROUP * lanes;
    for (size_t j = 0; j < R * V; j++) {
        const int16_t *halves = x->halves + 2 * (g * V + j % V) * 8;
        wide[j] = kind == KIND_SIXTEENS ? _mm256_madd_epi16(load_bytes(halves),
                                                            load_quad(rows->fix[row + j / V][g]))
                                        : _mm256_setzero_si256();
    }
    for (size_t step = 0; step < quads; step += steps) {
        __m256i sums[R * V];
        for (size_t j = 0; j < R * V; j++)
            sums[j] = _mm256_setzero_si256();
        for (size_t i = 0; i < steps; i++, n += ACT_QUAD, q += lanes * ACT_QUAD) {
            __m256i right[2];
            for (size_t v = 0; v < V; v++)
                right[v] = load_bytes(q + v * 32);
            for (size_t r = 0; r < R; r++) {
                __m256i left = load_quad(n + r * stride);
                for (size_t v = 0; v < V; v++)
                    sums[r * V + v] = _mm256_add_epi16(sums[r * V + v],
                                                       _mm256_maddubs_epi16(left, right[v]));
            }
            settle(sums, R * V);
        }
        for (size_t j = 0; j < R * V; j++) {
            __m256i factor = sixteens ? load_quad(rows->sub[row + j / V][g][step / 4])
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
            __m256i left = load_quad(n + r * stride + quad * ACT_QUAD);
            __m256i size = _mm256_abs_epi8(left);
            for (size_t v = 0; v < V; v++)
                sums[r * V + v] = dot_add(sums[r * V + v], size,
                                          _mm256_sign_epi8(load_bytes(q + v * 32), left));
        }
        settle(sums, R * V);
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
            if (kind == KIND_BYTES || kind == KIND_BYTES_M)
                group_bytes(sums, rows, row, stride, x, g);
            else
                group_unsigned(sums, rows, row, stride, x, g, kind);
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
    [KIND_BITS4] = {tile_bits4, TILE_ROWS},
    [KIND_BITS5] = {tile_bits5, TILE_ROWS},
    [KIND_BITS6] = {tile_bits6, TILE_ROWS},
    [KIND_BYTES] = {tile_bytes, TILE_ROWS},
    [KIND_BYTES_M] = {tile_bytes_m, TILE_ROWS},
    [KIND_SIXTEENS] = {tile_sixteens, TILE_ROWS},
    [KIND_SIXTEENS_M] = {tile_sixteens_m, TILE_ROWS},
};

static void matmul_groups(float *out, size_t out_stride, const struct matrix *w,
                          const struct acts *x, size_t row_begin, size_t row_end, void *scratch)
{
    if (x->columns <= ACT_PLAIN_MAX)
        plain_matmul(out, out_stride, w, x, row_begin, row_end);
    else
        gemm_run(out, out_stride, w, x, row_begin, row_end, scratch, tiles);
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
