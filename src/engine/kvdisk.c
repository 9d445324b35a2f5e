/* kvdisk.c - two threads, three lists under one lock.
 *
 * The hard thing is what may happen at the same time. A job belongs to the thread that took it from
 * its list, its page to the job; files are opened, read and written outside the lock, and a block
 * is immutable from the moment it has its name, so that a reader sees it whole or not at all. A block
 * that another thread removes meanwhile stays readable to who has it open. Reads go before writes:
 * somebody waits for them. */
#include "engine/kvdisk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/kvfolder.h"

enum {
    WRITES_MAX = 16, WRITE_BYTES_MAX = 64 << 20,        /* queued */
    LOOK_EVERY = 64,                    /* writes, then the share of other models is measured again */
};

struct job {
    struct job *next;
    struct kv_block block;
    void *page;                 /* of a write: a copy of ours */
    uint32_t tag;
    bool good;
};

struct list {
    struct job *first, **last;
};

struct kv_disk {
    struct kv_disk_options options;
    struct kv_block_format format;
    struct kv_folder folder;
    char *dir;
    char quoted[512];           /* the folder, for log lines */

    pthread_mutex_t lock;       /* of what follows */
    pthread_cond_t work, idle;
    struct list reads, writes, done, spare;     /* spare: jobs with a page, to be used again */
    struct kv_index index;
    uint32_t blocks_max;        /* at most index.capacity */
    uint32_t writes_n, writes_max;
    uint32_t serial;            /* of the last file begun */
    uint64_t retry_ns;          /* no write is tried before */
    bool full;                  /* the disk was; said once, until it isn't */
    bool closing;
    struct kv_disk_counts counts;

    pthread_t threads[KV_DISK_THREADS];
    uint32_t threads_n;
};

/* ---- lists ---- */

static void list_init(struct list *list)
{
    list->first = NULL;
    list->last = &list->first;
}

static void list_put(struct list *list, struct job *job)
{
    job->next = NULL;
    *list->last = job;
    list->last = &job->next;
}

static struct job *list_take(struct list *list)
{
    struct job *job = list->first;

    if (job && !(list->first = job->next))
        list->last = &list->first;
    return job;
}

/* ---- files ---- */

static void forget(struct kv_disk *disk, struct kv_name name)
{
    const uint32_t id = kv_index_find(&disk->index, name);

    if (id != KV_INDEX_NONE)
        kv_index_remove(&disk->index, id);
}

/* Another server that shares the folder may have made room, which is no damage. */
static void forget_gone(struct kv_disk *disk, const struct job *job, const char *file)
{
    pthread_mutex_lock(&disk->lock);
    forget(disk, job->block.name);
    pthread_mutex_unlock(&disk->lock);
    log_event(LOG_DEBUG, "kv_block_gone", "folder=%s file=%s", disk->quoted, file);
}

static void drop_block(struct kv_disk *disk, const struct job *job, const char *file,
                       const char *reason)
{
    pthread_mutex_lock(&disk->lock);
    forget(disk, job->block.name);
    disk->counts.dropped++;
    if (disk->folder.writable)
        kv_folder_remove(&disk->folder, file);
    pthread_mutex_unlock(&disk->lock);
    log_event(LOG_WARN, "kv_block_dropped", "folder=%s file=%s reason=\"%s\"", disk->quoted, file,
              reason);
}

