/* arena.c - a chain of blocks, newest first, each filled from its start. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif

#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum { ALIGNMENT = 16, BLOCK_MAX = 1 << 20 };

struct block {
    struct block *next;
    size_t used, size;                  /* of data */
    _Alignas(ALIGNMENT) char data[];
};

struct arena {
    struct block *newest;
    size_t next_size;
    size_t used;
};

static _Noreturn void out_of_memory(size_t bytes)
{
    fprintf(stderr, "pensieve: out of memory (%zu bytes wanted)\n", bytes);
    _Exit(70);                          /* other threads still run: no handlers */
}

static struct block *block_new(size_t size, struct block *next)
{
    struct block *block = malloc(sizeof *block + size);

    if (!block)
        out_of_memory(size);
    *block = (struct block){.next = next, .size = size};
    POISON(block->data, size);
    return block;
}

struct arena *arena_new(size_t first_bytes)
{
    struct arena *arena = malloc(sizeof *arena);

    if (!arena)
        out_of_memory(sizeof *arena);
    if (first_bytes < 256)
        first_bytes = 256;
    *arena = (struct arena){.newest = block_new(first_bytes, NULL), .next_size = first_bytes};
    return arena;
}

static void block_free(struct block *block)
{
    UNPOISON(block->data, block->size);
    free(block);
}

void arena_free(struct arena *arena)
{
    if (!arena)
        return;
    for (struct block *block = arena->newest, *next; block; block = next) {
        next = block->next;
        block_free(block);
    }
    free(arena);
}

void arena_reset(struct arena *arena)
{
    while (arena->newest->next) {
        struct block *next = arena->newest->next;
        block_free(arena->newest);
        arena->newest = next;
    }
    arena->newest->used = 0;
    arena->used = 0;
    POISON(arena->newest->data, arena->newest->size);
}

void *arena_raw(struct arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX / 4)
        out_of_memory(bytes);
    const size_t rounded = (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    struct block *block = arena->newest;

    if (block->size - block->used < rounded) {
        if (arena->next_size < BLOCK_MAX)
            arena->next_size *= 2;
        block = block_new(rounded > arena->next_size ? rounded : arena->next_size, block);
        arena->newest = block;
    }
    void *p = block->data + block->used;
    block->used += rounded;
    arena->used += rounded;
    UNPOISON(p, bytes);
    return p;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    return memset(arena_raw(arena, bytes), 0, bytes);
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes))
        out_of_memory(SIZE_MAX);
    return arena_alloc(arena, bytes);
}

char *arena_cstr(struct arena *arena, struct str s)
{
    char *copy = arena_alloc(arena, s.n + 1);

    if (s.n)
        memcpy(copy, s.s, s.n);
    return copy;
}

struct str arena_str(struct arena *arena, struct str s)
{
    return (struct str){arena_cstr(arena, s), s.n};
}

struct str arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args, again;

    va_start(args, format);
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = arena_alloc(arena, (size_t)(n < 0 ? 0 : n) + 1);
    if (n > 0)
        vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    return (struct str){text, (size_t)(n < 0 ? 0 : n)};
}

size_t arena_used(const struct arena *arena)
{
    return arena->used;
}
