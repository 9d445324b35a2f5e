/* follow.h - another program run in our place: what it is told it is told through us, and as it
 * ends we end. */
#ifndef PENSIEVE_APP_FOLLOW_H
#define PENSIEVE_APP_FOLLOW_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"

/* A program by its path, or by its name on the PATH, as a path that exec takes; NULL: there is
 * none. */
const char *follow_find(struct arena *arena, const char *name);
/* Becomes the program. Returns only where that failed: ERR_IO. */
bool follow_exec(const char *path, char *const *argv, struct err *err);
/* Runs the program, to its end. Signals that were sent to us alone are passed on; those of the
 * terminal reach it by themselves. Where it is stopped, so are we. *status: as waitpid has it.
 * ERR_IO */
bool follow_run(const char *path, char *const *argv, int *status, struct err *err);
/* Ends this process as that one ended: by the same code or the same signal. */
void follow_end(int status) __attribute__((noreturn));

#endif
