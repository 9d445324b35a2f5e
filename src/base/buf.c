/* buf.c - grows by doubling, never past the ceiling. One byte more than the capacity is always
 * there, for the NUL that vsnprintf ends in. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

void buf_init(struct buf *buf, size_t ceiling)
{
    *buf = (struct buf){.ceiling = ceiling};
}

void buf_release(struct buf *buf)
{
    free(buf->data);
    buf_init(buf, buf->ceiling);
}

void buf_reset(struct buf *buf)
{
    buf->n = 0;
    buf->overflow = false;
}

bool buf_reserve(struct buf *buf, size_t more)
{
    size_t need;

    if (buf->overflow)
        return false;
    if (__builtin_add_overflow(buf->n, more, &need) || (buf->ceiling && need > buf->ceiling)) {
        buf->overflow = true;
        return false;
    }
    if (need <= buf->capacity)
        return true;
    size_t capacity = buf->capacity ? buf->capacity : 64;
    while (capacity < need)
        capacity = capacity > SIZE_MAX / 2 ? need : capacity * 2;
    if (buf->ceiling && capacity > buf->ceiling)
        capacity = buf->ceiling;
    char *data = capacity < SIZE_MAX ? realloc(buf->data, capacity + 1) : NULL;
    if (!data) {
        buf->overflow = true;
        return false;
    }
    buf->data = data;
    buf->capacity = capacity;
    return true;
}

bool buf_append(struct buf *buf, const void *bytes, size_t n)
{
    if (!buf_reserve(buf, n))
        return false;
    if (n)
        memcpy(buf->data + buf->n, bytes, n);
    buf->n += n;
    return true;
}

bool buf_str(struct buf *buf, struct str s)
{
    return buf_append(buf, s.s, s.n);
}

bool buf_cstr(struct buf *buf, const char *s)
{
    return buf_append(buf, s, strlen(s));
}

bool buf_char(struct buf *buf, char c)
{
    return buf_append(buf, &c, 1);
}

bool buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args, again;

    va_start(args, format);
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    const bool fits = n >= 0 && buf_reserve(buf, (size_t)n);
    if (fits && n > 0) {
        vsnprintf(buf->data + buf->n, (size_t)n + 1, format, again);
        buf->n += (size_t)n;
    }
    va_end(again);
    return fits;
}

void buf_consume(struct buf *buf, size_t n)
{
    if (n < buf->n)
        memmove(buf->data, buf->data + n, buf->n - n);
    buf->n = n < buf->n ? buf->n - n : 0;
}
