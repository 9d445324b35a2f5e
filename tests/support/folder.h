/* folder.h - a folder of a test's own under the system's place for such, with files written into
 * it. */
#ifndef PENSIEVE_TESTS_FOLDER_H
#define PENSIEVE_TESTS_FOLDER_H

#include "base/arena.h"

/* A new, empty folder; its path is the arena's. A failure ends the test program. */
const char *folder_new(struct arena *arena);
/* With all that is in it; folders in it are not expected. */
void folder_remove(const char *folder);
void folder_write(const char *folder, const char *name, struct str content);

#endif
