/* body_float.h - the float entries of the table, written in the vocabulary of a simd_*.h file and
 * compiled once into each instruction set's file. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/acts.h"
#include "kernels/fetch.h"
#include "kernels/half.h"
#include "kernels/isa.h"
#include "kernels/kernels.h"

/* The first n (< V_LANES) floats, the rest 0; and back. */
static vf vf_load_n(const float *at, size_t n)
{
    float lanes[V_LANES] = {0};
    memcpy(lanes, at, n * sizeof *at);
    return vf_load(lanes);
}

static void vf_store_n(float *at, vf x, size_t n)
{
    float lanes[V_LANES];
    vf_store(lanes, x);
    memcpy(at, lanes, n * sizeof *at);
}

/* e^x with a relative error under 2e-7; 0 below where the result would be subnormal; x at most 88.
 *
 * e^x = 2^n * e^r with n the integer next to x / ln 2: adding 1.5 * 2^23 rounds to it and leaves it
 * in the low bits. ln 2 comes in two parts so that r is exact. e^r is its Taylor series to degree
 * 7: |r| <= 0.3466 makes the rest at most 0.3466^8 / 8! = 5e-9. */
static inline vf vf_exp(vf x)
{
    const vf magic = vf_set1(12582912.0f);
    vf bits = vf_fma(x, vf_set1(1.44269504f), magic);
    vf n = vf_sub(bits, magic);
    vf r = vf_fma(n, vf_set1(-0.693145752f), x);
    r = vf_fma(n, vf_set1(-1.42860682e-6f), r);
    vf p = vf_fma(r, vf_set1(1.0f / 5040), vf_set1(1.0f / 720));
    p = vf_fma(p, r, vf_set1(1.0f / 120));
    p = vf_fma(p, r, vf_set1(1.0f / 24));
    p = vf_fma(p, r, vf_set1(1.0f / 6));
    p = vf_fma(p, r, vf_set1(0.5f));
    p = vf_fma(p, r, vf_set1(1.0f));
    p = vf_fma(p, r, vf_set1(1.0f));
    return vf_zero_below(vf_ldexp(p, bits), x, -87.33f);
}

