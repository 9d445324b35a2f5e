/* neon.c - the tables for 64-bit ARM: compiled once for every such CPU, once more with NEON_DOTPROD
 * for those that have the dot product instructions (2018 and later; Apple, Graviton), and with
 * NEON_I8MM too for those that multiply matrices of bytes (2021 and later; M2, Graviton3).
 *
 * ARM multiplies signed by signed bytes, so no weight needs an offset. Without SDOT, two products
 * of bytes fit 16 bits (128 * 127 * 2) before they are added in pairs to 32. */
#include "kernels/simd_neon.h"
#include "kernels/simd_bytes_neon.h"

#include "kernels/body_float.h"
#include "kernels/body_attend.h"

enum { GEMM_Q8_BIAS = 0 };
#include "kernels/body_gemm.h"

/* sums + a . b in four neighbouring bytes each. */
static inline int32x4_t dot_add(int32x4_t sums, int8x16_t a, int8x16_t b)
{
#ifdef NEON_DOTPROD
    return vdotq_s32(sums, a, b);
#else
    int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b)), high = vmull_high_s8(a, b);
    return vpadalq_s16(sums, vpaddq_s16(low, high));
#endif
}

static inline float group_top(const float *values)
{
    float32x4_t top = vdupq_n_f32(0);
    for (size_t i = 0; i < ACT_GROUP; i += 4)
        top = vmaxnmq_f32(vabsq_f32(vld1q_f32(values + i)), top);
    return vmaxnmvq_f32(top);
}

static inline void quantize_group(struct acts *x, size_t lanes, size_t c, size_t g,
                                  const float *values, float scale, float inverse)
{
    int8_t bytes[ACT_GROUP];
    for (size_t i = 0; i < 8; i += 4) {
        int16x4_t n[4];
        for (size_t j = 0; j < 4; j++)
            n[j] = vqmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(values + (i + j) * 4),
                                                           inverse)));
        vst1_s8(bytes + i * 4, vqmovn_s16(vcombine_s16(n[0], n[1])));
        vst1_s8(bytes + i * 4 + 8, vqmovn_s16(vcombine_s16(n[2], n[3])));
    }
    size_t at = acts_group_at(x, lanes, c, g);
    int16_t *halves = x->halves + 2 * at;
    halves[0] = vaddlvq_s8(vld1q_s8(bytes));
    halves[1] = vaddlvq_s8(vld1q_s8(bytes + 16));
    x->scale[at] = scale;
    x->sum[at] = scale * (float)(halves[0] + halves[1]);
    int8_t *to = x->q + acts_at(x, lanes, c, g * ACT_GROUP);
    size_t step = lanes == 1 ? ACT_QUAD : lanes * ACT_QUAD;
    for (size_t quad = 0; quad < ACT_GROUP / ACT_QUAD; quad++)
        memcpy(to + quad * step, bytes + quad * ACT_QUAD, ACT_QUAD);
}

#include "kernels/body_acts.h"

static inline int8x16_t load_quad(const uint8_t *at)
{
    int32_t quad;
    memcpy(&quad, at, sizeof quad);
    return vreinterpretq_s8_s32(vdupq_n_s32(quad));
}

/* What fix makes of the sums of 4 columns' sixteens. */
static inline int32x4_t fix_halves(const int16_t *halves, const int16_t fix[2])
{
    int16x4x2_t both = vld2_s16(halves);
    return vmlal_n_s16(vmull_n_s16(both.val[0], fix[0]), both.val[1], fix[1]);
}

enum { V = ACT_LANES_MAX / 4 };     /* vectors of columns in a tile */

/* Takes one group's sums into the totals. */
__attribute__((always_inline)) static inline void
tile_scale(float32x4_t *total, const int32x4_t *sums, const struct row_panel *rows, size_t row,
           const struct column_panel *x, size_t g, const enum kind kind, const size_t R)
{
    for (size_t v = 0; v < V; v++) {
        const size_t at = g * ACT_LANES_MAX + v * 4;
        float32x4_t scale = vld1q_f32(x->scale + at), sum = vld1q_f32(x->sum + at);
        for (size_t r = 0; r < R; r++) {
            float32x4_t *t = &total[r * V + v];
            float32x4_t d = vmulq_n_f32(scale, rows->d[row + r][g]);
            *t = vfmaq_f32(*t, vcvtq_f32_s32(sums[r * V + v]), d);
            if (!has_m(kind))
                continue;
            if (kind == KIND_SIXTEENS_M) {
                int32x4_t fixes = fix_halves(x->halves + 2 * at, rows->fix[row + r][g]);
                sum = vmulq_f32(vcvtq_f32_s32(fixes), scale);
            }
            *t = vfmaq_n_f32(*t, sum, rows->m[row + r][g]);
        }
    }
}

