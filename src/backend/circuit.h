/* circuit.h - whether somebody who has failed is asked again: a circuit breaker (Nygard, 2007).
 *
 * Closed, all may ask. It opens after CIRCUIT_FAILURES in a row, or when of the last CIRCUIT_WINDOW
 * outcomes more than half were failures; then nobody asks until it has rested, each time twice as
 * long. Half open, one at a time may try: success closes it, failure opens it again. It knows no
 * clock: now_ms is any time that does not run backwards. */
#ifndef PENSIEVE_BACKEND_CIRCUIT_H
#define PENSIEVE_BACKEND_CIRCUIT_H

#include <stdbool.h>
#include <stdint.h>

enum {
    CIRCUIT_FAILURES = 3,
    CIRCUIT_WINDOW = 16,
    CIRCUIT_REST_MS = 1000,             /* the first one */
    CIRCUIT_REST_MAX_MS = 60000,
};

enum circuit_state { CIRCUIT_CLOSED, CIRCUIT_OPEN, CIRCUIT_HALF };

struct circuit {                        /* zeroed: closed */
    enum circuit_state state;
    uint32_t in_a_row;                  /* failures */
    uint32_t outcomes;                  /* a bit each, the last one lowest; 1: failed */
    uint32_t outcomes_n;
    bool tried;                         /* half open, and somebody is at it */
    uint64_t rest_ms, rested_at;        /* open: until then */
};

/* Open and rested: half open from now on. */
void circuit_wake(struct circuit *circuit, uint64_t now_ms);
bool circuit_allows(const struct circuit *circuit);
/* Somebody asks. Each call is followed by exactly one of the other three. */
void circuit_begin(struct circuit *circuit);
void circuit_success(struct circuit *circuit);
void circuit_failure(struct circuit *circuit, uint64_t now_ms);
void circuit_nothing(struct circuit *circuit);          /* it came to no outcome: cancelled */
/* Found out in another way: it is away, and is looked for again after so long; or it is back. */
void circuit_away(struct circuit *circuit, uint64_t now_ms, uint64_t look_ms);
void circuit_half(struct circuit *circuit);
uint64_t circuit_rest_ms(const struct circuit *circuit, uint64_t now_ms);       /* 0: not open */

#endif
