/* kernels.h - the arithmetic, as one table of functions chosen at run time.
 *
 * scalar.c is the reference and fills the whole table. Each instruction set (avx2.c, avxvnni.c,
 * avx512.c, neon.c) exports one const table of what it does better; kernels_select copies scalar's
 * and overlays them in order. Kernels know nothing of models or tokens, take no locks, allocate
 * nothing, and are safe to run on several threads over disjoint outputs.
 *
 * "Column" is one token's vector: activations are [columns][k], outputs [columns][rows].
 *
 * A row's bits do not depend on its company: within one table every output is a function of its own
 * inputs alone. matmul's out[c][r] has the same bits whatever the number of columns, the column's
 * place among them, the range of rows, the thread; attend's out[i] whatever other rows are in the
 * call. So chunks, batches, caches and speculation never change a token. Between tables the order
 * of float additions differs.
 *
 * How the SIMD tables keep to it: the integer sums of a group of 32 numbers are exact in any order.
 * Groups come in runs of 64; in a run, group g is added to total t[g % 8], in order of g:
 *     t = fma(sum of n * q, d * scale, t), then, where the format has an m, t = fma(m, sum, t)
 * and the run's sum is ((t0+t4) + (t2+t6)) + ((t1+t5) + (t3+t7)). The sums of the runs are added in
 * order. One column alone finds 8 groups in the lanes of a vector; of many columns a vector has one
 * group of each, and their groups stand in the order in which a run needs them (acts.h). So the
 * SIMD tables agree with each other in quantised products. Float weights: runs of 1024 numbers, one
 * total a lane. */
#ifndef PENSIEVE_KERNELS_KERNELS_H
#define PENSIEVE_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/quant.h"

enum {
    ACT_GROUP = 32,             /* activations share a scale per 32 numbers */
    KV_PAGE = 64,               /* positions in a page of keys or of values */
    HEAD_DIM_MAX = 256,
    ATTEND_ROWS_MAX = 64,       /* query rows of one attend call */
    ATTEND_PART = 256,          /* positions whose softmax is taken by itself: whole pages */
    MATMUL_ROWS = 24,           /* row ranges of matmul are best multiples of this */
};

/* Activations made ready for multiplication. Float weights read f32 alone; quantised weights read
 * what acts_quantize makes of it: int8 with a scale and a sum for each group of ACT_GROUP numbers.
 *
 * acts_init carves all that is made out of storage; then the caller sets f32, stride and
 * columns (up to the number it was made for) and must not change them between acts_quantize and the
 * last matmul. Columns stand in panels of acts_lanes(columns): within a panel, `lanes` times 4
 * numbers of each column alternate, so that one vector holds 4 numbers of each of several columns.
 * acts_at and acts_group_at (acts.h) say where a number and a group's scale lie. */
struct acts {
    size_t columns, k;          /* k: numbers a column */
    const float *f32;           /* borrowed: the source, [columns][stride] */
    size_t stride;
    int8_t *q;                  /* [panel][k_padded / 4][lanes][4], within +-127 */
    float *scale;               /* [panel][k_padded / ACT_GROUP][lanes] */
    float *sum;                 /* like scale: scale * sum of q */
    int16_t *halves;            /* like scale, 2 each: sums of q over the group's 16 and 16 */
    uint8_t *arranged;          /* few columns in other orders, see acts.h */
    size_t k_padded;            /* k rounded up to ACT_GROUP; q is zero from k on */
};

/* What attend_part makes of one row and part: head_dim sums of values by their weights, the sum of
 * the weights, and the highest score, against which weights are taken: e^(score - highest). */
#define ATTEND_PART_FLOATS(head_dim) ((head_dim) + 2)

/* One KV head and a tile of query rows. Row i attends to positions [first[i], visible[i]) of the
 * sequence whose pages are given, half floats: keys are [head_dim][KV_PAGE], values are
 * [KV_PAGE][head_dim]. Other positions of a page may hold anything, pages that no row sees need not
 * be there. */
