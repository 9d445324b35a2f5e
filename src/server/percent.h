/* percent.h - percent-encoding of ids in paths and queries. */
#ifndef PENSIEVE_SERVER_PERCENT_H
#define PENSIEVE_SERVER_PERCENT_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/str.h"

/* false: not percent-encoding, empty, or not text (UTF-8 without NUL). */
bool percent_decode(struct arena *arena, struct str s, struct str *out);

#endif
