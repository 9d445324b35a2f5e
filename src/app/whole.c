/* whole.c - which files make a model, and reading them to their ends. */
#include "app/whole.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/gguf_name.h"

enum { CHUNK = 1 << 20 };

static bool read_file(const char *path, uint64_t expected, struct whole *out, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    }
    char *chunk = malloc(CHUNK);
    uint64_t total = 0;
    ssize_t n = 0;
    int saved = chunk ? 0 : ENOMEM;
    while (chunk && (n = read(fd, chunk, CHUNK)) != 0) {
        if (n > 0) {
            total += (uint64_t)n;
        } else if (errno != EINTR) {
            saved = errno;
            break;
        }
    }
    free(chunk);
    close(fd);
    if (saved != 0) {
        return err_set(err, ERR_IO, "%s: byte %llu can't be read: %s", path,
                       (unsigned long long)total, strerror(saved));
    }
    out->files++;
    out->bytes += total;
    return total == expected ? true
                             : err_set(err, ERR_IO, "%s: its size changed while it was read", path);
}

/* A folder's files that belong to the model. */
struct choice {
    bool ggufs_only;
    struct str stem;            /* not n == 0: only the parts of this split set */
};

static bool is_chosen(const struct choice *choice, struct str name)
{
    unsigned part, of;
    bool gguf = gguf_name_stem(&name, &part, &of);
    if (name.s[0] == '.') {
        return false;
    }
    if (choice->stem.n) {
        return gguf && part && str_equal(name, choice->stem);
    }
    return gguf || !choice->ggufs_only;
}

static bool read_folder(struct arena *arena, const char *path, const struct choice *choice,
                        struct whole *out, struct err *err)
{
    DIR *dir = opendir(path);
    bool good = true;
    if (!dir) {
        return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    }
    for (struct dirent *entry; good && (entry = readdir(dir));) {
        const char *inner = arena_printf(arena, "%s/%s", path, entry->d_name).s;
        struct stat info;
        if (is_chosen(choice, str_of(entry->d_name)) && stat(inner, &info) == 0 &&
            S_ISREG(info.st_mode)) {
            good = read_file(inner, (uint64_t)info.st_size, out, err);
        }
    }
    closedir(dir);
    return good;
}

bool whole_read(struct arena *arena, const char *path, struct whole *out, struct err *err)
{
    const char *slash = strrchr(path, '/');
    struct choice choice = {.stem = str_of(slash ? slash + 1 : path)};
    struct stat info;
    unsigned part, of;
    *out = (struct whole){0};
    if (stat(path, &info) != 0) {
        return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    }
    if (S_ISDIR(info.st_mode)) {
        const char *config = arena_printf(arena, "%s/config.json", path).s;
        choice = (struct choice){.ggufs_only = access(config, F_OK) != 0};
        return read_folder(arena, path, &choice, out, err);
    }
    if (!gguf_name_stem(&choice.stem, &part, &of) || part == 0) {
        return read_file(path, (uint64_t)info.st_size, out, err);
    }
    const char *folder = slash == path ? "/" : slash
                         ? arena_printf(arena, "%.*s", (int)(slash - path), path).s : ".";
    return read_folder(arena, folder, &choice, out, err);
}
