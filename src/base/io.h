/* io.h - files in whole: what read, write and mkdir do in as many steps as it takes. */
#ifndef PENSIEVE_BASE_IO_H
#define PENSIEVE_BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/str.h"

/* n bytes from place `at` of a file on. How many it has, fewer only where the file ends; -1: errno
 * says why. */
ssize_t io_read(int fd, void *out, size_t n, uint64_t at);
/* All n bytes, to place `at` or, of a file opened to append, to its end. false: errno says why. */
bool io_write(int fd, const void *bytes, size_t n, uint64_t at);
/* A folder and those above it that are not there. path is written to meanwhile, and is as before
 * afterwards. false: errno says why, and *failed which one of them. */
bool io_make_folders(char *path, mode_t mode, struct str *failed);

#endif
