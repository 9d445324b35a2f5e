/* vocab_merges.h - which two neighbouring tokens merge, into what, and how early. */
#ifndef PENSIEVE_ENGINE_VOCAB_MERGES_H
#define PENSIEVE_ENGINE_VOCAB_MERGES_H

#include "engine/vocab.h"

struct merge;

struct merges {
    struct merge *table;        /* open addressing */
    size_t mask;
    uint64_t key;
};

/* Both look tokens up in a vocabulary whose tokens are read already. */
bool merges_read(struct merges *merges, const struct vocab *vocab, struct arena *arena,
                 const struct vocab_source *source, struct err *err);
bool merges_find(const struct merges *merges, int32_t left, int32_t right, uint32_t *rank,
                 int32_t *merged);

#endif
