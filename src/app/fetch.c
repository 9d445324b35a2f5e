/* fetch.c - gets one file: resumed where it broke off, hashed as it comes, whole or not there.
 *
 * A file in the making is called by its digest: so bytes of another revision are never taken for
 * its beginning, and no name of the hub's is used before the file is known to be right. The hard
 * thing is that a server may answer a range with anything: every answer's first bytes are placed
 * by what its head says, never by what was asked. */
#include "app/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"

enum { CHUNK = 1 << 20, PART_DIGITS = 24 };
static const char part_suffix[] = ".part";

struct download {
    const struct fetch *fetch;
    int fd;
    EVP_MD_CTX *hash;                   /* of the bytes that are there */
    uint64_t have, best;                /* best: the most there ever were */
};

/* ---- digests ---- */

/* sha256 of the bytes, or what git calls a blob's: sha1 of "blob SIZE\0" and the bytes. */
static bool hash_begin(EVP_MD_CTX *hash, const struct hub_file *file)
{
    char head[40];
    bool git = file->digest.n == 40;
    int n = snprintf(head, sizeof(head), "blob %llu", (unsigned long long)file->size);
    return EVP_DigestInit_ex(hash, git ? EVP_sha1() : EVP_sha256(), NULL) == 1 &&
           (!git || EVP_DigestUpdate(hash, head, (size_t)n + 1) == 1);
}

static bool hash_matches(EVP_MD_CTX *hash, const struct hub_file *file)
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    char hex[2 * EVP_MAX_MD_SIZE + 1];
    unsigned n = 0;
    if (EVP_DigestFinal_ex(hash, raw, &n) != 1) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        snprintf(hex + 2 * i, 3, "%02x", raw[i]);
    }
    return str_equal((struct str){hex, 2 * n}, file->digest);
}

/* Reads from the start to the end; *n bytes went into the hash. */
static bool hash_descriptor(int fd, EVP_MD_CTX *hash, uint64_t *n)
{
    char *chunk = malloc(CHUNK);
    ssize_t got = -1;
    *n = 0;
    while (chunk && (got = io_read(fd, chunk, CHUNK, *n)) > 0) {
        EVP_DigestUpdate(hash, chunk, (size_t)got);
        *n += (uint64_t)got;
    }
    free(chunk);
    return got == 0;
}

bool fetch_is_whole(const char *path, const struct hub_file *file, struct err *err)
{
    struct stat info;
    uint64_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    err->code = ERR_NONE;
    if (fd < 0) {
        return errno == ENOENT ? false : err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    }
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    bool whole = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
                 (uint64_t)info.st_size == file->size && hash && hash_begin(hash, file) &&
                 hash_descriptor(fd, hash, &n) && n == file->size && hash_matches(hash, file);
    EVP_MD_CTX_free(hash);
    close(fd);
    return whole;
}

/* ---- bytes as they come ---- */

static bool start_over(struct download *download, struct err *err)
{
    download->have = 0;
    download->fetch->on_bytes(download->fetch->context, 0);
    return (ftruncate(download->fd, 0) == 0 && hash_begin(download->hash, download->fetch->file)) ||
           err_set(err, ERR_IO, "%.*s: %s", STR_ARG(download->fetch->file->name), strerror(errno));
}

/* Where the answer's bytes go, by its head. */
static bool place(struct download *download, const struct web_head *head, struct err *err)
{
    const struct hub_file *file = download->fetch->file;
    if (head->status == 206) {
        if (!head->has_range || head->first != download->have || head->last < head->first ||
            head->last >= file->size || (head->total != UINT64_MAX && head->total != file->size)) {
            return err_set(err, ERR_FORMAT, "%.*s: asked for its bytes from %llu on, the hub sent "
                           "others", STR_ARG(file->name), (unsigned long long)download->have);
        }
        return true;
    }
    if (head->length >= 0 && (uint64_t)head->length != file->size) {
        return err_set(err, ERR_FORMAT, "%.*s: the hub sends %lld bytes, its listing says %llu",
                       STR_ARG(file->name), (long long)head->length,
                       (unsigned long long)file->size);
    }
    return download->have == 0 || start_over(download, err);    /* all of it, asked for or not */
}

static bool on_body(void *context, const struct web_head *head, const char *bytes, size_t n,
                    struct err *err)
{
    struct download *download = context;
    const struct hub_file *file = download->fetch->file;
    if (!head->begun && !place(download, head, err)) {
        return false;
    }
    if (n > file->size - download->have) {
        return err_set(err, ERR_FORMAT, "%.*s: the hub sends more than the %llu bytes of its "
                       "listing", STR_ARG(file->name), (unsigned long long)file->size);
    }
    if (!io_write(download->fd, bytes, n, download->have)) {
        return err_set(err, ERR_IO, "%.*s can't be written: %s", STR_ARG(file->name),
                       strerror(errno));
    }
    EVP_DigestUpdate(download->hash, bytes, n);
    download->have += n;
    download->fetch->on_bytes(download->fetch->context, download->have);
    return true;
}

