/* avx512.c - the table for AVX-512 with VNNI (Ice Lake, Sapphire Rapids, Zen 4 and later).
 *
 * vpdpbusd multiplies unsigned by signed bytes and adds four of them to 32 bits at once, so nothing
 * overflows and nothing needs widening. 8-bit weights are made unsigned by adding 128, which is
 * taken off again through the activations' sums: the sum starts at -128 * (sum of q), exactly. */
#include "kernels/simd_avx512.h"
#include "kernels/simd_bytes_x86.h"

#include "kernels/body_float.h"
#include "kernels/body_attend.h"

enum { GEMM_Q8_BIAS = 128 };
#include "kernels/body_gemm.h"

/* sums + u . s in four neighbouring bytes each, u unsigned, s signed. */
static inline __m256i dot_add(__m256i sums, __m256i u, __m256i s)
{
    return _mm256_dpbusd_epi32(sums, u, s);
}

static inline __m256i dot_nibbles(__m256i u0, __m256i s0, __m256i u1, __m256i s1)
{
    return _mm256_dpbusd_epi32(_mm256_dpbusd_epi32(_mm256_setzero_si256(), u0, s0), u1, s1);
}

#include "kernels/body_x86.h"

enum { TILE_ROWS = 12 };        /* 12 integer and 12 float sums of 32 registers */

static inline __m512i load_quad(const void *at)
{
    int32_t quad;
    memcpy(&quad, at, sizeof quad);
    return _mm512_set1_epi32(quad);
}

/* 16 columns, or the first 8 of a panel that has no more; the rest is zero. */
__attribute__((always_inline)) static inline __m512i load_columns(const void *at, bool half)
{
    return half ? _mm512_inserti64x4(_mm512_setzero_si512(),
                                     _mm256_loadu_si256((const __m256i *)at), 0)
                : _mm512_loadu_si512(at);
}

static inline __m512 load_floats(const float *at, bool half)
{
    return _mm512_castsi512_ps(load_columns(at, half));
}

/* Products of one row's group with its columns. */
__attribute__((always_inline)) static inline __m512i
group_dot(__m512i sums, const uint8_t *n, const int8_t *q, size_t step, bool half)
{
    for (size_t quad = 0; quad < ACT_GROUP / ACT_QUAD; quad++)
        sums = _mm512_dpbusd_epi32(sums, load_quad(n + quad * ACT_QUAD),
                                   load_columns(q + quad * step, half));
    return sums;
}

/* Up to 6 bits: the products of two quads fit 16 bits, where the sixteen's own scale is applied. */
__attribute__((always_inline)) static inline __m512i
group_dot_sixteens(__m512i sums, const uint8_t *n, const int16_t sub[2][2], const int8_t *q,
                   size_t step, bool half)
{
    for (size_t quad = 0; quad < ACT_GROUP / ACT_QUAD; quad += 2) {
        __m512i two =
            _mm512_add_epi16(_mm512_maddubs_epi16(load_quad(n + quad * ACT_QUAD),
                                                  load_columns(q + quad * step, half)),
                             _mm512_maddubs_epi16(load_quad(n + quad * ACT_QUAD + ACT_QUAD),
                                                  load_columns(q + quad * step + step, half)));
        sums = _mm512_dpwssd_epi32(sums, two, load_quad(sub[quad / 4]));
    }
    return sums;
}

__attribute__((always_inline)) static inline void
tile(struct row_panel *rows, size_t row, const struct column_panel *x, size_t groups,
     const enum gemm_kind kind, const bool half)
{
    const size_t step = x->lanes * ACT_QUAD;
    __m512 total[TILE_ROWS];
    for (size_t r = 0; r < TILE_ROWS; r++)
        total[r] = _mm512_setzero_ps();
    for (size_t g = 0; g < groups; g++) {
        const int8_t *q = x->q + g * ACT_GROUP * x->lanes;
        __m512 scale = load_floats(x->scale + g * x->lanes, half);
        __m512 sum = load_floats(x->sum + g * x->lanes, half);
        __m512i halves = load_columns(x->halves + 2 * g * x->lanes, half);
        __m512i offset = _mm512_madd_epi16(halves, _mm512_set1_epi16(-GEMM_Q8_BIAS));
        for (size_t r = 0; r < TILE_ROWS; r++) {
            const uint8_t *n = rows->n + ((row + r) * groups + g) * ACT_GROUP;
            __m512i sums;
            __m512i fixes = _mm512_madd_epi16(halves, load_quad(rows->fix[row + r][g]));
            if (kind == GEMM_BITS6)
                sums = group_dot(_mm512_setzero_si512(), n, q, step, half);
            else if (kind == GEMM_BYTES)
                sums = group_dot(offset, n, q, step, half);
            else
                sums = group_dot_sixteens(
                    kind == GEMM_SIXTEENS ? fixes : _mm512_setzero_si512(), n,
                    (const int16_t(*)[2])rows->sub[row + r][g], q, step, half);
            __m512 d = _mm512_mul_ps(scale, _mm512_set1_ps(rows->d[row + r][g]));
            total[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), d, total[r]);
            if (kind == GEMM_SIXTEENS_M)
                sum = _mm512_mul_ps(_mm512_cvtepi32_ps(fixes), scale);
            if (kind != GEMM_SIXTEENS)
                total[r] = _mm512_fmadd_ps(_mm512_set1_ps(rows->m[row + r][g]), sum, total[r]);
        }
    }
    for (size_t r = 0; r < TILE_ROWS; r++)
        _mm512_storeu_ps(rows->tile[row + r], total[r]);
}

#define TILES(name, kind)                                                                       \
    static void tile8_##name(struct row_panel *rows, size_t row, const struct column_panel *x,  \
                             size_t groups)                                                     \
    {                                                                                           \
        tile(rows, row, x, groups, kind, true);                                                 \
    }                                                                                           \
    static void tile16_##name(struct row_panel *rows, size_t row, const struct column_panel *x, \
                              size_t groups)                                                    \
    {                                                                                           \
        tile(rows, row, x, groups, kind, false);                                                \
    }
TILES(unsigned, GEMM_BITS6)
TILES(bytes, GEMM_BYTES)
TILES(sixteens, GEMM_SIXTEENS)
TILES(sixteens_m, GEMM_SIXTEENS_M)

static const struct gemm_tiles tiles_of[GEMM_KINDS] = {
    [GEMM_BITS4] = {tile8_unsigned, tile16_unsigned, TILE_ROWS, TILE_ROWS},
    [GEMM_BITS5] = {tile8_unsigned, tile16_unsigned, TILE_ROWS, TILE_ROWS},
    [GEMM_BITS6] = {tile8_unsigned, tile16_unsigned, TILE_ROWS, TILE_ROWS},
    [GEMM_BYTES] = {tile8_bytes, tile16_bytes, TILE_ROWS, TILE_ROWS},
    [GEMM_SIXTEENS] = {tile8_sixteens, tile16_sixteens, TILE_ROWS, TILE_ROWS},
    [GEMM_SIXTEENS_M] = {tile8_sixteens_m, tile16_sixteens_m, TILE_ROWS, TILE_ROWS},
};

static void matmul_groups(float *out, size_t out_stride, const struct matrix *w,
                          const struct acts *x, size_t row_begin, size_t row_end, void *scratch)
{
    if (x->columns <= ACT_PLAIN_MAX)
        plains[w->quant](out, out_stride, w, x, row_begin, row_end);
    else
        gemm_run(out, out_stride, w, x, row_begin, row_end, scratch, tiles_of);
}

const struct kernels kernels_avx512_vnni = {
    .isa = "avx512-vnni",
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
