/* test_utf8.c - every code point and every short run of bytes against a slow reading of RFC 3629. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/utf8.h"

/* The borders of every range that a second, third or fourth byte is held to. */
static const unsigned char borders[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0,
                                        0xBF, 0xC0, 0xC2, 0xE0, 0xED, 0xF0, 0xF4, 0xFF};
enum { BORDERS = sizeof borders };

/* Puts the bits together first and asks afterwards whether that was the shortest way. */
static size_t slow_decode(const unsigned char *p, size_t n, uint32_t *code_point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = 0;

    if (n == 0)
        return 0;
    while (length < 8 && p[0] & 0x80 >> length)
        length++;
    if (length == 0) {
        *code_point = p[0];
        return 1;
    }
    if (length == 1 || length > 4 || length > n)
        return 0;
    uint32_t c = p[0] & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (p[i] >> 6 != 2)
            return 0;
        c = c << 6 | (p[i] & 0x3F);
    }
    *code_point = c;
    return c < least[length] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000) ? 0 : length;
}

static void same(const unsigned char *p, size_t n)
{
    uint32_t fast = 0, slow = 0;
    const size_t got = utf8_decode((struct str){(const char *)p, n}, &fast);

    if (got != slow_decode(p, n, &slow) || (got && fast != slow))
        fail_msg("%02x %02x %02x %02x (%zu bytes)", p[0], p[1], p[2], p[3], n);
}

static void test_decode(void **state)
{
    unsigned char p[4];

    for (int a = 0; a < 256; a++)
        for (int b = 0; b < 256; b++) {
            p[0] = (unsigned char)a;
            p[1] = (unsigned char)b;
            for (int c = 0; c < BORDERS; c++)
                for (int d = 0; d < BORDERS; d++) {
                    p[2] = borders[c];
                    p[3] = borders[d];
                    for (size_t n = 0; n <= 4; n++)
                        same(p, n);
                }
        }
}

static void test_every_code_point_there_and_back(void **state)
{
    for (uint32_t c = 0; c < 0x120000; c++) {
        const bool exists = c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF);
        char out[4];
        uint32_t back = 0;
        const size_t n = utf8_encode(out, c);
        if (!exists) {
            assert_int_equal(n, 0);
            continue;
        }
        assert_true(n >= 1 && n <= 4);
        if (slow_decode((unsigned char *)out, n, &back) != n || back != c)
            fail_msg("U+%04X", c);
        assert_true(utf8_valid((struct str){out, n}));
        for (size_t cut = 1; cut < n; cut++)
            if (utf8_incomplete_tail((struct str){out, cut}) != cut)
                fail_msg("U+%04X cut to %zu", c, cut);
        assert_int_equal(utf8_incomplete_tail((struct str){out, n}), 0);
    }
}

/* Could these bytes still become one character? Tries every way to go on. */
static bool may_become(const unsigned char *p, size_t n)
{
    unsigned char all[4];
    uint32_t c;

    memcpy(all, p, n);
    for (int i = 0; i < BORDERS * BORDERS * BORDERS; i++) {
        for (size_t j = n, rest = (size_t)i; j < 4; j++, rest /= BORDERS)
            all[j] = borders[rest % BORDERS];
        if (slow_decode(all, 4, &c) > n)
            return true;
    }
    return false;
}

static void test_incomplete_tail(void **state)
{
    unsigned char p[3];

    for (int a = 0; a < 256; a++)
        for (int b = 0; b < BORDERS; b++)
            for (int c = 0; c < BORDERS; c++) {
                p[0] = (unsigned char)a;
                p[1] = borders[b];
                p[2] = borders[c];
                size_t expected = 0;
                for (size_t k = 1; k <= 3; k++)
                    if ((p[3 - k] & 0xC0) != 0x80 && may_become(p + 3 - k, k))
                        expected = k;
                const size_t got = utf8_incomplete_tail((struct str){(char *)p, 3});
                if (got != expected)
                    fail_msg("%02x %02x %02x: %zu, not %zu", p[0], p[1], p[2], got, expected);
            }
    assert_int_equal(utf8_incomplete_tail((struct str){NULL, 0}), 0);
}

static void test_valid_prefix(void **state)
{
    static const struct {
        const char *text;
        size_t n, valid;
    } rows[] = {
        {"", 0, 0},
        {"abc", 3, 3},
        {"a\0b", 3, 3},
        {"\xC3\xA4x\xF0\x9F\x98\x80", 7, 7},
        {"ab\xFFzz", 5, 2},
        {"ab\xC3", 3, 2},
        {"\xC3\xA4\xED\xA0\x80", 5, 2},
        {"\xC0\x80", 2, 0},
        {"\xF4\x90\x80\x80", 4, 0},
        {"a\xE2\x82", 3, 1},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct str s = {rows[i].text, rows[i].n};
        assert_int_equal(utf8_valid_prefix(s), rows[i].valid);
        assert_int_equal(utf8_valid(s), rows[i].valid == rows[i].n);
    }
}

static void test_cut(void **state)
{
    const struct str s = STR("a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80");
    static const size_t expected[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10};

    for (size_t max = 0; max < sizeof expected / sizeof *expected; max++) {
        const struct str cut = utf8_cut(s, max);
        assert_ptr_equal(cut.s, s.s);
        assert_int_equal(cut.n, expected[max]);
    }
}

static void test_space(void **state)
{
    static const uint32_t spaces[] = {0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E, 0x1F, 0x20,
                                      0x85, 0xA0, 0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004,
                                      0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200A, 0x2028,
                                      0x2029, 0x202F, 0x205F, 0x3000};
    size_t next = 0;

    for (uint32_t c = 0; c < 0x110000; c++) {
        const bool space = next < sizeof spaces / sizeof *spaces && spaces[next] == c;
        if (utf8_is_space(c) != space)
            fail_msg("U+%04X", c);
        next += space;
    }
}

static void test_blank(void **state)
{
    assert_true(utf8_is_blank(STR("")));
    assert_true(utf8_is_blank(STR(" \n\x1c\xc2\xa0\xe3\x80\x80")));
    assert_false(utf8_is_blank(STR(" a ")));
    assert_false(utf8_is_blank(STR(" \xe3\x80")));      /* not a whole character */
    assert_false(utf8_is_blank(STR(" \0")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_every_code_point_there_and_back),
        cmocka_unit_test(test_incomplete_tail),
        cmocka_unit_test(test_valid_prefix),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_space),
        cmocka_unit_test(test_blank),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
