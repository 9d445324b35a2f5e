/* scalar.c - the reference arithmetic: every entry of the table, in plain C.
 *
 * Written to be read beside the formats in group.c, not to be fast: the other tables are held to
 * this one by tests/kernels/check, and this one to formulas in double precision. It takes the same
 * integer steps as they do (int8 activations, integer sums within a group), so that only the order
 * of float additions differs. */
#include <math.h>
#include <string.h>

#include "kernels/acts.h"
#include "kernels/group.h"
#include "kernels/half.h"
#include "kernels/isa.h"

static void dequant_groups(float *out, const struct matrix *w, size_t row)
{
    for (size_t g = 0; g < w->cols / ACT_GROUP; g++) {
        struct group group;
        group_read(&group, w, row, g);
        for (size_t l = 0; l < ACT_GROUP; l++)
            out[g * ACT_GROUP + l] = group.d[l / 16] * group.n[l] + group.m[l / 16];
    }
}

static void dequant_floats(float *out, const struct matrix *w, size_t row)
{
    const uint8_t *at = (const uint8_t *)w->data + row * w->row_bytes;
    for (size_t i = 0; i < w->cols; i++)
        out[i] = load_float(at, w->quant, i);
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
    float offset = group->m[0] * x->halves[2 * at] + group->m[1] * x->halves[2 * at + 1];
    return (group->d[0] * (float)dot[0] + group->d[1] * (float)dot[1] + offset) * x->scale[at];
}

static void matmul_groups(float *out, size_t out_stride, const struct matrix *w,
                          const struct acts *x, size_t row_begin, size_t row_end, void *scratch)
{
    size_t lanes = acts_lanes(x->columns);
    for (size_t r = row_begin; r < row_end; r++) {
        for (size_t c = 0; c < x->columns; c++)
            out[c * out_stride + r] = 0;
        for (size_t g = 0; g < w->cols / ACT_GROUP; g++) {
            struct group group;
            group_read(&group, w, r, g);
            for (size_t c = 0; c < x->columns; c++)
                out[c * out_stride + r] += group_dot(&group, x, lanes, c, g);
        }
    }
}

static void matmul_floats(float *out, size_t out_stride, const struct matrix *w,
                          const struct acts *x, size_t row_begin, size_t row_end, void *scratch)
{
    for (size_t r = row_begin; r < row_end; r++) {
        const uint8_t *row = (const uint8_t *)w->data + r * w->row_bytes;
        for (size_t c = 0; c < x->columns; c++)
            out[c * out_stride + r] = 0;
        for (size_t i = 0; i < w->cols; i++) {
            float number = load_float(row, w->quant, i);
            for (size_t c = 0; c < x->columns; c++)
                out[c * out_stride + r] += number * x->f32[c * x->stride + i];
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

/* What a row sees of one part, in the form that attend_part hands out. */
static void attend_row(const struct attend *job, size_t row, size_t part, float *to)
{
    size_t dim = job->head_dim, begin = part * ATTEND_PART, end = begin + ATTEND_PART;
    const float *q = job->q[row];
    float best = -INFINITY, total = 0;
    begin = job->first[row] > begin ? job->first[row] : begin;
    end = job->visible[row] < end ? job->visible[row] : end;
    memset(to, 0, dim * sizeof *to);
    for (size_t p = begin; p < end; p++) {
        const uint16_t *k = job->k[p / KV_PAGE] + p % KV_PAGE;
        const uint16_t *v = job->v[p / KV_PAGE] + p % KV_PAGE * dim;
        float score = 0;
        for (size_t i = 0; i < dim; i++)
            score += q[i] * half_float(k[i * KV_PAGE]);
        score *= job->scale;
        if (job->softcap > 0)
            score = job->softcap * tanhf(score / job->softcap);
        if (score > best) {     /* what was summed so far was measured against the old maximum */
            float shrink = expf(best - score);
            for (size_t i = 0; i < dim; i++)
                to[i] *= shrink;
            total *= shrink;
            best = score;
        }
        float weight = expf(score - best);
        total += weight;
        for (size_t i = 0; i < dim; i++)
            to[i] += weight * half_float(v[i]);
    }
    to[dim] = total;
    to[dim + 1] = best;
}

static void attend_fold(float *out, float *total, float *best, const float *part, size_t dim)
{
    float most = part[dim + 1] > *best ? part[dim + 1] : *best;
    float before = expf(*best - most), now = expf(part[dim + 1] - most);
    for (size_t i = 0; i < dim; i++)
        out[i] = out[i] * before + part[i] * now;
    *total = *total * before + part[dim] * now;
    *best = most;
}

static void attend_finish(float *out, float total, float best, const float *sink, size_t dim)
{
    if (sink)                   /* infinite where the sink takes all there is */
        total += expf(*sink - best);
    for (size_t i = 0; i < dim; i++)
        out[i] /= total;
}

static void attend(const struct attend *job)
{
    size_t dim = job->head_dim;
    float sums[ATTEND_PART_FLOATS(HEAD_DIM_MAX)];
    for (size_t row = 0; row < job->rows; row++) {
        float total = 0, best = -INFINITY;
        memset(job->out[row], 0, dim * sizeof *job->out[row]);
        for (size_t part = job->first[row] / ATTEND_PART;
             part * ATTEND_PART < job->visible[row]; part++) {
            attend_row(job, row, part, sums);
            attend_fold(job->out[row], &total, &best, sums, dim);
        }
        attend_finish(job->out[row], total, best, job->sinks ? &job->sinks[row] : NULL, dim);
    }
}

static void attend_part(const struct attend *job, size_t part, float *to)
{
    for (size_t row = 0; row < job->rows; row++, to += ATTEND_PART_FLOATS(job->head_dim)) {
        if (job->first[row] / ATTEND_PART <= part && part * ATTEND_PART < job->visible[row])
            attend_row(job, row, part, to);
    }
}

static void attend_merge(float *out, const float *parts, size_t stride, size_t n, size_t dim,
                         const float *sink)
{
    float total = 0, best = -INFINITY;
    memset(out, 0, dim * sizeof *out);
    for (size_t i = 0; i < n; i++, parts += stride)
        attend_fold(out, &total, &best, parts, dim);
    attend_finish(out, total, best, sink, dim);
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
        [QUANT_F32] = dequant_floats,
        [QUANT_F16] = dequant_floats,
        [QUANT_BF16] = dequant_floats,
        [QUANT_Q8_0 ... QUANT_COUNT - 1] = dequant_groups,
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
