/* kvfolder.c - directories, names of files, a lock.
 *
 * A key that can't be read is made anew, and the blocks that went with it are removed: nobody could
 * find them. Only who holds the lock does that, and removes anything at all. */
#include "engine/kvfolder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/io.h"
#include "base/random.h"

enum { OTHERS_MAX = 4096 };

/* ---- names ---- */

void kv_folder_block(char out[KV_FILE_NAME_BYTES], struct kv_name name, uint64_t before)
{
    snprintf(out, KV_FILE_NAME_BYTES, "%016" PRIx64 "%016" PRIx64 "-%016" PRIx64 ".kv", name.lo,
             name.hi, before);
}

void kv_folder_new_block(char out[KV_FILE_NAME_BYTES], uint32_t serial)
{
    snprintf(out, KV_FILE_NAME_BYTES, "%" PRIu32 ".new", serial);
}

/* Something else may stand in a block's place: an empty folder, a link. */
void kv_folder_remove(const struct kv_folder *folder, const char *file)
{
    if (unlinkat(folder->fd, file, 0) != 0)
        unlinkat(folder->fd, file, AT_REMOVEDIR);
}

static bool ends_in(const char *name, const char *ending)
{
    const size_t n = strlen(name), m = strlen(ending);

    return n >= m && strcmp(name + n - m, ending) == 0;
}

/* Exactly what kv_folder_block writes. */
static bool parse_block(const char *file, struct kv_name *name, uint64_t *before)
{
    char again[KV_FILE_NAME_BYTES];

    if (strlen(file) >= sizeof again || sscanf(file, "%16" SCNx64 "%16" SCNx64 "-%16" SCNx64,
                                               &name->lo, &name->hi, before) != 3)
        return false;
    kv_folder_block(again, *name, *before);
    return strcmp(file, again) == 0;
}

/* ---- opening ---- */

bool kv_folder_lock(struct kv_folder *folder)
{
    if (!folder->writable)
        folder->writable = flock(folder->lock_fd, LOCK_EX | LOCK_NB) == 0;
    return folder->writable;
}

