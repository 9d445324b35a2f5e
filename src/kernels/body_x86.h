/* body_x86.h - the int8 side that AVX2 and AVX-512-VNNI share: quantising activations, and weights
 * times up to ACT_PLAIN_MAX columns straight from the layout of the file: what body_plain.h is
 * written in, and a way of their own for q4_0, q4_1 and q8_0.
 *
 * One column is bound by how fast memory gives the weights, so the work per byte is what counts.
 * Of these three, four rows go side by side, rows 0 and 2 in the lower and upper half of one
 * vector, 1 and 3 in another: then one conversion makes the scales of all four, and a shuffle within halves brings
 * each to its row.
 *
 * The file that includes this gives dot_add(sums, u, s) and dot_nibbles(u0, s0, u1, s1). */
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

/* The rows of a tile: past the end of the range, its last row again, which is not stored. */
enum { PLAIN_ROWS = 4 };

struct plain_rows {
    const uint8_t *row[PLAIN_ROWS];
};

static struct plain_rows plain_rows(const struct matrix *w, size_t r, size_t row_end)
{
    struct plain_rows rows;
    for (size_t i = 0; i < PLAIN_ROWS; i++) {
        size_t row = r + i < row_end ? r + i : row_end - 1;
        rows.row[i] = (const uint8_t *)w->data + row * w->row_bytes;
    }
    return rows;
}

/* 16 bytes of two rows, one in each half. */
static inline __m256i load_two(const uint8_t *low, const uint8_t *high)
{
    __m128i a = _mm_loadu_si128((const __m128i *)low), b = _mm_loadu_si128((const __m128i *)high);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
}

static inline __m256i load_twice(const int8_t *at)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)at));
}

/* The rows of a tile are too many short streams for the hardware to follow; the tiles' bytes lie
 * one after another, so a group fetches as much as it uses, FETCH_AHEAD further on. */
__attribute__((always_inline)) static inline void
fetch_tile(const struct plain_rows *rows, size_t at, size_t bytes)
{
    fetch_ahead(rows->row[0] + PLAIN_ROWS * at, PLAIN_ROWS * bytes);
}

/* The scales of one group of four rows: d0 m0 d1 m1 | d2 m2 d3 m3 (m is 0 where there is none). */
static inline __m256 load_scales(const struct plain_rows *rows, size_t at, bool has_m)
{
    uint32_t row[PLAIN_ROWS];
    for (size_t i = 0; i < PLAIN_ROWS; i++)
        row[i] = has_m ? load_u32(rows->row[i] + at) : load_u16(rows->row[i] + at);
    __m128i halves = _mm_setr_epi32((int)row[0], (int)row[1], (int)row[2], (int)row[3]);
    return _mm256_cvtph_ps(halves);
}

/* One column's part of a tile: rows 0 and 2, rows 1 and 3, and the sums with d and m. */
struct plain_sums {
    __m256 even, odd, offset;
};

static void plain_store(float *out, size_t rows_n, struct plain_sums sums, float d_offset)
{
    float even[8], odd[8], offset[8];
    _mm256_storeu_ps(even, sums.even);
    _mm256_storeu_ps(odd, sums.odd);
    _mm256_storeu_ps(offset, sums.offset);
    for (size_t r = 0; r < PLAIN_ROWS && r < rows_n; r++) {
        const float *from = (r % 2 ? odd : even) + r / 2 * 4;
        out[r] = from[0] + from[1] + from[2] + from[3] + offset[2 * r + 1] +
                 d_offset * offset[2 * r];
    }
}

/* q4_0 and q4_1. */
__attribute__((always_inline)) static inline void
plain_nibbles(float *out, size_t out_stride, const struct matrix *w, const struct acts *x, size_t r,
              size_t row_end, bool has_m, const size_t C)
{
    const size_t groups = w->cols / ACT_GROUP, head = has_m ? 4 : 2;
    const __m256i mask = _mm256_set1_epi8(15);
    struct plain_rows rows = plain_rows(w, r, row_end);
    struct plain_sums sums[ACT_PLAIN_MAX];
    for (size_t c = 0; c < C; c++)
        sums[c].even = sums[c].odd = sums[c].offset = _mm256_setzero_ps();
    for (size_t g = 0, at = 0; g < groups; g++, at += head + 16) {
        fetch_tile(&rows, at, head + 16);
        __m256 scales = load_scales(&rows, at, has_m);
        __m256i even = load_two(rows.row[0] + at + head, rows.row[2] + at + head);
        __m256i odd = load_two(rows.row[1] + at + head, rows.row[3] + at + head);
        __m256i even0 = _mm256_and_si256(even, mask), odd0 = _mm256_and_si256(odd, mask);
        __m256i even1 = _mm256_and_si256(_mm256_srli_epi16(even, 4), mask);
        __m256i odd1 = _mm256_and_si256(_mm256_srli_epi16(odd, 4), mask);
        for (size_t c = 0; c < C; c++) {
            const int8_t *q = x->q + c * x->k_padded + g * ACT_GROUP;
            __m256i q0 = load_twice(q), q1 = load_twice(q + 16);
            size_t group = c * (x->k_padded / ACT_GROUP) + g;
            __m256 d = _mm256_mul_ps(scales, _mm256_set1_ps(x->scale[group]));
            sums[c].offset = _mm256_fmadd_ps(scales, _mm256_set1_ps(x->sum[group]), sums[c].offset);
            sums[c].even = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot_nibbles(even0, q0, even1, q1)),
                                           _mm256_permute_ps(d, 0x00), sums[c].even);
            sums[c].odd = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot_nibbles(odd0, q0, odd1, q1)),
                                          _mm256_permute_ps(d, 0xaa), sums[c].odd);
        }
    }
    for (size_t c = 0; c < C; c++) {
        if (!has_m)
            sums[c].offset = _mm256_blend_ps(sums[c].offset, _mm256_setzero_ps(), 0xaa);
        plain_store(out + c * out_stride + r, row_end - r, sums[c], has_m ? 0 : -8);
    }
}

