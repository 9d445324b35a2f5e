/* golden.h - files of tests/golden, for the tests of the engine room. */
#ifndef PENSIEVE_TESTS_GOLDEN_H
#define PENSIEVE_TESTS_GOLDEN_H

#include "base/arena.h"
#include "base/json.h"

/* Stands before the name of a tiny model, "llama_tied/hf": tests/golden/make puts them there. */
#define TINY "../build/golden/"

/* tests/NAME, NUL-terminated; ends the test program if PENSIEVE_TESTS does not say where that is. */
const char *golden_path(struct arena *arena, const char *name);
struct str golden_read(struct arena *arena, const char *name);
yyjson_val *golden_json(struct arena *arena, const char *name);
/* A JSON array of integers. */
int32_t *golden_ids(struct arena *arena, yyjson_val *array, uint32_t *n);

/* What a tiny model must say after the first n of the token ids, by a float64 reference. */
struct golden {
    const char *model;                  /* "llama_tied/hf": the file is at TINY and this */
    uint32_t n, rows_n, vocab;
    const uint32_t *rows;               /* the positions whose logits are known */
    const float *logits;                /* [rows_n][vocab] */
};

struct goldens {
    const struct golden *list;
    size_t n;
    const int32_t *ids;
    uint32_t ids_n;
};

struct goldens goldens_read(struct arena *arena);

/* Which of n logits is the highest, the first of equal ones. */
uint32_t golden_highest(const float *logits, uint32_t n);

/* How far logits[golden->n][vocab] are from it, over its rows. */
struct distance {
    double most, mean;                  /* |difference| of a logit */
    double kl;                          /* mean Kullback-Leibler divergence from the reference, nats */
    double top1;                        /* share of rows whose highest logit is the reference's */
};

struct distance golden_distance(const struct golden *golden, const float *logits);

#endif