#ifdef NEON_I8MM
enum { TILE_ROWS = 4, TILE_ROWS_SIXTEENS = 2 };

/* 8 numbers of each of two rows. */
static inline int8x16_t load_pair(const uint8_t *first, const uint8_t *second)
{
    return vreinterpretq_s8_u8(vcombine_u8(vld1_u8(first), vld1_u8(second)));
}

/* Two quads of 4 columns as 8 numbers of the first two and of the last two. */
static inline void load_columns(int8x16_t pairs[2], const int8_t *q)
{
    const int32x4_t low = vreinterpretq_s32_s8(vld1q_s8(q));
    const int32x4_t high = vreinterpretq_s32_s8(vld1q_s8(q + ACT_LANES_MAX * ACT_QUAD));
    pairs[0] = vreinterpretq_s8_s32(vzip1q_s32(low, high));
    pairs[1] = vreinterpretq_s8_s32(vzip2q_s32(low, high));
}

/* From sums of two rows by two columns each, [first columns, last columns], to a row each. */
static inline void rows_of(int32x4_t *first, int32x4_t *second, const int32x4_t sums[2])
{
    const int64x2_t a = vreinterpretq_s64_s32(sums[0]), b = vreinterpretq_s64_s32(sums[1]);
    *first = vreinterpretq_s32_s64(vzip1q_s64(a, b));
    *second = vreinterpretq_s32_s64(vzip2q_s64(a, b));
}

/* Group g of R rows by V vectors of 4 columns, in products of two rows by two columns. */
__attribute__((always_inline)) static inline void
group_sums(int32x4_t *out, const struct row_panel *rows, size_t row, size_t stride,
           const struct column_panel *x, size_t g, const enum kind kind, const size_t R)
{
    const bool sixteens = is_sixteens(kind);
    const size_t step = ACT_LANES_MAX * ACT_QUAD;
    const int8_t *q = x->q + g * ACT_GROUP * ACT_LANES_MAX;
    int32x4_t sums[TILE_ROWS * V], scaled[TILE_ROWS * V];
    for (size_t j = 0; j < R * V; j++)
        sums[j] = scaled[j] = vdupq_n_s32(0);
    for (size_t quad = 0; quad < ACT_GROUP / ACT_QUAD; quad += 2) {
        int8x16_t right[V][2];
        for (size_t v = 0; v < V; v++)
            load_columns(right[v], q + quad * step + v * 16);
        for (size_t r = 0; r < R; r += 2) {
            const uint8_t *n = rows->n + (row + r) * stride + g * ACT_GROUP + quad * ACT_QUAD;
            int8x16_t left = load_pair(n, n + stride);
            for (size_t j = 0; j < 2 * V; j++)
                sums[r * V + j] = vmmlaq_s32(sums[r * V + j], left, right[j / 2][j % 2]);
        }
        for (size_t j = 0; sixteens && quad % 4 == 2 && j < R * V; j++) {
            const size_t r = row + j / (2 * V) * 2;
            const int32x2_t first = vdup_n_s32(rows->sub[r][g][quad / 4][0]);
            const int32x2_t second = vdup_n_s32(rows->sub[r + 1][g][quad / 4][0]);
            scaled[j] = vmlaq_s32(scaled[j], sums[j], vcombine_s32(first, second));
            sums[j] = vdupq_n_s32(0);
        }
    }
    for (size_t j = 0; j < R * V; j += 2) {
        const size_t at = j / (2 * V) * 2 * V + j / 2 % V;
        rows_of(&out[at], &out[at + V], (sixteens ? scaled : sums) + j);
    }
    for (size_t j = 0; kind == KIND_SIXTEENS && j < R * V; j++)
        out[j] = vaddq_s32(out[j], fix_halves(x->halves + 2 * (g * ACT_LANES_MAX + j % V * 4),
                                              rows->fix[row + j / V][g]));
}
#else
enum { TILE_ROWS = 3, TILE_ROWS_SIXTEENS = 2 };

/* Group g of R rows by V vectors of 4 columns. Where 16 numbers have a scale, they get it before
 * the halves of a group meet. */
