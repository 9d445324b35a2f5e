/* fetch.h - asking for weights that lie ahead. */
#ifndef PENSIEVE_KERNELS_FETCH_H
#define PENSIEVE_KERNELS_FETCH_H

#include <stddef.h>

/* Asks for the memory that is FETCH_AHEAD further on than [at, at + bytes). Past the end of a
 * matrix that is the next one or nothing: a prefetch never faults. */
enum { FETCH_AHEAD = 4096, FETCH_LINE = 64 };

__attribute__((always_inline)) static inline void       /* gcc takes a call of it for no effect */
fetch_ahead(const void *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += FETCH_LINE)
        __builtin_prefetch((const char *)at + FETCH_AHEAD + i);
}

#endif
