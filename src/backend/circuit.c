/* circuit.c - see circuit.h. The hard thing is the half-open state: a burst of requests must not
 * all be sent to try it, and one that is cancelled must leave room for the next. */
#include "backend/circuit.h"

_Static_assert(CIRCUIT_WINDOW <= 32, "outcomes has a bit for each");

static void note(struct circuit *circuit, bool failed)
{
    const uint32_t mask = (uint32_t)((1ull << CIRCUIT_WINDOW) - 1);

    circuit->outcomes = ((circuit->outcomes << 1) | failed) & mask;
    circuit->outcomes_n += circuit->outcomes_n < CIRCUIT_WINDOW;
}

static bool mostly_failed(const struct circuit *circuit)
{
    return circuit->outcomes_n == CIRCUIT_WINDOW &&
           __builtin_popcount(circuit->outcomes) > CIRCUIT_WINDOW / 2;
}

void circuit_wake(struct circuit *circuit, uint64_t now_ms)
{
    if (circuit->state == CIRCUIT_OPEN && now_ms >= circuit->rested_at)
        circuit_half(circuit);
}

bool circuit_allows(const struct circuit *circuit)
{
    return circuit->state == CIRCUIT_CLOSED || (circuit->state == CIRCUIT_HALF && !circuit->tried);
}

void circuit_begin(struct circuit *circuit)
{
    circuit->tried = circuit->state == CIRCUIT_HALF;
}

/* Also of one that was asked before it opened: it answers, so it is there. */
void circuit_success(struct circuit *circuit)
{
    if (circuit->state != CIRCUIT_CLOSED)
        *circuit = (struct circuit){0};
    circuit->in_a_row = 0;
    note(circuit, false);
}

void circuit_away(struct circuit *circuit, uint64_t now_ms, uint64_t look_ms)
{
    circuit->rested_at = now_ms + look_ms;
    circuit->state = CIRCUIT_OPEN;
    circuit->tried = false;
}

static void rest(struct circuit *circuit, uint64_t now_ms)
{
    const uint64_t longer = circuit->rest_ms * 2;

    circuit->rest_ms = circuit->rest_ms == 0            ? CIRCUIT_REST_MS
                       : longer > CIRCUIT_REST_MAX_MS ? CIRCUIT_REST_MAX_MS
                                                      : longer;
    circuit_away(circuit, now_ms, circuit->rest_ms);
}

void circuit_failure(struct circuit *circuit, uint64_t now_ms)
{
    note(circuit, true);
    circuit->in_a_row++;
    if (circuit->state == CIRCUIT_HALF ||
        (circuit->state == CIRCUIT_CLOSED &&
         (circuit->in_a_row >= CIRCUIT_FAILURES || mostly_failed(circuit))))
        rest(circuit, now_ms);
}

void circuit_nothing(struct circuit *circuit)
{
    circuit->tried = false;
}

void circuit_half(struct circuit *circuit)
{
    circuit->state = CIRCUIT_HALF;
    circuit->tried = false;
}

uint64_t circuit_rest_ms(const struct circuit *circuit, uint64_t now_ms)
{
    if (circuit->state != CIRCUIT_OPEN || now_ms >= circuit->rested_at)
        return 0;
    return circuit->rested_at - now_ms;
}
