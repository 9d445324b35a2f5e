/* str.h - a borrowed run of bytes with its length. May hold NUL bytes; is not NUL-terminated. */
#ifndef PENSIEVE_BASE_STR_H
#define PENSIEVE_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct str {
    const char *s;
    size_t n;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})

/* printf("%.*s", STR_ARG(x)) */
#define STR_ARG(x) (int)(x).n, (x).s

static inline struct str str_of(const char *c_string)
{
    return (struct str){c_string, strlen(c_string)};
}

static inline bool str_equal(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.s, b.s, a.n) == 0);
}

static inline bool str_is(struct str a, const char *c_string)
{
    return str_equal(a, str_of(c_string));
}

static inline bool str_starts(struct str a, struct str prefix)
{
    return a.n >= prefix.n && (prefix.n == 0 || memcmp(a.s, prefix.s, prefix.n) == 0);
}

static inline bool str_ends(struct str a, struct str suffix)
{
    return a.n >= suffix.n &&
           (suffix.n == 0 || memcmp(a.s + a.n - suffix.n, suffix.s, suffix.n) == 0);
}

/* What stands behind the last slash: all of it where there is none. */
static inline struct str str_last_part(struct str path)
{
    size_t at = path.n;

    while (at > 0 && path.s[at - 1] != '/')
        at--;
    return (struct str){path.s + at, path.n - at};
}

/* As memcmp: by bytes, a beginning before what it begins. */
static inline int str_compare(struct str a, struct str b)
{
    const size_t n = a.n < b.n ? a.n : b.n;
    const int order = n ? memcmp(a.s, b.s, n) : 0;

    return order ? order : (a.n > b.n) - (a.n < b.n);
}

#endif
