/* body_unpack.h - the formats' numbers and scales, in the vocabulary of a simd_bytes_*.h file.
 *
 * A row is read in chunks of 8 groups (the last may have fewer): first the scales of all 8 at once,
 * then the numbers, a group at a time, as bytes. There are two families. In one w = d*n + m, with a
 * d and an m for every group of 32. In the other each 16 numbers have a small integer scale; see
 * struct sixteens. A format is its case in numbers() and in scales() or sixteens(); the loops over
 * groups are in body_gemm.h and beside each instruction set's products.
 *
 * What quant.h says about a layout, and group.c does with it number by number, is not said again
 * here. The hard thing is that nothing past a row may be read: it may be the end of the file. */
#ifndef PENSIEVE_KERNELS_BODY_UNPACK_H
#define PENSIEVE_KERNELS_BODY_UNPACK_H

#include <stdbool.h>
#include <string.h>

#include "kernels/group.h"
#include "kernels/half.h"
#include "kernels/kernels.h"

enum { CHUNK_GROUPS = 8 };

#define UNPACK __attribute__((always_inline)) static inline

/* Whole copies of a loop whose trip count is known, where the compiler alone would hesitate. */
#if defined(KERNELS_SMALL)
#define UNROLL
#elif defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

/* Bytes of 8 groups. */
static const uint16_t chunk_bytes[QUANT_COUNT] = {
    [QUANT_Q8_0] = 8 * 34,    [QUANT_Q4_0] = 8 * 18,   [QUANT_Q4_1] = 8 * 20,
    [QUANT_Q5_0] = 8 * 22,    [QUANT_Q5_1] = 8 * 24,   [QUANT_IQ4_NL] = 8 * 18,
    [QUANT_MXFP4] = 8 * 17,   [QUANT_Q2_K] = 84,       [QUANT_Q3_K] = 110,
    [QUANT_Q4_K] = 144,       [QUANT_Q5_K] = 176,      [QUANT_Q6_K] = 210,
    [QUANT_IQ4_XS] = 136,     [QUANT_AFFINE_2] = 64,   [QUANT_AFFINE_3] = 96,
    [QUANT_AFFINE_4] = 128,   [QUANT_AFFINE_5] = 160,  [QUANT_AFFINE_6] = 192,
    [QUANT_AFFINE_8] = 256,
};

static const uint8_t affine_bits[QUANT_COUNT] = {
    [QUANT_AFFINE_2] = 2, [QUANT_AFFINE_3] = 3, [QUANT_AFFINE_4] = 4,
    [QUANT_AFFINE_5] = 5, [QUANT_AFFINE_6] = 6, [QUANT_AFFINE_8] = 8,
};

/* Where 8 groups of a row lie. */
struct chunk {
    const uint8_t *at, *scales, *biases;
};

/* Room for a row's last groups, where they are fewer than 8. */
struct chunk_copy {
    uint8_t numbers[CHUNK_GROUPS * 34], scales[CHUNK_GROUPS * 4], biases[CHUNK_GROUPS * 4];
};

/* Bytes of the scales of 8 groups of an affine format. */
UNPACK size_t scales_bytes(const struct matrix *w, const enum quant quant)
{
    return affine_bits[quant] ? CHUNK_GROUPS * ACT_GROUP / w->group * quants[w->scale_quant].bytes
                              : 0;
}

/* Groups [g, g + n) of a row, g a multiple of 8. If there are fewer than 8, they are copied over the
 * beginning of copy, which the caller has made of zeros (they are 0 in every format) and uses with one
 * n only, so that rows after the first find the zeros where they need them. each: scales_bytes, which
 * is a division too many for every chunk. */
