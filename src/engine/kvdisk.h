/* kvdisk.h - full pages on disk: a folder of checked blocks, and the threads that read and write it.
 *
 * The engine thread asks and is never held up: a page to write is copied, a page to read is filled
 * in the background, and what has become of it is fetched by kv_disk_take. A restart, a crash in the
 * middle of a write, a full disk, a damaged file or another model's cost a page that is computed
 * again and never a wrong one (kvblock.h says why). Blocks are not synced one by one: a file that a
 * power cut left torn has no valid checksum.
 *
 * One process writes a folder. A second one reads what it found there at its start, and becomes the
 * writer when the first has ended. */
#ifndef PENSIEVE_ENGINE_KVDISK_H
#define PENSIEVE_ENGINE_KVDISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/kvblock.h"
#include "engine/kvname.h"

enum {
    KV_DISK_THREADS = 2,
    KV_DISK_BLOCKS_MAX = 1 << 18,       /* of one model */
    KV_DISK_RETRY_SECONDS = 30,         /* after a full disk, or for another server's lock */
};

struct kv_disk_options {
    const char *dir;            /* of all models; made if it is not there */
    uint64_t bytes_max;         /* of all models' blocks; also at most half of what is free */
    uint64_t fingerprint[2];    /* of everything that the numbers in a page depend on */
    size_t page_bytes;
    void (*wake)(void *context);        /* from any thread: there is something to take; or NULL */
    void *context;
};

struct kv_disk;

/* ERR_IO: the folder can't be made or used. */
struct kv_disk *kv_disk_open(const struct kv_disk_options *options, struct err *err);
/* Writes what is queued, for wait_ms at most, and ends the threads. No page may be read any more
 * after it; data of reads that are under way must stay until then. */
void kv_disk_close(struct kv_disk *disk, uint32_t wait_ms);
const struct kv_key *kv_disk_key(const struct kv_disk *disk);   /* of the folder's names */

/* Whether it was there when last seen. */
bool kv_disk_has(struct kv_disk *disk, struct kv_name name);
/* They were used, the last one of a sequence first. */
void kv_disk_touch(struct kv_disk *disk, const struct kv_name *names, uint32_t n);
/* false: the queue is full; ask again after the next wake. true: it is or will be there, or can't. */
bool kv_disk_write(struct kv_disk *disk, const struct kv_block *block, const void *page);
/* Fills the page; then kv_disk_take gives the tag. false: no memory. */
bool kv_disk_read(struct kv_disk *disk, const struct kv_block *block, void *page, uint32_t tag);
/* One read that has ended. good: the page holds what was wanted; else garbage. false: none has. */
bool kv_disk_take(struct kv_disk *disk, uint32_t *tag, bool *good);

struct kv_disk_counts {
    uint64_t blocks, bytes, bytes_max;
    uint64_t written, read, dropped;    /* blocks; dropped: damaged ones found and removed */
    uint64_t failures;                  /* of writing: a full disk */
    bool writable;
};
void kv_disk_counts(struct kv_disk *disk, struct kv_disk_counts *counts);
const char *kv_disk_path(const struct kv_disk *disk);

#endif
