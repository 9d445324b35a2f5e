/* arena.h - memory that lives and dies together: the process, one exchange, or one step.
 *
 * An allocation never fails: what a client or a file can size is refused first against a named
 * limit, so running out here means the machine is out of memory, and the process says so and ends.
 * Freed space is poisoned under AddressSanitizer: a pointer that outlives its arena is caught. */
#ifndef PENSIEVE_BASE_ARENA_H
#define PENSIEVE_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct arena;

/* first_bytes: the size of the first block; later blocks double up to 1 MiB. */
struct arena *arena_new(size_t first_bytes);
void arena_free(struct arena *arena);           /* NULL is allowed */
void arena_reset(struct arena *arena);          /* forget everything, keep the first block */

/* Zeroed, aligned to 16 bytes; a size of 0 gives a valid pointer. */
void *arena_alloc(struct arena *arena, size_t bytes);
/* The same, but not zeroed: for large memory that is filled, or not even reached. */
void *arena_raw(struct arena *arena, size_t bytes);
/* count * size, checked for overflow (which ends the process: sizes are bounded by the caller). */
void *arena_array(struct arena *arena, size_t count, size_t size);
/* A NUL-terminated copy. */
struct str arena_str(struct arena *arena, struct str s);
char *arena_cstr(struct arena *arena, struct str s);
struct str arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3), nonnull(2)));

/* Bytes handed out since the start or the last reset. */
size_t arena_used(const struct arena *arena);

#endif
