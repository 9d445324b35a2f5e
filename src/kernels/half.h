/* half.h - half floats (IEEE binary16), bfloat16 and e8m0 by bit arithmetic, for code without the
 * instructions. Rounds to nearest, ties to even, as the instructions do. */
#ifndef PENSIEVE_KERNELS_HALF_H
#define PENSIEVE_KERNELS_HALF_H

#include <stdint.h>
#include <string.h>

#include "kernels/quant.h"

static inline float bits_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float half_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 31, fraction = half & 0x3ff;
    if (exponent == 0) {        /* zero or subnormal: fraction * 2^-24 is exact */
        float x = (float)fraction * 0x1p-24f;
        return bits_float(float_bits(x) | sign);
    }
    if (exponent == 31)         /* infinity, or a NaN made quiet */
        return bits_float(sign | 0x7f800000 | fraction << 13 | (fraction ? 0x400000 : 0));
    return bits_float(sign | (exponent + 127 - 15) << 23 | fraction << 13);
}

static inline uint16_t float_half(float x)
{
    uint32_t bits = float_bits(x), sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (bits >> 13 & 0x3ff));
    if (bits >= 0x47800000)     /* 65536 and more */
        return (uint16_t)(sign | 0x7c00);
    if (bits < 0x38800000) {    /* below 2^-14: adding 0.5 leaves steps of 2^-24, rounded */
        uint32_t shifted = float_bits(bits_float(bits) + 0.5f);
        return (uint16_t)(sign | (shifted - 0x3f000000));
    }
    bits += 0xfff + (bits >> 13 & 1);
    return (uint16_t)(sign | (bits - ((uint32_t)(127 - 15) << 23)) >> 13);
}

static inline float bfloat_float(uint16_t x)
{
    return bits_float((uint32_t)x << 16);
}

/* Half of 2^(e - 127), the scale of mxfp4; the two least are subnormal. */
static inline float e8m0_half(uint8_t e)
{
    return bits_float(e < 2 ? 0x200000u << e : (uint32_t)(e - 1) << 23);
}

static inline uint16_t load_u16(const void *at)
{
    uint16_t x;
    memcpy(&x, at, sizeof x);
    return x;
}

static inline uint32_t load_u32(const void *at)
{
    uint32_t x;
    memcpy(&x, at, sizeof x);
    return x;
}

static inline uint64_t load_u64(const void *at)
{
    uint64_t x;
    memcpy(&x, at, sizeof x);
    return x;
}

/* Number i of a run of f32, f16 or bf16, at any address. */
static inline float load_float(const void *run, enum quant quant, size_t i)
{
    switch (quant) {
    case QUANT_F16: return half_float(load_u16((const char *)run + 2 * i));
    case QUANT_BF16: return bfloat_float(load_u16((const char *)run + 2 * i));
    default: return bits_float(load_u32((const char *)run + 4 * i));
    }
}

#endif
