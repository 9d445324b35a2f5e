/* replay_log.c - see replay_log.h. The hard thing is that nothing here may matter: whatever a
 * crash, a full disk or another server does to the file, at worst an answer is tokenised anew. */
#include "chat/replay_log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/queue.h"
#include "base/random.h"

static const char magic[8] = {'P', 'E', 'N', 'S', 'R', 'E', 'P', '1'};

/* On disk as they are here: little-endian machines are all that Pensieve runs on. */
struct head {
    char magic[8];
    uint64_t keys[4];
    uint64_t model, checksum;
};

struct frame {
    uint32_t bytes, zero;
    uint64_t checksum;
};

_Static_assert(sizeof(struct head) == 56 && sizeof(struct frame) == 16, "the file's layout");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file's byte order");

/* One record on its way. */
struct item {
    size_t n;
    char payload[];
};

struct replay_log {
    struct replay_log_options options;
    char *path;
    struct head head;
    int fd;
    _Atomic uint64_t bytes;             /* of the file */
    uint64_t compact_at;                /* the file's size */
    struct queue *queue;
    _Atomic bool closing;
    pthread_t thread;
    bool started;
};

static struct hash_key sum_key(const struct head *head)
{
    return (struct hash_key){head->keys[0], head->keys[1]};
}

static uint64_t head_sum(const struct head *head)
{
    return hash_bytes(sum_key(head), head, offsetof(struct head, checksum));
}

/* ---- opening ---- */

static bool begin_anew(struct replay_log *log, struct err *err)
{
    struct head *head = &log->head;

    memcpy(head->magic, magic, sizeof magic);
    random_bytes(head->keys, sizeof head->keys);
    head->model = log->options.model;
    head->checksum = head_sum(head);
    if (ftruncate(log->fd, 0) != 0 ||
        !io_write(log->fd, head, sizeof *head, 0))
        return err_set(err, ERR_IO, "%s: %s", log->path, strerror(errno));
    atomic_store(&log->bytes, sizeof *head);
    return true;
}

/* Reports the sound records; returns where the file's sound part ends. */
static size_t read_records(struct replay_log *log, struct str file)
{
    size_t at = sizeof(struct head);

    while (file.n - at >= sizeof(struct frame)) {
        struct frame frame;
        memcpy(&frame, file.s + at, sizeof frame);
        const size_t left = file.n - at - sizeof frame;
        if (frame.zero || frame.bytes > REPLAY_LOG_RECORD_MAX || frame.bytes > left)
            break;
        const struct str payload = {file.s + at + sizeof frame, frame.bytes};
        if (hash_bytes(sum_key(&log->head), payload.s, payload.n) == frame.checksum)
            log->options.on_record(log->options.context, payload);
        at += sizeof frame + frame.bytes;
    }
    return at;
}

static bool is_ours(const struct replay_log *log, struct str file)
{
    struct head head;

    if (file.n < sizeof head)
        return false;
    memcpy(&head, file.s, sizeof head);
    return memcmp(head.magic, magic, sizeof magic) == 0 && head.model == log->options.model &&
           head.checksum == head_sum(&head);
}

static bool read_file(struct replay_log *log, struct err *err)
{
    struct stat info;

    if (fstat(log->fd, &info) != 0)
        return err_set(err, ERR_IO, "%s: %s", log->path, strerror(errno));
    const size_t n = (size_t)info.st_size;
    char *bytes = n <= REPLAY_LOG_BYTES_MAX ? malloc(n + 1) : NULL;
    const struct str file = {bytes, n};
    if (!bytes || io_read(log->fd, bytes, n, 0) != (ssize_t)n || !is_ours(log, file)) {
        free(bytes);
        return begin_anew(log, err);
    }
    memcpy(&log->head, bytes, sizeof log->head);
    const size_t sound = read_records(log, file);
    free(bytes);
    atomic_store(&log->bytes, sound);
    return sound == n || ftruncate(log->fd, (off_t)sound) == 0 ||
           err_set(err, ERR_IO, "%s: %s", log->path, strerror(errno));
}

static bool open_file(struct replay_log *log, struct err *err)
{
    log->fd = open(log->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log->fd < 0)
        return err_set(err, ERR_IO, "%s: %s", log->path, strerror(errno));
    if (flock(log->fd, LOCK_EX | LOCK_NB) != 0)
        return err_set(err, ERR_IO, "%s: another server uses it", log->path);
    return read_file(log, err);
}

