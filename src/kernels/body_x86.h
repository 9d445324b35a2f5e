/* body_x86.h - the int8 side that AVX2 and AVX-512-VNNI share: quantising activations, and what
 * body_plain.h is written in.
 *
 * The hard thing is to bring the sums of 8 groups into the 8 lanes of one vector for little: while
 * they fit 16 bits, one addition or one packing takes care of twice as many.
 *
 * The file that includes this gives dot_add(sums, u, s). */
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

/* Sums of 4 groups, those of each in two parts: lanes a b c d, and a b c d again. */
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

static inline w8 plain_eight(plain_four low, plain_four high)
{
    return _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20),
                            _mm256_permute2x128_si256(low, high, 0x31));
}

/* Products of two groups in 16 bits, added until each has 4 numbers in each half. */
static inline __m256i pair_products(const vb n[2], const int8_t *q)
{
    __m256i a = _mm256_maddubs_epi16(n[0], vb_load(q));
    __m256i b = _mm256_maddubs_epi16(n[1], vb_load(q + ACT_GROUP));
    return _mm256_add_epi16(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
}

/* Signed bytes times signed bytes: the weight's sign goes over to the activation. */
static inline __m256i dot_signed(vb w, const int8_t *q)
{
    return dot_add(_mm256_setzero_si256(), _mm256_abs_epi8(w), _mm256_sign_epi8(vb_load(q), w));
}

/* Up to 5 bits, the sums of 8 products fit 16 bits again (31 * 127 * 8). */
__attribute__((always_inline)) static inline plain_four
plain_dots(const vb n[4], const int8_t *q, const enum kind kind)
{
    const __m256i one = _mm256_set1_epi16(1);
    if (kind == KIND_BYTES || kind == KIND_BYTES_M)
        return _mm256_hadd_epi32(
            _mm256_hadd_epi32(dot_signed(n[0], q), dot_signed(n[1], q + 32)),
            _mm256_hadd_epi32(dot_signed(n[2], q + 64), dot_signed(n[3], q + 96)));
    __m256i a = _mm256_madd_epi16(pair_products(n, q), one);
    __m256i b = _mm256_madd_epi16(pair_products(n + 2, q + 2 * ACT_GROUP), one);
    return kind == KIND_BITS6 ? _mm256_hadd_epi32(a, b)
                              : _mm256_madd_epi16(_mm256_packs_epi32(a, b), one);
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

/* The same tree as run_sum's. */
static inline float f8_run_sum(f8 x)
{
    return sse_sum(_mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1))) + 0.0f;
}

#include "kernels/body_plain.h"
