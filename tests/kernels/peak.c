/* peak.c - what this machine could do at best, for a roofline: check --peak.
 *
 * For one thread, and for all: how fast memory is read, and how fast an instruction set multiplies
 * bytes and floats when nothing but registers is touched. Bytes go by the best sequence that the
 * set has for a group of 32 numbers, with its additions; what a matrix product does besides
 * (scales, loads) is not in the peak. The hard thing is to keep the compiler from seeing that
 * nobody wants the results: each round begins with operands of which it can't know the value.
 *
 * Prints one JSON object a line: read_gbs in 1e9 bytes, int8_gmacs in 1e9 multiply-adds, f32_gflops
 * in 1e9 operations of which a multiply-add is two. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "check.h"
#include "kernels/pool.h"

enum {
    READ_BYTES = 256 << 20,     /* far more than the caches hold */
    READ_PIECES = 64,           /* to share among the threads */
    RUNS = 15,
    PEAK_ROUNDS = 200000,
    CHAINS = 10,                /* sums under way at once: enough to hide their latency */
    CHAINS_GROUP = 5,           /* the same of sums that are several instructions each */
};

/* Runs its loop for so many rounds. */
typedef void peak_fn(size_t rounds);

/* A set's loops, and the multiply-adds of one round. */
struct peak {
    const char *isa;
    peak_fn *bytes, *floats;
    double byte_macs, float_macs;
};

/* x may be anything from here on. */
#if defined(KERNELS_X86)
#define PEAK_ANY(x) __asm__ volatile("" : "+x"(x))
#elif defined(KERNELS_ARM)
#define PEAK_ANY(x) __asm__ volatile("" : "+w"(x))
#endif

#define PEAK_EACH(n) _Pragma("GCC unroll 16") for (size_t j = 0; j < (n); j++)

/* A loop that does `step` to each of several sums of a type, with two operands of theirs. */
#define PEAK_LOOP(name, target, type, chains, step)                                             \
    target static void name(size_t rounds)                                                      \
    {                                                                                           \
        type sums[chains], a, b;                                                                \
        memset(&a, 0, sizeof a);                                                                \
        memset(&b, 0, sizeof b);                                                                \
        PEAK_EACH(chains) sums[j] = a;                                                          \
        for (size_t i = 0; i < rounds; i++) {                                                   \
            PEAK_ANY(a);                                                                        \
            PEAK_ANY(b);                                                                        \
            PEAK_EACH(chains)                                                                   \
            {                                                                                   \
                sums[j] = step(sums[j], a, b);                                                  \
                PEAK_ANY(sums[j]);                                                              \
            }                                                                                   \
        }                                                                                       \
    }

#if defined(KERNELS_X86)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

/* A group's products gather in 16 bits, and are widened once: 4-bit weights. */
AVX2 static inline __m256i group_avx2(__m256i sums, __m256i a, __m256i b)
{
    __m256i group = _mm256_maddubs_epi16(a, b);
    PEAK_EACH(7)
    {
        PEAK_ANY(b);
        group = _mm256_add_epi16(group, _mm256_maddubs_epi16(a, b));
    }
    return _mm256_add_epi32(sums, _mm256_madd_epi16(group, a));
}

AVX2 static inline __m256 fma_avx2(__m256 sums, __m256 a, __m256 b)
{
    return _mm256_fmadd_ps(a, b, sums);
}

AVX512 static inline __m512i dot_avx512(__m512i sums, __m512i a, __m512i b)
{
    return _mm512_dpbusd_epi32(sums, a, b);
}

AVX512 static inline __m512 fma_avx512(__m512 sums, __m512 a, __m512 b)
{
    return _mm512_fmadd_ps(a, b, sums);
}

#if defined(KERNELS_AVX_VNNI)
#define AVX_VNNI __attribute__((target("avx2,avxvnni")))

AVX_VNNI static inline __m256i dot_avx_vnni(__m256i sums, __m256i a, __m256i b)
{
    return _mm256_dpbusd_avx_epi32(sums, a, b);
}

PEAK_LOOP(bytes_avx_vnni, AVX_VNNI, __m256i, CHAINS, dot_avx_vnni)
#endif
PEAK_LOOP(bytes_avx2, AVX2, __m256i, CHAINS_GROUP, group_avx2)
PEAK_LOOP(floats_avx2, AVX2, __m256, CHAINS, fma_avx2)
PEAK_LOOP(bytes_avx512, AVX512, __m512i, CHAINS, dot_avx512)
PEAK_LOOP(floats_avx512, AVX512, __m512, CHAINS, fma_avx512)

static const struct peak peaks[] = {
    {"avx2", bytes_avx2, floats_avx2, CHAINS_GROUP * 32 * 8, CHAINS * 8},
#if defined(KERNELS_AVX_VNNI)
    {"avx-vnni", bytes_avx_vnni, floats_avx2, CHAINS * 32, CHAINS * 8},
#endif
    {"avx512-vnni", bytes_avx512, floats_avx512, CHAINS * 64, CHAINS * 16},
};