__attribute__((always_inline)) static inline void
group_sums(int32x4_t *out, const struct row_panel *rows, size_t row, size_t stride,
           const struct column_panel *x, size_t g, const enum kind kind, const size_t R)
{
    const bool sixteens = is_sixteens(kind);
    const size_t step = ACT_LANES_MAX * ACT_QUAD;
    const int8_t *q = x->q + g * ACT_GROUP * ACT_LANES_MAX;
    int32x4_t sums[TILE_ROWS * V], scaled[TILE_ROWS * V];
    for (size_t j = 0; j < R * V; j++) {
        const int16_t *halves = x->halves + 2 * (g * ACT_LANES_MAX + j % V * 4);
        sums[j] = vdupq_n_s32(0);
        scaled[j] = kind == KIND_SIXTEENS ? fix_halves(halves, rows->fix[row + j / V][g])
                                          : vdupq_n_s32(0);
    }
    for (size_t quad = 0; quad < ACT_GROUP / ACT_QUAD; quad++) {
        int8x16_t right[4];
        for (size_t v = 0; v < V; v++)
            right[v] = vld1q_s8(q + quad * step + v * 16);
        for (size_t r = 0; r < R; r++) {
            const uint8_t *n = rows->n + (row + r) * stride + g * ACT_GROUP;
            int8x16_t left = load_quad(n + quad * ACT_QUAD);
            for (size_t v = 0; v < V; v++)
                sums[r * V + v] = dot_add(sums[r * V + v], left, right[v]);
        }
        for (size_t j = 0; sixteens && quad % 4 == 3 && j < R * V; j++) {
            int sub = rows->sub[row + j / V][g][quad / 4][0];
            scaled[j] = vmlaq_n_s32(scaled[j], sums[j], sub);
            sums[j] = vdupq_n_s32(0);
        }
    }
    memcpy(out, sixteens ? scaled : sums, R * V * sizeof *out);
}
#endif

__attribute__((always_inline)) static inline void
tile(struct row_panel *rows, size_t row, const struct column_panel *x, size_t groups,
     const enum kind kind, const size_t R)
{
    float32x4_t run[ACT_TOTALS * TILE_ROWS * V];
    for (size_t t = 0, g = 0; t < ACT_TOTALS; t++) {
        const size_t end = g + run_length(groups, t);
        float32x4_t total[TILE_ROWS * V];
        for (size_t j = 0; j < R * V; j++)
            total[j] = vdupq_n_f32(0);
        for (; g < end; g++) {
            int32x4_t sums[TILE_ROWS * V];
            group_sums(sums, rows, row, groups * ACT_GROUP, x, g, kind, R);
            tile_scale(total, sums, rows, row, x, g, kind, R);
        }
        for (size_t j = 0; j < R * V; j++)
            run[t * R * V + j] = total[j];
    }
    for (size_t j = 0; j < R * V; j++)
        vst1q_f32(&rows->tile[row + j / V][j % V * 4], run_sum(run + j, R * V));
}

#define TILE(name, kind, rows_n)                                                                \
    static void tile_##name(struct row_panel *rows, size_t row, const struct column_panel *x,   \
                            size_t groups)                                                      \
    {                                                                                           \
        tile(rows, row, x, groups, kind, rows_n);                                               \
    }
TILE(bytes, KIND_BYTES, TILE_ROWS)
TILE(bytes_m, KIND_BYTES_M, TILE_ROWS)
TILE(sixteens, KIND_SIXTEENS, TILE_ROWS_SIXTEENS)
TILE(sixteens_m, KIND_SIXTEENS_M, TILE_ROWS_SIXTEENS)

static const struct gemm_tile tiles[KINDS] = {
    [KIND_BITS4] = {tile_bytes_m, TILE_ROWS},
    [KIND_BITS5] = {tile_bytes_m, TILE_ROWS},
    [KIND_BITS6] = {tile_bytes_m, TILE_ROWS},
    [KIND_BYTES] = {tile_bytes, TILE_ROWS},
    [KIND_BYTES_M] = {tile_bytes_m, TILE_ROWS},
    [KIND_SIXTEENS] = {tile_sixteens, TILE_ROWS_SIXTEENS},
    [KIND_SIXTEENS_M] = {tile_sixteens_m, TILE_ROWS_SIXTEENS},
};

/* ---- the vocabulary of body_plain.h ---- */

typedef int32x4_t plain_four;
typedef int32x4x2_t w8;

static inline f8 w8_floats(w8 x)
{
    return f8_join(vcvtq_f32_s32(x.val[0]), vcvtq_f32_s32(x.val[1]));
}

static inline w8 w8_add(w8 a, w8 b)
{
    return (w8){{vaddq_s32(a.val[0], b.val[0]), vaddq_s32(a.val[1], b.val[1])}};
}

/* A group is two vectors of 16 numbers here, so the natural order has nothing to bring together. */
enum { PLAIN_ORDERS = 1 << ORDER_NATURAL };

static inline enum order plain_order(enum quant quant)
{
    return ORDER_NATURAL;
}

static inline f8 plain_floats8(f8 x, enum order order)
{
    return x;
}

static inline void plain_reorder(int8_t *to, const int8_t *q, enum order order)
{
    memcpy(to, q, 2 * ACT_GROUP);
}

__attribute__((always_inline)) static inline void
plain_numbers(vb n[4], const uint8_t *at, const size_t half, const enum quant quant)
{
    UNROLL
    for (size_t g = 0; g < 4; g++)
        n[g] = numbers(at, half * 4 + g, quant);
}

