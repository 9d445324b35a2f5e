/* base64.h - bytes as text and back: RFC 4648, the standard alphabet, with its padding. */
#ifndef PENSIEVE_BASE_BASE64_H
#define PENSIEVE_BASE_BASE64_H

#include "base/buf.h"

void base64_put(struct buf *out, const void *bytes, size_t n);
/* false: not base64, in its one form for these bytes; out may have some of them then. */
bool base64_take(struct buf *out, struct str text);

#endif
