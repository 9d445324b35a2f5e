/* sampler.c - one token out of a row of logits, in a few passes over the row, without sorting it.
 *
 * The hard thing is top_k and top_p over a big vocabulary. Both cut the tokens, ordered by logit
 * and then by id, at one place. So tokens are counted (or weighed) in buckets by their distance
 * from the best one; whole buckets stay or go, and only the bucket the cut falls into is put in
 * order, from the best downward and no further than the cut. top_k comes first; top_p is then of
 * the mass that top_k left. */
#include "engine/sampler.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum {
    LANES = 16,                 /* inner loops of this length become vector code */
    BLOCK = 512,                /* tokens whose mass is summed together */
    BUCKETS = 1024,
    BUCKETS_PER_NAT = 8,        /* 1024 / 8 > 104, where a float's exp is nothing */
};

struct candidate {
    float logit;
    int32_t id;
};

struct scratch {
    float *weights;             /* [n] exp((logit - best) / temperature), 0: can't be chosen */
    double *masses;             /* [blocks] sums of weights */
    double *bucket_mass;        /* [BUCKETS] */
    uint32_t *bucket_n;         /* [BUCKETS] */
    struct candidate *candidates;       /* [n] */
};

static size_t blocks_of(size_t n)
{
    return (n + BLOCK - 1) / BLOCK;
}

size_t sampler_scratch_bytes(size_t n)
{
    return (blocks_of(n) + BUCKETS) * sizeof(double) + n * sizeof(struct candidate) +
           BUCKETS * sizeof(uint32_t) + n * sizeof(float);
}

static struct scratch scratch_of(void *memory, size_t n)
{
    struct scratch scratch;

    scratch.masses = memory;
    scratch.bucket_mass = scratch.masses + blocks_of(n);
    scratch.candidates = (struct candidate *)(scratch.bucket_mass + BUCKETS);
    scratch.bucket_n = (uint32_t *)(scratch.candidates + n);
    scratch.weights = (float *)(scratch.bucket_n + BUCKETS);
    return scratch;
}

void sampler_init(struct sampler *sampler, struct sampling settings)
{
    sampler->settings = settings;
    rng_seed(&sampler->rng, settings.seed);
}

/* The largest logit; -inf if there is none. Comparing this way round leaves NaN out. */
static float best_logit(const float *logits, size_t n)
{
    float lanes[LANES], best = -INFINITY;
    size_t i = 0;

    for (int j = 0; j < LANES; j++)
        lanes[j] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lanes[j] = logits[i + j] > lanes[j] ? logits[i + j] : lanes[j];
    for (int j = 0; j < LANES; j++)
        best = lanes[j] > best ? lanes[j] : best;
    for (; i < n; i++)
        best = logits[i] > best ? logits[i] : best;
    return best;
}

static int32_t first_with(const float *logits, size_t n, float logit)
{
    for (size_t i = 0; i < n; i++)
        if (logits[i] == logit)
            return (int32_t)i;
    return -1;
}

/* exp for x <= 0, to 2 units in the last place; 0 below -87 and for NaN. By 2^k * e^r with
 * |r| <= ln(2)/2 and e^r by its Taylor polynomial: plain arithmetic that compilers make vectors of,
 * and the same on every machine. */
static inline float exp_negative(float x)
{
    const uint32_t above = -(uint32_t)(x > -87.0f);             /* all ones, or nothing */
    const float shifted = x * 1.44269504f + 12582912.0f;        /* 1.5 * 2^23: rounds to whole */
    const float k = shifted - 12582912.0f;
    const float r = x - k * 0.693145752f - k * 1.42860677e-6f;
    uint32_t bits, power;
    float p = 1.0f / 5040;

    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    memcpy(&bits, &p, sizeof bits);
    memcpy(&power, &shifted, sizeof power);     /* its lowest bits are those of k */
    bits = (bits + (power << 23)) & above;
    memcpy(&p, &bits, sizeof p);
    return p;
}

static void weigh(float *restrict weights, const float *restrict logits, size_t n, float best,
                  float inverse)
{
    size_t i = 0;

    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            weights[i + j] = exp_negative((logits[i + j] - best) * inverse);
    for (; i < n; i++)
        weights[i] = exp_negative((logits[i] - best) * inverse);
}

static float sum(const float *x, size_t n)
{
    float lanes[LANES] = {0}, total = 0;
    size_t i = 0;

    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lanes[j] += x[i + j];
    for (; i < n; i++)
        total += x[i];
    for (int j = 0; j < LANES; j++)
        total += lanes[j];
    return total;
}

/* ---- a heap of candidates, the best on top ---- */

static bool is_better(struct candidate a, struct candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static void heap_sink(struct candidate *heap, size_t n, size_t i)
{
    for (;;) {
        size_t top = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < n; child++)
            if (is_better(heap[child], heap[top]))
                top = child;
        if (top == i)
            return;
        const struct candidate moved = heap[i];
        heap[i] = heap[top];
        heap[top] = moved;
        i = top;
    }
}

static void heap_make(struct candidate *heap, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        heap_sink(heap, n, i);
}

static struct candidate heap_take(struct candidate *heap, size_t *n)
{
    const struct candidate top = heap[0];

