/* door.h - who may wait for the engine: so many at a time, and nobody all of the places.
 *
 * A sequence takes a place before it is made and gives it back when it is first admitted, or ends
 * without. Called from any thread; the lock is held for a few instructions. */
#ifndef PENSIEVE_ENGINE_DOOR_H
#define PENSIEVE_ENGINE_DOOR_H

#include <stdbool.h>
#include <stdint.h>

#include "pensieve/engine.h"

struct door;

struct door_stats {
    uint32_t waiting[SEQUENCE_RANKS];           /* now */
    uint64_t waiting_tokens;                    /* of their prompts */
    uint64_t admitted[SEQUENCE_RANKS];          /* since the start, and */
    double waited_ms[SEQUENCE_RANKS];           /* how long they waited, all together */
    double interval_s;                          /* between two admissions, lately; 0: not known */
};

struct door *door_new(uint32_t places);         /* NULL: no memory */
void door_free(struct door *door);
/* ERR_OVERLOADED: no place is free. ERR_RATE: this owner has its share, door_share(), already. */
bool door_enter(struct door *door, uint64_t owner, enum sequence_rank rank, uint32_t tokens,
                struct err *err);
/* waited_ms < 0: it goes without having been admitted. */
void door_leave(struct door *door, uint64_t owner, enum sequence_rank rank, uint32_t tokens,
                double waited_ms);
/* Three quarters of the places: one owner alone never keeps the others out. */
uint32_t door_share(uint32_t places);
struct door_stats door_stats(struct door *door);

#endif
