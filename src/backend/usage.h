/* usage.h - what of a prompt was read from the cache, written to it, and neither: the API's three
 * counters, which together are the prompt. docs/kvcache.md tells the rules. */
#ifndef PENSIEVE_BACKEND_USAGE_H
#define PENSIEVE_BACKEND_USAGE_H

#include "api/generation.h"
#include "pensieve/engine.h"

/* A shorter beginning is not worth keeping, nor counting: the least that the API has for any model. */
enum { CACHE_MARK_TOKENS_MIN = 512 };

/* Takes out the marks that are too short; returns how many are left. marks: ascending. */
size_t usage_marks(struct cache_mark *marks, size_t n);

/* Of a prompt with these marks. Read is what the engine found of what was declared before, up to the last
 * mark; written is from there to the last mark, each part under its own mark's time; the rest is input.
 * Without marks all of it is input, reused or not. */
struct usage usage_of(const struct cache_mark *marks, size_t n, const struct sequence_start *start);

#endif
