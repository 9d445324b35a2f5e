/* memory.h - which models are in memory: loaded when somebody comes, gone when nobody did for long
 * or when another needs their room.
 *
 * A model is a resident. Its owner embeds the struct, fills the part above the line, and says when
 * users come and go. All calls are made on the loop thread; `load` and `unload` run on the loop's
 * work pool, one of all residents at a time, so that they may take as long as they like. */
#ifndef PENSIEVE_BACKEND_MEMORY_H
#define PENSIEVE_BACKEND_MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "base/str.h"

struct memory;
struct resident;

struct resident_ops {
    bool (*load)(struct resident *resident, struct err *err);           /* on the pool */
    void (*unload)(struct resident *resident);                          /* on the pool */
    /* To those who wait: it is here, or (error) it will not be. */
    void (*settled)(struct resident *resident, const struct err *error);
};

enum residence { RESIDENT_AWAY, RESIDENT_LOADING, RESIDENT_HERE, RESIDENT_LEAVING };

struct resident {
    const struct resident_ops *ops;
    struct str name;
    uint64_t bytes;             /* while it is not away */
    bool stays;                 /* once here, always here */
    enum residence state;       /* at memory_add: AWAY or HERE */

    /* memory.c's own */
    struct memory *memory;
    struct resident *next;
    uint64_t order;             /* wanted since; 0: not wanted */
    uint32_t users;             /* those who wait included */
    uint64_t idle_since;        /* loop time at which the last user left */
    uv_work_t work;
    struct err error;
    bool loaded;
};

/* bytes_max 0: no ceiling. idle_ms 0: nobody goes for being idle. Keeps no loop from returning. */
struct memory *memory_new(uv_loop_t *loop, uint64_t bytes_max, uint64_t idle_ms);
void memory_free(struct memory *memory);        /* after its residents' owners; leaves a closing
                                                 * handle on the loop */
void memory_add(struct memory *memory, struct resident *resident);
uint64_t memory_used(const struct memory *memory);      /* bytes of all that are not away */

/* One user more, for whom the model stays until resident_leave. true: it is here. false: `settled`
 * will be called, not from within this call. */
bool resident_enter(struct resident *resident);
void resident_leave(struct resident *resident);
const char *residence_name(enum residence state);       /* "unloaded", "loading", ... */

#endif