UNPACK struct chunk chunk_of(const struct matrix *w, size_t row, size_t g, size_t n, size_t each,
                             const enum quant quant, struct chunk_copy *copy)
{
    struct chunk chunk = {(const uint8_t *)w->data + row * w->row_bytes +
                          g / CHUNK_GROUPS * chunk_bytes[quant], NULL, NULL};
    if (affine_bits[quant]) {
        size_t at = row * w->scale_row_bytes + g / CHUNK_GROUPS * each;
        chunk.scales = (const uint8_t *)w->scales + at;
        chunk.biases = (const uint8_t *)w->biases + at;
    }
    if (n == CHUNK_GROUPS)
        return chunk;
    const size_t bytes = chunk_bytes[quant] / CHUNK_GROUPS;
    for (size_t i = 0; i < n; i++)              /* of fixed size: no calls, no microcode */
        memcpy(copy->numbers + i * bytes, chunk.at + i * bytes, bytes);
    for (size_t i = 0; i < each * n / CHUNK_GROUPS; i += 2) {
        memcpy(copy->scales + i, chunk.scales + i, 2);
        memcpy(copy->biases + i, chunk.biases + i, 2);
    }
    return (struct chunk){copy->numbers, copy->scales, copy->biases};
}

/* ---- numbers ---- */

/* One group of a stream of numbers of 2, 3, 5 or 6 bits. A number lies within two bytes: those of
 * the even ones are brought into the 16 bits of a lane each, multiplied up to its top and shifted
 * down again; then the same for the odd ones. */
struct stream {
    uint8_t even[32], odd[32];
    uint16_t even_up[16], odd_up[16];
};

#define STREAM_TWO(bits, i, from) (i) * (bits) / 8 + (from), (i) * (bits) / 8 + (from) + 1
#define STREAM_BYTES(bits, i, from)                                                             \
    STREAM_TWO(bits, i, from), STREAM_TWO(bits, i + 2, from), STREAM_TWO(bits, i + 4, from),    \
    STREAM_TWO(bits, i + 6, from), STREAM_TWO(bits, i + 8, from),                               \
    STREAM_TWO(bits, i + 10, from), STREAM_TWO(bits, i + 12, from),                             \
    STREAM_TWO(bits, i + 14, from)
#define STREAM_UP(bits, i) 1 << (16 - (bits) - (i) * (bits) % 8)
#define STREAM_UPS(bits, i)                                                                     \
    STREAM_UP(bits, i), STREAM_UP(bits, i + 2), STREAM_UP(bits, i + 4), STREAM_UP(bits, i + 6), \
    STREAM_UP(bits, i + 8), STREAM_UP(bits, i + 10), STREAM_UP(bits, i + 12),                   \
    STREAM_UP(bits, i + 14)
/* loaded: bytes of each of the two loads below, the second of which ends where the group ends. */
#define STREAM(bits, loaded)                                                                    \
    {{STREAM_BYTES(bits, 0, 0), STREAM_BYTES(bits, 0, loaded - 2 * bits)},                      \
     {STREAM_BYTES(bits, 1, 0), STREAM_BYTES(bits, 1, loaded - 2 * bits)},                      \
     {STREAM_UPS(bits, 0), STREAM_UPS(bits, 0)}, {STREAM_UPS(bits, 1), STREAM_UPS(bits, 1)}}

static const struct stream streams[] = {
    [2] = STREAM(2, 8), [3] = STREAM(3, 8), [5] = STREAM(5, 16), [6] = STREAM(6, 16),
};

UNPACK vb numbers_stream(const uint8_t *at, const int bits)
{
    const struct stream *stream = &streams[bits];
    vb x = bits < 4 ? vb_load_two8(at, at + 4 * bits - 8)
                    : vb_load_two(at, at + 4 * bits - 16);
    vb even = vb_multiply(vb_shuffle(x, vb_load(stream->even)), vb_load(stream->even_up));
    vb odd = vb_multiply(vb_shuffle(x, vb_load(stream->odd)), vb_load(stream->odd_up));
    vb odd_mask = vb_set1_wide((uint16_t)(((1 << bits) - 1) << 8));
    return vb_or(vb_shift_right(even, 16 - bits), vb_and(vb_shift_right(odd, 8 - bits), odd_mask));
}

