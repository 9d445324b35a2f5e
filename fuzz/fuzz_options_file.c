/* fuzz_options_file.c - the configuration file. What is taken must be whole: each section has a name, each
 * upstream of a model is one, and no chain of fallbacks comes back to where it began. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "app/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void check_name(const struct config_section *section)
{
    if (!section->name[0] || strpbrk(section->name, " \t\r\n") || !section->where[0])
        abort();
}

/* Follows fallbacks as deep as there are models; in a circle it would get deeper. */
static void follow(const struct config *config, const struct config_model *model, size_t depth,
                   size_t *steps)
{
    if (depth > config->model_sections.n)
        abort();
    for (size_t i = 0; i < model->fallbacks.n && (*steps)++ < 1000; i++) {
        const struct config_model *next = config_model_find(config, model->fallbacks.items[i]);
        if (next)
            follow(config, next, depth + 1, steps);
    }
}

static void check_model(const struct config *config, struct arena *arena,
                        const struct config_model *model)
{
    struct config_upstream upstream;
    struct err err;
    size_t steps = 0;

    check_name(&model->section);
    follow(config, model, 0, &steps);
    if ((strcmp(model->backend, "upstream") == 0) != (model->upstreams.n > 0))
        abort();
    for (size_t i = 0; i < model->upstreams.n; i++) {
        if (!config_upstream_of(config, arena, model->upstreams.items[i], &upstream, &err) ||
            !upstream.section.name[0] || strpbrk(upstream.section.name, "@\r\n"))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    const int fd = memfd_create("options", MFD_CLOEXEC);
    char flag[64], *argv[] = {flag}, *envp[] = {NULL};
    struct arena *arena = arena_new(4096);
    struct config config;
    struct err err = {0};

    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n)
        abort();
    snprintf(flag, sizeof flag, "--config=/proc/self/fd/%d", fd);
    if (config_load(&config, arena, FOR_LIST, argv, 1, envp, &err)) {
        for (size_t i = 0; i < config.model_sections.n; i++)
            check_model(&config, arena, config.model_sections.items[i]);
        for (size_t i = 0; i < config.upstream_sections.n; i++)
            check_name(config.upstream_sections.items[i]);
    } else if (err.code != ERR_USAGE || !err.text[0]) {
        abort();
    }
    arena_free(arena);
    close(fd);
    return 0;
}
