/* whole.h - every byte of a model on disk, read once. */
#ifndef PENSIEVE_APP_WHOLE_H
#define PENSIEVE_APP_WHOLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

struct whole {
    size_t files;
    uint64_t bytes;
};

/* A file; of a split GGUF set all parts; of a folder with config.json all files at its top, of any
 * other its GGUF files. So that a bad disk is found now and not in the middle of an answer: ERR_IO
 * names the file and the byte. */
bool whole_read(struct arena *arena, const char *path, struct whole *out, struct err *err);

#endif
