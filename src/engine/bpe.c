/* bpe.c - a linked list of symbols with a heap of the pairs that may merge: n log n for a megabyte
 * of one letter. An entry of the heap is out of date when its left symbol has another pair, or none,
 * by now. */
#include "engine/bpe.h"

#include <string.h>

#define NO_RANK UINT32_MAX
enum { SYMBOLS_MIN = 256 };

void bpe_add(struct bpe *bpe, int32_t id)
{
    const int32_t n = (int32_t)bpe->n++;

    if ((size_t)n == bpe->capacity) {
        const size_t capacity = n ? 2 * (size_t)n : SYMBOLS_MIN;
        struct symbol *symbols = arena_raw(bpe->arena, capacity * sizeof *symbols);
        if (n)
            memcpy(symbols, bpe->symbols, (size_t)n * sizeof *symbols);
        bpe->symbols = symbols;
        bpe->capacity = capacity;
    }
    bpe->symbols[n] = (struct symbol){.id = id, .prev = n - 1, .next = n + 1};
}

static void heap_put(struct bpe *bpe, uint64_t entry)
{
    uint64_t *heap = bpe->heap;
    size_t at = bpe->heap_n++;

    for (size_t up; at > 0 && heap[up = (at - 1) / 2] > entry; at = up)
        heap[at] = heap[up];
    heap[at] = entry;
}

static uint64_t heap_take(struct bpe *bpe)
{
    uint64_t *heap = bpe->heap;
    const uint64_t top = heap[0], last = heap[--bpe->heap_n];
    size_t at = 0;

    for (size_t down; (down = 2 * at + 1) < bpe->heap_n; at = down) {
        if (down + 1 < bpe->heap_n && heap[down + 1] < heap[down])
            down++;
        if (heap[down] >= last)
            break;
        heap[at] = heap[down];
    }
    heap[at] = last;
    return top;
}

/* Looks up whether a symbol merges with the one after it, and queues the pair if so. */
static void pair_consider(struct bpe *bpe, int32_t left)
{
    struct symbol *symbol = &bpe->symbols[left];

    symbol->rank = NO_RANK;
    if (symbol->next >= 0 && vocab_merge(bpe->vocab, symbol->id, bpe->symbols[symbol->next].id,
                                         &symbol->rank, &symbol->merged))
        heap_put(bpe, (uint64_t)symbol->rank << 32 | (uint32_t)left);
}

void bpe_merge(struct bpe *bpe)
{
    struct symbol *symbols = bpe->symbols;

    symbols[bpe->n - 1].next = -1;
    bpe->heap_n = 0;
    if (bpe->heap_capacity < 2 * bpe->n) {
        /* Every merge takes one entry away and puts two in at most, and there are n - 1 merges. */
        bpe->heap_capacity = 2 * bpe->capacity;
        bpe->heap = arena_raw(bpe->arena, bpe->heap_capacity * sizeof *bpe->heap);
    }
    for (size_t i = 0; i < bpe->n; i++)
        pair_consider(bpe, (int32_t)i);
    while (bpe->heap_n) {
        const uint64_t entry = heap_take(bpe);
        const int32_t left = (int32_t)(uint32_t)entry;
        if (symbols[left].rank != entry >> 32)
            continue;
        struct symbol *gone = &symbols[symbols[left].next];
        symbols[left].id = symbols[left].merged;
        symbols[left].next = gone->next;
        gone->rank = NO_RANK;
        if (gone->next >= 0)
            symbols[gone->next].prev = left;
        pair_consider(bpe, left);
        if (symbols[left].prev >= 0)
            pair_consider(bpe, symbols[left].prev);
    }
}
