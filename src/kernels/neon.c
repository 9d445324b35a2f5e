/* neon.c - the tables for 64-bit ARM: compiled once for every such CPU, and once more with
 * NEON_DOTPROD for those that have the dot product instructions (2018 and later; Apple, Graviton).
 *
 * ARM multiplies signed by signed bytes, so no weight needs an offset. Without SDOT, two products
 * of bytes fit 16 bits (128 * 127 * 2) before they are added in pairs to 32. */
#include "kernels/simd_neon.h"

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

/* R rows by V vectors of 4 columns. 6-bit weights lose their offset when they are loaded, and get
 * the scale of their 16 before the halves of a group meet. */
__attribute__((always_inline)) static inline void
tile(struct row_panel *rows, size_t row, const struct column_panel *x, size_t groups,
     const bool q6, const size_t R, const size_t V)
{
    const size_t step = x->lanes * ACT_QUAD;
    const int8x16_t offset = vdupq_n_s8(q6 ? 32 : 0);
    float32x4_t total[12];
    for (size_t j = 0; j < R * V; j++)
        total[j] = vdupq_n_f32(0);
    for (size_t g = 0; g < groups; g++) {
        const int8_t *q = x->q + g * ACT_GROUP * x->lanes;
        int32x4_t sums[12], scaled[12];
        for (size_t j = 0; j < R * V; j++)
            sums[j] = scaled[j] = vdupq_n_s32(0);
        for (size_t quad = 0; quad < ACT_GROUP / ACT_QUAD; quad++) {
            int8x16_t right[4];
            for (size_t v = 0; v < V; v++)
                right[v] = vld1q_s8(q + quad * step + v * 16);
            for (size_t r = 0; r < R; r++) {
                const uint8_t *n = rows->n + ((row + r) * groups + g) * ACT_GROUP;
                int8x16_t left = vsubq_s8(load_quad(n + quad * ACT_QUAD), offset);
                for (size_t v = 0; v < V; v++)
                    sums[r * V + v] = dot_add(sums[r * V + v], left, right[v]);
            }
            for (size_t j = 0; q6 && quad % 4 == 3 && j < R * V; j++) {
                int sub = rows->sub[row + j / V][g][quad / 4][0];
                scaled[j] = vmlaq_n_s32(scaled[j], sums[j], sub);
                sums[j] = vdupq_n_s32(0);
            }
        }
        for (size_t v = 0; v < V; v++) {
            float32x4_t scale = vld1q_f32(x->scale + g * x->lanes + v * 4);
            float32x4_t sum = vld1q_f32(x->sum + g * x->lanes + v * 4);
            for (size_t r = 0; r < R; r++) {
                float32x4_t *t = &total[r * V + v];
                int32x4_t dot = q6 ? scaled[r * V + v] : sums[r * V + v];
                *t = vfmaq_f32(*t, vcvtq_f32_s32(dot), vmulq_n_f32(scale, rows->d[row + r][g]));
                if (!q6)
                    *t = vfmaq_n_f32(*t, sum, rows->m[row + r][g]);
            }
        }
    }
    for (size_t r = 0; r < R; r++) {
        for (size_t v = 0; v < V; v++)
            vst1q_f32(&rows->tile[row + r][v * 4], total[r * V + v]);
    }
}

static void tile8(struct row_panel *rows, size_t row, const struct column_panel *x, size_t groups)
{
    tile(rows, row, x, groups, false, 6, 2);
}

static void tile16(struct row_panel *rows, size_t row, const struct column_panel *x, size_t groups)
{
    tile(rows, row, x, groups, false, 3, 4);
}

static void tile8_q6(struct row_panel *rows, size_t row, const struct column_panel *x,
                     size_t groups)
{
    tile(rows, row, x, groups, true, 4, 2);
}

static void tile16_q6(struct row_panel *rows, size_t row, const struct column_panel *x,
                      size_t groups)
{
    tile(rows, row, x, groups, true, 2, 4);
}

