/* test_hash.c - SipHash-2-4 against the paper: key 00 01 .. 0f, message 00 01 02 .. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"

static const struct hash_key key = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};

static void test_vectors(void **state)
{
    static const struct {
        size_t n;
        uint64_t hash;
    } rows[] = {
        {0, 0x726fdb47dd0e0e31u}, {1, 0x74f839c593dc67fdu}, {2, 0x0d6c8009d9a94f5au},
        {3, 0x85676696d7fb7e2du}, {4, 0xcf2794e0277187b7u}, {5, 0x18765564cd99a68du},
        {6, 0xcbc9466e58fee3ceu}, {7, 0xab0200f58b01d137u}, {8, 0x93f5f5799a932462u},
        {15, 0xa129ca6149be45e5u},
    };
    unsigned char bytes[16];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)i;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_true(hash_bytes(key, bytes, rows[i].n) == rows[i].hash);
}

static void test_unaligned(void **state)
{
    char bytes[64 + 8];
    uint64_t first = 0;

    for (size_t shift = 0; shift < 8; shift++) {
        for (size_t i = 0; i < 61; i++)
            bytes[shift + i] = (char)(i * 7);
        const uint64_t hash = hash_bytes(key, bytes + shift, 61);
        if (shift == 0)
            first = hash;
        assert_true(hash == first);
    }
}

static void test_process_key_stays(void **state)
{
    const struct hash_key a = hash_process_key(), b = hash_process_key();

    assert_true(a.k0 == b.k0 && a.k1 == b.k1);
    assert_true(a.k0 != 0 || a.k1 != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_unaligned),
        cmocka_unit_test(test_process_key_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
