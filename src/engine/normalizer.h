/* normalizer.h - what a tokenizer does to text before it cuts it: Unicode forms, U+2581 for space. */
#ifndef PENSIEVE_ENGINE_NORMALIZER_H
#define PENSIEVE_ENGINE_NORMALIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum { NORMALIZER_STEPS_MAX = 16, NORMALIZER_TEXT_MAX = 256, NORMALIZER_BYTES_MAX = 1 << 30 };

struct normalizer_step {
    enum normalizer_kind {
        NORMALIZE_NFC, NORMALIZE_NFD, NORMALIZE_NFKC, NORMALIZE_NFKD,
        NORMALIZE_REPLACE,          /* every `from` by `to` */
        NORMALIZE_PREPEND,          /* `to` before any text that is not empty */
        NORMALIZE_PREPEND_MISSING,  /* ... that does not begin with it */
        NORMALIZE_PREPEND_FIRST,    /* ... and only where the whole text begins */
        NORMALIZE_STRIP_LEFT, NORMALIZE_STRIP_RIGHT,    /* white space */
    } kind;
    struct str from, to;            /* at most NORMALIZER_TEXT_MAX bytes each */
};

struct normalizer_steps {
    struct normalizer_step list[NORMALIZER_STEPS_MAX];
    size_t n;
};

/* ERR_FORMAT: there are too many steps already, or a text of this one is too long. */
bool normalizer_add(struct normalizer_steps *steps, struct normalizer_step step, struct err *err);

/* Where a text stands in the whole: nothing is prepended to one that only goes on. */
enum text_place { PLACE_FIRST, PLACE_LATER, PLACE_WITHIN };

/* text must be valid UTF-8, and so is what comes out.
 * *out is text itself or lies in one of the two buffers, until they are used again.
 * ERR_TOO_LARGE: it grew above NORMALIZER_BYTES_MAX. */
bool normalizer_run(const struct normalizer_steps *steps, struct str text,
                    enum text_place place, struct buf buffers[2], struct str *out, struct err *err);

#endif
