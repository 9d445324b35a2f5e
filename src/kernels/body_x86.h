/* body_x86.h - the int8 side that AVX2, AVX-VNNI and AVX-512-VNNI share: quantising activations,
 * and what body_plain.h is written in.
 *
 * The hard thing is to bring the sums of 8 groups into the 8 lanes of one vector for little: while
 * they fit 16 bits, one addition or one packing takes care of twice as many.
 *
 * The file that includes this gives dot_add(sums, u, s), and PLAIN_WORDS: whether products of up to
 * 6 bits gather in 16 bits, or are left to dot_add as those of 8 bits are. */
#include <math.h>
#include <string.h>

#include "kernels/acts.h"
#include "kernels/kernels.h"

/* int16 sums of q's first and last 16. */
static inline void quantize_sums(int16_t halves[2], __m256i q)
{
    __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
    __m256i quads = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    quads = _mm256_add_epi32(quads, _mm256_shuffle_epi32(quads, 0x4e));
    quads = _mm256_add_epi32(quads, _mm256_shuffle_epi32(quads, 0xb1));
    halves[0] = (int16_t)_mm256_extract_epi32(quads, 0);
    halves[1] = (int16_t)_mm256_extract_epi32(quads, 4);
}

static inline float group_top(const float *values)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 v[4];
    for (size_t i = 0; i < 4; i++)
        v[i] = _mm256_andnot_ps(sign, _mm256_loadu_ps(values + i * 8));
    __m256 top = _mm256_max_ps(_mm256_max_ps(v[0], v[1]), _mm256_max_ps(v[2], v[3]));
    return sse_top(_mm_max_ps(_mm256_castps256_ps128(top), _mm256_extractf128_ps(top, 1)));
}

static inline void quantize_group(struct acts *x, size_t lanes, size_t c, size_t g,
                                  const float *values, float scale, float inverse)
{
    __m256i n[4];
    for (size_t i = 0; i < 4; i++)
        n[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(values + i * 8),
                                               _mm256_set1_ps(inverse)));
    /* Packing works within halves, which leaves quads 0 2 4 6 1 3 5 7. */
    __m256i q = _mm256_packs_epi16(_mm256_packs_epi32(n[0], n[1]), _mm256_packs_epi32(n[2], n[3]));
    q = _mm256_permutevar8x32_epi32(q, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    size_t at = acts_group_at(x, lanes, c, g);
    int16_t *halves = x->halves + 2 * at;
    quantize_sums(halves, q);
    x->scale[at] = scale;
    x->sum[at] = scale * (float)(halves[0] + halves[1]);
    int8_t *to = x->q + acts_at(x, lanes, c, g * ACT_GROUP);
    if (lanes == 1) {
        _mm256_storeu_si256((__m256i *)to, q);
        return;
    }
    int8_t bytes[ACT_GROUP];
    _mm256_storeu_si256((__m256i *)bytes, q);
    for (size_t quad = 0; quad < ACT_GROUP / ACT_QUAD; quad++)
        memcpy(to + quad * lanes * ACT_QUAD, bytes + quad * ACT_QUAD, ACT_QUAD);
}

#include "kernels/body_acts.h"

/* ---- the vocabulary of body_plain.h ---- */

/* Sums of 4 groups on the way: see plain_eight. */
typedef __m256i plain_four;
typedef __m256i w8;

static inline f8 w8_floats(w8 x)
{
    return _mm256_cvtepi32_ps(x);
}

static inline w8 w8_add(w8 a, w8 b)
{
    return _mm256_add_epi32(a, b);
}

enum { PLAIN_ORDERS = 1 << ORDER_NATURAL | 1 << ORDER_HALVES | 1 << ORDER_PAIRS };

static inline enum order plain_order(const enum quant quant)
{
    switch (quant) {
    case QUANT_Q4_0:
    case QUANT_Q4_1:
    case QUANT_IQ4_NL:
    case QUANT_IQ4_XS:
    case QUANT_MXFP4: return ORDER_HALVES;
    case QUANT_AFFINE_4: return ORDER_PAIRS;
    default: return ORDER_NATURAL;
    }
}

static inline void plain_reorder(int8_t *to, const int8_t *q, const enum order order)
{
    const __m128i apart = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    __m256i a = vb_load(q), b = vb_load(q + ACT_GROUP);
    if (order == ORDER_PAIRS) {
        a = _mm256_shuffle_epi8(a, _mm256_broadcastsi128_si256(apart));
        b = _mm256_shuffle_epi8(b, _mm256_broadcastsi128_si256(apart));
        a = _mm256_permute4x64_epi64(a, 0xd8);
        b = _mm256_permute4x64_epi64(b, 0xd8);
    }
    const bool natural = order == ORDER_NATURAL;
    vb_store(to, natural ? a : _mm256_permute2x128_si256(a, b, 0x20));
    vb_store(to + ACT_GROUP, natural ? b : _mm256_permute2x128_si256(a, b, 0x31));
}

