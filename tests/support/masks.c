/* masks.c - masks TOKENIZER_JSON CASES: what constrained decoding costs over a real vocabulary.
 *
 * CASES are JSON lines {"schema": ..., "answer": TEXT}, as bench/structured.py --out writes them. Each
 * answer is tokenised, and goes token by token through its schema's grammar: once with a grammar just
 * compiled, and again as every later request finds it. A mask's time has its application to a row of
 * logits in it. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "engine/constraint.h"
#include "engine/tokenizer.h"
#include "engine/tokenizer_json.h"

enum { CASES_MAX = 1000, MASKS_MAX = 1 << 20 };

struct times {
    double us[MASKS_MAX];
    size_t n;
};

struct costs {
    struct times grammars, masks, takes;
};

struct run {
    struct arena *arena;
    struct vocab *vocab;
    struct grammars *grammars;
    float *logits;
    uint32_t vocab_n;
    struct costs first, again;
};

static int fail(const char *what)
{
    fprintf(stderr, "masks: %s\n", what);
    return 1;
}

static struct str read_all(struct arena *arena, const char *path)
{
    struct stat info;
    FILE *file = fopen(path, "rb");
    struct str out = {0};

    if (file && fstat(fileno(file), &info) == 0) {
        char *bytes = arena_raw(arena, (size_t)info.st_size + 1);
        out = (struct str){bytes, fread(bytes, 1, (size_t)info.st_size, file)};
    }
    if (file)
        fclose(file);
    return out;
}

static size_t resident_mib(void)
{
    unsigned long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (file && fscanf(file, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    if (file)
        fclose(file);
    return resident * 4096 >> 20;
}

static int by_time(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print_times(const char *what, struct times *times)
{
    double sum = 0;

    if (times->n == 0)
        return;
    for (size_t i = 0; i < times->n; i++)
        sum += times->us[i];
    qsort(times->us, times->n, sizeof *times->us, by_time);
    printf("%-22s %8zu  mean %8.1f us  median %8.1f  99%% %8.1f  most %8.1f\n", what, times->n,
           sum / (double)times->n, times->us[times->n / 2], times->us[times->n * 99 / 100],
           times->us[times->n - 1]);
    times->n = 0;
}

static void add(struct times *times, uint64_t begin)
{
    if (times->n < MASKS_MAX)
        times->us[times->n++] = clock_seconds_since(begin) * 1e6;
}

/* One answer's way; false: it is not what the schema says, or a limit was met. */
static bool follow(struct run *run, const struct grammar_source *source,
                   const struct tokens *answer, struct costs *costs, struct err *err)
{
    uint64_t begin = clock_ns();
    struct grammar *grammar = grammars_take(run->grammars, source, err);
    struct constraint *constraint = grammar ? constraint_new(run->grammars, grammar, err) : NULL;

    add(&costs->grammars, begin);
    bool ok = constraint != NULL;
    for (size_t i = 0; ok && i < answer->n; i++) {
        memset(run->logits, 0, run->vocab_n * sizeof *run->logits);
        begin = clock_ns();
        ok = constraint_mask(constraint, run->logits, run->vocab_n, err);
        add(&costs->masks, begin);
        if (ok && run->logits[answer->ids[i]] != 0)
            ok = err_set(err, ERR_INVALID, "token %zu of an answer is not allowed", i);
        begin = clock_ns();
        ok = ok && constraint_take(constraint, answer->ids[i], UINT32_MAX, err) <=
                       CONSTRAINT_COMPLETE;
        add(&costs->takes, begin);
    }
    constraint_free(constraint);
    return ok;
}

static bool run_case(struct run *run, yyjson_val *root, struct err *err)
{
    const struct str answer = json_str(yyjson_obj_get(root, "answer"));
    char *schema = yyjson_val_write(yyjson_obj_get(root, "schema"), 0, NULL);
    struct tokens tokens;

    if (!schema || !answer.s)
        return err_set(err, ERR_FORMAT, "a case lacks its schema or its answer");
    const struct grammar_part part = {.language = GRAMMAR_JSON_SCHEMA, .name = STR("answer"),
                                      .text = str_of(schema)};
    const struct grammar_source source = {.parts = &part, .parts_n = 1};
    const bool ok =
        tokenizer_encode(run->vocab, run->arena, answer, NULL, 0, false, &tokens, err) &&
        follow(run, &source, &tokens, &run->first, err) &&
        follow(run, &source, &tokens, &run->again, err);
    free(schema);
    return ok;
}

static size_t run_all(struct run *run, struct str cases)
{
    size_t failed = 0;

    while (cases.n) {
        const char *newline = memchr(cases.s, '\n', cases.n);
        const size_t n = newline ? (size_t)(newline - cases.s) : cases.n;
        yyjson_val *root;
        struct err err;
        if (!json_parse(run->arena, (struct str){cases.s, n}, &root, &err) ||
            !run_case(run, root, &err)) {
            fprintf(stderr, "masks: %s\n", err.text);
            failed++;
        }
        cases = (struct str){cases.s + n + (newline != NULL), cases.n - n - (newline != NULL)};
    }
    return failed;
}

static void print_costs(struct costs *costs, const char *when)
{
    printf("-- %s\n", when);
    print_times("a constraint made", &costs->grammars);
    print_times("a mask, applied", &costs->masks);
    print_times("a token taken", &costs->takes);
}

int main(int argc, char **argv)
{
    static struct run run;
    struct vocab_source source;
    struct err err = {0};
    int64_t end;

    if (argc != 3)
        return fail("TOKENIZER_JSON CASES");
    log_set_level(LOG_INFO);
    run.arena = arena_new(1 << 20);
    if (!vocab_source_json(run.arena, read_all(run.arena, argv[1]), (struct str){0}, &source, &err))
        return fail(err.text);
    end = (int64_t)source.tokens_n - 1;         /* without its config the file names no end */
    source.ends = &end;
    source.ends_n = 1;
    run.vocab = vocab_new(&source, &err);
    if (!run.vocab)
        return fail(err.text);
    run.vocab_n = (uint32_t)vocab_size(run.vocab);
    run.logits = calloc(run.vocab_n, sizeof *run.logits);
    run.grammars = grammars_new(run.vocab, run.vocab_n);
    if (!run.logits || !run.grammars)
        return fail("no memory");

    const size_t before = resident_mib();
    const struct str cases = read_all(run.arena, argv[2]);
    const size_t failed = run_all(&run, cases);
    print_costs(&run.first, "first time");
    print_costs(&run.again, "again");
    const struct grammars_counts counts = grammars_counts(run.grammars);
    printf("%u tokens; %zu MiB more than before, %.1f of them in %u grammars kept; %zu failed\n",
           run.vocab_n, resident_mib() - before, (double)counts.kept_bytes / (1 << 20), counts.kept,
           failed);
    grammars_free(run.grammars);
    vocab_free(run.vocab);
    free(run.logits);
    arena_free(run.arena);
    return failed != 0;
}
