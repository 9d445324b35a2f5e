/* group.c - reads a group of 32 weights of every quantised format, one number after the other.
 *
 * This is where a format's layout is written down as code; the fast tables are held to it. The hard
 * thing is that blocks of 256 keep the bits of a number in up to three places. */
#include "kernels/group.h"

#include <string.h>

#include "kernels/half.h"

enum { BLOCK_GROUPS = 8 };      /* groups in a block of 256 */

const int8_t group_iq4_curve[16] = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
};
const int8_t group_mxfp4_curve[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static float load_half(const uint8_t *at)
{
    return half_float(load_u16(at));
}

static void group_scale(struct group *group, float d, float m)
{
    group->d[0] = group->d[1] = d;
    group->m[0] = group->m[1] = m;
}

static void nibbles(struct group *group, const uint8_t *q)
{
    for (size_t i = 0; i < 16; i++) {
        group->n[i] = q[i] & 15;
        group->n[i + 16] = q[i] >> 4;
    }
}

/* A nibble is the index of a value. */
static void through_curve(struct group *group, const int8_t curve[16])
{
    for (size_t i = 0; i < ACT_GROUP; i++)
        group->n[i] = curve[group->n[i]];
}

/* Bit i of four bytes is number i's fifth. */
static void fifth_bits(struct group *group, const uint8_t *high)
{
    for (size_t i = 0; i < ACT_GROUP; i++)
        group->n[i] |= (int16_t)((high[i / 8] >> i % 8 & 1) << 4);
}

static void group_q8_0(struct group *group, const uint8_t *block)
{
    group_scale(group, load_half(block), 0);
    for (size_t i = 0; i < ACT_GROUP; i++)
        group->n[i] = (int8_t)block[2 + i];
}

static void group_q4_0(struct group *group, const uint8_t *block)
{
    float d = load_half(block);
    group_scale(group, d, -8 * d);
    nibbles(group, block + 2);
}

static void group_q4_1(struct group *group, const uint8_t *block)
{
    group_scale(group, load_half(block), load_half(block + 2));
    nibbles(group, block + 4);
}

static void group_q5_0(struct group *group, const uint8_t *block)
{
    float d = load_half(block);
    group_scale(group, d, -16 * d);
    nibbles(group, block + 6);
    fifth_bits(group, block + 2);
}

static void group_q5_1(struct group *group, const uint8_t *block)
{
    group_scale(group, load_half(block), load_half(block + 2));
    nibbles(group, block + 8);
    fifth_bits(group, block + 4);
}

static void group_iq4_nl(struct group *group, const uint8_t *block)
{
    group_scale(group, load_half(block), 0);
    nibbles(group, block + 2);
    through_curve(group, group_iq4_curve);
}

/* The curve is doubled, so the scale is halved. */
static void group_mxfp4(struct group *group, const uint8_t *block)
{
    group_scale(group, e8m0_half(block[0]), 0);
    nibbles(group, block + 1);
    through_curve(group, group_mxfp4_curve);
}

/* Two bits each of 32 bytes for 128 numbers: the lowest two of every byte come first. */
static int two_bits(const uint8_t *q, size_t g, size_t i)
{
    return q[g / 4 * 32 + i] >> 2 * (g % 4) & 3;
}

static void group_q2_k(struct group *group, const uint8_t *block, size_t g)
{
    float d = load_half(block + 80), least = load_half(block + 82);
    for (size_t h = 0; h < 2; h++) {
        group->d[h] = d * (float)(block[2 * g + h] & 15);
        group->m[h] = -(least * (float)(block[2 * g + h] >> 4));
    }
    for (size_t i = 0; i < ACT_GROUP; i++)
        group->n[i] = (int16_t)two_bits(block + 16, g, i);
}

/* The third bits of group g are bit g of 32 bytes. Scale i of 16: its low nibble in byte i % 8 of
 * 12, its two high bits in byte 8 + i % 4, at bit 2 * (i / 4). */
static void group_q3_k(struct group *group, const uint8_t *block, size_t g)
{
    const uint8_t *scales = block + 96;
    float d = load_half(block + 108);
    for (size_t h = 0; h < 2; h++) {
        size_t i = 2 * g + h;
        int low = scales[i % 8] >> i / 8 * 4 & 15, high = scales[8 + i % 4] >> 2 * (i / 4) & 3;
        group->d[h] = d * (float)((low | high << 4) - 32);
        group->m[h] = 0;
    }
    for (size_t i = 0; i < ACT_GROUP; i++)
        group->n[i] = (int16_t)((two_bits(block + 32, g, i) | (block[i] >> g & 1) << 2) - 4);
}

/* Eight scales and eight minima of 6 bits in 12 bytes. The first four of each stand whole in a byte
 * each, 0..3 and 4..7; the others have a low nibble in bytes 8..11, scales the lower ones, and
 * their two high bits in the tops of those first bytes. */
static void group_k_scale(struct group *group, const uint8_t *block, size_t g)
{
    const uint8_t *bytes = block + 4;
    int scale, least;
    if (g < 4) {
        scale = bytes[g] & 63;
        least = bytes[4 + g] & 63;
    } else {
        scale = (bytes[4 + g] & 15) | bytes[g - 4] >> 6 << 4;
        least = bytes[4 + g] >> 4 | bytes[g] >> 6 << 4;
    }
    group_scale(group, load_half(block) * (float)scale, -(load_half(block + 2) * (float)least));
}

/* Groups 2j and 2j + 1 are the low and the high nibbles of 32 bytes. */
static int nibble_of_pair(const uint8_t *q, size_t g, size_t i)
{
    return q[g / 2 * 32 + i] >> g % 2 * 4 & 15;
}

static void group_q4_k(struct group *group, const uint8_t *block, size_t g)
{
    group_k_scale(group, block, g);
    for (size_t i = 0; i < ACT_GROUP; i++)
        group->n[i] = (int16_t)nibble_of_pair(block + 16, g, i);
}

static void group_q5_k(struct group *group, const uint8_t *block, size_t g)
{
    group_k_scale(group, block, g);
    for (size_t i = 0; i < ACT_GROUP; i++)
        group->n[i] = (int16_t)(nibble_of_pair(block + 48, g, i) | (block[16 + i] >> g & 1) << 4);
}

/* A block's two halves of 128 have 64 bytes of low and 32 of high bits each. Group g of a half
 * takes the low (g < 2) or high nibbles of 32 bytes at 32 * (g % 2), and bits 2g, 2g + 1. */
static void group_q6_k(struct group *group, const uint8_t *block, size_t g)
{
    const uint8_t *low = block + g / 4 * 64 + g % 2 * 32;
    const int8_t *scales = (const int8_t *)block + 192 + g * 2;
    float d = load_half(block + 208);
    for (size_t h = 0; h < 2; h++) {
        group->d[h] = d * scales[h];
        group->m[h] = 0;
    }
    for (size_t i = 0; i < ACT_GROUP; i++) {
        int nibble = low[i] >> g % 4 / 2 * 4 & 15;
        group->n[i] = (int16_t)((nibble | two_bits(block + 128, g, i) << 4) - 32);
    }
}

static void group_iq4_xs(struct group *group, const uint8_t *block, size_t g)
{
    int low = block[4 + g / 2] >> g % 2 * 4 & 15, high = load_u16(block + 2) >> 2 * g & 3;
    group_scale(group, load_half(block) * (float)((low | high << 4) - 32), 0);
    nibbles(group, block + 8 + g * 16);
    through_curve(group, group_iq4_curve);
}

static void group_affine(struct group *group, const struct matrix *w, size_t row, size_t g)
{
    const unsigned bits = quants[w->quant].affine;
    const uint8_t *stream =
        (const uint8_t *)w->data + row * w->row_bytes + g * ACT_GROUP / 8 * bits;
    const size_t scales_at = row * w->scale_row_bytes, scale = g * ACT_GROUP / w->group;
    group_scale(group, load_float((const char *)w->scales + scales_at, w->scale_quant, scale),
                load_float((const char *)w->biases + scales_at, w->scale_quant, scale));
    for (size_t i = 0; i < ACT_GROUP; i++) {
        unsigned number = 0;
        for (size_t bit = i * bits; bit < (i + 1) * bits; bit++)
            number |= (unsigned)(stream[bit / 8] >> bit % 8 & 1) << (bit - i * bits);
        group->n[i] = (int16_t)number;
    }
}

typedef void small_block_fn(struct group *group, const uint8_t *block);
typedef void large_block_fn(struct group *group, const uint8_t *block, size_t g);

static small_block_fn *const small_blocks[QUANT_COUNT] = {      /* of one group */
    [QUANT_Q8_0] = group_q8_0,     [QUANT_Q4_0] = group_q4_0, [QUANT_Q4_1] = group_q4_1,
    [QUANT_Q5_0] = group_q5_0,     [QUANT_Q5_1] = group_q5_1, [QUANT_IQ4_NL] = group_iq4_nl,
    [QUANT_MXFP4] = group_mxfp4,
};

static large_block_fn *const large_blocks[QUANT_COUNT] = {      /* of BLOCK_GROUPS */
    [QUANT_Q2_K] = group_q2_k, [QUANT_Q3_K] = group_q3_k, [QUANT_Q4_K] = group_q4_k,
    [QUANT_Q5_K] = group_q5_k, [QUANT_Q6_K] = group_q6_k, [QUANT_IQ4_XS] = group_iq4_xs,
};

void group_read(struct group *group, const struct matrix *w, size_t row, size_t g)
{
    const uint8_t *at = (const uint8_t *)w->data + row * w->row_bytes;
    const size_t bytes = quants[w->quant].bytes;
    if (quants[w->quant].affine)
        group_affine(group, w, row, g);
    else if (small_blocks[w->quant])
        small_blocks[w->quant](group, at + g * bytes);
    else
        large_blocks[w->quant](group, at + g / BLOCK_GROUPS * bytes, g % BLOCK_GROUPS);
}
