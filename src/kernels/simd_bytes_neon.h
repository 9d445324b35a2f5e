/* simd_bytes_neon.h - the vocabulary of simd_bytes_x86.h for 64-bit ARM. */
#ifndef PENSIEVE_KERNELS_SIMD_BYTES_NEON_H
#define PENSIEVE_KERNELS_SIMD_BYTES_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8x16x2_t vb;
typedef float32x4x2_t f8;

#define VB_EACH(function, a, b) ((vb){{function((a).val[0], (b).val[0]), \
                                       function((a).val[1], (b).val[1])}})

static inline vb vb_join(uint8x16_t low, uint8x16_t high)
{
    return (vb){{low, high}};
}

static inline vb vb_set1(uint8_t x)
{
    return vb_join(vdupq_n_u8(x), vdupq_n_u8(x));
}

static inline vb vb_set1_wide(uint16_t x)
{
    uint8x16_t wide = vreinterpretq_u8_u16(vdupq_n_u16(x));
    return vb_join(wide, wide);
}

static inline vb vb_load_two(const void *low, const void *high)
{
    return vb_join(vld1q_u8(low), vld1q_u8(high));
}

static inline vb vb_load(const void *at)
{
    return vb_load_two(at, (const uint8_t *)at + 16);
}

static inline void vb_store(void *at, vb x)
{
    vst1q_u8(at, x.val[0]);
    vst1q_u8((uint8_t *)at + 16, x.val[1]);
}

static inline vb vb_load_two8(const void *low, const void *high)
{
    uint8x8_t a = vld1_u8(low), b = vld1_u8(high);
    return vb_join(vcombine_u8(a, a), vcombine_u8(b, b));
}

static inline vb vb_twice(const void *at)
{
    uint8x16_t x = vld1q_u8(at);
    return vb_join(x, x);
}

static inline vb vb_load_quad(const void *at)
{
    uint32_t quad;
    memcpy(&quad, at, sizeof quad);
    uint8x16_t x = vreinterpretq_u8_u32(vdupq_n_u32(quad));
    return vb_join(x, x);
}

static inline vb vb_load_wide(const void *at)
{
    uint8x16_t x = vld1q_u8(at);
    return vb_join(vreinterpretq_u8_u16(vmovl_u8(vget_low_u8(x))),
                   vreinterpretq_u8_u16(vmovl_high_u8(x)));
}

static inline vb vb_and(vb a, vb b)
{
    return VB_EACH(vandq_u8, a, b);
}

static inline vb vb_or(vb a, vb b)
{
    return VB_EACH(vorrq_u8, a, b);
}

static inline vb vb_xor(vb a, vb b)
{
    return VB_EACH(veorq_u8, a, b);
}

static inline uint8x16_t neon_shift_right(uint8x16_t x, int n)
{
    return vreinterpretq_u8_u16(vshlq_u16(vreinterpretq_u16_u8(x), vdupq_n_s16((int16_t)-n)));
}

static inline vb vb_shift_right(vb x, int n)
{
    return vb_join(neon_shift_right(x.val[0], n), neon_shift_right(x.val[1], n));
}

static inline uint8x16_t neon_multiply(uint8x16_t a, uint8x16_t b)
{
    return vreinterpretq_u8_u16(vmulq_u16(vreinterpretq_u16_u8(a), vreinterpretq_u16_u8(b)));
}

static inline vb vb_multiply(vb a, vb b)
{
    return VB_EACH(neon_multiply, a, b);
}

static inline vb vb_shuffle(vb x, vb at)
{
    return VB_EACH(vqtbl1q_u8, x, at);
}

static inline vb vb_has(vb x, vb mask)
{
    return VB_EACH(vtstq_u8, x, mask);
}

static inline vb vb_nibbles(const void *at)
{
    uint8x16_t x = vld1q_u8(at);
    return vb_join(vandq_u8(x, vdupq_n_u8(15)), vshrq_n_u8(x, 4));
}

static inline f8 f8_join(float32x4_t low, float32x4_t high)
{
    return (f8){{low, high}};
}