static void rmsnorm(float *out, const float *x, const float *w, size_t n, float eps)
{
    vf squares[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    size_t i = 0;
    for (; i + 4 * V_LANES <= n; i += 4 * V_LANES) {
        for (size_t j = 0; j < 4; j++) {
            vf v = vf_load(x + i + j * V_LANES);
            squares[j] = vf_fma(v, v, squares[j]);
        }
    }
    float sum = vf_sum(vf_add(vf_add(squares[0], squares[1]), vf_add(squares[2], squares[3])));
    for (; i < n; i++)
        sum += x[i] * x[i];
    float factor = 1 / sqrtf(sum / (float)n + eps);
    vf factors = vf_set1(factor);
    for (i = 0; i + V_LANES <= n; i += V_LANES)
        vf_store(out + i, vf_mul(vf_mul(vf_load(x + i), factors), vf_load(w + i)));
    for (; i < n; i++)
        out[i] = x[i] * factor * w[i];
}

static void rope(float *x, const float *cos, const float *sin, size_t rotary, bool adjacent)
{
    size_t half = rotary / 2, i = 0;
    for (; i + V_LANES <= half; i += V_LANES) {
        vf a, b, c = vf_load(cos + i), s = vf_load(sin + i);
        if (adjacent) {
            vf_load2(x + 2 * i, &a, &b);
        } else {
            a = vf_load(x + i);
            b = vf_load(x + half + i);
        }
        vf turned = vf_sub(vf_mul(a, c), vf_mul(b, s));
        b = vf_fma(a, s, vf_mul(b, c));
        if (adjacent) {
            vf_store2(x + 2 * i, turned, b);
        } else {
            vf_store(x + i, turned);
            vf_store(x + half + i, b);
        }
    }
    for (; i < half; i++) {
        float *a = adjacent ? &x[2 * i] : &x[i], *b = adjacent ? &x[2 * i + 1] : &x[i + half];
        float turned = *a * cos[i] - *b * sin[i];
        *b = *a * sin[i] + *b * cos[i];
        *a = turned;
    }
}

/* x / (1 + e^-g): where e^-g would overflow, the quotient is 0 to float's precision anyway. */
static inline vf times_sigmoid(vf x, vf g)
{
    vf minus = vf_sub(vf_zero(), vf_max(g, vf_set1(-88)));
    return vf_div(x, vf_add(vf_set1(1), vf_exp(minus)));
}

static inline vf silu(vf g)
{
    return times_sigmoid(g, g);
}

/* x / 2 * (1 + tanh(y)) = x / (1 + e^(-2y)), with y = sqrt(2 / pi) * (x + 0.044715 x^3). */
static inline vf gelu(vf x)
{
    vf inner = vf_fma(vf_mul(vf_mul(x, x), x), vf_set1(0.044715f), x);
    return times_sigmoid(x, vf_mul(inner, vf_set1(2 * 0.797884561f)));
}

/* gate = activation(gate) * up. */
__attribute__((always_inline)) static inline void
gate_mul(float *gate, const float *up, size_t n, vf activation(vf))
{
    size_t i = 0;
    for (; i + V_LANES <= n; i += V_LANES)
        vf_store(gate + i, vf_mul(activation(vf_load(gate + i)), vf_load(up + i)));
    if (i < n) {
        vf tail = vf_mul(activation(vf_load_n(gate + i, n - i)), vf_load_n(up + i, n - i));
        vf_store_n(gate + i, tail, n - i);
    }
}

static void silu_mul(float *gate, const float *up, size_t n)
{
    gate_mul(gate, up, n, silu);
}

static void gelu_mul(float *gate, const float *up, size_t n)
{
    gate_mul(gate, up, n, gelu);
}

/* cap * tanh(x / cap) = 2 cap / (1 + e^(-2x / cap)) - cap. */
static void softcap(float *x, size_t n, float cap)
{
    vf twice = vf_set1(2 * cap), rate = vf_set1(2 / cap), once = vf_set1(cap);
    size_t i = 0;
    for (; i + V_LANES <= n; i += V_LANES)
        vf_store(x + i, vf_sub(times_sigmoid(twice, vf_mul(vf_load(x + i), rate)), once));
    if (i < n) {
        vf tail = vf_mul(vf_load_n(x + i, n - i), rate);
        vf_store_n(x + i, vf_sub(times_sigmoid(twice, tail), once), n - i);
    }
}

static void add(float *x, const float *y, size_t n)
{
    size_t i = 0;
    for (; i + V_LANES <= n; i += V_LANES)
        vf_store(x + i, vf_add(vf_load(x + i), vf_load(y + i)));
    for (; i < n; i++)
        x[i] += y[i];
}

static void f32_to_f16(uint16_t *out, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + V_LANES <= n; i += V_LANES)
        vf_store_half(out + i, vf_load(x + i));
    for (; i < n; i++)
        out[i] = float_half(x[i]);
}

static void f16_to_f32(float *out, const uint16_t *x, size_t n)
{
    size_t i = 0;
    for (; i + V_LANES <= n; i += V_LANES)
        vf_store(out + i, vf_load_half(x + i));
    for (; i < n; i++)
        out[i] = half_float(x[i]);
}

static float softmax_exp(float *x, size_t n)
{
    size_t i = 0;
    float best = -INFINITY;
    vf tops[2] = {vf_set1(best), vf_set1(best)};
    for (; i + 2 * V_LANES <= n; i += 2 * V_LANES) {
        tops[0] = vf_max(vf_load(x + i), tops[0]);
        tops[1] = vf_max(vf_load(x + i + V_LANES), tops[1]);
    }
    best = vf_top(vf_max(tops[0], tops[1]));
    for (; i < n; i++)
        best = x[i] > best ? x[i] : best;
    vf most = vf_set1(best), sums[2] = {vf_zero(), vf_zero()};
    for (i = 0; i + 2 * V_LANES <= n; i += 2 * V_LANES) {
        for (size_t j = 0; j < 2; j++) {
            vf e = vf_exp(vf_sub(vf_load(x + i + j * V_LANES), most));
            vf_store(x + i + j * V_LANES, e);
            sums[j] = vf_add(sums[j], e);
        }
    }
    float sum = vf_sum(vf_add(sums[0], sums[1]));
    for (; i < n; i += V_LANES) {
        size_t tail = n - i < V_LANES ? n - i : V_LANES;
        vf_store_n(x + i, vf_exp(vf_sub(vf_load_n(x + i, tail), most)), tail);
        for (size_t j = 0; j < tail; j++)
            sum += x[i + j];
    }
    return sum;
}

static void read_f16(float *out, const char *at, size_t n)
{
    size_t i = 0;
    for (; i + V_LANES <= n; i += V_LANES)
        vf_store(out + i, vf_load_half(at + 2 * i));
    for (; i < n; i++)
        out[i] = half_float(load_u16(at + 2 * i));
}

