/* golden.c - see golden.h. What is missing or broken here is the checkout's fault: it ends the run. */
#include "support/golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void give_up(const char *what, const char *name)
{
    fprintf(stderr, "%s: %s\n", what, name);
    exit(1);
}

const char *golden_path(struct arena *arena, const char *name)
{
    const char *tests = getenv("PENSIEVE_TESTS");

    if (!tests)
        give_up("PENSIEVE_TESTS must name the tests folder to find", name);
    return arena_printf(arena, "%s/%s", tests, name).s;
}

struct str golden_read(struct arena *arena, const char *name)
{
    FILE *file = fopen(golden_path(arena, name), "rb");
    long size = -1;

    if (file && fseek(file, 0, SEEK_END) == 0)
        size = ftell(file);
    if (size < 0)
        give_up("cannot open (tests/golden/make makes the tiny models)", golden_path(arena, name));
    rewind(file);
    char *bytes = arena_alloc(arena, (size_t)size);
    if (fread(bytes, 1, (size_t)size, file) != (size_t)size)
        give_up("cannot read", name);
    fclose(file);
    return (struct str){bytes, (size_t)size};
}

yyjson_val *golden_json(struct arena *arena, const char *name)
{
    yyjson_val *root = NULL;
    struct err err;

    if (!json_parse(arena, golden_read(arena, name), &root, &err))
        give_up(err.text, name);
    return root;
}

int32_t *golden_ids(struct arena *arena, yyjson_val *array, uint32_t *n)
{
    int32_t *ids = arena_array(arena, yyjson_arr_size(array), sizeof *ids);
    yyjson_val *id;
    size_t i, count;

    yyjson_arr_foreach(array, i, count, id)
        ids[i] = (int32_t)yyjson_get_int(id);
    *n = (uint32_t)count;
    return ids;
}

static struct golden golden_of(struct arena *arena, yyjson_val *entry, struct str logits)
{
    const size_t at = yyjson_get_uint(yyjson_obj_get(entry, "at"));
    struct golden golden = {
        .model = yyjson_get_str(yyjson_obj_get(entry, "model")),
        .n = (uint32_t)yyjson_get_uint(yyjson_obj_get(entry, "n")),
        .vocab = (uint32_t)yyjson_get_uint(yyjson_obj_get(entry, "vocab")),
    };
    golden.rows = (const uint32_t *)golden_ids(arena, yyjson_obj_get(entry, "rows"), &golden.rows_n);
    const size_t floats = (size_t)golden.rows_n * golden.vocab;
    float *own = arena_array(arena, floats, sizeof *own);

    if ((at + floats) * sizeof *own > logits.n)
        give_up("too few logits for", golden.model);
    memcpy(own, logits.s + at * sizeof *own, floats * sizeof *own);
    golden.logits = own;
    return golden;
}

struct goldens goldens_read(struct arena *arena)
{
    yyjson_val *root = golden_json(arena, TINY "goldens.json"), *entry;
    yyjson_val *entries = yyjson_obj_get(root, "entries");
    const struct str logits = golden_read(arena, TINY "logits.f32");
    struct goldens goldens = {.n = yyjson_arr_size(entries)};
    struct golden *list = arena_array(arena, goldens.n, sizeof *list);
    size_t i, n;

    yyjson_arr_foreach(entries, i, n, entry)
        list[i] = golden_of(arena, entry, logits);
    goldens.list = list;
    goldens.ids = golden_ids(arena, yyjson_obj_get(root, "ids"), &goldens.ids_n);
    return goldens;
}

/* ln(sum of e^x) */
static double log_sum(const float *x, uint32_t n)
{
    double most = -INFINITY, sum = 0;

    for (uint32_t i = 0; i < n; i++)
        most = fmax(most, x[i]);
    for (uint32_t i = 0; i < n; i++)
        sum += exp(x[i] - most);
    return most + log(sum);
}

uint32_t golden_highest(const float *x, uint32_t n)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

struct distance golden_distance(const struct golden *golden, const float *logits)
{
    const uint32_t vocab = golden->vocab;
    struct distance out = {0};

    for (uint32_t r = 0; r < golden->rows_n; r++) {
        const float *p = golden->logits + (size_t)r * vocab;
        const float *q = logits + (size_t)golden->rows[r] * vocab;
        const double log_p = log_sum(p, vocab), log_q = log_sum(q, vocab);

        for (uint32_t i = 0; i < vocab; i++) {
            const double d = fabs((double)q[i] - p[i]);
            out.most = d > out.most || isnan(d) ? d : out.most;
            out.mean += d / vocab;
            out.kl += exp(p[i] - log_p) * ((p[i] - log_p) - (q[i] - log_q));
        }
        out.top1 += golden_highest(p, vocab) == golden_highest(q, vocab);
    }
    out.mean /= golden->rows_n, out.kl /= golden->rows_n, out.top1 /= golden->rows_n;
    return out;
}
