/* fuzz_stops.c - stop sequences and text cut at will, against a plain search over the whole.
 * Pieces of the input end with a zero byte: up to 4 sequences, an empty piece, then text pieces. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "chat/stops.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { SEQUENCES_MAX = 4 };

static bool piece_next(struct str *rest, struct str *piece)
{
    if (rest->n == 0)
        return false;
    const char *end = memchr(rest->s, 0, rest->n);
    *piece = (struct str){rest->s, end ? (size_t)(end - rest->s) : rest->n};
    const size_t used = piece->n + (end != NULL);
    *rest = (struct str){rest->s + used, rest->n - used};
    return true;
}

static int plain_search(struct str text, const struct str *sequences, size_t n, size_t *begin)
{
    for (size_t end = 1; end <= text.n; end++) {
        int found = -1;
        for (size_t i = 0; i < n; i++) {
            if (str_ends((struct str){text.s, end}, sequences[i]) &&
                (found < 0 || sequences[i].n > sequences[found].n))
                found = (int)i;
        }
        if (found >= 0) {
            *begin = end - sequences[found].n;
            return found;
        }
    }
    *begin = text.n;
    return -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct str rest = {(const char *)bytes, n}, piece, sequences[SEQUENCES_MAX];
    struct buf whole = {0}, out = {0};
    struct stops stops;
    size_t sequences_n = 0, begin;

    while (sequences_n < SEQUENCES_MAX && piece_next(&rest, &piece) && piece.n)
        sequences[sequences_n++] = piece;
    stops_init(&stops, sequences, sequences_n);
    while (piece_next(&rest, &piece)) {
        buf_str(&whole, piece);
        stops_push(&stops, piece, &out);
    }
    stops_finish(&stops, &out);
    if (stops.matched != plain_search(buf_view(&whole), sequences, sequences_n, &begin) ||
        out.n != begin || (begin && memcmp(out.data, whole.data, begin) != 0))
        abort();
    stops_release(&stops);
    buf_release(&whole);
    buf_release(&out);
    return 0;
}