/* 4 bits each, one after the other. */
UNPACK vb numbers_pairs(const uint8_t *at)
{
    vb x = vb_load_wide(at);
    return vb_and(vb_or(x, vb_shift_right(x, -4)), vb_set1(15));
}

/* Bits `from` and up of each byte, as many as the mask has. */
UNPACK vb bits_of(const uint8_t *at, int from, const uint8_t mask)
{
    return vb_and(vb_shift_right(vb_load(at), from), vb_set1(mask));
}

/* Bit i of four bytes as the fifth of number i. */
UNPACK vb fifth_bits(const uint8_t *at)
{
    static const uint8_t bytes[32] = {
        0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,
        2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3,
    };
    static const uint8_t masks[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    vb spread = vb_shuffle(vb_load_quad(at), vb_load(bytes));
    return vb_and(vb_has(spread, vb_twice(masks)), vb_set1(16));
}

/* mxfp4's curve raised by 12, so that nothing is below 0: 0..24. */
enum { MXFP4_RAISE = 12 };

UNPACK vb mxfp4_raised(vb nibbles)
{
    static const uint8_t raised[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};
    return vb_shuffle(vb_twice(raised), nibbles);
}

/* The numbers of group g of the chunk at `at`, unsigned but for q8_0, iq4_nl, iq4_xs and
 * 8-bit affine ones: those are signed, the last by losing 128. */
UNPACK vb numbers(const uint8_t *at, size_t g, const enum quant quant)
{
    const int quarter = 2 * (int)(g % 4), bit = (int)g;
    switch (quant) {
    case QUANT_Q8_0: return vb_load(at + g * 34 + 2);
    case QUANT_Q4_0: return vb_nibbles(at + g * 18 + 2);
    case QUANT_Q4_1: return vb_nibbles(at + g * 20 + 4);
    case QUANT_Q5_0: return vb_or(vb_nibbles(at + g * 22 + 6), fifth_bits(at + g * 22 + 2));
    case QUANT_Q5_1: return vb_or(vb_nibbles(at + g * 24 + 8), fifth_bits(at + g * 24 + 4));
    case QUANT_IQ4_NL:
        return vb_shuffle(vb_twice(group_iq4_curve), vb_nibbles(at + g * 18 + 2));
    case QUANT_MXFP4: return mxfp4_raised(vb_nibbles(at + g * 17 + 1));
    case QUANT_Q2_K: return bits_of(at + 16 + g / 4 * 32, quarter, 3);
    case QUANT_Q3_K:
        return vb_or(bits_of(at + 32 + g / 4 * 32, quarter, 3), bits_of(at, bit - 2, 4));
    case QUANT_Q4_K: return bits_of(at + 16 + g / 2 * 32, bit % 2 * 4, 15);
    case QUANT_Q5_K:
        return vb_or(bits_of(at + 48 + g / 2 * 32, bit % 2 * 4, 15),
                     bits_of(at + 16, bit - 4, 16));
    case QUANT_Q6_K:
        return vb_or(bits_of(at + g / 4 * 64 + g % 2 * 32, bit / 2 % 2 * 4, 15),
                     bits_of(at + 128 + g / 4 * 32, quarter - 4, 48));
    case QUANT_IQ4_XS:
        return vb_shuffle(vb_twice(group_iq4_curve), vb_nibbles(at + 8 + g * 16));
    case QUANT_AFFINE_4: return numbers_pairs(at + g * 16);
    case QUANT_AFFINE_8: return vb_xor(vb_load(at + g * 32), vb_set1(128));
    default: return numbers_stream(at + g * 4 * affine_bits[quant], affine_bits[quant]);
    }
}

/* What products may take for granted of a format's numbers: that decides how soon sums must be
 * widened, and what the scales are. */
enum kind {
    KIND_BITS4,         /* 0..15 at most (also 2 and 3 bits), d and m by 32 */
    KIND_BITS5,         /* 0..31 */
    KIND_BITS6,         /* 0..63 */
    KIND_BYTES,         /* -128..127, and no m */
    KIND_BYTES_M,       /* -128..127 */
    KIND_SIXTEENS,      /* 0..63, sub and fix by 16 */
    KIND_SIXTEENS_M,    /* the same, and fix is multiplied with m */
    KINDS
};

UNPACK enum kind kind_of(const enum quant quant)
{
    switch (quant) {
    case QUANT_Q8_0:
    case QUANT_IQ4_NL:
    case QUANT_IQ4_XS: return KIND_BYTES;
    case QUANT_AFFINE_8: return KIND_BYTES_M;
    case QUANT_Q5_0:
    case QUANT_Q5_1:
    case QUANT_MXFP4:
    case QUANT_Q5_K:
    case QUANT_AFFINE_5: return KIND_BITS5;
    case QUANT_AFFINE_6: return KIND_BITS6;
    case QUANT_Q3_K:
    case QUANT_Q6_K: return KIND_SIXTEENS;
    case QUANT_Q2_K: return KIND_SIXTEENS_M;
    default: return KIND_BITS4;
    }
}

UNPACK bool is_sixteens(const enum kind kind)
{
    return kind == KIND_SIXTEENS || kind == KIND_SIXTEENS_M;
}

UNPACK bool has_m(const enum kind kind)
{
    return kind != KIND_BYTES && kind != KIND_SIXTEENS;
}

/* ---- scales of 32 numbers each ---- */

struct scales8 {
    f8 d, m;
};

/* The eight 6-bit scales and minima of q4_k and q5_k, a byte each. */
UNPACK struct scales8 scales_k(const uint8_t *block)
{
    uint32_t a = load_u32(block + 4), b = load_u32(block + 8), c = load_u32(block + 12);
    uint32_t d_high = (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030);
    uint32_t m_high = (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030);
    uint64_t d = (a & 0x3f3f3f3f) | (uint64_t)d_high << 32;
    uint64_t m = (b & 0x3f3f3f3f) | (uint64_t)m_high << 32;
    return (struct scales8){f8_mul(f8_bytes(d), f8_set1(simd_half(block))),
                            f8_mul(f8_bytes(m), f8_set1(-simd_half(block + 2)))};
}

/* iq4_xs's eight scales: 4 bits each, then 2 bits each, spread to a byte each; 32 is 0. */
UNPACK f8 scales_iq4_xs(const uint8_t *block)
{
    uint64_t low = load_u32(block + 4), high = load_u16(block + 2);
    low = (low | low << 16) & 0x0000ffff0000ffff;
    low = (low | low << 8) & 0x00ff00ff00ff00ff;
    low = (low | low << 4) & 0x0f0f0f0f0f0f0f0f;
    high = (high | high << 24) & 0x000000ff000000ff;
    high = (high | high << 12) & 0x000f000f000f000f;
    high = (high | high << 6) & 0x0303030303030303;
    float d = simd_half(block);
    return f8_fma(f8_bytes(low | high << 4), f8_set1(d), f8_set1(-32 * d));
}

UNPACK f8 scales_mxfp4(const uint8_t *at)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < CHUNK_GROUPS; i++)
        bytes |= (uint64_t)at[i * 17] << 8 * i;
    return f8_exponents(bytes);
}

