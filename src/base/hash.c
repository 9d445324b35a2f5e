/* hash.c - SipHash-2-4, little-endian input as the paper defines it. */
#include "base/hash.h"

#include <pthread.h>
#include <string.h>

#include "base/random.h"

static uint64_t rotate(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

static void rounds(uint64_t v[4], int n)
{
    while (n--) {
        v[0] += v[1]; v[1] = rotate(v[1], 13); v[1] ^= v[0]; v[0] = rotate(v[0], 32);
        v[2] += v[3]; v[3] = rotate(v[3], 16); v[3] ^= v[2];
        v[0] += v[3]; v[3] = rotate(v[3], 21); v[3] ^= v[0];
        v[2] += v[1]; v[1] = rotate(v[1], 17); v[1] ^= v[2]; v[2] = rotate(v[2], 32);
    }
}

uint64_t hash_bytes(struct hash_key key, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    uint64_t v[4] = {
        key.k0 ^ 0x736f6d6570736575u, key.k1 ^ 0x646f72616e646f6du,
        key.k0 ^ 0x6c7967656e657261u, key.k1 ^ 0x7465646279746573u,
    };
    uint64_t last = (uint64_t)n << 56;

    for (; n >= 8; n -= 8, p += 8) {
        uint64_t m = 0;
        for (int i = 0; i < 8; i++)
            m |= (uint64_t)p[i] << 8 * i;
        v[3] ^= m;
        rounds(v, 2);
        v[0] ^= m;
    }
    for (size_t i = 0; i < n; i++)
        last |= (uint64_t)p[i] << 8 * i;
    v[3] ^= last;
    rounds(v, 2);
    v[0] ^= last;
    v[2] ^= 0xFF;
    rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static struct hash_key process_key;
static pthread_once_t process_key_once = PTHREAD_ONCE_INIT;

static void draw_process_key(void)
{
    random_bytes(&process_key, sizeof process_key);
}

struct hash_key hash_process_key(void)
{
    pthread_once(&process_key_once, draw_process_key);
    return process_key;
}
