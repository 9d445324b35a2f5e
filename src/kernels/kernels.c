/* kernels.c - which table this CPU gets: scalar, overlaid by each instruction set it has.
 *
 * The hard thing is to ask the operating system too: a CPU may have AVX-512 whose registers the
 * system doesn't save. The compiler's own check looks at both. */
#include "kernels/kernels.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "kernels/acts.h"
#include "kernels/isa.h"

#if defined(KERNELS_X86)
#include <cpuid.h>
#elif defined(KERNELS_ARM) && defined(__linux__)
#include <sys/auxv.h>
#include <asm/hwcap.h>
#elif defined(KERNELS_ARM) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

enum { TABLES_MAX = 4 };

static struct kernels tables[TABLES_MAX];
static size_t tables_n;
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

void kernels_overlay(struct kernels *table, const struct kernels *over)
{
    table->isa = over->isa;
    for (size_t i = 0; i < QUANT_COUNT; i++) {
        if (over->dequant[i])
            table->dequant[i] = over->dequant[i];
        if (over->matmul[i])
            table->matmul[i] = over->matmul[i];
    }
    if (over->acts_quantize)
        table->acts_quantize = over->acts_quantize;
    if (over->rmsnorm)
        table->rmsnorm = over->rmsnorm;
    if (over->rope)
        table->rope = over->rope;
    if (over->silu_mul)
        table->silu_mul = over->silu_mul;
    if (over->gelu_mul)
        table->gelu_mul = over->gelu_mul;
    if (over->softcap)
        table->softcap = over->softcap;
    if (over->add)
        table->add = over->add;
    if (over->attend) {         /* the three go together */
        table->attend = over->attend;
        table->attend_part = over->attend_part;
        table->attend_merge = over->attend_merge;
    }
    if (over->f32_to_f16)
        table->f32_to_f16 = over->f32_to_f16;
    if (over->f16_to_f32)
        table->f16_to_f32 = over->f16_to_f32;
    if (over->softmax_exp)
        table->softmax_exp = over->softmax_exp;
}

/* A set that builds on the one before it stands right after it. */
static void tables_push(const struct kernels *over)
{
    tables[tables_n] = tables_n ? tables[tables_n - 1] : kernels_scalar;
    kernels_overlay(&tables[tables_n], over);
    tables_n++;
}

#if defined(KERNELS_X86)
static bool cpu_has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

#if defined(KERNELS_AVX_VNNI)
/* Its registers are AVX2's: a system that saves those is enough. */
static bool cpu_has_avx_vnni(void)
{
    enum { LEAF = 7, AVX_VNNI = 1 << 4 };
    unsigned last, a, b, c, d;
    return __get_cpuid_count(LEAF, 0, &last, &b, &c, &d) && last >= 1 &&
           __get_cpuid_count(LEAF, 1, &a, &b, &c, &d) && (a & AVX_VNNI);
}
#endif
#endif

#if defined(KERNELS_ARM)
static bool cpu_has_dotprod(void)
{
#if defined(__APPLE__)
    return true;                        /* every Apple chip */
#elif defined(__linux__)
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#else
    return false;
#endif
}

static bool cpu_has_i8mm(void)
{
#if defined(__APPLE__)
    int has = 0;
    size_t n = sizeof has;
    return sysctlbyname("hw.optional.arm.FEAT_I8MM", &has, &n, NULL, 0) == 0 && has;
#elif defined(__linux__)
    enum { I8MM = 1 << 13 };            /* HWCAP2_I8MM, which older headers lack */
    return getauxval(AT_HWCAP2) & I8MM;
#else
    return false;
#endif
}
#endif

static void tables_fill(void)
{
    tables_push(&kernels_scalar);
#if defined(KERNELS_X86)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !cpu_has_f16c())
        return;
    tables_push(&kernels_avx2);
#if defined(KERNELS_AVX_VNNI)
    if (cpu_has_avx_vnni())
        tables_push(&kernels_avx_vnni);
#endif
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vnni"))
        tables_push(&kernels_avx512_vnni);
#elif defined(KERNELS_ARM)
    tables_push(&kernels_neon);
    if (!cpu_has_dotprod())
        return;
    tables_push(&kernels_neon_dotprod);
    if (cpu_has_i8mm())
        tables_push(&kernels_neon_i8mm);
#endif
}

const struct kernels *kernels_nth(size_t i)
{
    pthread_once(&tables_once, tables_fill);
    return i < tables_n ? &tables[i] : NULL;
}

const struct kernels *kernels_select(const char *name, struct err *err)
{
    char names[128] = "";
    const struct kernels *table, *best = NULL;
    for (size_t i = 0; (table = kernels_nth(i)); i++) {
        if (name && strcmp(name, table->isa) == 0)
            return table;
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", table->isa);
        best = table;
    }
    if (!name)
        return best;
    err_set(err, ERR_USAGE, "no kernels named \"%.32s\"; this machine can run %s", name, names);
    return NULL;
}

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

enum { CACHE_LINE = 64 };

static size_t acts_part(size_t n)
{
    return round_up(n, CACHE_LINE);
}

size_t acts_bytes(size_t k, size_t columns)
{
    size_t all = round_up(columns, ACT_LANES_MAX), padded = round_up(k, ACT_GROUP);
    size_t groups = all * (padded / ACT_GROUP);
    return acts_part(all * padded) + 2 * acts_part(groups * sizeof(float)) +
           acts_part(groups * 2 * sizeof(int16_t)) +
           acts_part(ORDERS * ACT_PLAIN_MAX * plain_chunks(k) * PLAIN_CHUNK_BYTES);
}

void acts_init(struct acts *x, void *storage, size_t k, size_t columns)
{
    size_t all = round_up(columns, ACT_LANES_MAX), padded = round_up(k, ACT_GROUP);
    size_t groups = all * (padded / ACT_GROUP);
    char *at = storage;
    *x = (struct acts){.columns = columns, .k = k, .stride = k, .k_padded = padded};
    x->q = (int8_t *)at;
    at += acts_part(all * padded);
    x->scale = (float *)at;
    at += acts_part(groups * sizeof(float));
    x->sum = (float *)at;
    at += acts_part(groups * sizeof(float));
    x->halves = (int16_t *)at;
    at += acts_part(groups * 2 * sizeof(int16_t));
    x->arranged = (uint8_t *)at;
}

size_t matmul_scratch_bytes(void)
{
    return MATMUL_SCRATCH_BYTES;
}

size_t attend_scratch_floats(size_t head_dim)
{
    size_t dim = round_up(head_dim, ATTEND_LANES_MAX);
    return ATTEND_ROWS_MAX * (2 * dim + KV_PAGE + ATTEND_LANES_MAX);
}
