/* file_map.h - files that a model is made of: mapped whole, or read whole where they are small. */
#ifndef PENSIEVE_ENGINE_FILE_MAP_H
#define PENSIEVE_ENGINE_FILE_MAP_H

#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

struct file_map {
    const void *bytes;          /* NULL: not mapped */
    size_t n;
};

/* Maps a regular file that is not empty. Nothing of it is read before it is touched. what: "the
 * model", for error texts. ERR_IO, or ERR_FORMAT where it is no such file. */
bool file_map_open(struct file_map *map, const char *path, const char *what, struct err *err);
void file_map_close(struct file_map *map);      /* a zeroed one is allowed */

/* The last part of a path, which may end in slashes. */
struct str file_base(struct str path);

/* The file NAME of a folder, NUL-terminated in the arena. A missing one gives s == NULL and true if
 * it may be missing. ERR_IO; ERR_FORMAT if it is longer than bytes_max. */
bool file_read(struct arena *arena, struct str folder, const char *name, size_t bytes_max,
               bool optional, struct str *out, struct err *err);

#endif