static void read_bf16(float *out, const char *at, size_t n)
{
    size_t i = 0;
    for (; i + V_LANES <= n; i += V_LANES)
        vf_store(out + i, vf_load_bfloat(at + 2 * i));
    for (; i < n; i++)
        out[i] = bfloat_float(load_u16(at + 2 * i));
}

/* Numbers [from, from + n) of a row of float weights. */
static void read_floats(float *out, const struct matrix *w, size_t row, size_t from, size_t n)
{
    const char *at = (const char *)w->data + row * w->row_bytes + from * quants[w->quant].bytes;
    if (w->quant == QUANT_F16)
        read_f16(out, at, n);
    else if (w->quant == QUANT_BF16)
        read_bf16(out, at, n);
    else
        memcpy(out, at, n * sizeof *out);
}

static void dequant_floats(float *out, const struct matrix *w, size_t row)
{
    read_floats(out, w, row, 0, w->cols);
}

/* Float weights: a panel of MATMUL_ROWS rows, FLOAT_K numbers long, is made floats in scratch and
 * then multiplied with every column, vectors along k. */
enum { FLOAT_K = 1024, FLOAT_COLUMNS = 4 };
_Static_assert(MATMUL_ROWS * FLOAT_K * sizeof(float) <= MATMUL_SCRATCH_BYTES, "scratch");

/* Rows of n numbers stand this far apart: whole vectors. */
static inline size_t float_stride(size_t n)
{
    return (n + V_LANES - 1) / V_LANES * V_LANES;
}

/* out[c][r] (+)= rows[r] . columns[c] over n numbers, a tile of R by C sums in registers. rows has
 * zeros from n up to a whole vector. */
__attribute__((always_inline)) static inline void
float_tile(float *out, size_t out_stride, size_t rows_n, const float *rows, const float *columns,
           size_t stride, size_t n, bool accumulate, const size_t R, const size_t C)
{
    const size_t row_stride = float_stride(n);
    vf sums[24];
    for (size_t j = 0; j < R * C; j++)
        sums[j] = vf_zero();
    size_t i = 0;
    for (; i + V_LANES <= n; i += V_LANES) {
        vf w[8];
        for (size_t r = 0; r < R; r++)
            w[r] = vf_load(rows + r * row_stride + i);
        for (size_t c = 0; c < C; c++) {
            vf x = vf_load(columns + c * stride + i);
            for (size_t r = 0; r < R; r++)
                sums[c * R + r] = vf_fma(w[r], x, sums[c * R + r]);
        }
    }
    for (size_t c = 0; c < C; c++) {
        vf x = i < n ? vf_load_n(columns + c * stride + i, n - i) : vf_zero();
        for (size_t r = 0; r < R && r < rows_n; r++) {
            vf sum = sums[c * R + r];
            if (i < n)
                sum = vf_fma(vf_load(rows + r * row_stride + i), x, sum);
            float *to = out + c * out_stride + r;
            *to = accumulate ? *to + vf_sum(sum) : vf_sum(sum);
        }
    }
}

static void float_panel(float *out, size_t out_stride, size_t rows_n, const float *rows,
                        const struct acts *x, size_t from, size_t n)
{
    size_t c = 0;
    for (; c + FLOAT_COLUMNS <= x->columns; c += FLOAT_COLUMNS) {
        for (size_t r = 0; r < rows_n; r += V_TILE_ROWS)
            float_tile(out + c * out_stride + r, out_stride, rows_n - r, rows + r * float_stride(n),
                       x->f32 + c * x->stride + from, x->stride, n, from > 0, V_TILE_ROWS,
                       FLOAT_COLUMNS);
    }
    for (; c < x->columns; c++) {
        for (size_t r = 0; r < rows_n; r += V_CHAINS)
            float_tile(out + c * out_stride + r, out_stride, rows_n - r, rows + r * float_stride(n),
                       x->f32 + c * x->stride + from, x->stride, n, from > 0, V_CHAINS, 1);
    }
}

__attribute__((always_inline)) static inline vf load_weights(const char *at, const enum quant quant)
{
    if (quant == QUANT_F16)
        return vf_load_half(at);
    return quant == QUANT_BF16 ? vf_load_bfloat(at) : vf_load((const float *)at);
}

/* R rows times C columns straight from the file's numbers: for few columns, where a panel would be
 * written and read again for nothing. The sums are those of float_tile, panel by panel. */