/* Signed bytes times signed bytes: the weight's sign goes over to the activation. */
static inline __m256i dot_signed(__m256i sums, __m256i w, __m256i q)
{
    return dot_add(sums, _mm256_abs_epi8(w), _mm256_sign_epi8(q, w));
}

__attribute__((always_inline)) static inline void
plain_q8_0(float *out, size_t out_stride, const struct matrix *w, const struct acts *x, size_t r,
           size_t row_end, const size_t C)
{
    const size_t groups = w->cols / ACT_GROUP;
    struct plain_rows rows = plain_rows(w, r, row_end);
    struct plain_sums sums[ACT_PLAIN_MAX];
    for (size_t c = 0; c < C; c++)
        sums[c].even = sums[c].odd = sums[c].offset = _mm256_setzero_ps();
    for (size_t g = 0, at = 0; g < groups; g++, at += 34) {
        fetch_tile(&rows, at, 34);
        __m256 scales = load_scales(&rows, at, false);
        __m256i even0 = load_two(rows.row[0] + at + 2, rows.row[2] + at + 2);
        __m256i even1 = load_two(rows.row[0] + at + 18, rows.row[2] + at + 18);
        __m256i odd0 = load_two(rows.row[1] + at + 2, rows.row[3] + at + 2);
        __m256i odd1 = load_two(rows.row[1] + at + 18, rows.row[3] + at + 18);
        for (size_t c = 0; c < C; c++) {
            const int8_t *q = x->q + c * x->k_padded + g * ACT_GROUP;
            __m256i q0 = load_twice(q), q1 = load_twice(q + 16), zero = _mm256_setzero_si256();
            float scale = x->scale[c * (x->k_padded / ACT_GROUP) + g];
            __m256 d = _mm256_mul_ps(scales, _mm256_set1_ps(scale));
            __m256i dot = dot_signed(dot_signed(zero, even0, q0), even1, q1);
            sums[c].even = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_permute_ps(d, 0x00),
                                           sums[c].even);
            dot = dot_signed(dot_signed(zero, odd0, q0), odd1, q1);
            sums[c].odd = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_permute_ps(d, 0xaa),
                                          sums[c].odd);
        }
    }
    for (size_t c = 0; c < C; c++)
        plain_store(out + c * out_stride + r, row_end - r, sums[c], 0);
}

__attribute__((always_inline)) static inline void
plain_four(float *out, size_t out_stride, const struct matrix *w, const struct acts *x,
           size_t row_begin, size_t row_end, const enum quant quant, const size_t C)
{
    for (size_t r = row_begin; r < row_end; r += PLAIN_ROWS) {
        if (quant == QUANT_Q8_0)
            plain_q8_0(out, out_stride, w, x, r, row_end, C);
        else
            plain_nibbles(out, out_stride, w, x, r, row_end, quant == QUANT_Q4_1, C);
    }
}

/* ---- the vocabulary of body_plain.h ---- */

typedef __m256 plain_sum;

static inline plain_sum plain_zero(void)
{
    return _mm256_setzero_ps();
}

static inline plain_sum plain_add8(plain_sum sum, f8 a, f8 b)
{
    return _mm256_fmadd_ps(a, b, sum);
}

static inline float plain_total(plain_sum a, plain_sum b)
{
    __m256 x = _mm256_add_ps(a, b);
    return sse_sum(_mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)));
}

__attribute__((always_inline)) static inline plain_sum
plain_add(plain_sum sum, vb n, const int8_t *q, float d, const bool is_signed)
{
    __m256i zero = _mm256_setzero_si256(), right = vb_load(q);
    __m256i dot = is_signed ? dot_signed(zero, n, right) : dot_add(zero, n, right);
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_set1_ps(d), sum);
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

/* Group g takes scale 2g for its lower and 2g + 1 for its upper 16 numbers. */
__attribute__((always_inline)) static inline plain_sum
plain_add_sixteens(plain_sum sum, vb n, const int8_t *q, float d, const struct plain_subs *subs,
                   size_t g)
{
    const char at = (char)(g % 4 * 4);
    const __m256i pick = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_set1_epi16((short)(at | (at + 1) << 8))),
        _mm_set1_epi16((short)((at + 2) | (at + 3) << 8)), 1);
    __m256i scale = _mm256_shuffle_epi8(subs->eights[g / 4], pick);
    __m256i dot = _mm256_madd_epi16(_mm256_maddubs_epi16(n, vb_load(q)), scale);
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_set1_ps(d), sum);
}

/* What a block's fixes make of the sums of 8 groups' sixteens. */
static inline f8 plain_fixes(const struct sixteens *s, const int16_t *halves)
{
    return _mm256_cvtepi32_ps(_mm256_madd_epi16(widen_bytes(s->fix), vb_load(halves)));
}

#include "kernels/body_plain.h"

PLAIN_INSTANCE(plain_four, Q8_0)
PLAIN_INSTANCE(plain_four, Q4_0)
PLAIN_INSTANCE(plain_four, Q4_1)

static plain_fn *const plains[QUANT_COUNT] = {
    PLAIN_TABLE, [QUANT_Q8_0] = plain_Q8_0, [QUANT_Q4_0] = plain_Q4_0, [QUANT_Q4_1] = plain_Q4_1,
};