struct attend {
    size_t rows;                /* 1..ATTEND_ROWS_MAX: queries x heads that share this KV head */
    size_t head_dim;            /* a multiple of 8, at most HEAD_DIM_MAX */
    const float *const *q;      /* [rows] -> head_dim floats, not yet scaled */
    float *const *out;          /* [rows] -> head_dim floats */
    const uint32_t *first, *visible;    /* [rows]; first[i] < visible[i] */
    const uint16_t *const *k, *const *v;        /* by page number: position p lies in p / KV_PAGE */
    float scale;                /* scores are multiplied by it, */
    float softcap;              /* then, unless it is 0, made softcap * tanh(score / softcap) */
    const float *sinks;         /* [rows]: one more score each that draws weight from the others and
                                   has no value; NULL: none */
    float *scratch;             /* attend_scratch_floats(head_dim), aligned to 64, one per thread */
};

struct kernels {
    const char *isa;            /* "scalar", "avx2", "avx-vnni", "avx512-vnni", "neon",
                                   "neon-dotprod" */

    /* out[w->cols] = the numbers of one stored row. */
    void (*dequant[QUANT_COUNT])(float *out, const struct matrix *w, size_t row);

    /* out[c * out_stride + r] = w[r] . x[c] for r in [row_begin, row_end) and every column c. */
    void (*matmul[QUANT_COUNT])(float *out, size_t out_stride, const struct matrix *w,
                                const struct acts *x, size_t row_begin, size_t row_end,
                                void *scratch);

    /* Makes columns [begin, end) of x from x->f32. Disjoint ranges may be made in parallel. */
    void (*acts_quantize)(struct acts *x, size_t begin, size_t end);

    /* out = x / sqrt(mean(x^2) + eps) * w; out may be x. */
    void (*rmsnorm)(float *out, const float *x, const float *w, size_t n, float eps);
    /* Rotates pairs (adjacent: x[2i], x[2i+1]; else the halves x[i], x[i + rotary/2]) of one head
     * by the angle whose cos and sin are given, [rotary / 2] each. */
    void (*rope)(float *x, const float *cos, const float *sin, size_t rotary, bool adjacent);
    void (*silu_mul)(float *gate, const float *up, size_t n);   /* gate = silu(gate) * up */
    void (*gelu_mul)(float *gate, const float *up, size_t n);   /* GELU's tanh form, likewise */
    void (*softcap)(float *x, size_t n, float cap);             /* x = cap * tanh(x / cap) */
    void (*add)(float *x, const float *y, size_t n);            /* x += y */
    /* out = softmax(q . k) . v, taken in parts of ATTEND_PART positions that begin at multiples of
     * it, which are merged in their order. To share a long sequence among threads, attend_part does
     * one part (out is not looked at; `to` is [rows][ATTEND_PART_FLOATS]; rows that see none of it
     * are left alone), and attend_merge makes a row's out from its n parts, `stride` floats apart
     * (sink: NULL for none): the same bits. A row's bits do not depend on the other rows. */
    void (*attend)(const struct attend *job);
    void (*attend_part)(const struct attend *job, size_t part, float *to);
    void (*attend_merge)(float *out, const float *parts, size_t stride, size_t n, size_t head_dim,
                         const float *sink);
    void (*f32_to_f16)(uint16_t *out, const float *x, size_t n);
    void (*f16_to_f32)(float *out, const uint16_t *x, size_t n);
    /* In place: x = exp(x - max) and returns their sum (the caller divides). */
    float (*softmax_exp)(float *x, size_t n);
};

/* name: NULL for the best this CPU can run. ERR_USAGE names what can be had. The table is static.
 */
const struct kernels *kernels_select(const char *name, struct err *err);
/* The i-th table of this build that this CPU can run, scalar first; NULL past the end. */
const struct kernels *kernels_nth(size_t i);

size_t acts_bytes(size_t k, size_t columns);            /* storage, to be aligned to 64 */
void acts_init(struct acts *x, void *storage, size_t k, size_t columns);
size_t matmul_scratch_bytes(void);      /* of one thread; aligned to 64 */
size_t attend_scratch_floats(size_t head_dim);

#endif
