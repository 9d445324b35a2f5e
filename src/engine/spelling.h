/* spelling.h - how files spell what a token writes. */
#ifndef PENSIEVE_ENGINE_SPELLING_H
#define PENSIEVE_ENGINE_SPELLING_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

#define SPACE_MARK "\xe2\x96\x81"               /* U+2581, SentencePiece's space */

/* Each writes at most spelling.n bytes to out; false: it is no such spelling. */

/* GPT-2's byte alphabet: one printable character a byte. */
bool spelling_of_bytes(struct str spelling, char *out, size_t *n);
/* <0xNN> and nothing else. */
bool spelling_of_byte(struct str spelling, char *out);
/* U+2581 for a space; anything else stands for itself. */
bool spelling_of_text(struct str spelling, char *out, size_t *n);
/* Of a token that ends a turn in one family of models or another. */
bool spelling_ends_turn(struct str spelling);
/* <...> or [...]: means something to a template, whatever the file says of it. */
bool spelling_is_markup(struct str spelling);

#endif
