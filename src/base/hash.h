/* hash.h - a 64-bit hash for tables and chains over bytes that nobody hostile must be able to
 * collide: SipHash-2-4 (Aumasson and Bernstein, 2012) with a key drawn at start. */
#ifndef PENSIEVE_BASE_HASH_H
#define PENSIEVE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash_key { uint64_t k0, k1; };

uint64_t hash_bytes(struct hash_key key, const void *bytes, size_t n);
struct hash_key hash_process_key(void);         /* random, the same for the whole process */

#endif
