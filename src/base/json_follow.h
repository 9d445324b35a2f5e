/* json_follow.h - walks along a JSON value byte by byte, and says where it ends or stops being
 * JSON.
 *
 * As strict as yyjson by default: no raw control characters in strings, surrogates in pairs. That
 * bytes are UTF-8 is not looked at. Fixed memory: nesting has a limit. A zeroed struct is at the
 * value's beginning. */
#ifndef PENSIEVE_BASE_JSON_FOLLOW_H
#define PENSIEVE_BASE_JSON_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

/* What holds the value in a request has room in JSON_DEPTH_MAX. */
enum { JSON_FOLLOW_DEPTH_MAX = 96 };

struct json_follow {
    uint64_t objects[2];                /* bit i: what is open at depth i is an object */
    uint8_t depth;
    uint8_t place;                      /* enum in json_follow.c */
    uint8_t escape;                     /* characters of an escape that were seen */
    uint8_t word, at;                   /* a literal, and how much of it was seen */
    uint16_t unit, high;                /* of \uXXXX; high: it waits for its low half */
    bool key;                           /* the string is an object's key */
};

enum json_step {
    JSON_MORE,
    JSON_WHOLE,                         /* c was its last byte */
    JSON_WHOLE_BEFORE,                  /* it ended before c: a number, which doesn't say its end */
    JSON_WRONG,
};
enum json_step json_follow(struct json_follow *follow, char c);

#endif
