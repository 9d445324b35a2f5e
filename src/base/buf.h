/* buf.h - a growing byte buffer with a ceiling, for bytes on their way out or in.
 *
 * Appending past the ceiling sets `overflow`, drops that append whole and returns false; the
 * caller checks once at the end. A zeroed struct is an empty buffer without a ceiling. */
#ifndef PENSIEVE_BASE_BUF_H
#define PENSIEVE_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

struct buf {
    char *data;                 /* not NUL-terminated */
    size_t n, capacity;
    size_t ceiling;             /* 0: none */
    bool overflow;
};

void buf_init(struct buf *buf, size_t ceiling);
void buf_release(struct buf *buf);              /* frees the storage; the struct is empty again */
void buf_reset(struct buf *buf);                /* n = 0, overflow = false, storage kept */
bool buf_reserve(struct buf *buf, size_t more); /* room for more bytes past n */
bool buf_append(struct buf *buf, const void *bytes, size_t n);
bool buf_str(struct buf *buf, struct str s);
bool buf_cstr(struct buf *buf, const char *s);
bool buf_char(struct buf *buf, char c);
bool buf_printf(struct buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3), nonnull(2)));
/* Takes the first n bytes off the front. */
void buf_consume(struct buf *buf, size_t n);

static inline struct str buf_view(const struct buf *buf)
{
    return (struct str){buf->data, buf->n};
}

#endif
