/* simd_bytes_x86.h - what body_unpack.h is written in, for AVX2 and all that has it.
 *
 * simd_bytes_x86.h and simd_bytes_neon.h define the same names: vb is 32 bytes, a group's numbers,
 * which some operations take for two halves or for 16 numbers of 16 bits; f8 is 8 floats. */
#ifndef PENSIEVE_KERNELS_SIMD_BYTES_X86_H
#define PENSIEVE_KERNELS_SIMD_BYTES_X86_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef __m256i vb;
typedef __m256 f8;

static inline vb vb_set1(uint8_t x)
{
    return _mm256_set1_epi8((char)x);
}

static inline vb vb_set1_wide(uint16_t x)
{
    return _mm256_set1_epi16((short)x);
}

static inline vb vb_load(const void *at)
{
    return _mm256_loadu_si256((const __m256i *)at);
}

static inline void vb_store(void *at, vb x)
{
    _mm256_storeu_si256((__m256i *)at, x);
}

/* 16 bytes of each; 8 bytes of each, then whatever. */
static inline vb vb_load_two(const void *low, const void *high)
{
    __m128i a = _mm_loadu_si128((const __m128i *)low), b = _mm_loadu_si128((const __m128i *)high);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
}

static inline vb vb_load_two8(const void *low, const void *high)
{
    __m128i a = _mm_loadl_epi64((const __m128i *)low), b = _mm_loadl_epi64((const __m128i *)high);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
}

/* The same 16 bytes in both halves; the same 4 eight times. */
static inline vb vb_twice(const void *at)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)at));
}

static inline vb vb_load_quad(const void *at)
{
    int32_t quad;
    memcpy(&quad, at, sizeof quad);
    return _mm256_set1_epi32(quad);
}

/* 16 bytes as numbers of 16 bits. */
static inline vb vb_load_wide(const void *at)
{
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)at));
}

static inline vb vb_and(vb a, vb b)
{
    return _mm256_and_si256(a, b);
}

static inline vb vb_or(vb a, vb b)
{
    return _mm256_or_si256(a, b);
}

static inline vb vb_xor(vb a, vb b)
{
    return _mm256_xor_si256(a, b);
}

/* Of 16 bits each, so that bits wander from a byte into its neighbour. n may be negative. */
static inline vb vb_shift_right(vb x, int n)
{
    return n < 0 ? _mm256_slli_epi16(x, -n) : _mm256_srli_epi16(x, n);
}

static inline vb vb_multiply(vb a, vb b)        /* the low 16 bits */
{
    return _mm256_mullo_epi16(a, b);
}

/* x[at[i]] within halves; whatever where at[i] is more than 15. */
static inline vb vb_shuffle(vb x, vb at)
{
    return _mm256_shuffle_epi8(x, at);
}

/* 0xff where a byte of x has the one bit of the mask. */
static inline vb vb_has(vb x, vb mask)
{
    return _mm256_cmpeq_epi8(_mm256_and_si256(x, mask), mask);
}

/* The low nibbles of 16 bytes, then the high ones. */
static inline vb vb_nibbles(const void *at)
{
    __m128i x = _mm_loadu_si128((const __m128i *)at);
    __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(x), _mm_srli_epi16(x, 4), 1);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

static inline f8 f8_set1(float x)
{
    return _mm256_set1_ps(x);
}

static inline f8 f8_load(const void *at)
{
    return _mm256_loadu_ps(at);
}

static inline void f8_store(float *at, f8 x)
{
    _mm256_storeu_ps(at, x);
}

/* The first n, then zeros. */
static inline f8 f8_first(f8 x, size_t n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i keep = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
    return _mm256_and_ps(x, _mm256_castsi256_ps(keep));
}

static inline f8 f8_mul(f8 a, f8 b)
{
    return _mm256_mul_ps(a, b);
}

static inline f8 f8_fma(f8 a, f8 b, f8 c)       /* a * b + c */
{
    return _mm256_fmadd_ps(a, b, c);
}

/* The 8 half floats or bfloats in 16 bytes, and the 4 floats, given as two numbers. */
static inline f8 f8_halves(uint64_t low, uint64_t high)
{
    return _mm256_cvtph_ps(_mm_set_epi64x((long long)high, (long long)low));
}

static inline f8 f8_bfloats(uint64_t low, uint64_t high)
{
    __m128i halves = _mm_set_epi64x((long long)high, (long long)low);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

static inline f8 f8_floats4(uint64_t low, uint64_t high)
{
    __m128i four = _mm_set_epi64x((long long)high, (long long)low);
    return _mm256_castps128_ps256(_mm_castsi128_ps(four));
}

static inline int x86_i32(const uint8_t *at)
{
    int32_t x;
    memcpy(&x, at, sizeof x);
    return x;
}

static inline __m128i x86_four_apart(const uint8_t *at, size_t stride)
{
    return _mm_setr_epi32(x86_i32(at), x86_i32(at + stride), x86_i32(at + 2 * stride),
                          x86_i32(at + 3 * stride));
}

/* 8 pairs of half floats `stride` bytes apart: their first and their second ones. */
static inline void f8_pairs_apart(f8 *first, f8 *second, const uint8_t *at, size_t stride)
{
    const __m128i split = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    __m128i low = _mm_shuffle_epi8(x86_four_apart(at, stride), split);
    __m128i high = _mm_shuffle_epi8(x86_four_apart(at + 4 * stride, stride), split);
    *first = _mm256_cvtph_ps(_mm_unpacklo_epi64(low, high));
    *second = _mm256_cvtph_ps(_mm_unpackhi_epi64(low, high));
}

/* 8 half floats `stride` bytes apart, each of which two more bytes of its block follow. */
static inline f8 f8_halves_apart(const uint8_t *at, size_t stride)
{
    f8 first, second;
    f8_pairs_apart(&first, &second, at, stride);
    return first;
}

/* The bytes of x, unsigned. */
static inline f8 f8_bytes(uint64_t x)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)x)));
}

/* 2^(e - 128) for each byte e of x, 0 where that is no normal number. */
static inline f8 f8_exponents(uint64_t x)
{
    __m256i e = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)x));
    e = _mm256_sub_epi32(_mm256_max_epi32(e, _mm256_set1_epi32(1)), _mm256_set1_epi32(1));
    return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}

/* Lanes 0 0 1 1 2 2 3 3, and 0 0 0 0 1 1 1 1. */
static inline f8 f8_each_twice(f8 x)
{
    return _mm256_permutevar8x32_ps(x, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
}

static inline f8 f8_each_four_times(f8 x)
{
    return _mm256_permutevar8x32_ps(x, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
}

#endif
