/* io.c - see io.h. A signal that interrupts is no end, and neither is a short step. */
#include "base/io.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

ssize_t io_read(int fd, void *out, size_t n, uint64_t at)
{
    size_t done = 0;

    while (done < n) {
        const ssize_t got = pread(fd, (char *)out + done, n - done, (off_t)(at + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

bool io_write(int fd, const void *bytes, size_t n, uint64_t at)
{
    size_t done = 0;

    while (done < n) {
        const ssize_t wrote = pwrite(fd, (const char *)bytes + done, n - done,
                                     (off_t)(at + done));
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote == 0)
            errno = ENOSPC;
        if (wrote <= 0)
            return false;
        done += (size_t)wrote;
    }
    return true;
}

/* EISDIR: some systems say that of the root. */
bool io_make_folders(char *path, mode_t mode, struct str *failed)
{
    for (char *at = path + 1;; at++) {
        if (*at && *at != '/')
            continue;
        const char end = *at;
        *at = '\0';
        const bool there = mkdir(path, mode) == 0 || errno == EEXIST || errno == EISDIR;
        *at = end;
        if (!there)
            *failed = (struct str){path, (size_t)(at - path)};
        if (!there || !end)
            return there;
    }
}
