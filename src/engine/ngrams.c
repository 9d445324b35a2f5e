/* ngrams.c - the ring of tokens, and for each of two lengths a hash table of chains through it.
 *
 * The hard thing is to stay cheap on any text. A chain links the places whose last tokens hash the
 * same, the most recent first; only its first NGRAMS_CANDIDATES are compared, so that a text of one
 * word repeated costs no more than another. That would miss a long match behind many short ones:
 * hence a second set of chains for longer ends, which is asked first. Links are positions modulo
 * 2^32 and may be stale; a candidate counts only if it is in the ring and its tokens are the same. */
#include "engine/ngrams.h"

#include <stdlib.h>
#include <string.h>

enum { ORDERS = 2, TOKENS_MIN = 256 };

static const uint32_t orders[ORDERS] = {NGRAMS_SHORT, NGRAMS_LONG};

struct chains {
    uint32_t *heads;            /* [size] by hash: the position after the last such place */
    uint32_t *links;            /* [size] by position: the same before it */
};

struct ngrams {
    uint32_t size, end;         /* a power of 2; tokens pushed so far */
    bool wrapped;               /* there were `size` of them */
    int32_t *tokens;            /* [size] */
    struct chains chains[ORDERS];
};

struct ngrams *ngrams_new(uint32_t tokens_max)
{
    uint32_t size = TOKENS_MIN;

    while (size < tokens_max && size < NGRAMS_TOKENS_MAX)
        size *= 2;
    struct ngrams *ngrams = malloc(sizeof *ngrams);
    uint32_t *storage = calloc((size_t)size * (1 + 2 * ORDERS), sizeof *storage);
    if (!ngrams || !storage) {
        free(ngrams);
        free(storage);
        return NULL;
    }
    *ngrams = (struct ngrams){.size = size, .tokens = (int32_t *)storage};
    for (uint32_t i = 0; i < ORDERS; i++) {
        ngrams->chains[i].heads = storage + (size_t)size * (1 + 2 * i);
        ngrams->chains[i].links = ngrams->chains[i].heads + size;
    }
    return ngrams;
}

void ngrams_free(struct ngrams *ngrams)
{
    if (!ngrams)
        return;
    free(ngrams->tokens);
    free(ngrams);
}

/* Tokens kept. */
static uint32_t held(const struct ngrams *ngrams)
{
    return ngrams->wrapped ? ngrams->size : ngrams->end;
}

static uint32_t slot(const struct ngrams *ngrams, uint32_t position)
{
    return position & (ngrams->size - 1);
}

/* Nobody gains by collisions: they lengthen chains that are not followed far. */
static uint32_t hash_of(const struct ngrams *ngrams, const int32_t *tokens, uint32_t n)
{
    uint64_t hash = 0;

    for (uint32_t i = 0; i < n; i++)
        hash = (hash ^ (uint32_t)tokens[i]) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(hash >> 32) & (ngrams->size - 1);
}

/* The last n tokens of the log; n <= NGRAMS_LONG and there are so many. */
static void last(const struct ngrams *ngrams, int32_t *out, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = ngrams->tokens[slot(ngrams, ngrams->end - n + i)];
}

void ngrams_push(struct ngrams *ngrams, int32_t token)
{
    int32_t tail[NGRAMS_LONG];
    const uint32_t at = slot(ngrams, ngrams->end);

    for (uint32_t i = 0; i < ORDERS; i++) {     /* now that something follows them */
        struct chains *chains = &ngrams->chains[i];
        if (held(ngrams) < orders[i])
            continue;
        last(ngrams, tail, orders[i]);
        uint32_t *head = &chains->heads[hash_of(ngrams, tail, orders[i])];
        chains->links[at] = *head;
        *head = ngrams->end;
    }
    ngrams->tokens[at] = token;
    ngrams->end++;
    ngrams->wrapped |= ngrams->end == ngrams->size;
}

/* How many tokens before `next` are the same as the tail's last. */
static uint32_t measure(const struct ngrams *ngrams, uint32_t next, const int32_t *tail,
                        uint32_t tail_n)
{
    const uint32_t behind = held(ngrams) - (ngrams->end - next);        /* older ones */
    uint32_t most = tail_n < NGRAMS_MATCH_MAX ? tail_n : NGRAMS_MATCH_MAX, n = 0;

    most = behind < most ? behind : most;
    while (n < most && ngrams->tokens[slot(ngrams, next - 1 - n)] == tail[tail_n - 1 - n])
        n++;
    return n;
}

/* A position that a token stands at now. */
static bool is_held(const struct ngrams *ngrams, uint32_t position)
{
    return ngrams->end - position - 1 < held(ngrams);
}

static struct ngrams_match find_in(const struct ngrams *ngrams, uint32_t order, const int32_t *tail,
                                   uint32_t tail_n)
{
    const struct chains *chains = &ngrams->chains[order];
    const uint32_t n = orders[order];
    struct ngrams_match best = {0};

    if (tail_n < n)
        return best;
    uint32_t next = chains->heads[hash_of(ngrams, tail + tail_n - n, n)];
    for (int i = 0; i < NGRAMS_CANDIDATES && is_held(ngrams, next); i++) {
        const uint32_t length = measure(ngrams, next, tail, tail_n);
        if (length >= n && length > best.length)
            best = (struct ngrams_match){next, length};
        if (best.length == NGRAMS_MATCH_MAX)
            break;
        const uint32_t older = chains->links[slot(ngrams, next)];
        if (ngrams->end - older <= ngrams->end - next)
            break;                              /* the chain's end; or 2^32 tokens ago */
        next = older;
    }
    return best;
}

struct ngrams_match ngrams_find(const struct ngrams *ngrams, const int32_t *tail, uint32_t tail_n)
{
    struct ngrams_match match = {0};

    for (uint32_t i = ORDERS; i-- > 0 && !match.length;)
        match = find_in(ngrams, i, tail, tail_n);
    return match;
}

uint32_t ngrams_end(const struct ngrams *ngrams)
{
    return ngrams->end;
}

bool ngrams_at(const struct ngrams *ngrams, uint32_t position, int32_t *token)
{
    if (!is_held(ngrams, position))
        return false;
    *token = ngrams->tokens[slot(ngrams, position)];
    return true;
}