static inline w8 plain_eight(plain_four low, plain_four high, enum kind kind, enum order order)
{
    return (w8){{low, high}};
}

static inline int32x4_t dot_half(int32x4_t sums, uint8x16_t n, const int8_t *q)
{
    return dot_add(sums, vreinterpretq_s8_u8(n), vld1q_s8(q));
}

/* All products here are of signed bytes, which no unsigned number is too large for. */
__attribute__((always_inline)) static inline plain_four
plain_dots(const vb n[4], const int8_t *q, const enum kind kind, const enum order order)
{
    int32x4_t dots[4];
    for (size_t g = 0; g < 4; g++) {
        dots[g] = dot_half(vdupq_n_s32(0), n[g].val[0], q + g * ACT_GROUP);
        dots[g] = dot_half(dots[g], n[g].val[1], q + g * ACT_GROUP + 16);
    }
    return vpaddq_s32(vpaddq_s32(dots[0], dots[1]), vpaddq_s32(dots[2], dots[3]));
}

/* A block's 16 scales. */
struct plain_subs {
    int8_t sub[16];
};

static inline struct plain_subs plain_subs(const struct sixteens *s)
{
    struct plain_subs subs;
    memcpy(subs.sub, s->sub, sizeof subs.sub);
    return subs;
}

/* Four groups, the first or the last of the block. */
__attribute__((always_inline)) static inline plain_four
plain_dots_sixteens(const vb n[4], const int8_t *q, const struct plain_subs *subs,
                    const size_t half)
{
    const int8_t *sub = subs->sub + half * 8;
    int32x4_t dots[4];
    for (size_t g = 0; g < 4; g++) {
        int32x4_t low = dot_half(vdupq_n_s32(0), n[g].val[0], q + g * ACT_GROUP);
        int32x4_t high = dot_half(vdupq_n_s32(0), n[g].val[1], q + g * ACT_GROUP + 16);
        dots[g] = vmlaq_n_s32(vmulq_n_s32(low, sub[2 * g]), high, sub[2 * g + 1]);
    }
    return vpaddq_s32(vpaddq_s32(dots[0], dots[1]), vpaddq_s32(dots[2], dots[3]));
}

/* What a block's fixes, times `by`, make of the sums of 8 groups' sixteens. */
static inline w8 plain_fixes(const struct sixteens *s, const int16_t *halves, const int by)
{
    int16_t fix[16];
    for (size_t i = 0; i < 16; i++)
        fix[i] = (int16_t)((int8_t)(s->fix[i / 8] >> i % 8 * 8) * by);
    int16x8x2_t fixes = vld2q_s16(fix), sums = vld2q_s16(halves);
    int32x4_t low = vmull_s16(vget_low_s16(fixes.val[0]), vget_low_s16(sums.val[0]));
    int32x4_t high = vmull_high_s16(fixes.val[0], sums.val[0]);
    low = vmlal_s16(low, vget_low_s16(fixes.val[1]), vget_low_s16(sums.val[1]));
    high = vmlal_high_s16(high, fixes.val[1], sums.val[1]);
    return (w8){{low, high}};
}

/* The same tree as run_sum's. */
static inline void plain_run_sums(float sums[4], const f8 t[4], enum order order)
{
    for (size_t i = 0; i < 4; i++) {
        float32x4_t four = vaddq_f32(t[i].val[0], t[i].val[1]);
        float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
        sums[i] += vget_lane_f32(two, 0) + vget_lane_f32(two, 1) + 0.0f;
    }
}

#include "kernels/body_plain.h"
#include "kernels/body_matmul.h"

#if defined(NEON_I8MM)
const struct kernels kernels_neon_i8mm = {
    .isa = "neon-i8mm",
#elif defined(NEON_DOTPROD)
const struct kernels kernels_neon_dotprod = {
    .isa = "neon-dotprod",
#else
const struct kernels kernels_neon = {
    .isa = "neon",
#endif
    .dequant = {
        [QUANT_F16] = dequant_floats,
        [QUANT_BF16] = dequant_floats,
    },
    .matmul = {
        [QUANT_F32] = matmul_floats,
        [QUANT_F16] = matmul_floats,
        [QUANT_BF16] = matmul_floats,
        [QUANT_Q8_0 ... QUANT_COUNT - 1] = matmul_groups,
    },
    .acts_quantize = acts_quantize,
    .rmsnorm = rmsnorm,
    .rope = rope,
    .silu_mul = silu_mul,
    .gelu_mul = gelu_mul,
    .softcap = softcap,
    .add = add,
    .attend = attend,
    .attend_part = attend_part,
    .attend_merge = attend_merge,
    .f32_to_f16 = f32_to_f16,
    .f16_to_f32 = f16_to_f32,
    .softmax_exp = softmax_exp,
};