    heap[0] = heap[--*n];
    heap_sink(heap, *n, 0);
    return top;
}

/* ---- the cuts ---- */

static size_t bucket_of(float logit, float best, float inverse)
{
    const float distance = (best - logit) * inverse * BUCKETS_PER_NAT;

    return distance < BUCKETS - 1 ? (size_t)distance : BUCKETS - 1;
}

/* Drops what lies past a bucket and gathers what lies in it. Tokens without weight can't be chosen
 * anyway and are left out. */
static size_t gather(struct scratch *scratch, const float *logits, size_t n, float best,
                     float inverse, size_t bucket)
{
    size_t gathered = 0;

    for (size_t i = 0; i < n; i++) {
        if (scratch->weights[i] == 0)
            continue;
        const size_t own = bucket_of(logits[i], best, inverse);
        if (own > bucket)
            scratch->weights[i] = 0;
        else if (own == bucket)
            scratch->candidates[gathered++] = (struct candidate){logits[i], (int32_t)i};
    }
    return gathered;
}

static void cut_to_count(struct scratch *scratch, const float *logits, size_t n, float best,
                         float inverse, size_t keep)
{
    size_t bucket = 0;

    memset(scratch->bucket_n, 0, BUCKETS * sizeof *scratch->bucket_n);
    for (size_t i = 0; i < n; i++)
        if (scratch->weights[i] > 0)
            scratch->bucket_n[bucket_of(logits[i], best, inverse)]++;
    for (; bucket < BUCKETS && scratch->bucket_n[bucket] <= keep; bucket++)
        keep -= scratch->bucket_n[bucket];
    if (bucket == BUCKETS)
        return;
    size_t left = gather(scratch, logits, n, best, inverse, bucket);
    heap_make(scratch->candidates, left);
    while (keep--)
        heap_take(scratch->candidates, &left);
    for (size_t i = 0; i < left; i++)
        scratch->weights[scratch->candidates[i].id] = 0;
}

/* Keeps the best tokens until their mass reaches top_p of all, at least one. */
static void cut_to_mass(struct scratch *scratch, const float *logits, size_t n, float best,
                        float inverse, double top_p)
{
    double total = 0, mass = 0;
    size_t bucket = 0;

    memset(scratch->bucket_mass, 0, BUCKETS * sizeof *scratch->bucket_mass);
    for (size_t i = 0; i < n; i++)
        if (scratch->weights[i] > 0)
            scratch->bucket_mass[bucket_of(logits[i], best, inverse)] += scratch->weights[i];
    for (size_t i = 0; i < BUCKETS; i++)
        total += scratch->bucket_mass[i];
    for (; bucket < BUCKETS - 1 && mass + scratch->bucket_mass[bucket] < top_p * total; bucket++)
        mass += scratch->bucket_mass[bucket];
    size_t left = gather(scratch, logits, n, best, inverse, bucket);
    heap_make(scratch->candidates, left);
    while (left) {
        const struct candidate next = heap_take(scratch->candidates, &left);
        mass += scratch->weights[next.id];
        if (mass >= top_p * total)
            break;
    }
    for (size_t i = 0; i < left; i++)
        scratch->weights[scratch->candidates[i].id] = 0;
}

/* The token under a point of the line on which each has its weight, in the order of ids. */
static int32_t draw(struct scratch *scratch, size_t n, double uniform)
{
    const size_t blocks = blocks_of(n);
    double total = 0;
    size_t block = 0;
    int32_t last = -1;

    for (size_t b = 0; b < blocks; b++) {
        const size_t begin = b * BLOCK, size = n - begin < BLOCK ? n - begin : BLOCK;
        scratch->masses[b] = sum(scratch->weights + begin, size);
        total += scratch->masses[b];
    }
    double point = uniform * total;
    for (; block + 1 < blocks && point >= scratch->masses[block]; block++)
        point -= scratch->masses[block];
    for (size_t i = block * BLOCK; i < n; i++) {
        if (scratch->weights[i] == 0)
            continue;
        last = (int32_t)i;
        point -= scratch->weights[i];
        if (point < 0)
            return last;
    }
    /* Rounding put the point past the end: the last token that can be chosen. */
    for (size_t i = block * BLOCK; last < 0 && i-- > 0;)
        if (scratch->weights[i] > 0)
            last = (int32_t)i;
    return last;
}

int32_t sampler_next(struct sampler *sampler, const float *logits, size_t n, void *memory)
{
    const struct sampling *settings = &sampler->settings;
    const float best = best_logit(logits, n);
    const float inverse = 1.0f / settings->temperature;

    if (settings->temperature <= 0 || settings->top_k == 1 || isinf(best) || isinf(inverse))
        return first_with(logits, n, best > -INFINITY ? best : NAN);

    struct scratch scratch = scratch_of(memory, n);
    weigh(scratch.weights, logits, n, best, inverse);
    if (settings->top_k && settings->top_k < n)
        cut_to_count(&scratch, logits, n, best, inverse, settings->top_k);
    if (settings->top_p < 1)
        cut_to_mass(&scratch, logits, n, best, inverse, settings->top_p);
    return draw(&scratch, n, rng_uniform(&sampler->rng));
}
