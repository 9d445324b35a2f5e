/* progress.h - how far a download is, for a person: a line that moves on a terminal, else a line
 * now and then. It never goes back, even where bytes were thrown away. */
#ifndef PENSIEVE_APP_PROGRESS_H
#define PENSIEVE_APP_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    uint64_t total, shown;              /* bytes */
    uint64_t begun_ns, said_ns;
    uint64_t at_begin;                  /* bytes that were there already: not part of the speed */
    unsigned said_tenths;
    bool terminal;
};

void progress_begin(struct progress *progress, uint64_t total, uint64_t have);
void progress_set(struct progress *progress, uint64_t have);
void progress_end(struct progress *progress);

#endif
