/* random.c - the kernel's randomness; xoshiro256++ for sampling. */
#include "base/random.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void random_bytes(void *out, size_t n)
{
    unsigned char *p = out;

    while (n) {
        const size_t piece = n < 256 ? n : 256;         /* getentropy's limit */
        if (getentropy(p, piece) != 0) {
            perror("pensieve: getentropy");
            exit(71);
        }
        p += piece;
        n -= piece;
    }
}

uint64_t random_u64(void)
{
    uint64_t x;

    random_bytes(&x, sizeof x);
    return x;
}

void random_id(char *out, size_t size, const char *prefix)
{
    static const char letters[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    char tail[23] = "";

    for (int i = 0; i < 22;) {
        unsigned char bytes[32];
        random_bytes(bytes, sizeof bytes);
        for (size_t j = 0; j < sizeof bytes && i < 22; j++)
            if (bytes[j] < 58 * 4)                      /* no letter likelier than another */
                tail[i++] = letters[bytes[j] % 58];
    }
    snprintf(out, size, "%s01%s", prefix, tail);
}

static uint64_t rotate(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

void rng_seed(struct rng *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {                       /* splitmix64 */
        seed += 0x9E3779B97F4A7C15u;
        uint64_t z = seed;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        rng->s[i] = z ^ z >> 31;
    }
}

uint64_t rng_next(struct rng *rng)
{
    uint64_t *s = rng->s;
    const uint64_t result = rotate(s[0] + s[3], 23) + s[0];
    const uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

double rng_uniform(struct rng *rng)
{
    return (double)(rng_next(rng) >> 11) * 0x1p-53;
}