/* The low and the high nibbles of two groups' 16 bytes. */
__attribute__((always_inline)) static inline void two_nibbles(vb n[2], __m256i x)
{
    n[0] = _mm256_and_si256(x, vb_set1(15));
    n[1] = _mm256_and_si256(_mm256_srli_epi16(x, 4), vb_set1(15));
}

/* Four groups of a chunk, its first or its last. */
__attribute__((always_inline)) static inline void
plain_numbers(vb n[4], const uint8_t *at, const size_t half, const enum quant quant)
{
    const size_t each = chunk_bytes[quant] / CHUNK_GROUPS;
    const uint8_t *from = at + half * 4 * each;
    const size_t head = quant == QUANT_IQ4_XS ? 8 : quant == QUANT_AFFINE_4 ? 0 : each - 16;
    switch (plain_order(quant)) {
    case ORDER_NATURAL:
        UNROLL
        for (size_t g = 0; g < 4; g++)
            n[g] = numbers(at, half * 4 + g, quant);
        return;
    case ORDER_PAIRS:
        two_nibbles(n, vb_load(from));
        two_nibbles(n + 2, vb_load(from + 32));
        return;
    default: break;             /* ORDER_HALVES */
    }
    if (quant == QUANT_IQ4_XS)
        from = at + half * 4 * 16;
    const size_t step = quant == QUANT_IQ4_XS ? 16 : each;
    two_nibbles(n, vb_load_two(from + head, from + step + head));
    two_nibbles(n + 2, vb_load_two(from + 2 * step + head, from + 3 * step + head));
    UNROLL
    for (size_t g = 0; g < 4; g++) {
        if (quant == QUANT_MXFP4)
            n[g] = mxfp4_raised(n[g]);
        else if (quant == QUANT_IQ4_NL || quant == QUANT_IQ4_XS)
            n[g] = vb_shuffle(vb_twice(group_iq4_curve), n[g]);
    }
}

/* Neighbours of 16 bits added: pairs of x in the lower part of each half, of y in the upper. */
static inline __m256i fold_words(__m256i x, __m256i y)
{
    __m256 a = _mm256_castsi256_ps(x), b = _mm256_castsi256_ps(y);
    return _mm256_add_epi16(_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88)),
                            _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd)));
}

/* Fours have, in natural order, a b c d in one half and a b c d again in the other; in another
 * order a a c c and b b d d. Where words are used, up to 4 bits, each of these is two words, in
 * another order four. In another order than the natural one the eight come out as 0 2 4 6 1 3 5 7. */
__attribute__((always_inline)) static inline w8
plain_eight(plain_four low, plain_four high, const enum kind kind, const enum order order)
{
    const __m256i one = _mm256_set1_epi16(1);
    const bool words = PLAIN_WORDS && kind == KIND_BITS4;
    if (order != ORDER_NATURAL)
        return words ? _mm256_madd_epi16(fold_words(low, high), one)
                     : _mm256_hadd_epi32(low, high);
    __m256i a = _mm256_permute2x128_si256(low, high, 0x20);
    __m256i b = _mm256_permute2x128_si256(low, high, 0x31);
    return words ? _mm256_madd_epi16(_mm256_add_epi16(a, b), one) : _mm256_add_epi32(a, b);
}

/* Floats of 8 groups in the order of their sums. */
static inline f8 plain_floats8(f8 x, const enum order order)
{
    const __m256i at = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    return order == ORDER_NATURAL ? x : _mm256_permutevar8x32_ps(x, at);
}

/* Four words of each half of x, then of y. */
static inline __m256i fold_fours(__m256i x, __m256i y)
{
    return _mm256_add_epi16(_mm256_unpacklo_epi64(x, y), _mm256_unpackhi_epi64(x, y));
}

/* Products of two groups in 16 bits. */
static inline __m256i pair_products(const vb n[2], const int8_t *q)
{
    return fold_fours(_mm256_maddubs_epi16(n[0], vb_load(q)),
                      _mm256_maddubs_epi16(n[1], vb_load(q + ACT_GROUP)));
}

/* The same where each of the two vectors has a half of both groups. */
static inline __m256i half_products(const vb n[2], const int8_t *q)
{
    return _mm256_add_epi16(_mm256_maddubs_epi16(n[0], vb_load(q)),
                            _mm256_maddubs_epi16(n[1], vb_load(q + ACT_GROUP)));
}

/* sums + w . q. Where both are signed, the weight's sign goes over to the activation. */
__attribute__((always_inline)) static inline __m256i
dot_group(__m256i sums, vb w, const int8_t *q, const bool is_signed)
{
    return is_signed ? dot_add(sums, _mm256_abs_epi8(w), _mm256_sign_epi8(vb_load(q), w))
                     : dot_add(sums, w, vb_load(q));
}

__attribute__((always_inline)) static inline plain_four
plain_dots_wide(const vb n[4], const int8_t *q, const bool is_signed, const enum order order)
{
    __m256i dots[4];
    UNROLL
    for (size_t g = 0; g < 4; g++) {
        const bool onto = order != ORDER_NATURAL && g % 2;      /* the other half of both groups */
        dots[g] = dot_group(onto ? dots[g - 1] : _mm256_setzero_si256(), n[g], q + g * ACT_GROUP,
                            is_signed);
    }
    if (order != ORDER_NATURAL)
        return _mm256_hadd_epi32(dots[1], dots[3]);
    return _mm256_hadd_epi32(_mm256_hadd_epi32(dots[0], dots[1]),
                             _mm256_hadd_epi32(dots[2], dots[3]));
}