/* Floats of an affine format for 8 groups: 8, 4 or 2 of them, each of which serves 1, 2 or 4. */
UNPACK f8 scales_affine(const uint8_t *at, enum quant quant, uint32_t group)
{
    f8 x;
    if (quant == QUANT_F32) {
        uint64_t high = group == 64 ? load_u64(at + 8) : 0;
        x = group == 32 ? f8_load(at) : f8_floats4(load_u64(at), high);
    } else {
        uint64_t low = group == 128 ? load_u32(at) : load_u64(at);
        uint64_t high = group == 32 ? load_u64(at + 8) : 0;
        x = quant == QUANT_F16 ? f8_halves(low, high) : f8_bfloats(low, high);
    }
    return group == 32 ? x : group == 64 ? f8_each_twice(x) : f8_each_four_times(x);
}

UNPACK struct scales8 scales(const struct chunk *chunk, const struct matrix *w,
                             const enum quant quant)
{
    const uint8_t *at = chunk->at;
    struct scales8 s = {.m = f8_set1(0)};
    switch (quant) {
    case QUANT_Q8_0: s.d = f8_halves_apart(at, 34); return s;
    case QUANT_Q4_0:
        s.d = f8_halves_apart(at, 18);
        s.m = f8_mul(s.d, f8_set1(-8));
        return s;
    case QUANT_Q4_1: f8_pairs_apart(&s.d, &s.m, at, 20); return s;
    case QUANT_Q5_0:
        s.d = f8_halves_apart(at, 22);
        s.m = f8_mul(s.d, f8_set1(-16));
        return s;
    case QUANT_Q5_1: f8_pairs_apart(&s.d, &s.m, at, 24); return s;
    case QUANT_IQ4_NL: s.d = f8_halves_apart(at, 18); return s;
    case QUANT_MXFP4:
        s.d = scales_mxfp4(at);
        s.m = f8_mul(s.d, f8_set1(-MXFP4_RAISE));
        return s;
    case QUANT_Q4_K:
    case QUANT_Q5_K: return scales_k(at);
    case QUANT_IQ4_XS: s.d = scales_iq4_xs(at); return s;
    default:
        s.d = scales_affine(chunk->scales, w->scale_quant, w->group);
        s.m = scales_affine(chunk->biases, w->scale_quant, w->group);
        if (quant == QUANT_AFFINE_8)
            s.m = f8_fma(s.d, f8_set1(128), s.m);
        return s;
    }
}

