/* input.c - what a person gives a command to read, whole and within a limit. */
#include "app/app.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/buf.h"

bool app_read(struct arena *arena, const char *path, struct str *out, struct err *err)
{
    enum { CHUNK = 1 << 16 };
    bool standard = !path || strcmp(path, "-") == 0;
    const char *name = standard ? "standard input" : path;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_set(err, ERR_IO, "%s: %s", name, strerror(errno));
    }
    struct buf buf;
    buf_init(&buf, APP_INPUT_BYTES_MAX + CHUNK);
    ssize_t n = 1;
    while (n != 0 && buf.n <= APP_INPUT_BYTES_MAX && buf_reserve(&buf, CHUNK)) {
        n = read(fd, buf.data + buf.n, CHUNK);
        if (n < 0 && errno != EINTR) {
            err_set(err, ERR_IO, "%s: %s", name, strerror(errno));
            break;
        }
        buf.n += n > 0 ? (size_t)n : 0;
    }
    if (!standard) {
        close(fd);
    }
    bool whole = n == 0;
    if (whole) {
        *out = arena_str(arena, buf_view(&buf));
    } else if (n > 0) {
        err_set(err, ERR_IO, "%s: longer than %d bytes", name, APP_INPUT_BYTES_MAX);
    }
    buf_release(&buf);
    return whole;
}