/* Words have room for the sums of 16 products of 4 bits, of 8 of 5 bits (31 * 127 * 8), of 4 of 6
 * bits. */
__attribute__((always_inline)) static inline plain_four
plain_dots(const vb n[4], const int8_t *q, const enum kind kind, const enum order order)
{
    const __m256i one = _mm256_set1_epi16(1);
    const bool is_signed = kind == KIND_BYTES || kind == KIND_BYTES_M;
    if (is_signed || !PLAIN_WORDS)
        return plain_dots_wide(n, q, is_signed, order);
    __m256i sums;
    if (order != ORDER_NATURAL) {
        sums = fold_fours(half_products(n, q), half_products(n + 2, q + 2 * ACT_GROUP));
    } else {
        __m256i a = pair_products(n, q), b = pair_products(n + 2, q + 2 * ACT_GROUP);
        sums = kind == KIND_BITS6 ? _mm256_hadd_epi32(_mm256_madd_epi16(a, one),
                                                      _mm256_madd_epi16(b, one))
                                  : fold_words(a, b);
    }
    if (kind == KIND_BITS5)
        sums = _mm256_madd_epi16(sums, one);
    __asm__("" : "+x"(sums));   /* one vector now, not later the two that make it */
    return sums;
}

/* A block's 16 scales as int16: 0..7 in both halves of the first, 8..15 in those of the second. */
struct plain_subs {
    __m256i eights[2];
};

/* 16 signed bytes as int16. */
static inline __m256i widen_bytes(const uint64_t bytes[2])
{
    return _mm256_cvtepi8_epi16(_mm_set_epi64x((long long)bytes[1], (long long)bytes[0]));
}

static inline struct plain_subs plain_subs(const struct sixteens *s)
{
    __m256i sub = widen_bytes(s->sub);
    return (struct plain_subs){{_mm256_permute4x64_epi64(sub, 0x44),
                                _mm256_permute4x64_epi64(sub, 0xee)}};
}

/* Scales for what pair_products makes of two groups, the first of which is `pair` of four: a
 * half of a group is a half of the vector. */
__attribute__((always_inline)) static inline __m256i pair_scales(__m256i eight, const size_t pair)
{
    const char at = (char)(pair * 8);
    const __m256i low = _mm256_set1_epi16((short)(at | (at + 1) << 8));
    const __m256i step = _mm256_setr_epi16(0, 0, 0, 0, 0x404, 0x404, 0x404, 0x404, 0x202, 0x202,
                                           0x202, 0x202, 0x606, 0x606, 0x606, 0x606);
    return _mm256_shuffle_epi8(eight, _mm256_add_epi8(low, step));
}

/* Four groups, the first or the last of the block. */
__attribute__((always_inline)) static inline plain_four
plain_dots_sixteens(const vb n[4], const int8_t *q, const struct plain_subs *subs,
                    const size_t half)
{
    __m256i a = pair_products(n, q), b = pair_products(n + 2, q + 2 * ACT_GROUP);
    return _mm256_hadd_epi32(_mm256_madd_epi16(a, pair_scales(subs->eights[half], 0)),
                             _mm256_madd_epi16(b, pair_scales(subs->eights[half], 1)));
}

/* What a block's fixes, times `by`, make of the sums of 8 groups' sixteens. */
static inline w8 plain_fixes(const struct sixteens *s, const int16_t *halves, const int by)
{
    __m256i fix = _mm256_mullo_epi16(widen_bytes(s->fix), _mm256_set1_epi16((short)by));
    return _mm256_madd_epi16(fix, vb_load(halves));
}

/* Within each half, the sums of four rows' four lanes: 0 and 2, 1 and 3, then those two. */
static inline __m256 sum_quads(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256 ab = _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xee));
    __m256 cd = _mm256_add_ps(_mm256_shuffle_ps(c, d, 0x44), _mm256_shuffle_ps(c, d, 0xee));
    return _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x88), _mm256_shuffle_ps(ab, cd, 0xdd));
}

/* The halves of x added to each other, in both. */
static inline __m256 add_halves(__m256 x)
{
    return _mm256_add_ps(x, _mm256_permute2f128_ps(x, x, 0x01));
}

/* The same tree as run_sum's. */
static inline void plain_run_sums(float sums[4], const f8 t[4], const enum order order)
{
    __m256 all = order == ORDER_NATURAL
                     ? sum_quads(add_halves(t[0]), add_halves(t[1]), add_halves(t[2]),
                                 add_halves(t[3]))
                     : add_halves(sum_quads(t[0], t[1], t[2], t[3]));
    __m128 run = _mm_add_ps(_mm256_castps256_ps128(all), _mm_setzero_ps());
    _mm_storeu_ps(sums, _mm_add_ps(_mm_loadu_ps(sums), run));
}

#include "kernels/body_plain.h"
