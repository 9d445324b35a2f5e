/* stops.c - one Knuth-Morris-Pratt search a sequence, fed byte by byte, so that each byte costs the
 * same however sequences and text repeat themselves. The longest beginning of a sequence that the
 * text ends with is what has to be kept back.
 * Knuth, Morris, Pratt: Fast Pattern Matching in Strings, SIAM J. Comput. 6 (1977). */
#include "chat/stops.h"

struct stop_search {
    struct str sequence;
    uint32_t *shorter;                  /* [i]: after i bytes, the next shorter beginning to try */
    uint32_t found;                     /* how many bytes of the sequence the text ends with */
};

/* Takes one more byte of text. */
static uint32_t advance(const struct stop_search *search, uint32_t found, char c)
{
    while (found > 0 && search->sequence.s[found] != c)
        found = search->shorter[found];
    return search->sequence.s[found] == c ? found + 1 : 0;
}

void stops_init(struct stops *stops, const struct str *sequences, size_t n)
{
    *stops = (struct stops){.n = n, .matched = -1};
    if (n == 0)
        return;
    stops->arena = arena_new(1024);
    stops->searches = arena_array(stops->arena, n, sizeof *stops->searches);
    for (size_t i = 0; i < n; i++) {
        struct stop_search *search = &stops->searches[i];
        search->sequence = sequences[i];
        search->shorter = arena_array(stops->arena, sequences[i].n + 1, sizeof *search->shorter);
        /* The sequence searched for in itself, one byte later. */
        for (size_t at = 1; at < sequences[i].n; at++)
            search->shorter[at + 1] = advance(search, search->shorter[at], sequences[i].s[at]);
    }
}

void stops_release(struct stops *stops)
{
    arena_free(stops->arena);
    buf_release(&stops->held);
    *stops = (struct stops){.matched = -1};
}

/* Feeds one byte to all. The longest sequence that ends with it, or -1; *kept: how much of the
 * text's end may still become one. */
static int feed(struct stops *stops, char c, size_t *kept)
{
    int matched = -1;

    *kept = 0;
    for (size_t i = 0; i < stops->n; i++) {
        struct stop_search *search = &stops->searches[i];
        if (search->sequence.n == 0)
            continue;
        search->found = advance(search, search->found, c);
        if (search->found > *kept)
            *kept = search->found;
        if (search->found == search->sequence.n &&
            (matched < 0 || search->sequence.n > stops->searches[matched].sequence.n))
            matched = (int)i;
    }
    return matched;
}

bool stops_push(struct stops *stops, struct str text, struct buf *out)
{
    size_t kept = stops->held.n;

    if (stops->matched >= 0)
        return true;
    for (size_t i = 0; i < text.n; i++) {
        stops->matched = feed(stops, text.s[i], &kept);
        if (stops->matched >= 0) {
            text.n = i + 1;
            kept = stops->searches[stops->matched].sequence.n;
            break;
        }
    }
    buf_str(&stops->held, text);
    buf_append(out, stops->held.data, stops->held.n - kept);
    buf_consume(&stops->held, stops->held.n - kept);
    if (stops->matched >= 0)
        buf_reset(&stops->held);
    return stops->matched >= 0;
}

void stops_finish(struct stops *stops, struct buf *out)
{
    if (stops->matched < 0)
        buf_str(out, buf_view(&stops->held));
    buf_reset(&stops->held);
    for (size_t i = 0; i < stops->n; i++)
        stops->searches[i].found = 0;
}
