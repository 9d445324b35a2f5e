/* kvblock.h - one page of keys and values as a file.
 *
 *   bytes 0..        struct kv_block_head, in this machine's byte order
 *   bytes 4096..     the page, as it lies in memory
 *
 * Whoever reads a block knows beforehand what every byte of its head must be, but for the checksum:
 * the model, the page's name and that of the page before it, space, variant and all tokens. So a block
 * is believed only if it is the very one that is wanted; and the checksum, which is keyed and over
 * the head and all of the page, only if it was written whole, by this folder. Nothing else is parsed:
 * there is no length or offset in a file that anyone follows. */
#ifndef PENSIEVE_ENGINE_KVBLOCK_H
#define PENSIEVE_ENGINE_KVBLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/kvname.h"
#include "kernels/kernels.h"

enum { KV_BLOCK_DATA_OFFSET = 4096 };

struct kv_block_head {
    uint64_t magic;             /* and the format's version */
    uint64_t model[2];          /* kvdisk.h: the folder's fingerprint */
    struct kv_name name, before;
    uint64_t space;
    uint32_t variant, page_tokens;
    uint64_t data_bytes;
    int32_t tokens[KV_PAGE];
    uint64_t checksum;          /* the last field; a wanted head has none */
};

/* What the two ends agree on for all blocks of a folder. */
struct kv_block_format {
    uint64_t model[2];
    struct hash_key key;        /* of the checksum */
    size_t data_bytes;
};

/* A page's place in its conversation. */
struct kv_block {
    struct kv_name name, before;
    uint64_t space;
    uint32_t variant;
    int32_t tokens[KV_PAGE];
};

enum kv_block_result { KV_BLOCK_GOOD, KV_BLOCK_BAD, KV_BLOCK_IO };

size_t kv_block_file_bytes(const struct kv_block_format *format);
/* Writes a whole block from the file's beginning. false: errno says why. */
bool kv_block_write(int fd, const struct kv_block_format *format, const struct kv_block *block,
                    const void *data);
/* Reads the block that is wanted into data. Unless GOOD, data is garbage. IO: errno says why. */
enum kv_block_result kv_block_read(int fd, const struct kv_block_format *format,
                                   const struct kv_block *wanted, void *data);

/* A checksum of what is written once and must be read at the speed of memory: eight lanes, each
 * word of which is mixed in by steps that lose nothing, so that no single damaged word goes unseen,
 * and others with a chance of 2^-64. Exposed for the benchmark. */
struct kv_sum { uint64_t lanes[8]; };
void kv_sum_init(struct kv_sum *sum);
void kv_sum_add(struct kv_sum *sum, const void *bytes, size_t n);   /* n % 64 == 0 but at the end */
uint64_t kv_sum_end(const struct kv_sum *sum, struct hash_key key, const void *head, size_t n);

#endif