/* q8_0 has no m, which the common tile adds all the same. */
static void unpack_q8_0_zero(struct row_panel *rows, size_t row, const uint8_t *source,
                             size_t groups)
{
    unpack_q8_0(rows, row, source, groups);
    memset(rows->m[row], 0, groups * sizeof(float));
}

static const struct gemm gemms[QUANT_COUNT] = {
    [QUANT_Q8_0] = {unpack_q8_0_zero, tile8, tile16, 6, 3},
    [QUANT_Q4_0] = {unpack_q4_0, tile8, tile16, 6, 3},
    [QUANT_Q4_1] = {unpack_q4_1, tile8, tile16, 6, 3},
    [QUANT_Q6_K] = {unpack_q6_k, tile8_q6, tile16_q6, 4, 2},
};

/* A group of one row, as the file has it, ready for plain columns. */
struct plain_group {
    int8x16_t n[2];
    float d, m;
    int sub[2];
};

__attribute__((always_inline)) static inline struct plain_group
plain_group(const uint8_t *row, size_t g, const enum quant quant)
{
    struct plain_group group = {.m = 0, .sub = {1, 1}};
    if (quant == QUANT_Q8_0) {
        const uint8_t *block = row + g * 34;
        group.d = simd_half(block);
        group.n[0] = vreinterpretq_s8_u8(vld1q_u8(block + 2));
        group.n[1] = vreinterpretq_s8_u8(vld1q_u8(block + 18));
    } else if (quant == QUANT_Q6_K) {
        const uint8_t *block = row + g / 8 * 210, *high = block + 128 + g % 8 / 4 * 32;
        const uint8_t *low = block + g % 8 / 4 * 64 + g % 2 * 32;
        const int8_t *sub = (const int8_t *)block + 192 + g % 8 * 2;
        const int8x16_t high_shift = vdupq_n_s8((int8_t)(-2 * (int)(g % 4)));
        const int8x16_t low_shift = vdupq_n_s8(g % 4 < 2 ? 0 : -4);
        for (size_t i = 0; i < 2; i++) {
            uint8x16_t bits =
                vandq_u8(vshlq_u8(vld1q_u8(high + i * 16), high_shift), vdupq_n_u8(3));
            uint8x16_t nibbles = vandq_u8(vshlq_u8(vld1q_u8(low + i * 16), low_shift),
                                          vdupq_n_u8(15));
            uint8x16_t both = vorrq_u8(nibbles, vshlq_n_u8(bits, 4));
            group.n[i] = vsubq_s8(vreinterpretq_s8_u8(both), vdupq_n_s8(32));
            group.sub[i] = sub[i];
        }
        group.d = simd_half(block + 208);
    } else {
        const uint8_t *block = row + g * (quant == QUANT_Q4_1 ? 20 : 18);
        uint8x16_t both = vld1q_u8(block + (quant == QUANT_Q4_1 ? 4 : 2));
        group.d = simd_half(block);
        group.m = quant == QUANT_Q4_1 ? simd_half(block + 2) : -8 * group.d;
        group.n[0] = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));
        group.n[1] = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
    }
    return group;
}