static bool read_key(struct kv_folder *folder)
{
    const int fd = openat(folder->fd, "key", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    char more;
    const bool whole =
        fd >= 0 && io_read(fd, &folder->key, sizeof folder->key, 0) == sizeof folder->key &&
        io_read(fd, &more, 1, sizeof folder->key) == 0;

    if (fd >= 0)
        close(fd);
    return whole;
}

/* It must outlive a crash of the machine as the blocks do: synced, before any block is written. */
static bool make_key(struct kv_folder *folder)
{
    const int fd = openat(folder->fd, "key.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0)
        return false;
    random_bytes(&folder->key, sizeof folder->key);
    const bool wrote = io_write(fd, &folder->key, sizeof folder->key, 0) && fsync(fd) == 0;
    return (close(fd) == 0) & wrote && renameat(folder->fd, "key.new", folder->fd, "key") == 0;
}

static DIR *list_of(int fd)
{
    const int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = again < 0 ? NULL : fdopendir(again);

    if (!list && again >= 0)
        close(again);
    return list;
}

static void remove_blocks(int fd)
{
    DIR *list = list_of(fd);
    const struct dirent *entry;

    while (list && (entry = readdir(list)))
        if (ends_in(entry->d_name, ".kv") || ends_in(entry->d_name, ".new"))
            unlinkat(fd, entry->d_name, 0);
    if (list)
        closedir(list);
}

bool kv_folder_open(struct kv_folder *folder, const char *dir, const uint64_t fingerprint[2],
                    struct err *err)
{
    struct str failed;

    *folder = (struct kv_folder){.fd = -1, .lock_fd = -1};
    const int n = snprintf(folder->path, sizeof folder->path, "%s/%016" PRIx64 "%016" PRIx64, dir,
                           fingerprint[0], fingerprint[1]);
    if (!dir[0] || n < 0 || (size_t)n >= sizeof folder->path)
        return err_set(err, ERR_IO, "cache folder: the path has no or too many bytes");
    if (!io_make_folders(folder->path, 0700, &failed))
        return err_set(err, ERR_IO, "cache folder %s: %s", folder->path, strerror(errno));
    folder->fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder->fd >= 0)
        folder->lock_fd = openat(folder->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                                 0600);
    if (folder->lock_fd < 0) {
        err_set(err, ERR_IO, "cache folder %s: %s", folder->path, strerror(errno));
        kv_folder_close(folder);
        return false;
    }
    kv_folder_lock(folder);
    if (read_key(folder))
        return true;
    if (folder->writable) {
        remove_blocks(folder->fd);
        if (make_key(folder))
            return true;
    }
    err_set(err, ERR_IO, "cache folder %s: no key: %s", folder->path,
            folder->writable ? strerror(errno) : "another server is making it");
    kv_folder_close(folder);
    return false;
}

void kv_folder_close(struct kv_folder *folder)
{
    if (folder->fd >= 0)
        close(folder->fd);
    if (folder->lock_fd >= 0)
        close(folder->lock_fd);         /* and with it the lock */
    folder->fd = folder->lock_fd = -1;
    folder->writable = false;
}

/* ---- what is there ---- */

struct found {
    struct kv_name name;
    uint64_t before;
    int64_t used_s, used_ns;
};

static int by_use(const void *a, const void *b)
{
    const struct found *x = a, *y = b;

    if (x->used_s != y->used_s)
        return x->used_s < y->used_s ? -1 : 1;
    return (x->used_ns > y->used_ns) - (x->used_ns < y->used_ns);
}

struct founds {
    struct found *list;
    size_t n, capacity;
};

static bool founds_add(struct founds *founds, const struct found *found)
{
    if (founds->n == founds->capacity) {
        const size_t capacity = founds->capacity ? founds->capacity * 2 : 256;
        struct found *list = realloc(founds->list, capacity * sizeof *list);
        if (!list)
            return false;
        founds->list = list;
        founds->capacity = capacity;
    }
    founds->list[founds->n++] = *found;
    return true;
}

/* One file of the folder: a block to remember, something to remove, or nobody's. */
static bool look_at(struct kv_folder *folder, const char *file, uint64_t file_bytes,
                    struct founds *founds)
{
    struct found found;
    struct stat st;
    const bool block = parse_block(file, &found.name, &found.before);

    if (!block && !ends_in(file, ".new"))
        return true;
    if (block && fstatat(folder->fd, file, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISREG(st.st_mode) && (uint64_t)st.st_size == file_bytes) {
        found.used_s = st.st_mtim.tv_sec;
        found.used_ns = st.st_mtim.tv_nsec;
        return founds_add(founds, &found);
    }
    if (folder->writable)
        kv_folder_remove(folder, file);
    return true;
}

bool kv_folder_scan(struct kv_folder *folder, uint64_t file_bytes, uint32_t blocks_max,
                    struct kv_index *index, struct err *err)
{
    DIR *list = list_of(folder->fd);
    struct founds founds = {0};
    const struct dirent *entry;
    bool ok = list != NULL;

    while (ok && (entry = readdir(list)))
        ok = look_at(folder, entry->d_name, file_bytes, &founds);
    if (list)
        closedir(list);
    if (!ok) {
        free(founds.list);
        return err_set(err, ERR_IO, "cache folder %s: %s", folder->path, strerror(errno));
    }
    if (founds.n)
        qsort(founds.list, founds.n, sizeof *founds.list, by_use);
    for (size_t i = 0; i < founds.n; i++) {
        const struct found *found = &founds.list[i];
        char file[KV_FILE_NAME_BYTES];
        if (founds.n - i <= blocks_max) {
            if (kv_index_find(index, found->name) == KV_INDEX_NONE)
                kv_index_add(index, found->name, found->before);
        } else if (folder->writable) {
            kv_folder_block(file, found->name, found->before);
            kv_folder_remove(folder, file);
        }
    }
    free(founds.list);
    kv_index_parents_first(index);
    return true;
}

/* ---- the folders of other models ---- */

struct other {
    char name[KV_FILE_NAME_BYTES];
    uint64_t bytes;
    int64_t used_s;
};

static bool is_fingerprint(const char *name)
{
    return strlen(name) == 32 && strspn(name, "0123456789abcdef") == 32;
}

static void measure(int fd, struct other *other)
{
    DIR *list = list_of(fd);
    const struct dirent *entry;
    struct stat st;

    while (list && (entry = readdir(list)))
        if (ends_in(entry->d_name, ".kv") && fstatat(fd, entry->d_name, &st, 0) == 0) {
            other->bytes += (uint64_t)st.st_size;
            if (st.st_mtim.tv_sec > other->used_s)
                other->used_s = st.st_mtim.tv_sec;
        }
    if (list)
        closedir(list);
}

uint64_t kv_folder_bytes(const struct kv_folder *folder)
{
    struct other own = {0};

    measure(folder->fd, &own);
    return own.bytes;
}

static int by_age(const void *a, const void *b)
{
    const struct other *x = a, *y = b;

    return (x->used_s > y->used_s) - (x->used_s < y->used_s);
}

/* Whether it is nobody's now; then its blocks are removed. Key and lock stay: they are small, and
 * whoever is just opening it has its lock open. */
static bool empty_other(int dir_fd, const char *name)
{
    const int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    const int lock = fd < 0 ? -1 : openat(fd, "lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    const bool ours = lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0;

    if (ours)
        remove_blocks(fd);
    if (lock >= 0)
        close(lock);
    if (fd >= 0)
        close(fd);
    return ours;
}

uint64_t kv_folder_others(const struct kv_folder *folder, const char *dir, uint64_t bytes_max)
{
    const int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = dir_fd < 0 ? NULL : list_of(dir_fd);
    struct other *others = calloc(OTHERS_MAX, sizeof *others);
    const struct dirent *entry;
    uint64_t bytes = 0;
    size_t n = 0;

    while (others && list && n < OTHERS_MAX && (entry = readdir(list))) {
        if (!is_fingerprint(entry->d_name) || ends_in(folder->path, entry->d_name))
            continue;
        const int fd = openat(dir_fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            continue;
        snprintf(others[n].name, sizeof others[n].name, "%.32s", entry->d_name);
        measure(fd, &others[n]);
        bytes += others[n++].bytes;
        close(fd);
    }
    if (n)
        qsort(others, n, sizeof *others, by_age);
    for (size_t i = 0; i < n && bytes > bytes_max; i++)
        if (others[i].bytes && empty_other(dir_fd, others[i].name))
            bytes -= others[i].bytes;
    free(others);
    if (list)
        closedir(list);
    if (dir_fd >= 0)
        close(dir_fd);
    return bytes;
}

uint64_t kv_folder_space(const struct kv_folder *folder)
{
    struct statvfs fs;

    return fstatvfs(folder->fd, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : 0;
}
