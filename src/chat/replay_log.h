/* replay_log.h - a replay store's file: checksummed records, appended; a file never grows above
 * twice what is alive in it, and what a crash left torn at its end is dropped.
 *
 *     file   = "PENSREP1" u64 hash_key[4] u64 model u64 checksum
 *     record = u32 bytes u32 0 u64 checksum payload[bytes]
 *
 * All little-endian; checksums are SipHash with the first two words of hash_key. A thread of its
 * own writes: who appends never waits for a disk; what finds no place in its queue is not
 * written. */
#ifndef PENSIEVE_CHAT_REPLAY_LOG_H
#define PENSIEVE_CHAT_REPLAY_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/str.h"

enum {
    REPLAY_LOG_BYTES_MAX = 256 << 20,   /* a larger file is begun anew */
    REPLAY_LOG_RECORD_MAX = 16 << 20,
    REPLAY_LOG_SLACK = 1 << 20,         /* it may grow by so much whatever is alive */
    REPLAY_LOG_QUEUE = 256,             /* records on their way */
};

struct replay_log;

struct replay_log_options {
    const char *path;
    uint64_t model;
    /* On opening, each sound record's payload, the oldest first; it may point into it until it
     * returns. */
    void (*on_record)(void *context, struct str payload);
    /* For compaction, on the log's thread: appends every live record's payload, each by
     * replay_log_frame, the oldest first. */
    void (*write_all)(void *context, struct replay_log *log, struct buf *out);
    void *context;
};

/* Locks, reads and repairs the file, starts the thread. keys: the file's two, for digests. */
struct replay_log *replay_log_open(const struct replay_log_options *options,
                                   struct hash_key keys[2], struct err *err);
void replay_log_start(struct replay_log *log);
void replay_log_close(struct replay_log *log);          /* NULL is allowed; writes what is queued */
void replay_log_append(struct replay_log *log, struct str payload);
void replay_log_frame(const struct replay_log *log, struct buf *out, struct str payload);
uint64_t replay_log_bytes(const struct replay_log *log);        /* of the file */

#endif