/* R rows by C columns straight from the file. */
__attribute__((always_inline)) static inline void
plain(float *out, size_t out_stride, const struct matrix *w, const struct acts *x, size_t r,
      const enum quant quant, const size_t R, const size_t C)
{
    const size_t groups = w->cols / ACT_GROUP;
    const uint8_t *row = (const uint8_t *)w->data + r * w->row_bytes;
    float32x4_t total[8];
    float offset[8];
    for (size_t j = 0; j < R * C; j++) {
        total[j] = vdupq_n_f32(0);
        offset[j] = 0;
    }
    for (size_t g = 0; g < groups; g++) {
        for (size_t j = 0; j < R; j++) {
            struct plain_group group = plain_group(row + j * w->row_bytes, g, quant);
            for (size_t c = 0; c < C; c++) {
                const int8_t *q = x->q + c * x->k_padded + g * ACT_GROUP;
                size_t at = c * (x->k_padded / ACT_GROUP) + g;
                int32x4_t zero = vdupq_n_s32(0);
                int32x4_t dot = dot_add(zero, group.n[0], vld1q_s8(q));
                if (quant == QUANT_Q6_K) {
                    int32x4_t other = dot_add(zero, group.n[1], vld1q_s8(q + 16));
                    dot = vmlaq_n_s32(vmulq_n_s32(dot, group.sub[0]), other, group.sub[1]);
                } else {
                    dot = dot_add(dot, group.n[1], vld1q_s8(q + 16));
                }
                total[j * C + c] = vfmaq_n_f32(total[j * C + c], vcvtq_f32_s32(dot),
                                               group.d * x->scale[at]);
                if (quant == QUANT_Q4_0 || quant == QUANT_Q4_1)
                    offset[j * C + c] += group.m * x->sum[at];
            }
        }
    }
    for (size_t j = 0; j < R; j++) {
        for (size_t c = 0; c < C; c++)
            out[c * out_stride + r + j] = vaddvq_f32(total[j * C + c]) + offset[j * C + c];
    }
}

__attribute__((always_inline)) static inline void
plain_rows(float *out, size_t out_stride, const struct matrix *w, const struct acts *x, size_t r,
           size_t row_end, const enum quant quant, const size_t C)
{
    enum { TOGETHER = 2 };      /* rows at once: enough to hide latency, few enough for registers */
    for (; r + TOGETHER <= row_end; r += TOGETHER)
        plain(out, out_stride, w, x, r, quant, TOGETHER, C);
    for (; r < row_end; r++)
        plain(out, out_stride, w, x, r, quant, 1, C);
}

__attribute__((always_inline)) static inline void
plain_columns(float *out, size_t out_stride, const struct matrix *w, const struct acts *x, size_t r,
              size_t row_end, const enum quant quant)
{
    switch (x->columns) {
    case 1: plain_rows(out, out_stride, w, x, r, row_end, quant, 1); break;
    case 2: plain_rows(out, out_stride, w, x, r, row_end, quant, 2); break;
    case 3: plain_rows(out, out_stride, w, x, r, row_end, quant, 3); break;
    default: plain_rows(out, out_stride, w, x, r, row_end, quant, 4); break;
    }
}

static void matmul_groups(float *out, size_t out_stride, const struct matrix *w,
                          const struct acts *x, size_t row_begin, size_t row_end, void *scratch)
{
    if (x->columns > ACT_PLAIN_MAX) {
        gemm_run(out, out_stride, w, x, row_begin, row_end, scratch, &gemms[w->quant]);
        return;
    }
    switch (w->quant) {
    case QUANT_Q8_0: plain_columns(out, out_stride, w, x, row_begin, row_end, QUANT_Q8_0); break;
    case QUANT_Q4_0: plain_columns(out, out_stride, w, x, row_begin, row_end, QUANT_Q4_0); break;
    case QUANT_Q4_1: plain_columns(out, out_stride, w, x, row_begin, row_end, QUANT_Q4_1); break;
    default: plain_columns(out, out_stride, w, x, row_begin, row_end, QUANT_Q6_K); break;
    }
}

#ifdef NEON_DOTPROD
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
        [QUANT_Q8_0] = matmul_groups,
        [QUANT_Q4_0] = matmul_groups,
        [QUANT_Q4_1] = matmul_groups,
        [QUANT_Q6_K] = matmul_groups,
    },
    .acts_quantize = acts_quantize,
    .rmsnorm = rmsnorm,
    .rope = rope,
    .silu_mul = silu_mul,
    .gelu_mul = gelu_mul,
    .softcap = softcap,
    .add = add,
    .attend = attend,
    .f32_to_f16 = f32_to_f16,
    .f16_to_f32 = f16_to_f32,
    .softmax_exp = softmax_exp,
};
