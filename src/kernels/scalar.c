/* scalar.c - the reference arithmetic: every entry of the table, in plain C.
 *
 * Written to be read beside the formats in quant.h, not to be fast: the other tables are held to
 * this one by tests/kernels/check, and this one to formulas in double precision. It takes the same
 * integer steps as they do (int8 activations, integer sums within a group), so that only the order
 * of float additions differs. */
#include <math.h>
#include <string.h>

#include "kernels/acts.h"
#include "kernels/half.h"
#include "kernels/isa.h"

/* ACT_GROUP numbers of a row: w[i] = d[i / 16] * n[i] + m. */
struct group {
    int8_t n[ACT_GROUP];
    float d[2], m;
};

static void group_q8_0(struct group *group, const uint8_t *row, size_t i)
{
    const uint8_t *block = row + i * 34;
    group->d[0] = group->d[1] = half_float(load_u16(block));
    group->m = 0;
    memcpy(group->n, block + 2, ACT_GROUP);
}

static void nibbles(int8_t *n, const uint8_t *q)
{
    for (size_t i = 0; i < 16; i++) {
        n[i] = q[i] & 15;
        n[i + 16] = q[i] >> 4;
    }
}

static void group_q4_0(struct group *group, const uint8_t *row, size_t i)
{
    const uint8_t *block = row + i * 18;
    group->d[0] = group->d[1] = half_float(load_u16(block));
    group->m = -8 * group->d[0];
    nibbles(group->n, block + 2);
}

static void group_q4_1(struct group *group, const uint8_t *row, size_t i)
{
    const uint8_t *block = row + i * 20;
    group->d[0] = group->d[1] = half_float(load_u16(block));
    group->m = half_float(load_u16(block + 2));
    nibbles(group->n, block + 4);
}

/* A block's two halves of 128 have 64 bytes of ql and 32 of qh each. Group g of a half takes the
 * low (g < 2) or high nibbles of ql's 32 bytes at 32 * (g % 2), and bits 2g, 2g + 1 of qh. */
static void group_q6_k(struct group *group, const uint8_t *row, size_t i)
{
    const uint8_t *block = row + i / 8 * 210;
    size_t half = i % 8 / 4, g = i % 4;
    const uint8_t *low = block + half * 64 + g % 2 * 32, *high = block + 128 + half * 32;
    const int8_t *scales = (const int8_t *)block + 192 + i % 8 * 2;
    float d = half_float(load_u16(block + 208));
    group->d[0] = d * scales[0];
    group->d[1] = d * scales[1];
    group->m = 0;
    for (size_t l = 0; l < ACT_GROUP; l++) {
        int nibble = g < 2 ? low[l] & 15 : low[l] >> 4;
        group->n[l] = (int8_t)((nibble | (high[l] >> 2 * g & 3) << 4) - 32);
    }
}

typedef void group_reader(struct group *group, const uint8_t *row, size_t i);

static group_reader *const readers[QUANT_COUNT] = {
    [QUANT_Q8_0] = group_q8_0,
    [QUANT_Q4_0] = group_q4_0,
    [QUANT_Q4_1] = group_q4_1,
    [QUANT_Q6_K] = group_q6_k,
};

static void dequant_groups(float *out, const void *row, size_t n, group_reader *read)
{
    for (size_t i = 0; i < n; i += ACT_GROUP) {
        struct group group;
        read(&group, row, i / ACT_GROUP);
        for (size_t l = 0; l < ACT_GROUP; l++)
            out[i + l] = group.d[l / 16] * group.n[l] + group.m;
    }
}

static void dequant_q8_0(float *out, const void *row, size_t n)
{
    dequant_groups(out, row, n, group_q8_0);
}

static void dequant_q4_0(float *out, const void *row, size_t n)
{
    dequant_groups(out, row, n, group_q4_0);
}

static void dequant_q4_1(float *out, const void *row, size_t n)
{
    dequant_groups(out, row, n, group_q4_1);
}

static void dequant_q6_k(float *out, const void *row, size_t n)
{
    dequant_groups(out, row, n, group_q6_k);
}