/* ---- scales of 16 numbers each ---- */

/* A block of 256: w[i] = d * sub[i / 16] * n[i] + m * fix[i / 16]; sub and fix are signed bytes. */
struct sixteens {
    uint64_t sub[2], fix[2];
    float d, m;
};

/* q6_k and q3_k have numbers around 32 and 4 instead of an m: there fix is sub, and m this times d.
 */
UNPACK int sixteens_middle(const enum quant quant)
{
    return quant == QUANT_Q6_K ? 32 : quant == QUANT_Q3_K ? 4 : 0;
}

/* Each byte less 32, for bytes of 0..63: with 128 added none borrows from its neighbour. */
static inline uint64_t bytes_less_32(uint64_t x)
{
    const uint64_t tops = 0x8080808080808080;
    return ((x | tops) - 0x2020202020202020) ^ tops;
}

UNPACK struct sixteens sixteens(const uint8_t *block, const enum quant quant)
{
    const uint64_t low4 = 0x0f0f0f0f0f0f0f0f;
    struct sixteens s;
    if (quant == QUANT_Q2_K) {
        for (size_t i = 0; i < 2; i++) {
            uint64_t both = load_u64(block + 8 * i);
            s.sub[i] = both & low4;
            s.fix[i] = both >> 4 & low4;
        }
        s.d = simd_half(block + 80);
        s.m = -simd_half(block + 82);
        return s;
    }
    if (quant == QUANT_Q3_K) {
        const uint32_t low2 = 0x03030303;
        uint64_t low = load_u64(block + 96);
        uint32_t high = load_u32(block + 104);
        uint64_t first = (high & low2) | (uint64_t)(high >> 2 & low2) << 32;
        uint64_t last = (high >> 4 & low2) | (uint64_t)(high >> 6 & low2) << 32;
        s.sub[0] = bytes_less_32((low & low4) | first << 4);
        s.sub[1] = bytes_less_32((low >> 4 & low4) | last << 4);
        s.d = simd_half(block + 108);
    } else {
        s.sub[0] = load_u64(block + 192);
        s.sub[1] = load_u64(block + 200);
        s.d = simd_half(block + 208);
    }
    s.fix[0] = s.sub[0];
    s.fix[1] = s.sub[1];
    s.m = -(float)sixteens_middle(quant) * s.d;
    return s;
}

#endif
