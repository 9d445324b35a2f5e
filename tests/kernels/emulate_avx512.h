/* emulate_avx512.h - put before src/kernels/avx512.c by the compiler: its AVX-512 and VNNI
 * instructions become SIMDe's functions, so that the file itself runs on a CPU with AVX2 alone. */
#ifndef PENSIEVE_TESTS_KERNELS_EMULATE_AVX512_H
#define PENSIEVE_TESTS_KERNELS_EMULATE_AVX512_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>

/* SIMDe 0.7.4 gives this name to the masked form. */
#undef _mm512_madd_epi16
#define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16(a, b)

/* What it lacks, from AVX2's halves. */
static inline __m512 emulate_join_ps(__m256 low, __m256 high)
{
    float lanes[16];
    _mm256_storeu_ps(lanes, low);
    _mm256_storeu_ps(lanes + 8, high);
    return simde_mm512_loadu_ps(lanes);
}

static inline __m256 emulate_extractf32x8_ps(__m512 x, int half)
{
    float lanes[16];
    simde_mm512_storeu_ps(lanes, x);
    return _mm256_loadu_ps(lanes + 8 * half);
}

static inline __m512 emulate_cvtph_ps(__m256i halves)
{
    return emulate_join_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(halves)),
                           _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1)));
}

static inline __m512i emulate_cvtepu16_epi32(__m256i x)
{
    __m256i low = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(x));
    __m256i high = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(x, 1));
    return simde_mm512_castps_si512(
        emulate_join_ps(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)));
}

static inline __m512 emulate_cvtepi32_ps(__m512i x)
{
    __m512 bits = simde_mm512_castsi512_ps(x);
    __m256i low = _mm256_castps_si256(emulate_extractf32x8_ps(bits, 0));
    __m256i high = _mm256_castps_si256(emulate_extractf32x8_ps(bits, 1));
    return emulate_join_ps(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high));
}

#undef _mm512_extractf32x8_ps
#define _mm512_extractf32x8_ps(x, half) emulate_extractf32x8_ps(x, half)
#undef _mm512_cvtph_ps
#define _mm512_cvtph_ps(x) emulate_cvtph_ps(x)
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32(x) emulate_cvtepu16_epi32(x)
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps(x) emulate_cvtepi32_ps(x)

#endif
