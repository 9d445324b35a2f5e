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

#endif
