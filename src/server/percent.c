/* percent.c - %XX to bytes. A plus stays a plus: ids are not form data. */
#include "server/percent.h"

#include "base/utf8.h"

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool percent_decode(struct arena *arena, struct str s, struct str *out)
{
    char *text = arena_alloc(arena, s.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        if (s.s[i] != '%') {
            text[n++] = s.s[i];
            continue;
        }
        if (i + 2 >= s.n || hex(s.s[i + 1]) < 0 || hex(s.s[i + 2]) < 0)
            return false;
        text[n++] = (char)(hex(s.s[i + 1]) << 4 | hex(s.s[i + 2]));
        i += 2;
    }
    *out = (struct str){text, n};
    return n > 0 && !memchr(text, '\0', n) && utf8_valid(*out);
}