/* Never follows a link, never waits for a pipe; its time of use goes on. */
static bool read_block(struct kv_disk *disk, const struct job *job)
{
    char file[KV_FILE_NAME_BYTES];

    kv_folder_block(file, job->block.name, job->block.before.lo);
    const int fd = openat(disk->folder.fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    const enum kv_block_result result =
        fd < 0 ? KV_BLOCK_IO : kv_block_read(fd, &disk->format, &job->block, job->page);
    const int error = errno;

    if (result == KV_BLOCK_GOOD) {
        futimens(fd, NULL);
        pthread_mutex_lock(&disk->lock);
        disk->counts.read++;
        pthread_mutex_unlock(&disk->lock);
    } else if (fd < 0 && error == ENOENT) {
        forget_gone(disk, job, file);
    } else {
        drop_block(disk, job, file, result == KV_BLOCK_BAD ? "damaged, or not what its name says"
                                                           : strerror(error));
    }
    if (fd >= 0)
        close(fd);
    return result == KV_BLOCK_GOOD;
}

static bool write_file(struct kv_disk *disk, const struct job *job, const char *file)
{
    char fresh[KV_FILE_NAME_BYTES];

    pthread_mutex_lock(&disk->lock);
    kv_folder_new_block(fresh, ++disk->serial);
    pthread_mutex_unlock(&disk->lock);
    const int fd = openat(disk->folder.fd, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    const bool wrote = kv_block_write(fd, &disk->format, &job->block, job->page);
    const int error = errno;
    if (close(fd) == 0 && wrote && renameat(disk->folder.fd, fresh, disk->folder.fd, file) == 0)
        return true;
    const int later = wrote ? errno : error;
    unlinkat(disk->folder.fd, fresh, 0);
    errno = later;
    return false;
}

/* What other models' blocks leave of the limit, but a quarter in any case: those that are loaded find
 * out and shrink. Of a small disk all of them get half of what is free or ours. */
static uint32_t share_of(struct kv_disk *disk)
{
    const uint64_t file_bytes = kv_block_file_bytes(&disk->format);
    const uint64_t half = (kv_folder_space(&disk->folder) + kv_folder_bytes(&disk->folder)) / 2;
    const uint64_t max = disk->options.bytes_max < half ? disk->options.bytes_max : half;
    const uint64_t others = kv_folder_others(&disk->folder, disk->dir, max - max / 4);
    const uint64_t blocks = (others < max - max / 4 ? max - others : max / 4) / file_bytes;

    return blocks < KV_DISK_BLOCKS_MAX ? (uint32_t)blocks : KV_DISK_BLOCKS_MAX;
}

/* The lock is held: a place for one block more. */
static void make_room(struct kv_disk *disk)
{
    char file[KV_FILE_NAME_BYTES];

    while (disk->index.n && disk->index.n >= disk->blocks_max) {
        const struct kv_index_entry *oldest = &disk->index.entries[disk->index.oldest];
        kv_folder_block(file, oldest->name, oldest->before);
        kv_index_remove(&disk->index, disk->index.oldest);
        kv_folder_remove(&disk->folder, file);
    }
}

/* The lock is held. */
static void retry_later(struct kv_disk *disk)
{
    disk->retry_ns = clock_ns() + KV_DISK_RETRY_SECONDS * UINT64_C(1000000000);
}

/* The other server may have ended; then what it wrote is ours, and looked through without the lock,
 * which the engine thread must not wait for. */
static bool take_over(struct kv_disk *disk)
{
    struct kv_index index;
    struct err err;

    pthread_mutex_lock(&disk->lock);
    const bool ours = disk->folder.writable;
    if (!ours && !kv_folder_lock(&disk->folder))
        retry_later(disk);
    const bool writable = disk->folder.writable;
    pthread_mutex_unlock(&disk->lock);
    if (ours || !writable || !kv_index_init(&index, disk->index.capacity))
        return writable;
    if (kv_folder_scan(&disk->folder, kv_block_file_bytes(&disk->format), disk->blocks_max, &index,
                       &err)) {
        pthread_mutex_lock(&disk->lock);
        const struct kv_index before = disk->index;
        disk->index = index;
        index = before;
        pthread_mutex_unlock(&disk->lock);
        log_event(LOG_INFO, "kv_disk_ours", "folder=%s", disk->quoted);
    }
    kv_index_release(&index);
    return true;
}

/* Writing stops for a while, with one line in the log until it works again. */
static void write_block(struct kv_disk *disk, const struct job *job)
{
    char file[KV_FILE_NAME_BYTES];

    kv_folder_block(file, job->block.name, job->block.before.lo);
    const bool ok = write_file(disk, job, file);
    const int error = errno;

    pthread_mutex_lock(&disk->lock);
    if (ok && disk->counts.written % LOOK_EVERY == LOOK_EVERY - 1) {
        pthread_mutex_unlock(&disk->lock);
        const uint32_t share = share_of(disk);
        pthread_mutex_lock(&disk->lock);
        disk->blocks_max = share < disk->index.capacity ? share : disk->index.capacity;
    }
    const bool was_full = disk->full;
    disk->full = !ok;
    if (ok) {
        disk->counts.written++;
        make_room(disk);
        if (kv_index_find(&disk->index, job->block.name) == KV_INDEX_NONE)
            kv_index_add(&disk->index, job->block.name, job->block.before.lo);
    } else {
        disk->counts.failures++;
        retry_later(disk);
    }
    pthread_mutex_unlock(&disk->lock);
    if (!ok && !was_full)
        log_event(LOG_WARN, "kv_disk_full", "folder=%s reason=\"%s\" retry_s=%d",
                  disk->quoted, strerror(error), KV_DISK_RETRY_SECONDS);
    else if (ok && was_full)
        log_event(LOG_INFO, "kv_disk_resumed", "folder=%s", disk->quoted);
}

/* ---- threads ---- */

/* The lock is held. At the end queued writes are still made. */
static struct job *next_job(struct kv_disk *disk, bool *write)
{
    for (;;) {
        struct job *job = disk->closing ? NULL : list_take(&disk->reads);
        *write = !job;
        if (!job)
            job = list_take(&disk->writes);
        if (job || disk->closing)
            return job;
        pthread_cond_wait(&disk->work, &disk->lock);
    }
}

static void *disk_main(void *context)
{
    struct kv_disk *disk = context;
    struct job *job;
    bool write;

    pthread_mutex_lock(&disk->lock);
    while ((job = next_job(disk, &write))) {
        const bool skip = write && clock_ns() < disk->retry_ns;
        pthread_mutex_unlock(&disk->lock);
        if (!write)
            job->good = read_block(disk, job);
        else if (!skip && take_over(disk))
            write_block(disk, job);
        pthread_mutex_lock(&disk->lock);
        if (write)
            disk->writes_n--;
        list_put(write ? &disk->spare : &disk->done, job);
        pthread_cond_broadcast(&disk->idle);
        if (disk->options.wake) {
            pthread_mutex_unlock(&disk->lock);
            disk->options.wake(disk->options.context);
            pthread_mutex_lock(&disk->lock);
        }
    }
    pthread_mutex_unlock(&disk->lock);
    return NULL;
}

/* With all signals blocked: they are for others, and a file past the limit of its size is an error. */
static bool threads_start(struct kv_disk *disk, struct err *err)
{
    sigset_t all, before;
    int rc = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (rc == 0 && disk->threads_n < KV_DISK_THREADS) {
        rc = pthread_create(&disk->threads[disk->threads_n], NULL, disk_main, disk);
        disk->threads_n += rc == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0 || err_set(err, ERR_IO, "no thread for the cache folder: %s", strerror(rc));
}

/* ---- opening and closing ---- */

static bool index_fill(struct kv_disk *disk, struct err *err)
{
    const uint64_t file_bytes = kv_block_file_bytes(&disk->format);
    const uint64_t most = disk->options.bytes_max / file_bytes;

    disk->blocks_max = share_of(disk);
    if (disk->blocks_max == 0)
        return err_set(err, ERR_IO, "cache folder %s: no room for one block of %llu bytes",
                       disk->folder.path, (unsigned long long)file_bytes);
    if (!kv_index_init(&disk->index, most < KV_DISK_BLOCKS_MAX ? (uint32_t)most
                                                               : KV_DISK_BLOCKS_MAX))
        return err_set(err, ERR_IO, "no memory for an index of %llu blocks",
                       (unsigned long long)most);
    return kv_folder_scan(&disk->folder, file_bytes, disk->blocks_max, &disk->index, err);
}

struct kv_disk *kv_disk_open(const struct kv_disk_options *options, struct err *err)
{
    struct kv_disk *disk = calloc(1, sizeof *disk);
    char *dir = strdup(options->dir);

    if (!disk || !dir) {
        free(disk);
        free(dir);
        err_set(err, ERR_IO, "no memory for the cache folder");
        return NULL;
    }
    disk->options = *options;
    disk->dir = dir;
    disk->folder = (struct kv_folder){.fd = -1, .lock_fd = -1};
    pthread_mutex_init(&disk->lock, NULL);
    pthread_cond_init(&disk->work, NULL);
    pthread_cond_init(&disk->idle, NULL);
    list_init(&disk->reads);
    list_init(&disk->writes);
    list_init(&disk->done);
    list_init(&disk->spare);
    const size_t copies = WRITE_BYTES_MAX / options->page_bytes;
    disk->writes_max = copies < 2 ? 2 : copies < WRITES_MAX ? (uint32_t)copies : WRITES_MAX;
    disk->format = (struct kv_block_format){
        .model = {options->fingerprint[0], options->fingerprint[1]},
        .data_bytes = options->page_bytes,
    };
    if (!kv_folder_open(&disk->folder, dir, options->fingerprint, err) ||
        !index_fill(disk, err)) {
        kv_disk_close(disk, 0);
        return NULL;
    }
    log_quote(disk->quoted, sizeof disk->quoted, str_of(disk->folder.path));
    disk->format.key = (struct hash_key){disk->folder.key.lo.k0 ^ disk->folder.key.hi.k1,
                                         disk->folder.key.lo.k1 ^ disk->folder.key.hi.k0};
    if (!threads_start(disk, err)) {
        kv_disk_close(disk, 0);
        return NULL;
    }
    return disk;
}

static void list_free(struct list *list, bool copies)
{
    struct job *job;

    while ((job = list_take(list))) {
        if (copies)
            free(job->page);
        free(job);
    }
}

static void drain(struct kv_disk *disk, uint32_t wait_ms)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    while (disk->writes_n && disk->threads_n)
        if (pthread_cond_timedwait(&disk->idle, &disk->lock, &until) != 0)
            break;
}

void kv_disk_close(struct kv_disk *disk, uint32_t wait_ms)
{
    if (!disk)
        return;
    pthread_mutex_lock(&disk->lock);
    drain(disk, wait_ms);
    disk->closing = true;
    list_free(&disk->writes, true);
    pthread_cond_broadcast(&disk->work);
    pthread_mutex_unlock(&disk->lock);
    for (uint32_t i = 0; i < disk->threads_n; i++)
        pthread_join(disk->threads[i], NULL);
    list_free(&disk->reads, false);
    list_free(&disk->done, false);
    list_free(&disk->spare, true);
    kv_index_release(&disk->index);
    kv_folder_close(&disk->folder);
    pthread_cond_destroy(&disk->idle);
    pthread_cond_destroy(&disk->work);
    pthread_mutex_destroy(&disk->lock);
    free(disk->dir);
    free(disk);
}

const struct kv_key *kv_disk_key(const struct kv_disk *disk)
{
    return &disk->folder.key;
}

const char *kv_disk_path(const struct kv_disk *disk)
{
    return disk->folder.path;
}

/* ---- the engine's side ---- */

bool kv_disk_has(struct kv_disk *disk, struct kv_name name)
{
    pthread_mutex_lock(&disk->lock);
    const bool has = kv_index_find(&disk->index, name) != KV_INDEX_NONE;
    pthread_mutex_unlock(&disk->lock);
    return has;
}

void kv_disk_touch(struct kv_disk *disk, const struct kv_name *names, uint32_t n)
{
    pthread_mutex_lock(&disk->lock);
    while (n) {
        const uint32_t id = kv_index_find(&disk->index, names[--n]);
        if (id != KV_INDEX_NONE)
            kv_index_touch(&disk->index, id);
    }
    pthread_mutex_unlock(&disk->lock);
}

static struct job *job_with_copy(struct kv_disk *disk)
{
    struct job *job = list_take(&disk->spare);

    if (job)
        return job;
    job = calloc(1, sizeof *job);
    if (job && !(job->page = malloc(disk->options.page_bytes))) {
        free(job);
        job = NULL;
    }
    return job;
}

bool kv_disk_write(struct kv_disk *disk, const struct kv_block *block, const void *page)
{
    struct job *job = NULL;

    pthread_mutex_lock(&disk->lock);
    const bool wanted = kv_index_find(&disk->index, block->name) == KV_INDEX_NONE &&
                        clock_ns() >= disk->retry_ns;
    const bool fits = disk->writes_n < disk->writes_max;
    if (wanted && fits && (job = job_with_copy(disk)))
        disk->writes_n++;
    pthread_mutex_unlock(&disk->lock);
    if (!job)
        return !wanted || fits;
    job->block = *block;
    memcpy(job->page, page, disk->options.page_bytes);
    pthread_mutex_lock(&disk->lock);
    list_put(&disk->writes, job);
    pthread_cond_signal(&disk->work);
    pthread_mutex_unlock(&disk->lock);
    return true;
}

bool kv_disk_read(struct kv_disk *disk, const struct kv_block *block, void *page, uint32_t tag)
{
    struct job *job = calloc(1, sizeof *job);

    if (!job)
        return false;
    job->block = *block;
    job->page = page;
    job->tag = tag;
    pthread_mutex_lock(&disk->lock);
    list_put(&disk->reads, job);
    pthread_cond_signal(&disk->work);
    pthread_mutex_unlock(&disk->lock);
    return true;
}

bool kv_disk_take(struct kv_disk *disk, uint32_t *tag, bool *good)
{
    pthread_mutex_lock(&disk->lock);
    struct job *job = list_take(&disk->done);
    pthread_mutex_unlock(&disk->lock);
    if (!job)
        return false;
    *tag = job->tag;
    *good = job->good;
    free(job);
    return true;
}

void kv_disk_counts(struct kv_disk *disk, struct kv_disk_counts *counts)
{
    pthread_mutex_lock(&disk->lock);
    *counts = disk->counts;
    counts->blocks = disk->index.n;
    counts->bytes = disk->index.n * (uint64_t)kv_block_file_bytes(&disk->format);
    counts->bytes_max = disk->blocks_max * (uint64_t)kv_block_file_bytes(&disk->format);
    counts->writable = disk->folder.writable;
    pthread_mutex_unlock(&disk->lock);
}