static void dequant_f32(float *out, const void *row, size_t n)
{
    memcpy(out, row, n * sizeof *out);
}

static void dequant_f16(float *out, const void *row, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = half_float(load_u16((const char *)row + 2 * i));
}

static void dequant_bf16(float *out, const void *row, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = bfloat_float(load_u16((const char *)row + 2 * i));
}

static float group_dot(const struct group *group, const struct acts *x, size_t lanes, size_t c,
                       size_t g)
{
    int dot[2] = {0, 0};
    for (size_t l = 0; l < ACT_GROUP; l++) {
        size_t i = g * ACT_GROUP + l;
        dot[l / 16] += group->n[l] * x->q[acts_at(x, lanes, c, i - i % ACT_QUAD) + i % ACT_QUAD];
    }
    size_t at = acts_group_at(x, lanes, c, g);
    return (group->d[0] * (float)dot[0] + group->d[1] * (float)dot[1]) * x->scale[at] +
           group->m * x->sum[at];
}

static void matmul_groups(float *out, size_t out_stride, const struct matrix *w,
                          const struct acts *x, size_t row_begin, size_t row_end, void *scratch)
{
    size_t lanes = acts_lanes(x->columns);
    for (size_t r = row_begin; r < row_end; r++) {
        const uint8_t *row = (const uint8_t *)w->data + r * w->row_bytes;
        for (size_t c = 0; c < x->columns; c++)
            out[c * out_stride + r] = 0;
        for (size_t g = 0; g < w->cols / ACT_GROUP; g++) {
            struct group group;
            readers[w->quant](&group, row, g);
            for (size_t c = 0; c < x->columns; c++)
                out[c * out_stride + r] += group_dot(&group, x, lanes, c, g);
        }
    }
}

/* Converts MATMUL_PIECE weights at a time. */
enum { MATMUL_PIECE = 256 };

static void matmul_floats(float *out, size_t out_stride, const struct matrix *w,
                          const struct acts *x, size_t row_begin, size_t row_end, void *scratch)
{
    size_t bytes = quants[w->quant].bytes;
    for (size_t r = row_begin; r < row_end; r++) {
        const uint8_t *row = (const uint8_t *)w->data + r * w->row_bytes;
        for (size_t c = 0; c < x->columns; c++)
            out[c * out_stride + r] = 0;
        for (size_t from = 0; from < w->cols; from += MATMUL_PIECE) {
            float piece[MATMUL_PIECE];
            size_t n = w->cols - from < MATMUL_PIECE ? w->cols - from : MATMUL_PIECE;
            kernels_scalar.dequant[w->quant](piece, row + from * bytes, n);
            for (size_t c = 0; c < x->columns; c++) {
                float sum = 0;
                for (size_t i = 0; i < n; i++)
                    sum += piece[i] * x->f32[c * x->stride + from + i];
                out[c * out_stride + r] += sum;
            }
        }
    }
}

static void quantize_group(struct acts *x, size_t lanes, size_t c, size_t g)
{
    float values[ACT_GROUP] = {0}, amax = 0;
    size_t n = x->k - g * ACT_GROUP < ACT_GROUP ? x->k - g * ACT_GROUP : ACT_GROUP;
    if (c < x->columns)         /* the columns that fill up the last panel are zero */
        memcpy(values, x->f32 + c * x->stride + g * ACT_GROUP, n * sizeof *values);
    for (size_t l = 0; l < ACT_GROUP; l++)
        amax = fabsf(values[l]) > amax ? fabsf(values[l]) : amax;
    float inverse = amax > ACT_TINY ? 127 / amax : 0;
    int sums[2] = {0, 0};
    for (size_t l = 0; l < ACT_GROUP; l++) {
        int8_t q = (int8_t)lrintf(values[l] * inverse);
        x->q[acts_at(x, lanes, c, g * ACT_GROUP + l - l % ACT_QUAD) + l % ACT_QUAD] = q;
        sums[l / 16] += q;
    }
    size_t at = acts_group_at(x, lanes, c, g);
    x->scale[at] = amax > ACT_TINY ? amax / 127 : 0;
    x->sum[at] = x->scale[at] * (float)(sums[0] + sums[1]);
    x->halves[2 * at] = (int16_t)sums[0];
    x->halves[2 * at + 1] = (int16_t)sums[1];
}

