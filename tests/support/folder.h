/* folder.h - a folder of a test's own under the system's place for such, with files written into
 * it. */
#ifndef PENSIEVE_TESTS_FOLDER_H
#define PENSIEVE_TESTS_FOLDER_H

#include "base/arena.h"

/* A new, empty folder; its path is the arena's. A failure ends the test program. */
const char *folder_new(struct arena *arena);
/* With all that is in it. */
void folder_remove(const char *folder);
/* name may be "a/b": the folders on the way to it are made. */
void folder_write(const char *folder, const char *name, struct str content);

/* A test's own folder, as cmocka's setup and teardown make it and take it away. */
struct place {
    struct arena *arena;
    const char *root;
};

int place_open(void **state);
int place_close(void **state);

#endif
