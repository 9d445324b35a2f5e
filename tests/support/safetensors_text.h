/* safetensors_text.h - a .safetensors file in memory, for tests. */
#ifndef PENSIEVE_TESTS_SAFETENSORS_TEXT_H
#define PENSIEVE_TESTS_SAFETENSORS_TEXT_H

#include <stdint.h>

#include "base/arena.h"

/* The header's length, the header and data_n bytes of zeros, in the arena. */
static inline struct str safetensors_text(struct arena *arena, const char *header, size_t data_n)
{
    const uint64_t header_n = strlen(header);
    const size_t n = sizeof header_n + header_n + data_n;
    char *file = arena_alloc(arena, n);

    memcpy(file, &header_n, sizeof header_n);
    memcpy(file + sizeof header_n, header, header_n);
    return (struct str){file, n};
}

#endif
