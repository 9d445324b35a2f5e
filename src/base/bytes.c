/* bytes.c - see bytes.h. */
#include "base/bytes.h"

static void put(struct buf *out, uint64_t value, size_t n)
{
    unsigned char bytes[8];

    for (size_t i = 0; i < n; i++)
        bytes[i] = (unsigned char)(value >> 8 * i);
    buf_append(out, bytes, n);
}

static bool take(struct str *in, uint64_t *value, size_t n)
{
    if (in->n < n)
        return false;
    *value = 0;
    for (size_t i = 0; i < n; i++)
        *value |= (uint64_t)(unsigned char)in->s[i] << 8 * i;
    *in = (struct str){in->s + n, in->n - n};
    return true;
}

void bytes_put_u32(struct buf *out, uint32_t value)
{
    put(out, value, sizeof value);
}

void bytes_put_u64(struct buf *out, uint64_t value)
{
    put(out, value, sizeof value);
}

bool bytes_take_u32(struct str *in, uint32_t *value)
{
    uint64_t wide;

    if (!take(in, &wide, sizeof *value))
        return false;
    *value = (uint32_t)wide;
    return true;
}

bool bytes_take_u64(struct str *in, uint64_t *value)
{
    return take(in, value, sizeof *value);
}
