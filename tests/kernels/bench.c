/* bench.c - how fast the kernels of a table are: check --bench.
 *
 * One thread. Products of one column stream a matrix larger than the caches, as decoding does; the
 * others work on what a layer of a small model has. Each number is the best of several runs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"

enum { STREAM_BYTES = 96 << 20, RUNS = 5, RANDOM_ROWS = 64 };
#define RUN_SECONDS 0.04


/* Time this thread ran: other work on the machine must not count. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct product {
    const struct kernels *table;
    struct matrix w;
    struct acts x;
    float *out;
    void *scratch;
};

static void product_run(struct product *product)
{
    product->table->matmul[product->w.quant](product->out, product->w.rows, &product->w,
                                             &product->x, 0, product->w.rows, product->scratch);
}

static double product_seconds(struct product *product)
{
    double best = INFINITY;
    product_run(product);
    for (int i = 0; i < RUNS; i++) {
        double start = now();
        unsigned n = 0;
        do {
            product_run(product);
            n++;
        } while (now() - start < RUN_SECONDS);
        double each = (now() - start) / n;
        best = each < best ? each : best;
    }
    return best;
}

/* The rows of few over and over, at an odd address. */
static const void *repeat_rows(const void *few, size_t row_bytes, uint32_t rows)
{
    uint8_t *data = (uint8_t *)check_alloc(rows * row_bytes + 1) + 1;
    for (size_t r = 0; r < rows; r++)
        memcpy(data + r * row_bytes, (const uint8_t *)few + r % RANDOM_ROWS * row_bytes, row_bytes);
    return data;
}

/* Making a large matrix of random numbers takes too long. Affine ones as they are most often met:
 * bf16 scales for 64 numbers each. */
static void bench_matrix(struct check *check, struct matrix *w, enum quant quant, uint32_t rows,
                         uint32_t cols)
{
    struct matrix few;
    do {
        check_matrix(check, &few, quant, RANDOM_ROWS, cols);
        if (!few.group || (few.group == 64 && few.scale_quant == QUANT_BF16))
            break;
        check_matrix_free(&few);
    } while (true);
    *w = few;
    w->rows = rows;
    w->data = repeat_rows(few.data, few.row_bytes, rows);
    if (few.group) {
        w->scales = repeat_rows(few.scales, few.scale_row_bytes, rows);
        w->biases = repeat_rows(few.biases, few.scale_row_bytes, rows);
    }
    check_matrix_free(&few);
}

static void bench_product(struct check *check, enum quant quant, uint32_t rows, uint32_t cols,
                          size_t columns)
{
    if (cols % quants[quant].block)
        return;
    struct product product = {.table = check->table};
    bench_matrix(check, &product.w, quant, rows, cols);
    void *storage = check_alloc(acts_bytes(cols, columns));
    float *f32 = check_alloc(columns * cols * sizeof *f32);
    for (size_t i = 0; i < columns * cols; i++)
        f32[i] = check_uniform(check, 1);
    acts_init(&product.x, storage, cols, columns);
    product.x.f32 = f32;
    double quantize = INFINITY;
    for (int i = 0; i < 3; i++) {
        double start = now();
        check->table->acts_quantize(&product.x, 0, columns);
        quantize = now() - start < quantize ? now() - start : quantize;
    }
    product.out = check_alloc(columns * rows * sizeof *product.out);
    product.scratch = check_alloc(matmul_scratch_bytes());
    double seconds = product_seconds(&product);
    double macs = (double)rows * cols * (double)columns;
    double row_bytes = (double)(product.w.row_bytes + 2 * product.w.scale_row_bytes);
    printf("%-12s matmul %-6s %6ux%-5u %4zu columns %10.1f us %8.2f GMAC/s %7.2f GB/s"
           "  (quantising %5.1f us)\n",
           check->table->isa, quants[quant].name, rows, cols, columns, seconds * 1e6,
           macs / seconds * 1e-9, rows * row_bytes / seconds * 1e-9,
           quantize * 1e6);
    free(product.scratch);
    free(product.out);
    free(f32);
    free(storage);
    check_matrix_free(&product.w);
}

