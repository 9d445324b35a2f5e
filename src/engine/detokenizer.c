/* detokenizer.c - holds back the at most three bytes that may still become a character. */
#include "engine/detokenizer.h"

#include <string.h>

#include "base/utf8.h"

static const char replacement[] = "\xef\xbf\xbd";

/* Gives out what is decided of s and returns how many of its last bytes are not. */
static size_t give_out(struct str s, struct buf *out)
{
    for (;;) {
        const size_t valid = utf8_valid_prefix(s);
        buf_append(out, s.s, valid);
        s = (struct str){s.s + valid, s.n - valid};
        if (s.n == 0 || utf8_incomplete_tail(s) == s.n)
            return s.n;
        buf_cstr(out, replacement);             /* one for the longest beginning of a character */
        size_t broken = 1;
        while (broken < s.n && utf8_incomplete_tail((struct str){s.s, broken + 1}) == broken + 1)
            broken++;
        s = (struct str){s.s + broken, s.n - broken};
    }
}

/* Drops what the first token that writes anything has too much. */
static struct str strip_first(struct detokenizer *detokenizer, struct str bytes,
                              char stripped[VOCAB_TOKEN_BYTES_MAX])
{
    const enum vocab_decode decode = detokenizer->decode;
    size_t n = 0;

    detokenizer->decode = DECODE_PLAIN;
    if (decode == DECODE_STRIP_SPACE)
        return bytes.s[0] == ' ' ? (struct str){bytes.s + 1, bytes.n - 1} : bytes;
    for (size_t i = 0; i < bytes.n && n < VOCAB_TOKEN_BYTES_MAX; i++)
        if (bytes.s[i] != ' ')
            stripped[n++] = bytes.s[i];
    return (struct str){stripped, n};
}

void detokenizer_push(struct detokenizer *detokenizer, struct str bytes, struct buf *out)
{
    char stripped[VOCAB_TOKEN_BYTES_MAX];

    if (detokenizer->decode != DECODE_PLAIN && bytes.n)
        bytes = strip_first(detokenizer, bytes, stripped);
    /* First byte by byte, until what was held back is decided; then the rest in one go. */
    while (detokenizer->tail_n && bytes.n) {
        char joined[sizeof detokenizer->tail];
        const size_t n = detokenizer->tail_n + 1;
        memcpy(joined, detokenizer->tail, n - 1);
        joined[n - 1] = bytes.s[0];
        bytes = (struct str){bytes.s + 1, bytes.n - 1};
        detokenizer->tail_n = give_out((struct str){joined, n}, out);
        memcpy(detokenizer->tail, joined + n - detokenizer->tail_n, detokenizer->tail_n);
    }
    if (bytes.n == 0)
        return;
    detokenizer->tail_n = give_out(bytes, out);
    memcpy(detokenizer->tail, bytes.s + bytes.n - detokenizer->tail_n, detokenizer->tail_n);
}

void detokenizer_finish(struct detokenizer *detokenizer, struct buf *out)
{
    if (detokenizer->tail_n)
        buf_cstr(out, replacement);
    detokenizer->tail_n = 0;
}