static void log_release(struct replay_log *log)
{
    if (log->fd >= 0)
        close(log->fd);
    for (struct item *item; log->queue && (item = queue_take(log->queue));)
        free(item);
    if (log->queue)
        queue_free(log->queue);
    free(log->path);
    free(log);
}

struct replay_log *replay_log_open(const struct replay_log_options *options,
                                   struct hash_key keys[2], struct err *err)
{
    struct replay_log *log = calloc(1, sizeof *log);

    if (!log) {
        err_set(err, ERR_IO, "no memory");
        return NULL;
    }
    log->options = *options;
    log->fd = -1;
    log->path = strdup(options->path);
    log->queue = queue_new(REPLAY_LOG_QUEUE, NULL, NULL);
    if (!log->path || !log->queue)
        err_set(err, ERR_IO, "no memory");
    else if (open_file(log, err)) {
        keys[0] = (struct hash_key){log->head.keys[0], log->head.keys[1]};
        keys[1] = (struct hash_key){log->head.keys[2], log->head.keys[3]};
        log->compact_at = 2 * atomic_load(&log->bytes) + REPLAY_LOG_SLACK;
        return log;
    }
    log_release(log);
    return NULL;
}

/* ---- the thread ---- */

void replay_log_frame(const struct replay_log *log, struct buf *out, struct str payload)
{
    const struct frame frame = {.bytes = (uint32_t)payload.n,
                                .checksum = hash_bytes(sum_key(&log->head), payload.s, payload.n)};

    buf_append(out, &frame, sizeof frame);
    buf_str(out, payload);
}

/* What is alive, into a new file that takes the old one's place whole or not at all. */
static bool compact(struct replay_log *log)
{
    struct buf out = {0};
    char path[4096];
    const int n = snprintf(path, sizeof path, "%s.new", log->path);

    if (n < 0 || (size_t)n >= sizeof path)
        return false;
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    buf_append(&out, &log->head, sizeof log->head);
    log->options.write_all(log->options.context, log, &out);
    const bool ok = !out.overflow && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
                    io_write(fd, out.data, out.n, 0) && fsync(fd) == 0 &&
                    rename(path, log->path) == 0;
    if (ok) {
        close(log->fd);
        log->fd = fd;
        atomic_store(&log->bytes, out.n);
    } else {
        close(fd);
        unlink(path);
    }
    buf_release(&out);
    return ok;
}

/* A record that was written half is taken back, or else it is the last of this file. */
static void append(struct replay_log *log, struct str payload)
{
    struct buf out = {0};
    const uint64_t before = atomic_load(&log->bytes);

    replay_log_frame(log, &out, payload);
    if (io_write(log->fd, out.data, out.n, before))
        atomic_store(&log->bytes, before + out.n);
    else if (ftruncate(log->fd, (off_t)before) != 0)
        atomic_store(&log->closing, true);
    buf_release(&out);
    if (atomic_load(&log->bytes) <= log->compact_at)
        return;
    compact(log);
    log->compact_at = 2 * atomic_load(&log->bytes) + REPLAY_LOG_SLACK;
}

static void *log_main(void *context)
{
    struct replay_log *log = context;

    for (;;) {
        const bool last = atomic_load(&log->closing);   /* first: nothing comes after it */
        struct item *item = last ? queue_take(log->queue) : queue_wait(log->queue, UINT32_MAX);
        if (item)
            append(log, (struct str){item->payload, item->n});
        else if (last)
            return NULL;
        free(item);
    }
}

void replay_log_start(struct replay_log *log)
{
    log->started = pthread_create(&log->thread, NULL, log_main, log) == 0;
    if (!log->started)
        log_event(LOG_WARN, "replay_in_memory", "reason=\"no thread\"");
}

void replay_log_append(struct replay_log *log, struct str payload)
{
    struct item *item = log->started && payload.n <= REPLAY_LOG_RECORD_MAX
                            ? malloc(sizeof *item + payload.n) : NULL;

    if (!item)
        return;
    item->n = payload.n;
    memcpy(item->payload, payload.s, payload.n);
    if (!queue_put(log->queue, item))
        free(item);
}

void replay_log_close(struct replay_log *log)
{
    if (!log)
        return;
    atomic_store(&log->closing, true);
    queue_kick(log->queue);
    if (log->started)
        pthread_join(log->thread, NULL);
    log_release(log);
}

uint64_t replay_log_bytes(const struct replay_log *log)
{
    return atomic_load(&log->bytes);
}
