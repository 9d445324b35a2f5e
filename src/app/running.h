/* running.h - a Pensieve server as a program beside it sees it: whether one answers, and one of our
 * own that lives for as long as we do. */
#ifndef PENSIEVE_APP_RUNNING_H
#define PENSIEVE_APP_RUNNING_H

#include <sys/types.h>

#include "app/app.h"

struct running {
    const char *url;                    /* "http://127.0.0.1:7777" */
    const char *key;                    /* one that it accepts */
    const char *log;                    /* of the one that we started: a file */
    pid_t pid;                          /* of it; 0: it was there before us */
    int life;                           /* held open by us alone: when it closes, the server ends */
};

/* Finds the server of the configured host and port, or starts it, as `serve` would, and waits until
 * it is ready; meanwhile standard error says so. What it prints goes to config->launch_log.
 * No thread may be running. ERR_IO: another program has the port, or the server ended at once. */
bool running_find(struct running *running, const struct config *config, struct arena *arena,
                  struct err *err);
/* Ends the one that we started, and waits for its end. Nothing else is touched. */
void running_stop(struct running *running);

#endif
