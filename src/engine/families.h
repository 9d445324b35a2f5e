/* families.h - the patterns that GGUF names in tokenizer.ggml.pre, in PCRE2's words. */
#ifndef PENSIEVE_ENGINE_FAMILIES_H
#define PENSIEVE_ENGINE_FAMILIES_H

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

enum { FAMILY_STEPS_MAX = 6 };

struct family {
    const char *name;
    const char *const *patterns;    /* one after the other, each isolates its matches; NULL ends */
    bool whole_words;               /* a word that is a token is that token, whatever merges say */
    bool add_bos;                   /* what files that don't say mean */
    bool compose;                   /* the models' tokenizer.json composes the text first (NFC) */
};

/* ERR_FORMAT: unknown; the text lists those that are known. */
const struct family *family_of(struct str name, struct err *err);

#endif