static inline f8 f8_set1(float x)
{
    return f8_join(vdupq_n_f32(x), vdupq_n_f32(x));
}

static inline f8 f8_load(const void *at)
{
    vb x = vb_load(at);
    return f8_join(vreinterpretq_f32_u8(x.val[0]), vreinterpretq_f32_u8(x.val[1]));
}

static inline void f8_store(float *at, f8 x)
{
    vst1q_f32(at, x.val[0]);
    vst1q_f32(at + 4, x.val[1]);
}

static inline f8 f8_first(f8 x, size_t n)
{
    static const uint32_t lanes[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    uint32x4_t end = vdupq_n_u32((uint32_t)n), low = vcltq_u32(vld1q_u32(lanes), end);
    uint32x4_t high = vcltq_u32(vld1q_u32(lanes + 4), end);
    return f8_join(vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x.val[0]), low)),
                   vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x.val[1]), high)));
}

static inline f8 f8_mul(f8 a, f8 b)
{
    return f8_join(vmulq_f32(a.val[0], b.val[0]), vmulq_f32(a.val[1], b.val[1]));
}

static inline f8 f8_fma(f8 a, f8 b, f8 c)
{
    return f8_join(vfmaq_f32(c.val[0], a.val[0], b.val[0]),
                   vfmaq_f32(c.val[1], a.val[1], b.val[1]));
}

static inline f8 f8_halves(uint64_t low, uint64_t high)
{
    return f8_join(vcvt_f32_f16(vcreate_f16(low)), vcvt_f32_f16(vcreate_f16(high)));
}

static inline f8 f8_bfloats(uint64_t low, uint64_t high)
{
    return f8_join(vreinterpretq_f32_u32(vshll_n_u16(vcreate_u16(low), 16)),
                   vreinterpretq_f32_u32(vshll_n_u16(vcreate_u16(high), 16)));
}

static inline f8 f8_floats4(uint64_t low, uint64_t high)
{
    return f8_join(vcombine_f32(vcreate_f32(low), vcreate_f32(high)), vdupq_n_f32(0));
}

static inline f8 f8_halves_apart(const uint8_t *at, size_t stride)
{
    uint16_t x[8];
    for (size_t i = 0; i < 8; i++)
        memcpy(&x[i], at + i * stride, sizeof *x);
    float16x8_t floats = vreinterpretq_f16_u16(vld1q_u16(x));
    return f8_join(vcvt_f32_f16(vget_low_f16(floats)), vcvt_high_f32_f16(floats));
}

/* 8 pairs of half floats `stride` bytes apart: their first and their second ones. */
static inline void f8_pairs_apart(f8 *first, f8 *second, const uint8_t *at, size_t stride)
{
    *first = f8_halves_apart(at, stride);
    *second = f8_halves_apart(at + 2, stride);
}

static inline uint32x4x2_t neon_bytes(uint64_t x)
{
    uint16x8_t wide = vmovl_u8(vcreate_u8(x));
    return (uint32x4x2_t){{vmovl_u16(vget_low_u16(wide)), vmovl_high_u16(wide)}};
}

static inline f8 f8_bytes(uint64_t x)
{
    uint32x4x2_t n = neon_bytes(x);
    return f8_join(vcvtq_f32_u32(n.val[0]), vcvtq_f32_u32(n.val[1]));
}

static inline f8 f8_exponents(uint64_t x)
{
    uint32x4x2_t e = neon_bytes(x);
    const uint32x4_t one = vdupq_n_u32(1);
    return f8_join(vreinterpretq_f32_u32(vshlq_n_u32(vqsubq_u32(e.val[0], one), 23)),
                   vreinterpretq_f32_u32(vshlq_n_u32(vqsubq_u32(e.val[1], one), 23)));
}

static inline f8 f8_each_twice(f8 x)
{
    return f8_join(vzip1q_f32(x.val[0], x.val[0]), vzip2q_f32(x.val[0], x.val[0]));
}

static inline f8 f8_each_four_times(f8 x)
{
    return f8_join(vdupq_laneq_f32(x.val[0], 0), vdupq_laneq_f32(x.val[0], 1));
}

#endif
