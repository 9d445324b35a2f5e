/* fetch.h - one file of a hub, whole and checked, into a folder. */
#ifndef PENSIEVE_APP_FETCH_H
#define PENSIEVE_APP_FETCH_H

#include "app/hub.h"
#include "app/web.h"

struct fetch {
    struct web *web;
    const char *path;                   /* below the endpoint */
    const struct hub_file *file;
    const char *folder;                 /* where it goes, under file->name */
    /* How many of its bytes are there; may go down where some were thrown away. */
    void (*on_bytes)(void *context, uint64_t have);
    void *context;
};

/* Goes on where an earlier attempt left off. ERR_IO, ERR_FORMAT (its bytes are not what the hub's
 * listing says, twice), and what web_try refuses. */
bool fetch_file(const struct fetch *fetch, struct err *err);
/* Whether a file has the size and digest. false with err ERR_NONE: it isn't there, or differs. */
bool fetch_is_whole(const char *path, const struct hub_file *file, struct err *err);
/* Makes what was done in a folder last. */
bool fetch_sync_folder(const char *path, struct err *err);
/* Whether a name in the folder is that of an unfinished file. */
bool fetch_is_part(struct str name);

#endif
