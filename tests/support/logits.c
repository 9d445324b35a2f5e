/* logits.c - logits MODEL TOKENS OUT [CPU [CHUNK]]: the logits of every position, for bench/kl.py.
 *
 * TOKENS is a text file of token ids, OUT gets float32 [tokens][vocab]. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/runner.h"

enum { TOKENS_MAX = 1 << 14 };

static int fail(const char *what)
{
    fprintf(stderr, "logits: %s\n", what);
    return 1;
}

static uint32_t read_tokens(const char *path, int32_t *ids)
{
    FILE *file = fopen(path, "r");
    uint32_t n = 0;

    while (file && n < TOKENS_MAX && fscanf(file, "%d", &ids[n]) == 1)
        n++;
    if (file)
        fclose(file);
    return n;
}

int main(int argc, char **argv)
{
    static int32_t ids[TOKENS_MAX];
    struct runner runner;
    struct err err;

    if (argc < 4)
        return fail("MODEL TOKENS OUT [CPU [CHUNK]]");
    const uint32_t n = read_tokens(argv[2], ids);
    const uint32_t chunk = argc > 5 ? (uint32_t)strtoul(argv[5], NULL, 10) : 256;
    const struct kernels *kernels = kernels_select(argc > 4 ? argv[4] : NULL, &err);
    if (!kernels || !runner_open(&runner, argv[1], kernels, (unsigned)sysconf(_SC_NPROCESSORS_ONLN),
                                 chunk, &err))
        return fail(err.text);
    const size_t vocab = runner.hparams->vocab;
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= vocab)
            return fail("a token id out of range");

    float *logits = calloc(n ? n : 1, vocab * sizeof *logits);
    FILE *out = fopen(argv[3], "wb");
    if (!n || !logits || !out || !runner_logits(&runner, ids, n, chunk, logits) ||
        fwrite(logits, vocab * sizeof *logits, n, out) != n || fclose(out) != 0)
        return fail("no tokens, no memory, or no room for the output");
    free(logits);
    runner_close(&runner);
    return 0;
}
