/* simd_avx512.h - the vocabulary of simd_avx2.h in vectors of 16 floats. */
#ifndef PENSIEVE_KERNELS_SIMD_AVX512_H
#define PENSIEVE_KERNELS_SIMD_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/simd_sse.h"

enum {
    V_LANES = 16,
    V_TILE_ROWS = 6,            /* 24 of 32 registers */
    V_CHAINS = 8,
};

typedef __m512 vf;

static inline vf vf_zero(void)
{
    return _mm512_setzero_ps();
}

static inline vf vf_set1(float x)
{
    return _mm512_set1_ps(x);
}

static inline vf vf_load(const float *at)
{
    return _mm512_loadu_ps(at);
}

static inline void vf_store(float *at, vf x)
{
    _mm512_storeu_ps(at, x);
}

static inline vf vf_load_half(const void *at)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at));
}

/* The first 8 halves, the rest 0; for vectors of at most 8, all of them. */
static inline vf vf_load_half8(const void *at)
{
    return _mm512_cvtph_ps(_mm256_zextsi128_si256(_mm_loadu_si128((const __m128i *)at)));
}

static inline void vf_store_half(uint16_t *at, vf x)
{
    __m128i low = _mm256_cvtps_ph(_mm512_castps512_ps256(x), _MM_FROUND_TO_NEAREST_INT);
    __m128i high = _mm256_cvtps_ph(_mm512_extractf32x8_ps(x, 1), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128((__m128i *)at, low);
    _mm_storeu_si128((__m128i *)(at + 8), high);
}

static inline vf vf_load_bfloat(const void *at)
{
    __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)at));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}

static inline vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}

static inline vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}

static inline vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}

static inline vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}

static inline vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}

static inline vf vf_fma(vf a, vf b, vf c)       /* a * b + c */
{
    return _mm512_fmadd_ps(a, b, c);
}

static inline float vf_sum(vf x)
{
    __m256 y = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    return sse_sum(_mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1)));
}

static inline float vf_top(vf x)
{
    __m256 y = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    return sse_top(_mm_max_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1)));
}

/* x * 2^n, n being the integer in the low bits of `bits`; all numbers normal. */
static inline vf vf_ldexp(vf x, vf bits)
{
    __m512i n = _mm512_slli_epi32(_mm512_castps_si512(bits), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), n));
}

/* value where x >= limit, else 0. */
static inline vf vf_zero_below(vf value, vf x, float limit)
{
    __mmask16 keep = _mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_NLT_UQ);
    return _mm512_maskz_mov_ps(keep, value);
}

/* Even and odd elements of 2 * V_LANES floats, and back. */
static inline void vf_load2(const float *at, vf *even, vf *odd)
{
    const __m512i evens =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odds =
        _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    vf a = vf_load(at), b = vf_load(at + 16);
    *even = _mm512_permutex2var_ps(a, evens, b);
    *odd = _mm512_permutex2var_ps(a, odds, b);
}

static inline void vf_store2(float *at, vf even, vf odd)
{
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high =
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    vf_store(at, _mm512_permutex2var_ps(even, low, odd));
    vf_store(at + 16, _mm512_permutex2var_ps(even, high, odd));
}

#endif
