/* child.h - a process that serves us: started, watched, ended when it is stuck, started again.
 *
 * It takes lines from its standard input and answers by lines on its standard output; what it writes to
 * standard error goes into the log. However it ends, it is started again after a pause, which doubles as long
 * as it does not last. Its standard input ends with this process, however that ends: a program made
 * for this ends then too, and leaves nothing behind even after a kill -9.
 *
 * All calls and callbacks are on the loop thread. It keeps no loop from returning. */
#ifndef PENSIEVE_BACKEND_CHILD_H
#define PENSIEVE_BACKEND_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/str.h"

enum {
    CHILD_PAUSE_MS = 250,
    CHILD_PAUSE_MS_MAX = 30 * 1000,
    CHILD_LASTED_MS = 10 * 1000,        /* who was ready for so long has the shortest pause again */
    CHILD_UNSENT_BYTES_MAX = 512 << 20,
    CHILD_LOG_LINE_BYTES_MAX = 1024,    /* of standard error; what is longer comes in pieces */
    CHILD_WHY_BYTES_MAX = 200,
};

enum child_state {
    CHILD_STARTING,                     /* until child_ready */
    CHILD_READY,
    CHILD_ENDING,                       /* it was told to, or has closed something */
    CHILD_RESTING,                      /* it has ended, and is to be started again */
};

struct child_options {
    const char *name;                   /* for the log */
    const char *const *argv;            /* ends with NULL; argv[0] is looked for in PATH */
    size_t line_bytes_max;              /* of its standard output */
    uint32_t start_ms;                  /* it must be ready by then, */
    uint32_t stall_ms;                  /* and afterwards write a line at least that often */
    /* One line without its end. */
    void (*on_line)(void *context, struct str line);
    /* It has ended, and all its lines were handed over; why: "ended with status 1". */
    void (*on_down)(void *context, const char *why);
    void *context;
};

struct child;

/* Starts it, or tries to: a program that isn't there is a child that ends at once. What the options point
 * to must live until child_free. No on_down comes from within this call. */
struct child *child_new(uv_loop_t *loop, const struct child_options *options);
/* Ends it for good, at once. No callback comes any more; its memory and its handles go when the loop
 * has seen it end. Not from within a callback. */
void child_free(struct child *child);

enum child_state child_state(const struct child *child);
/* The program says of itself that it is ready. */
void child_ready(struct child *child);
/* Copies. false: it is not there to be told; on_down has come, or is to come. */
bool child_send(struct child *child, struct str bytes);
/* It is of no use as it is: kills it, and starts another. No line of it comes any more. */
void child_end(struct child *child, const char *format, ...)
    __attribute__((format(printf, 2, 3), nonnull(2)));
/* Until it is tried again; 0 if it is not resting. */
uint64_t child_rests_ms(const struct child *child);

#endif
