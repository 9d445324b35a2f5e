/* file_map.c - opens files that a person points at: they may be a folder, a pipe, empty. */
#include "engine/file_map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"

/* O_NONBLOCK: opening a pipe must not wait for its writer; it means nothing to a regular file. */
static int open_regular(const char *path, const char *what, struct stat *st, struct err *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        err_set(err, ERR_IO, "cannot open %s (%s): %s", what, strerror(errno), path);
        return -1;
    }
    if (fstat(fd, st) != 0)
        err_set(err, ERR_IO, "cannot look at %s (%s): %s", what, strerror(errno), path);
    else if (!S_ISREG(st->st_mode))
        err_set(err, ERR_FORMAT, "%s is not a file: %s", what, path);
    else if (st->st_size == 0)
        err_set(err, ERR_FORMAT, "%s is empty: %s", what, path);
    else
        return fd;
    close(fd);
    return -1;
}

bool file_map_open(struct file_map *map, const char *path, const char *what, struct err *err)
{
    struct stat st;
    const int fd = open_regular(path, what, &st, err);

    if (fd < 0)
        return false;
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        err_set(err, ERR_IO, "cannot map %s (%s): %s", what, strerror(errno), path);
    else
        *map = (struct file_map){.bytes = bytes, .n = (size_t)st.st_size};
    close(fd);
    return bytes != MAP_FAILED;
}

void file_map_close(struct file_map *map)
{
    if (map->bytes)
        munmap((void *)map->bytes, map->n);
    *map = (struct file_map){0};
}

struct str file_base(struct str path)
{
    while (path.n > 1 && path.s[path.n - 1] == '/')
        path.n--;
    return path.n > 1 ? str_last_part(path) : path;
}

static bool read_all(int fd, char *out, size_t n, const char *path, struct err *err)
{
    const ssize_t got = io_read(fd, out, n, 0);

    return got == (ssize_t)n ||
           err_set(err, ERR_IO, "cannot read all of a file (%s): %s",
                   got < 0 ? strerror(errno) : "it became shorter", path);
}

bool file_read(struct arena *arena, struct str folder, const char *name, size_t bytes_max,
               bool optional, struct str *out, struct err *err)
{
    const struct str path = arena_printf(arena, "%.*s/%s", STR_ARG(folder), name);
    struct stat st;

    *out = (struct str){0};
    if (optional && access(path.s, F_OK) != 0)
        return true;
    const int fd = open_regular(path.s, name, &st, err);
    if (fd < 0)
        return false;
    bool ok = (uint64_t)st.st_size <= bytes_max ||
              err_set(err, ERR_FORMAT, "%s is %lld bytes long, the limit is %zu", name,
                      (long long)st.st_size, bytes_max);
    if (ok) {
        char *text = arena_raw(arena, (size_t)st.st_size + 1);
        ok = read_all(fd, text, (size_t)st.st_size, path.s, err);
        text[st.st_size] = '\0';
        *out = (struct str){text, (size_t)st.st_size};
    }
    close(fd);
    return ok;
}