#elif defined(KERNELS_ARM)
#include <arm_neon.h>

#define DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))

/* Two products of bytes fit 16 bits, and are added in pairs to 32. */
static inline int32x4_t dot_neon(int32x4_t sums, int32x4_t x, int32x4_t y)
{
    int8x16_t a = vreinterpretq_s8_s32(x), b = vreinterpretq_s8_s32(y);
    int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b)), high = vmull_high_s8(a, b);
    return vpadalq_s16(sums, vpaddq_s16(low, high));
}

DOTPROD static inline int32x4_t dot_dotprod(int32x4_t sums, int32x4_t x, int32x4_t y)
{
    return vdotq_s32(sums, vreinterpretq_s8_s32(x), vreinterpretq_s8_s32(y));
}

#define I8MM __attribute__((target("arch=armv8.2-a+dotprod+i8mm")))

I8MM static inline int32x4_t dot_i8mm(int32x4_t sums, int32x4_t x, int32x4_t y)
{
    return vmmlaq_s32(sums, vreinterpretq_s8_s32(x), vreinterpretq_s8_s32(y));
}

static inline float32x4_t fma_neon(float32x4_t sums, float32x4_t a, float32x4_t b)
{
    return vfmaq_f32(sums, a, b);
}

PEAK_LOOP(bytes_neon, , int32x4_t, CHAINS, dot_neon)
PEAK_LOOP(bytes_dotprod, DOTPROD, int32x4_t, CHAINS, dot_dotprod)
PEAK_LOOP(bytes_i8mm, I8MM, int32x4_t, CHAINS, dot_i8mm)
PEAK_LOOP(floats_neon, , float32x4_t, CHAINS, fma_neon)

static const struct peak peaks[] = {
    {"neon", bytes_neon, floats_neon, CHAINS * 16, CHAINS * 4},
    {"neon-dotprod", bytes_dotprod, floats_neon, CHAINS * 16, CHAINS * 4},
    {"neon-i8mm", bytes_i8mm, floats_neon, CHAINS * 32, CHAINS * 4},
};
#endif

/* Memory is read in pieces that the threads take in turn: `at` keeps what a piece adds up to, so
 * that nothing can be left out. */
struct reading {
    const uint64_t *numbers;
    uint64_t sums[READ_PIECES];
};

static void read_piece(void *context, size_t piece, unsigned thread)
{
    struct reading *reading = context;
    const size_t n = READ_BYTES / sizeof(uint64_t) / READ_PIECES;
    const uint64_t *at = reading->numbers + piece * n;
    uint64_t sums[8] = {0};
    for (size_t i = 0; i < n; i += 8) {
        __builtin_prefetch(at + i + 512);
        for (size_t j = 0; j < 8; j++)
            sums[j] += at[i + j];
    }
    for (size_t j = 0; j < 8; j++)
        reading->sums[piece] += sums[j];
}

static void run_loop(void *context, size_t task, unsigned thread)
{
    peak_fn *const *loop = context;
    (*loop)(PEAK_ROUNDS);
}

/* Least seconds of several runs: others on the machine can only make it slower. */
static double least(struct pool *pool, size_t tasks, void (*fn)(void *, size_t, unsigned),
                    void *context)
{
    double best = INFINITY;
    for (int i = 0; i < RUNS; i++) {
        uint64_t start = clock_ns();
        parallel_for(pool, tasks, fn, context);
        double seconds = clock_seconds_since(start);
        best = seconds < best ? seconds : best;
    }
    return best;
}

static void peak_print(const struct peak *peak, unsigned threads, struct reading *reading)
{
    struct err err = {0};
    struct pool *pool = pool_new(threads, &err);
    if (!pool) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    peak_fn *bytes = peak->bytes, *floats = peak->floats;
    double read = READ_BYTES / least(pool, READ_PIECES, read_piece, reading);
    double work = (double)PEAK_ROUNDS * threads;
    double macs = work * peak->byte_macs / least(pool, threads, run_loop, &bytes);
    double fmas = work * peak->float_macs / least(pool, threads, run_loop, &floats);
    printf("{\"isa\":\"%s\",\"threads\":%u,\"read_gbs\":%.2f,\"int8_gmacs\":%.1f,"
           "\"f32_gflops\":%.1f}\n",
           peak->isa, threads, read * 1e-9, macs * 1e-9, 2 * fmas * 1e-9);
    pool_free(pool);
}

bool peak_run(const struct kernels *table)
{
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const unsigned most = cores < POOL_THREADS_MAX ? (unsigned)cores : POOL_THREADS_MAX;
    struct reading reading = {.numbers = check_alloc(READ_BYTES)};
    bool any = false;
    for (size_t i = 0; i < sizeof peaks / sizeof *peaks; i++) {
        if (strcmp(peaks[i].isa, table->isa) != 0)
            continue;
        any = true;
        peak_print(&peaks[i], 1, &reading);
        if (most > 1)
            peak_print(&peaks[i], most, &reading);
    }
    free((void *)reading.numbers);
    return any;
}
