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

enum { PLAIN_WORDS = 1 };
#include "kernels/body_x86.h"

enum {
    TILE_ROWS = 12,             /* 12 integer and 12 float sums of 32 registers */
    STEP = ACT_LANES_MAX * ACT_QUAD,
};

static inline __m512i load_quad(const void *at)
{
    int32_t quad;
    memcpy(&quad, at, sizeof quad);
    return _mm512_set1_epi32(quad);
}

/* Products of one row's group with its columns. */
__attribute__((always_inline)) static inline __m512i
group_dot(__m512i sums, const uint8_t *n, const int8_t *q)
{
    for (size_t quad = 0; quad < ACT_GROUP / ACT_QUAD; quad++)
        sums = _mm512_dpbusd_epi32(sums, load_quad(n + quad * ACT_QUAD),
                                   _mm512_loadu_si512(q + quad * STEP));
    return sums;
}

/* Up to 6 bits: the products of two quads fit 16 bits, where the sixteen's own scale is applied. */
__attribute__((always_inline)) static inline __m512i
group_dot_sixteens(__m512i sums, const uint8_t *n, const int16_t sub[2][2], const int8_t *q)
{
    for (size_t quad = 0; quad < ACT_GROUP / ACT_QUAD; quad += 2) {
        __m512i two =
            _mm512_add_epi16(_mm512_maddubs_epi16(load_quad(n + quad * ACT_QUAD),
                                                  _mm512_loadu_si512(q + quad * STEP)),
                             _mm512_maddubs_epi16(load_quad(n + (quad + 1) * ACT_QUAD),
                                                  _mm512_loadu_si512(q + quad * STEP + STEP)));
        sums = _mm512_dpwssd_epi32(sums, two, load_quad(sub[quad / 4]));
    }
    return sums;
}

/* Adds group g's products of TILE_ROWS rows to their totals. */
__attribute__((always_inline)) static inline void
group_add(__m512 *total, const struct row_panel *rows, size_t row, size_t stride,
          const struct column_panel *x, size_t g, const enum kind kind)
{
    const size_t lanes = ACT_LANES_MAX;
    const int8_t *q = x->q + g * ACT_GROUP * lanes;
    __m512 scale = _mm512_loadu_ps(x->scale + g * lanes);
    __m512 sum = _mm512_loadu_ps(x->sum + g * lanes);
    __m512i halves = _mm512_loadu_si512(x->halves + 2 * g * lanes);
    __m512i offset = _mm512_madd_epi16(halves, _mm512_set1_epi16(-GEMM_Q8_BIAS));
    for (size_t r = 0; r < TILE_ROWS; r++) {
        const uint8_t *n = rows->n + (row + r) * stride + g * ACT_GROUP;
        __m512i sums;
        __m512i fixes = _mm512_madd_epi16(halves, load_quad(rows->fix[row + r][g]));
        if (kind == KIND_BITS6)
            sums = group_dot(_mm512_setzero_si512(), n, q);
        else if (kind == KIND_BYTES || kind == KIND_BYTES_M)
            sums = group_dot(offset, n, q);
        else
            sums = group_dot_sixteens(kind == KIND_SIXTEENS ? fixes : _mm512_setzero_si512(), n,
                                      (const int16_t(*)[2])rows->sub[row + r][g], q);
        __m512 d = _mm512_mul_ps(scale, _mm512_set1_ps(rows->d[row + r][g]));
        total[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), d, total[r]);
        if (kind == KIND_SIXTEENS_M)
            sum = _mm512_mul_ps(_mm512_cvtepi32_ps(fixes), scale);
        if (has_m(kind))
            total[r] = _mm512_fmadd_ps(_mm512_set1_ps(rows->m[row + r][g]), sum, total[r]);
    }
}

__attribute__((always_inline)) static inline void
tile(struct row_panel *rows, size_t row, const struct column_panel *x, size_t groups,
     const enum kind kind)
{
    __m512 run[ACT_TOTALS * TILE_ROWS];
    for (size_t t = 0, g = 0; t < ACT_TOTALS; t++) {
        const size_t end = g + run_length(groups, t);
        __m512 total[TILE_ROWS];
        for (size_t r = 0; r < TILE_ROWS; r++)
            total[r] = _mm512_setzero_ps();
        for (; g < end; g++)
            group_add(total, rows, row, groups * ACT_GROUP, x, g, kind);
        for (size_t r = 0; r < TILE_ROWS; r++)
            run[t * TILE_ROWS + r] = total[r];
    }
    for (size_t r = 0; r < TILE_ROWS; r++)
        _mm512_storeu_ps(rows->tile[row + r], run_sum(run + r, TILE_ROWS));
}

#define TILE(name, kind)                                                                        \
    static void tile_##name(struct row_panel *rows, size_t row, const struct column_panel *x,   \
                            size_t groups)                                                      \
    {                                                                                           \
        tile(rows, row, x, groups, kind);                                                       \
    }
TILE(unsigned, KIND_BITS6)
TILE(bytes, KIND_BYTES)
TILE(bytes_m, KIND_BYTES_M)
TILE(sixteens, KIND_SIXTEENS)
TILE(sixteens_m, KIND_SIXTEENS_M)

static const struct gemm_tile tiles[KINDS] = {
    [KIND_BITS4] = {tile_unsigned, TILE_ROWS},
    [KIND_BITS5] = {tile_unsigned, TILE_ROWS},
    [KIND_BITS6] = {tile_unsigned, TILE_ROWS},
    [KIND_BYTES] = {tile_bytes, TILE_ROWS},
    [KIND_BYTES_M] = {tile_bytes_m, TILE_ROWS},
    [KIND_SIXTEENS] = {tile_sixteens, TILE_ROWS},
    [KIND_SIXTEENS_M] = {tile_sixteens_m, TILE_ROWS},
};

#include "kernels/body_matmul.h"

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
