/* bpe.h - merges neighbours by the vocabulary's rules: the earliest one first, then the leftmost. */
#ifndef PENSIEVE_ENGINE_BPE_H
#define PENSIEVE_ENGINE_BPE_H

#include "base/arena.h"
#include "engine/vocab.h"

struct symbol {
    int32_t id;
    int32_t prev, next;                 /* indexes, -1: none */
    uint32_t rank;                      /* of merging with next; UINT32_MAX: none, or it is gone */
    int32_t merged;                     /* what they merge into */
};

/* One word's symbols; its memory serves the next word again. */
struct bpe {
    const struct vocab *vocab;
    struct arena *arena;
    struct symbol *symbols;
    size_t n, capacity;
    uint64_t *heap;                     /* rank << 32 | index of the left symbol; least on top */
    size_t heap_n, heap_capacity;
};

void bpe_add(struct bpe *bpe, int32_t id);
/* Afterwards the symbols from 0 on, by `next`, are the word's tokens. At least one was added. */
void bpe_merge(struct bpe *bpe);

#endif