__attribute__((always_inline)) static inline void
plain_floats(float *out, size_t out_stride, const struct matrix *w, const struct acts *x, size_t r,
             const enum quant quant, const size_t R, const size_t C)
{
    const size_t bytes = quant == QUANT_F32 ? 4 : 2;
    const char *row = (const char *)w->data + r * w->row_bytes;
    size_t i = 0;
    for (size_t from = 0; from < w->cols; from += FLOAT_K) {
        const size_t end = w->cols - from < FLOAT_K ? w->cols : from + FLOAT_K;
        vf sums[8];
        for (size_t j = 0; j < R * C; j++)
            sums[j] = vf_zero();
        for (; i + V_LANES <= end; i += V_LANES) {
            fetch_ahead(row + R * i * bytes, R * V_LANES * bytes);
            for (size_t j = 0; j < R; j++) {
                vf left = load_weights(row + j * w->row_bytes + i * bytes, quant);
                for (size_t c = 0; c < C; c++)
                    sums[c * R + j] =
                        vf_fma(left, vf_load(x->f32 + c * x->stride + i), sums[c * R + j]);
            }
        }
        for (size_t j = 0; j < R; j++) {
            float tail[V_LANES] = {0};
            read_floats(tail, w, r + j, i, end - i);
            for (size_t c = 0; c < C; c++) {
                float *to = out + c * out_stride + r + j;
                vf sum = sums[c * R + j];
                if (i < end)
                    sum = vf_fma(vf_load(tail), vf_load_n(x->f32 + c * x->stride + i, end - i),
                                 sum);
                *to = from ? *to + vf_sum(sum) : vf_sum(sum);
            }
        }
    }
}

__attribute__((always_inline)) static inline void
plain_floats_rows(float *out, size_t out_stride, const struct matrix *w, const struct acts *x,
                  size_t row_begin, size_t row_end, const enum quant quant)
{
    size_t r = row_begin;
    for (; r + 4 <= row_end && x->columns <= 2; r += 4) {
        if (x->columns == 1)
            plain_floats(out, out_stride, w, x, r, quant, 4, 1);
        else
            plain_floats(out, out_stride, w, x, r, quant, 4, 2);
    }
    for (; r + 2 <= row_end && x->columns > 2; r += 2) {
        if (x->columns == 3)
            plain_floats(out, out_stride, w, x, r, quant, 2, 3);
        else
            plain_floats(out, out_stride, w, x, r, quant, 2, 4);
    }
    for (; r < row_end; r++) {
        switch (x->columns) {
        case 1: plain_floats(out, out_stride, w, x, r, quant, 1, 1); break;
        case 2: plain_floats(out, out_stride, w, x, r, quant, 1, 2); break;
        case 3: plain_floats(out, out_stride, w, x, r, quant, 1, 3); break;
        default: plain_floats(out, out_stride, w, x, r, quant, 1, 4); break;
        }
    }
}

static void dequant_panel(float *rows, const struct matrix *w, size_t row, size_t rows_n,
                          size_t from, size_t n)
{
    size_t padded = float_stride(n);
    for (size_t i = 0; i < rows_n; i++) {
        read_floats(rows + i * padded, w, row + i, from, n);
        memset(rows + i * padded + n, 0, (padded - n) * sizeof *rows);
    }
    for (size_t i = rows_n; i % V_CHAINS || i % V_TILE_ROWS; i++) /* to fill up the last tile */
        memset(rows + i * padded, 0, padded * sizeof *rows);
}

static void matmul_floats(float *out, size_t out_stride, const struct matrix *w,
                          const struct acts *x, size_t row_begin, size_t row_end, void *scratch)
{
    if (x->columns <= FLOAT_COLUMNS) {
        if (w->quant == QUANT_F16)
            plain_floats_rows(out, out_stride, w, x, row_begin, row_end, QUANT_F16);
        else if (w->quant == QUANT_BF16)
            plain_floats_rows(out, out_stride, w, x, row_begin, row_end, QUANT_BF16);
        else
            plain_floats_rows(out, out_stride, w, x, row_begin, row_end, QUANT_F32);
        return;
    }
    for (size_t r = row_begin; r < row_end; r += MATMUL_ROWS) {
        size_t rows_n = row_end - r < MATMUL_ROWS ? row_end - r : MATMUL_ROWS;
        for (size_t from = 0; from < w->cols; from += FLOAT_K) {
            size_t n = w->cols - from < FLOAT_K ? w->cols - from : FLOAT_K;
            dequant_panel(scratch, w, r, rows_n, from, n);
            float_panel(out + r, out_stride, rows_n, scratch, x, from, n);
        }
    }
}
