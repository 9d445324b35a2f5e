/* utf8.c - a decoder of one character; the rest is built on it. */
#include "base/utf8.h"

/* How long the character that this byte begins is, or 0 if none begins so. */
static size_t length_of(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first >= 0xC2 && first <= 0xDF)
        return 2;
    if (first >= 0xE0 && first <= 0xEF)
        return 3;
    if (first >= 0xF0 && first <= 0xF4)
        return 4;
    return 0;
}

/* May `second` follow `first`? It alone decides overlongs, surrogates and the maximum. */
static bool second_fits(unsigned char first, unsigned char second)
{
    const unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;

    return second >= low && second <= high;
}

static bool continues(unsigned char c)
{
    return (c & 0xC0) == 0x80;
}

size_t utf8_decode(struct str s, uint32_t *code_point)
{
    static const unsigned char mask[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    const unsigned char *p = (const unsigned char *)s.s;
    const size_t n = s.n ? length_of(p[0]) : 0;

    if (n == 0 || n > s.n || (n > 1 && !second_fits(p[0], p[1])))
        return 0;
    uint32_t c = p[0] & mask[n];
    for (size_t i = 1; i < n; i++) {
        if (!continues(p[i]))
            return 0;
        c = c << 6 | (p[i] & 0x3F);
    }
    *code_point = c;
    return n;
}

size_t utf8_encode(char out[4], uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        if (c >= 0xD800 && c <= 0xDFFF)
            return 0;
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    if (c > 0x10FFFF)
        return 0;
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

size_t utf8_valid_prefix(struct str s)
{
    size_t i = 0;

    while (i < s.n) {
        uint32_t c;
        if ((unsigned char)s.s[i] < 0x80) {
            i++;
            continue;
        }
        const size_t n = utf8_decode((struct str){s.s + i, s.n - i}, &c);
        if (n == 0)
            break;
        i += n;
    }
    return i;
}

size_t utf8_incomplete_tail(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.s;

    for (size_t back = 1; back <= 3 && back <= s.n; back++) {
        const unsigned char *first = p + s.n - back;
        if (continues(*first))
            continue;
        const bool open = length_of(*first) > back && (back < 2 || second_fits(first[0], first[1]));
        return open ? back : 0;
    }
    return 0;
}

struct str utf8_cut(struct str s, size_t max)
{
    if (s.n <= max)
        return s;
    const struct str cut = {s.s, max};
    return (struct str){s.s, max - utf8_incomplete_tail(cut)};
}

bool utf8_is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

bool utf8_is_blank(struct str s)
{
    uint32_t c;

    for (size_t n; s.n; s = (struct str){s.s + n, s.n - n}) {
        n = utf8_decode(s, &c);
        if (n == 0 || !utf8_is_space(c))
            return false;
    }
    return true;
}
