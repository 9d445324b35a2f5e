/* random.h - randomness: ids and seeds from the kernel, a small fast generator for sampling. */
#ifndef PENSIEVE_BASE_RANDOM_H
#define PENSIEVE_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void random_bytes(void *out, size_t n);         /* from the kernel; ends the process if it can't */
uint64_t random_u64(void);

/* prefix + "01" + 22 characters of the 58-letter alphabet: msg_01..., req_01...
 * out holds at least strlen(prefix) + 25 bytes. */
void random_id(char *out, size_t size, const char *prefix);

/* xoshiro256++ (Blackman and Vigna, 2019), seeded through splitmix64. */
struct rng { uint64_t s[4]; };
void rng_seed(struct rng *rng, uint64_t seed);
uint64_t rng_next(struct rng *rng);
double rng_uniform(struct rng *rng);            /* [0, 1) */

#endif
