/* simd_sse.h - what AVX2 and AVX-512 both do in narrow registers: half floats, small transposes. */
#ifndef PENSIEVE_KERNELS_SIMD_SSE_H
#define PENSIEVE_KERNELS_SIMD_SSE_H

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline float sse_sum(__m128 x)
{
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

static inline float sse_top(__m128 x)
{
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}

static inline float simd_half(const void *at)
{
    uint16_t half;
    memcpy(&half, at, sizeof half);
    return _cvtsh_ss(half);
}

/* out[c][r] (+)= in[r][c] for 4 by 4. */
static inline void simd_transpose4(float *out, size_t out_stride, const float *in, size_t in_stride,
                                   bool accumulate)
{
    __m128 r[4];
    for (size_t i = 0; i < 4; i++)
        r[i] = _mm_loadu_ps(in + i * in_stride);
    _MM_TRANSPOSE4_PS(r[0], r[1], r[2], r[3]);
    for (size_t i = 0; i < 4; i++) {
        float *to = out + i * out_stride;
        _mm_storeu_ps(to, accumulate ? _mm_add_ps(r[i], _mm_loadu_ps(to)) : r[i]);
    }
}

/* out[i][p] = in[p][i] for 8 positions of 8 half floats, made floats. */
static inline void simd_transpose8_half(float *out, size_t out_stride, const uint16_t *in,
                                        size_t in_stride)
{
    __m128i a[8], b[8];
    for (size_t p = 0; p < 8; p++)
        a[p] = _mm_loadu_si128((const __m128i *)(in + p * in_stride));
    for (size_t p = 0; p < 4; p++) {        /* pairs p, p + 4: their numbers 0..3 and 4..7 */
        b[p] = _mm_unpacklo_epi16(a[p], a[p + 4]);
        b[p + 4] = _mm_unpackhi_epi16(a[p], a[p + 4]);
    }
    for (size_t h = 0; h < 8; h += 4) {
        for (size_t p = 0; p < 2; p++) {    /* positions p, p + 2, p + 4, p + 6 in turn */
            a[h + p] = _mm_unpacklo_epi16(b[h + p], b[h + p + 2]);
            a[h + p + 2] = _mm_unpackhi_epi16(b[h + p], b[h + p + 2]);
        }
    }
    for (size_t i = 0; i < 8; i += 2) {
        size_t from = i / 4 * 4 + i % 4 / 2 * 2;
        __m128i low = _mm_unpacklo_epi16(a[from], a[from + 1]);
        __m128i high = _mm_unpackhi_epi16(a[from], a[from + 1]);
        _mm256_storeu_ps(out + i * out_stride, _mm256_cvtph_ps(low));
        _mm256_storeu_ps(out + (i + 1) * out_stride, _mm256_cvtph_ps(high));
    }
}

#endif