static void bench_attend(struct check *check, size_t rows, size_t positions)
{
    enum { DIM = 64 };
    size_t pages = (positions + KV_PAGE - 1) / KV_PAGE;
    const uint16_t **k = check_alloc(pages * sizeof *k), **v = check_alloc(pages * sizeof *v);
    uint16_t *cache = check_alloc(2 * pages * KV_PAGE * DIM * sizeof *cache);
    float *floats = check_alloc(rows * 2 * DIM * sizeof *floats);
    memset(cache, 0, 2 * pages * KV_PAGE * DIM * sizeof *cache);
    memset(floats, 0, rows * 2 * DIM * sizeof *floats);
    const float *q[ATTEND_ROWS_MAX];
    float *out[ATTEND_ROWS_MAX];
    uint32_t first[ATTEND_ROWS_MAX] = {0}, visible[ATTEND_ROWS_MAX];
    for (size_t i = 0; i < pages; i++) {
        k[i] = cache + 2 * i * KV_PAGE * DIM;
        v[i] = k[i] + KV_PAGE * DIM;
    }
    for (size_t r = 0; r < rows; r++) {
        q[r] = floats + 2 * r * DIM;
        out[r] = floats + (2 * r + 1) * DIM;
        visible[r] = (uint32_t)positions;
    }
    struct attend job = {
        .rows = rows, .head_dim = DIM, .q = q, .out = out, .first = first, .visible = visible,
        .k = k, .v = v, .scale = 0.125f,
        .scratch = check_alloc(attend_scratch_floats(DIM) * sizeof(float)),
    };
    double best = INFINITY;
    for (int i = 0; i < 20; i++) {
        double start = now();
        check->table->attend(&job);
        best = now() - start < best ? now() - start : best;
    }
    double macs = 2.0 * (double)(rows * positions) * DIM;
    printf("%-12s attend %3zu rows, %5zu positions of %d %10.1f us %8.2f GMAC/s %7.2f GB/s\n",
           check->table->isa, rows, positions, DIM, best * 1e6, macs / best * 1e-9,
           4.0 * (double)positions * DIM / best * 1e-9);
    free(job.scratch);
    free(floats);
    free(cache);
    free(v);
    free(k);
}

static void bench_floats(struct check *check)
{
    enum { N = 1536, REPEATS = 2000 };
    float *x = check_alloc(N * sizeof *x), *y = check_alloc(N * sizeof *y);
    for (size_t i = 0; i < N; i++)
        x[i] = y[i] = check_uniform(check, 1);
    double start = now();
    for (size_t i = 0; i < REPEATS; i++)
        check->table->rmsnorm(x, x, y, N, 1);
    double norm = now() - start;
    start = now();
    for (size_t i = 0; i < REPEATS; i++) {
        memcpy(x, y, N * sizeof *x);        /* in place: it would soon be all zero */
        check->table->silu_mul(x, y, N);
    }
    double silu = now() - start;
    start = now();
    for (size_t i = 0; i < REPEATS; i++)
        check->table->softmax_exp(x, N);
    double softmax = now() - start;
    printf("%-12s %d numbers: rmsnorm %.0f ns, silu_mul %.0f ns, softmax_exp %.0f ns\n",
           check->table->isa, N, norm / REPEATS * 1e9, silu / REPEATS * 1e9,
           softmax / REPEATS * 1e9);
    free(y);
    free(x);
}

void bench_run(const struct kernels *table, const struct kernels *scalar)
{
    static const uint32_t ks[] = {576, 1536, 3072};
    static const size_t columns[] = {1, 2, 4, 8, 16, 64, 256};
    struct check check = {.scalar = scalar, .table = table};
    bool slow = table == scalar;
    rng_seed(&check.rng, 1);
    for (enum quant quant = 0; quant < QUANT_COUNT && !slow; quant++) {     /* as decoding does */
        uint32_t cols = quants[quant].block == 1 ? 576 : 1536;
        size_t row_bytes = cols / quants[quant].block * quants[quant].bytes;
        bench_product(&check, quant, (uint32_t)(STREAM_BYTES / row_bytes), cols, 1);
    }
    for (enum quant quant = 0; quant < QUANT_COUNT; quant++) {
        for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
            bool all = quant == QUANT_Q4_1 && !slow;
            for (size_t j = 0; j < sizeof columns / sizeof *columns; j++) {
                if (all || (columns[j] == 1 && i == 1) || (columns[j] == 64 && i == 1))
                    bench_product(&check, quant, 576, ks[i], columns[j]);
            }
        }
    }
    bench_attend(&check, 3, 2048);
    bench_attend(&check, 1, 2048);
    bench_attend(&check, 63, 2048);
    bench_floats(&check);
}
