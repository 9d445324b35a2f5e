/* pattern.h - an expression written for Oniguruma, in PCRE2's words. */
#ifndef PENSIEVE_ENGINE_PATTERN_H
#define PENSIEVE_ENGINE_PATTERN_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* White space as Unicode and Oniguruma have it, for the inside of a class: PCRE2's \s also holds
 * U+180E, which is none since Unicode 6.3. */
#define PATTERN_SPACE \
    "\\x09-\\x0d\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}" \
    "\\x{3000}"

/* Appends the pattern to out. ERR_FORMAT: it holds something that the two read differently. */
bool pattern_translate(struct str pattern, struct buf *out, struct err *err);
/* The same for a text that stands for itself. */
void pattern_quote(struct str text, struct buf *out);

#endif
