/* kvname.h - the names of full pages: a keyed hash chain over all tokens up to the page's end.
 *
 * A name says which beginning a page belongs to, the space and the variant included. It is SipHash
 * under two keys: 128 bits that nobody without the keys can make collide. In memory a find is believed
 * only after the tokens were compared; on disk, where a page is known to its followers by name alone,
 * the width is what makes "the same name" mean "the same tokens" (kvblock.h). */
#ifndef PENSIEVE_ENGINE_KVNAME_H
#define PENSIEVE_ENGINE_KVNAME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"

struct kv_name { uint64_t lo, hi; };
struct kv_key { struct hash_key lo, hi; };

/* Before the first page of every sequence of this space and variant. */
struct kv_name kv_name_root(const struct kv_key *key, uint64_t space, uint32_t variant);
/* Of the page that holds these KV_PAGE tokens and follows the one named `before`. */
struct kv_name kv_name_next(const struct kv_key *key, struct kv_name before, const int32_t *tokens);

static inline bool kv_name_same(struct kv_name a, struct kv_name b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

#endif