/* Tries until all bytes are there. Tries that get further than any before are free. */
static bool get_bytes(struct download *download, struct err *err)
{
    const struct fetch *fetch = download->fetch;
    for (int failures = 0; download->have < fetch->file->size;) {
        struct web_request request = {.path = fetch->path, .from = download->have,
                                      .on_body = on_body, .context = download};
        struct web_head head;
        uint64_t wait_ms;
        enum web_outcome outcome = web_try(fetch->web, &request, &head, &wait_ms, err);
        if (outcome == WEB_REFUSED && head.status == 416 && download->have > 0) {
            if (!start_over(download, err)) {
                return false;
            }
            outcome = WEB_AGAIN;
        }
        if (outcome == WEB_REFUSED) {
            return false;
        }
        bool further = download->have > download->best;
        download->best = further ? download->have : download->best;
        failures = further ? 1 : failures + 1;
        if (outcome == WEB_DONE && download->have < fetch->file->size) {
            err_set(err, ERR_IO, "%.*s: the hub stopped after %llu of %llu bytes",
                    STR_ARG(fetch->file->name), (unsigned long long)download->have,
                    (unsigned long long)fetch->file->size);
        }
        if (download->have < fetch->file->size && !web_wait(failures, wait_ms, err)) {
            return false;
        }
    }
    return true;
}

/* Once more from the start where the bytes are wrong: what was resumed may have begun badly. */
static bool get_right_bytes(struct download *download, struct err *err)
{
    const struct hub_file *file = download->fetch->file;
    for (int i = 0; i < 2; i++) {
        if (!get_bytes(download, err)) {
            return false;
        }
        if (hash_matches(download->hash, file)) {
            return true;
        }
        download->best = 0;
        if (!start_over(download, err)) {
            return false;
        }
    }
    return err_set(err, ERR_FORMAT, "%.*s: its bytes are not those of the hub's listing "
                   "(%.12s...), twice; they were thrown away", STR_ARG(file->name), file->digest.s);
}

/* What an earlier attempt left is hashed again: nothing else says that it is still the same. */
static bool take_up(struct download *download, struct err *err)
{
    const struct hub_file *file = download->fetch->file;
    struct stat info;
    if (!hash_begin(download->hash, file) || fstat(download->fd, &info) != 0) {
        return err_set(err, ERR_IO, "%.*s can't be begun", STR_ARG(file->name));
    }
    if ((uint64_t)info.st_size > file->size) {
        return start_over(download, err);
    }
    if (!hash_descriptor(download->fd, download->hash, &download->have)) {
        return err_set(err, ERR_IO, "%.*s: what was there can't be read: %s", STR_ARG(file->name),
                       strerror(errno));
    }
    download->best = download->have;
    download->fetch->on_bytes(download->fetch->context, download->have);
    return true;
}

bool fetch_sync_folder(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done = fd >= 0 && fsync(fd) == 0;
    int saved = errno;
    if (fd >= 0) {
        close(fd);
    }
    return done || err_set(err, ERR_IO, "%s: %s", path, strerror(saved));
}

bool fetch_is_part(struct str name)
{
    return name.n == PART_DIGITS + sizeof(part_suffix) - 1 && str_ends(name, str_of(part_suffix));
}

/* On the disk first, then under its name. */
static bool finish(struct download *download, const char *part, const char *name, struct err *err)
{
    if (fsync(download->fd) != 0 || rename(part, name) != 0) {
        return err_set(err, ERR_IO, "%s: %s", name, strerror(errno));
    }
    return fetch_sync_folder(download->fetch->folder, err);
}

bool fetch_file(const struct fetch *fetch, struct err *err)
{
    struct arena *arena = arena_new(1024);
    const struct hub_file *file = fetch->file;
    const char *part = arena_printf(arena, "%s/%.*s%s", fetch->folder, PART_DIGITS, file->digest.s,
                                    part_suffix).s;
    const char *name = arena_printf(arena, "%s/%.*s", fetch->folder, STR_ARG(file->name)).s;
    struct download download = {
        .fetch = fetch,
        .fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644),
        .hash = EVP_MD_CTX_new(),
    };
    bool done = download.fd >= 0 && download.hash;
    if (!done) {
        err_set(err, ERR_IO, "%s: %s", part, strerror(errno));
    }
    done = done && take_up(&download, err) && get_right_bytes(&download, err) &&
           finish(&download, part, name, err);
    EVP_MD_CTX_free(download.hash);
    if (download.fd >= 0) {
        close(download.fd);
    }
    arena_free(arena);
    return done;
}