static void acts_quantize(struct acts *x, size_t begin, size_t end)
{
    size_t lanes = acts_lanes(x->columns);
    if (end == x->columns)
        end = (end + lanes - 1) / lanes * lanes;
    for (size_t c = begin; c < end; c++) {
        for (size_t g = 0; g < x->k_padded / ACT_GROUP; g++)
            quantize_group(x, lanes, c, g);
    }
}

static void rmsnorm(float *out, const float *x, const float *w, size_t n, float eps)
{
    float squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    float factor = 1 / sqrtf(squares / (float)n + eps);
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] * factor * w[i];
}

static void rope(float *x, const float *cos, const float *sin, size_t rotary, bool adjacent)
{
    size_t half = rotary / 2;
    for (size_t i = 0; i < half; i++) {
        float *a = adjacent ? &x[2 * i] : &x[i], *b = adjacent ? &x[2 * i + 1] : &x[i + half];
        float turned = *a * cos[i] - *b * sin[i];
        *b = *a * sin[i] + *b * cos[i];
        *a = turned;
    }
}

static void silu_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        gate[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
}

/* gelu(x) = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))). */
static void gelu_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float x = gate[i], inner = 0.797884561f * (x + 0.044715f * x * x * x);
        gate[i] = x / 2 * (1 + tanhf(inner)) * up[i];
    }
}

static void softcap(float *x, size_t n, float cap)
{
    for (size_t i = 0; i < n; i++)
        x[i] = cap * tanhf(x[i] / cap);
}

static void add(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
}

static void attend_row(const struct attend *job, size_t row)
{
    size_t dim = job->head_dim;
    const float *q = job->q[row];
    float *out = job->out[row], best = -INFINITY, total = 0;
    memset(out, 0, dim * sizeof *out);
    for (uint32_t p = job->first[row]; p < job->visible[row]; p++) {
        const uint16_t *k = job->k[p / KV_PAGE] + p % KV_PAGE * dim;
        const uint16_t *v = job->v[p / KV_PAGE] + p % KV_PAGE * dim;
        float score = 0;
        for (size_t i = 0; i < dim; i++)
            score += q[i] * half_float(k[i]);
        score *= job->scale;
        if (job->softcap > 0)
            score = job->softcap * tanhf(score / job->softcap);
        if (score > best) {     /* what was summed so far was measured against the old maximum */
            float shrink = expf(best - score);
            for (size_t i = 0; i < dim; i++)
                out[i] *= shrink;
            total *= shrink;
            best = score;
        }
        float weight = expf(score - best);
        total += weight;
        for (size_t i = 0; i < dim; i++)
            out[i] += weight * half_float(v[i]);
    }
    if (job->sinks)             /* infinite where the sink takes all there is */
        total += expf(job->sinks[row] - best);
    for (size_t i = 0; i < dim; i++)
        out[i] /= total;
}

static void attend(const struct attend *job)
{
    for (size_t row = 0; row < job->rows; row++)
        attend_row(job, row);
}

static void f32_to_f16(uint16_t *out, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = float_half(x[i]);
}

static void f16_to_f32(float *out, const uint16_t *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = half_float(x[i]);
}

static float softmax_exp(float *x, size_t n)
{
    float best = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        best = x[i] > best ? x[i] : best;
    for (size_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - best);
        sum += x[i];
    }
    return sum;
}

const struct kernels kernels_scalar = {
    .isa = "scalar",
    .dequant = {
        [QUANT_F32] = dequant_f32,
        [QUANT_F16] = dequant_f16,
        [QUANT_BF16] = dequant_bf16,
        [QUANT_Q8_0] = dequant_q8_0,
        [QUANT_Q4_0] = dequant_q4_0,
        [QUANT_Q4_1] = dequant_q4_1,
        [QUANT_Q6_K] = dequant_q6_k,
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
