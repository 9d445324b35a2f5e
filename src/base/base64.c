/* base64.c - see base64.h. */
#include "base/base64.h"

#include <stdint.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_put(struct buf *out, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; i < n; i += 3) {
        const size_t here = n - i < 3 ? n - i : 3;
        uint32_t word = 0;
        char text[4] = {'=', '=', '=', '='};
        for (size_t k = 0; k < here; k++)
            word |= (uint32_t)p[i + k] << (16 - 8 * k);
        for (size_t k = 0; k <= here; k++)
            text[k] = alphabet[word >> (18 - 6 * k) & 63];
        buf_append(out, text, sizeof text);
    }
}

static int value_of(char c)
{
    const char *at = c ? strchr(alphabet, c) : NULL;

    return at ? (int)(at - alphabet) : -1;
}

bool base64_take(struct buf *out, struct str text)
{
    if (text.n % 4 != 0)
        return false;
    for (size_t i = 0; i < text.n; i += 4) {
        const bool last = i + 4 == text.n;
        const size_t letters = !last || text.s[i + 3] != '=' ? 4 : text.s[i + 2] != '=' ? 3 : 2;
        uint32_t word = 0;
        for (size_t k = 0; k < letters; k++) {
            const int value = value_of(text.s[i + k]);
            if (value < 0)
                return false;
            word |= (uint32_t)value << (18 - 6 * k);
        }
        const unsigned char bytes[] = {(unsigned char)(word >> 16), (unsigned char)(word >> 8),
                                       (unsigned char)word};
        for (size_t k = letters - 1; k < 3; k++)
            if (bytes[k])
                return false;               /* bits that say nothing */
        buf_append(out, bytes, letters - 1);
    }
    return true;
}
