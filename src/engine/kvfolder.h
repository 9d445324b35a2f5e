/* kvfolder.h - a model's folder of blocks on disk: made at first use, locked, read in.
 *
 *   DIR/<fingerprint>/lock                  held (flock) by the one process that writes
 *   DIR/<fingerprint>/key                   32 random bytes, made at first use
 *   DIR/<fingerprint>/<name>-<before>.kv    a block (kvblock.h); before: of the page before, half of it
 *   DIR/<fingerprint>/<serial>.new          one that is being written
 *
 * Whatever else lies there is left alone. */
#ifndef PENSIEVE_ENGINE_KVFOLDER_H
#define PENSIEVE_ENGINE_KVFOLDER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/kvindex.h"
#include "engine/kvname.h"

enum { KV_FILE_NAME_BYTES = 64, KV_FOLDER_PATH_BYTES = 4096 };

struct kv_folder {
    char path[KV_FOLDER_PATH_BYTES];
    int fd, lock_fd;            /* -1: not open */
    bool writable;              /* the lock is ours */
    struct kv_key key;
};

/* Opens DIR/<fingerprint>, making it and its parents (0700) where needed. Another process may hold
 * the lock: then the folder is not writable. ERR_IO: no folder, or none that can be used. */
bool kv_folder_open(struct kv_folder *folder, const char *dir, const uint64_t fingerprint[2],
                    struct err *err);
void kv_folder_close(struct kv_folder *folder);
/* Tries for the lock again. */
bool kv_folder_lock(struct kv_folder *folder);
/* Fills a cleared index with the folder's blocks, the least recently used first, and none past
 * blocks_max. A writer removes those, what can be no block of this size, and what was left half
 * written. */
bool kv_folder_scan(struct kv_folder *folder, uint64_t file_bytes, uint32_t blocks_max,
                    struct kv_index *index, struct err *err);
uint64_t kv_folder_bytes(const struct kv_folder *folder);       /* of all its blocks */
void kv_folder_remove(const struct kv_folder *folder, const char *file);
void kv_folder_block(char out[KV_FILE_NAME_BYTES], struct kv_name name, uint64_t before);
void kv_folder_new_block(char out[KV_FILE_NAME_BYTES], uint32_t serial);
/* Bytes of the blocks of other models beside this folder. Those of folders that nobody has locked
 * are removed, the longest unused folder first, until what is left is at most bytes_max. */
uint64_t kv_folder_others(const struct kv_folder *folder, const char *dir, uint64_t bytes_max);
/* Free for us on the folder's file system. */
uint64_t kv_folder_space(const struct kv_folder *folder);

#endif
