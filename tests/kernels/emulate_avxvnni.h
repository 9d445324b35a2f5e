/* emulate_avxvnni.h - put before src/kernels/avxvnni.c by the compiler: its AVX-VNNI instructions
 * become AVX2's, so that the file itself runs on a CPU without them.
 *
 * The hard thing is to be exact where AVX2 has no such product: bytes are widened to 16 bits before
 * they meet, even ones and odd ones apart, and nothing saturates. Sums wrap, as the instructions'
 * do (Intel's instruction set reference, VPDPBUSD and VPDPWSSD). */
#ifndef PENSIEVE_TESTS_KERNELS_EMULATE_AVXVNNI_H
#define PENSIEVE_TESTS_KERNELS_EMULATE_AVXVNNI_H

#include <immintrin.h>

static inline __m256i emulate_dpwssd(__m256i sums, __m256i a, __m256i b)
{
    return _mm256_add_epi32(sums, _mm256_madd_epi16(a, b));
}

/* u: unsigned bytes, s: signed ones. */
static inline __m256i emulate_dpbusd(__m256i sums, __m256i u, __m256i s)
{
    __m256i even_u = _mm256_and_si256(u, _mm256_set1_epi16(255)), odd_u = _mm256_srli_epi16(u, 8);
    __m256i even_s = _mm256_srai_epi16(_mm256_slli_epi16(s, 8), 8), odd_s = _mm256_srai_epi16(s, 8);
    return emulate_dpwssd(emulate_dpwssd(sums, even_u, even_s), odd_u, odd_s);
}

#undef _mm256_dpbusd_avx_epi32
#define _mm256_dpbusd_avx_epi32(sums, u, s) emulate_dpbusd(sums, u, s)
#undef _mm256_dpwssd_avx_epi32
#define _mm256_dpwssd_avx_epi32(sums, a, b) emulate_dpwssd(sums, a, b)

#endif
