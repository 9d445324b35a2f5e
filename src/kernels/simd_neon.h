/* simd_neon.h - the vocabulary of simd_avx2.h and simd_sse.h for 64-bit ARM: vectors of 4 floats.
 */
#ifndef PENSIEVE_KERNELS_SIMD_NEON_H
#define PENSIEVE_KERNELS_SIMD_NEON_H

#include <arm_neon.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    V_LANES = 4,
    V_TILE_ROWS = 6,            /* 24 of 32 registers */
    V_CHAINS = 8,
};

typedef float32x4_t vf;

static inline vf vf_zero(void)
{
    return vdupq_n_f32(0);
}

static inline vf vf_set1(float x)
{
    return vdupq_n_f32(x);
}

static inline vf vf_load(const float *at)
{
    return vld1q_f32(at);
}

static inline void vf_store(float *at, vf x)
{
    vst1q_f32(at, x);
}

static inline vf vf_load_half(const void *at)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(at)));
}

/* The first 8 halves, the rest 0; for vectors of at most 8, all of them. */
static inline vf vf_load_half8(const void *at)
{
    return vf_load_half(at);
}

static inline void vf_store_half(uint16_t *at, vf x)
{
    vst1_u16(at, vreinterpret_u16_f16(vcvt_f16_f32(x)));
}

static inline vf vf_load_bfloat(const void *at)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(at)), 16));
}

static inline vf vf_add(vf a, vf b)
{
    return vaddq_f32(a, b);
}

static inline vf vf_sub(vf a, vf b)
{
    return vsubq_f32(a, b);
}

static inline vf vf_mul(vf a, vf b)
{
    return vmulq_f32(a, b);
}

static inline vf vf_div(vf a, vf b)
{
    return vdivq_f32(a, b);
}

static inline vf vf_max(vf a, vf b)
{
    return vmaxq_f32(a, b);
}

static inline vf vf_fma(vf a, vf b, vf c)       /* a * b + c */
{
    return vfmaq_f32(c, a, b);
}

static inline float vf_sum(vf x)
{
    return vaddvq_f32(x);
}

static inline float vf_top(vf x)
{
    return vmaxvq_f32(x);
}

/* x * 2^n, n being the integer in the low bits of `bits`; all numbers normal. */
static inline vf vf_ldexp(vf x, vf bits)
{
    int32x4_t n = vshlq_n_s32(vreinterpretq_s32_f32(bits), 23);
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(x), n));
}

/* value where x >= limit, else 0. */
static inline vf vf_zero_below(vf value, vf x, float limit)
{
    uint32x4_t below = vcltq_f32(x, vdupq_n_f32(limit));
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(value), below));
}

/* Even and odd elements of 2 * V_LANES floats, and back. */
static inline void vf_load2(const float *at, vf *even, vf *odd)
{
    float32x4x2_t both = vld2q_f32(at);
    *even = both.val[0];
    *odd = both.val[1];
}

static inline void vf_store2(float *at, vf even, vf odd)
{
    vst2q_f32(at, (float32x4x2_t){{even, odd}});
}

static inline float simd_half(const void *at)
{
    __fp16 half;
    memcpy(&half, at, sizeof half);
    return half;
}

/* out[c][r] (+)= in[r][c] for 4 by 4. */
static inline void simd_transpose4(float *out, size_t out_stride, const float *in, size_t in_stride,
                                   bool accumulate)
{
    float32x4_t r0 = vld1q_f32(in), r1 = vld1q_f32(in + in_stride);
    float32x4_t r2 = vld1q_f32(in + 2 * in_stride), r3 = vld1q_f32(in + 3 * in_stride);
    float32x4_t low02 = vzip1q_f32(r0, r2), high02 = vzip2q_f32(r0, r2);
    float32x4_t low13 = vzip1q_f32(r1, r3), high13 = vzip2q_f32(r1, r3);
    float32x4_t c[4] = {vzip1q_f32(low02, low13), vzip2q_f32(low02, low13),
                        vzip1q_f32(high02, high13), vzip2q_f32(high02, high13)};
    for (size_t i = 0; i < 4; i++) {
        float *to = out + i * out_stride;
        vst1q_f32(to, accumulate ? vaddq_f32(c[i], vld1q_f32(to)) : c[i]);
    }
}

#endif
