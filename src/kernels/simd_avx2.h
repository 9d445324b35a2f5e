/* simd_avx2.h - the few vector operations that the body_*.h files are written in, for AVX2.
 *
 * Each simd_*.h defines the same names: vf is a vector of V_LANES floats. */
#ifndef PENSIEVE_KERNELS_SIMD_AVX2_H
#define PENSIEVE_KERNELS_SIMD_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/simd_sse.h"

enum {
    V_LANES = 8,
    V_TILE_ROWS = 3,            /* rows of a register tile of 4 vectors: 12 of 16 registers */
    V_CHAINS = 8,               /* sums under way at once that hide the latency of fma */
};

typedef __m256 vf;

static inline vf vf_zero(void)
{
    return _mm256_setzero_ps();
}

static inline vf vf_set1(float x)
{
    return _mm256_set1_ps(x);
}

static inline vf vf_load(const float *at)
{
    return _mm256_loadu_ps(at);
}

static inline void vf_store(float *at, vf x)
{
    _mm256_storeu_ps(at, x);
}

static inline vf vf_load_half(const void *at)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)at));
}

/* The first 8 halves, the rest 0; for vectors of at most 8, all of them. */
static inline vf vf_load_half8(const void *at)
{
    return vf_load_half(at);
}

static inline void vf_store_half(uint16_t *at, vf x)
{
    _mm_storeu_si128((__m128i *)at, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

static inline vf vf_load_bfloat(const void *at)
{
    __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)at));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
}

static inline vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}

static inline vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}

static inline vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}

static inline vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}

static inline vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}

static inline vf vf_fma(vf a, vf b, vf c)       /* a * b + c */
{
    return _mm256_fmadd_ps(a, b, c);
}

static inline float vf_sum(vf x)
{
    return sse_sum(_mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)));
}

static inline float vf_top(vf x)
{
    return sse_top(_mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)));
}

/* x * 2^n, n being the integer in the low bits of `bits`; all numbers normal. */
static inline vf vf_ldexp(vf x, vf bits)
{
    __m256i n = _mm256_slli_epi32(_mm256_castps_si256(bits), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), n));
}

/* value where x >= limit, else 0. */
static inline vf vf_zero_below(vf value, vf x, float limit)
{
    return _mm256_and_ps(value, _mm256_cmp_ps(x, _mm256_set1_ps(limit), _CMP_NLT_UQ));
}

/* Even and odd elements of 2 * V_LANES floats, and back. */
static inline void vf_load2(const float *at, vf *even, vf *odd)
{
    vf a = vf_load(at), b = vf_load(at + 8);
    vf low = _mm256_permute2f128_ps(a, b, 0x20), high = _mm256_permute2f128_ps(a, b, 0x31);
    *even = _mm256_shuffle_ps(low, high, 0x88);
    *odd = _mm256_shuffle_ps(low, high, 0xdd);
}

static inline void vf_store2(float *at, vf even, vf odd)
{
    vf low = _mm256_unpacklo_ps(even, odd), high = _mm256_unpackhi_ps(even, odd);
    vf_store(at, _mm256_permute2f128_ps(low, high, 0x20));
    vf_store(at + 8, _mm256_permute2f128_ps(low, high, 0x31));
}

#endif
