/* utf8.h - the little of UTF-8 we need ourselves: is it valid, where may it be cut. */
#ifndef PENSIEVE_BASE_UTF8_H
#define PENSIEVE_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/* The length of the longest valid prefix (RFC 3629: no surrogates, no overlongs, max U+10FFFF). */
size_t utf8_valid_prefix(struct str s);
static inline bool utf8_valid(struct str s) { return utf8_valid_prefix(s) == s.n; }

/* How many bytes at the end of s begin a character that is not complete yet (0 to 3). Only bytes
 * that may still become a valid character count; broken ones give 0. */
size_t utf8_incomplete_tail(struct str s);

/* At most max bytes of s, cut between characters. */
struct str utf8_cut(struct str s, size_t max);

/* White space as Unicode has it (property White_Space), and the four separators U+001C..1F that
 * Python counts too. */
bool utf8_is_space(uint32_t code_point);
/* Only utf8_is_space's, or empty: text that the API doesn't take. */
bool utf8_is_blank(struct str s);
/* White_Space alone. */
static inline bool utf8_is_white(uint32_t code_point)
{
    return (code_point < 0x1c || code_point > 0x1f) && utf8_is_space(code_point);
}

/* Decodes one character at s (n > 0). Returns its length, or 0 if the bytes are not valid. */
size_t utf8_decode(struct str s, uint32_t *code_point);
/* Writes the character, returns its length (1 to 4); 0 for a surrogate or above U+10FFFF. */
size_t utf8_encode(char out[4], uint32_t code_point);

#endif
