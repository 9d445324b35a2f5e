/* spelled.h - finds the tokens that stand in text as they are spelled, before it is cut to words. */
#ifndef PENSIEVE_ENGINE_SPELLED_H
#define PENSIEVE_ENGINE_SPELLED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"
#include "pensieve/engine.h"

struct spelled_token {
    struct str text;            /* never empty */
    int32_t id;
    bool special;               /* plain text must never become it */
    uint8_t flags;              /* enum token_flags */
};

struct spelled {
    struct spelled_token *list; /* sorted by text as bytes */
    size_t n;
    size_t first[257];          /* [byte]: where texts that begin with it start */
};

/* Sorts the list, which must outlive it. */
void spelled_init(struct spelled *spelled, struct spelled_token *list, size_t n);

/* A walk over a text from left to right; of tokens that begin at one place the longest is taken. */
struct spelled_walk {
    const struct spelled *spelled;
    struct str text;
    const struct plain_range *plain;    /* sorted, disjoint */
    size_t plain_n;
    size_t at;                  /* where the search goes on */
    size_t done;                /* the end of the last match, with the white space it swallowed */
};

/* The next match; the text between the one before it and `begin` (if that is less) is ordinary. */
struct spelled_match {
    size_t begin, end;          /* with the white space that it swallows */
    int32_t id;
};
bool spelled_next(struct spelled_walk *walk, struct spelled_match *out);

#endif
