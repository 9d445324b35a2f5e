/* kvname.c - what exactly is hashed; the order of the fields is part of the format on disk. */
#include "engine/kvname.h"

#include <string.h>

#include "kernels/kernels.h"

static struct kv_name name_of(const struct kv_key *key, const void *bytes, size_t n)
{
    return (struct kv_name){.lo = hash_bytes(key->lo, bytes, n),
                            .hi = hash_bytes(key->hi, bytes, n)};
}

struct kv_name kv_name_root(const struct kv_key *key, uint64_t space, uint32_t variant)
{
    const uint64_t root[2] = {space, variant};

    return name_of(key, root, sizeof root);
}

struct kv_name kv_name_next(const struct kv_key *key, struct kv_name before, const int32_t *tokens)
{
    struct { struct kv_name before; int32_t tokens[KV_PAGE]; } link = {.before = before};

    memcpy(link.tokens, tokens, sizeof link.tokens);
    return name_of(key, &link, sizeof link);
}
