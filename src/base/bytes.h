/* bytes.h - whole numbers as bytes, the lowest first, and back: for what outlives the process, or
 * leaves it. */
#ifndef PENSIEVE_BASE_BYTES_H
#define PENSIEVE_BASE_BYTES_H

#include <stdint.h>

#include "base/buf.h"

void bytes_put_u32(struct buf *out, uint32_t value);
void bytes_put_u64(struct buf *out, uint64_t value);

/* Takes the number off the front. false: there are too few bytes; nothing is taken then. */
bool bytes_take_u32(struct str *in, uint32_t *value);
bool bytes_take_u64(struct str *in, uint64_t *value);

#endif
