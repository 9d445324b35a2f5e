/* gguf_name.c - reads names like model-Q4_K_M-00001-of-00003.gguf. */
#include "engine/gguf_name.h"

#include <string.h>
#include <strings.h>

enum { SPLIT_DIGITS = 5, SPLIT_BYTES = sizeof "-00001-of-00003" - 1 };

static bool ends_ignoring_case(struct str s, const char *suffix)
{
    const size_t n = strlen(suffix);

    return s.n > n && strncasecmp(s.s + s.n - n, suffix, n) == 0;
}

/* "-00001-of-00003" at the end of a name without its suffix. */
static bool split_numbers(struct str name, unsigned *part, unsigned *of)
{
    if (name.n <= SPLIT_BYTES)
        return false;
    const char *tail = name.s + name.n - SPLIT_BYTES;
    const char *first = tail + 1, *last = tail + SPLIT_BYTES - SPLIT_DIGITS;
    *part = *of = 0;
    for (int i = 0; i < SPLIT_DIGITS; i++) {
        if (first[i] < '0' || first[i] > '9' || last[i] < '0' || last[i] > '9')
            return false;
        *part = *part * 10 + (unsigned)(first[i] - '0');
        *of = *of * 10 + (unsigned)(last[i] - '0');
    }
    return tail[0] == '-' && memcmp(first + SPLIT_DIGITS, "-of-", 4) == 0 && *part && *of;
}

bool gguf_name_stem(struct str *path, unsigned *part, unsigned *of)
{
    if (!ends_ignoring_case(*path, ".gguf"))
        return false;
    path->n -= sizeof ".gguf" - 1;
    if (split_numbers(*path, part, of))
        path->n -= SPLIT_BYTES;
    else
        *part = *of = 0;
    return true;
}

bool gguf_name_is_encoder(struct str name)
{
    static const char start[] = "mmproj";

    return name.n >= sizeof start - 1 && strncasecmp(name.s, start, sizeof start - 1) == 0;
}
