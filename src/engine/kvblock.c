/* kvblock.c - writing a block, and reading one that may be anything.
 *
 * The hard thing is speed: a restored conversation is hundreds of megabytes, and its user waits. The
 * page is read in pieces that stay in the processor's cache until they are summed, so that memory is
 * passed over once, and the sum keeps eight multiplications in flight. */
#include "engine/kvblock.h"

#include <assert.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"

#define MAGIC 0x00014b5645534e50u       /* "PNSEVK", version 1 */

enum { PIECE = 1 << 18 };

_Static_assert(sizeof(struct kv_block_head) <= KV_BLOCK_DATA_OFFSET, "the head fits");
_Static_assert(offsetof(struct kv_block_head, checksum) + 8 == sizeof(struct kv_block_head),
               "no padding, and the checksum is last");

size_t kv_block_file_bytes(const struct kv_block_format *format)
{
    return KV_BLOCK_DATA_OFFSET + format->data_bytes;
}

void kv_sum_init(struct kv_sum *sum)
{
    for (uint64_t i = 0; i < 8; i++)
        sum->lanes[i] = (i + 1) * 0x9e3779b97f4a7c15u;
}

/* Xor, rotation and a product with an odd number can all be undone: two different words never lead
 * from one state to the same one. The rotation brings the high bits to where products spread them. */
static inline uint64_t mix(uint64_t lane, uint64_t word)
{
    lane ^= word;
    lane = lane << 29 | lane >> 35;
    return lane * 0xd6e8feb86659fd93u;
}

void kv_sum_add(struct kv_sum *sum, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    uint64_t lanes[8], words[8];

    memcpy(lanes, sum->lanes, sizeof lanes);
    for (; n >= sizeof words; n -= sizeof words, p += sizeof words) {
        memcpy(words, p, sizeof words);
        for (int i = 0; i < 8; i++)
            lanes[i] = mix(lanes[i], words[i]);
    }
    if (n) {
        memset(words, 0, sizeof words);
        memcpy(words, p, n);
        for (int i = 0; i < 8; i++)
            lanes[i] = mix(lanes[i], words[i]);
    }
    memcpy(sum->lanes, lanes, sizeof lanes);
}

uint64_t kv_sum_end(const struct kv_sum *sum, struct hash_key key, const void *head, size_t n)
{
    unsigned char all[sizeof sum->lanes + sizeof(struct kv_block_head)];

    assert(n <= sizeof(struct kv_block_head));
    memcpy(all, sum->lanes, sizeof sum->lanes);
    memcpy(all + sizeof sum->lanes, head, n);
    return hash_bytes(key, all, sizeof sum->lanes + n);
}

static struct kv_block_head head_of(const struct kv_block_format *format,
                                    const struct kv_block *block)
{
    struct kv_block_head head;

    memset(&head, 0, sizeof head);      /* every byte is compared and summed */
    head.magic = MAGIC;
    memcpy(head.model, format->model, sizeof head.model);
    head.name = block->name;
    head.before = block->before;
    head.space = block->space;
    head.variant = block->variant;
    head.page_tokens = KV_PAGE;
    head.data_bytes = format->data_bytes;
    memcpy(head.tokens, block->tokens, sizeof head.tokens);
    return head;
}

bool kv_block_write(int fd, const struct kv_block_format *format, const struct kv_block *block,
                    const void *data)
{
    struct kv_block_head head = head_of(format, block);
    struct kv_sum sum;

    kv_sum_init(&sum);
    kv_sum_add(&sum, data, format->data_bytes);
    head.checksum = kv_sum_end(&sum, format->key, &head, offsetof(struct kv_block_head, checksum));
    return io_write(fd, &head, sizeof head, 0) &&
           io_write(fd, data, format->data_bytes, KV_BLOCK_DATA_OFFSET);
}

static enum kv_block_result read_all(int fd, void *bytes, size_t n, uint64_t at)
{
    const ssize_t got = io_read(fd, bytes, n, at);

    return got < 0 ? KV_BLOCK_IO : (size_t)got < n ? KV_BLOCK_BAD : KV_BLOCK_GOOD;
}

enum kv_block_result kv_block_read(int fd, const struct kv_block_format *format,
                                   const struct kv_block *wanted, void *data)
{
    const struct kv_block_head want = head_of(format, wanted);
    struct kv_block_head head;
    struct kv_sum sum;
    struct stat st;

    if (fstat(fd, &st) != 0)
        return KV_BLOCK_IO;
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != kv_block_file_bytes(format))
        return KV_BLOCK_BAD;
    enum kv_block_result result = read_all(fd, &head, sizeof head, 0);
    if (result != KV_BLOCK_GOOD)
        return result;
    if (memcmp(&head, &want, offsetof(struct kv_block_head, checksum)) != 0)
        return KV_BLOCK_BAD;
    kv_sum_init(&sum);
    for (size_t at = 0; at < format->data_bytes; at += PIECE) {
        const size_t left = format->data_bytes - at, n = left < PIECE ? left : PIECE;
        result = read_all(fd, (char *)data + at, n, KV_BLOCK_DATA_OFFSET + at);
        if (result != KV_BLOCK_GOOD)
            return result;
        kv_sum_add(&sum, (char *)data + at, n);
    }
    return head.checksum == kv_sum_end(&sum, format->key, &want,
                                       offsetof(struct kv_block_head, checksum))
               ? KV_BLOCK_GOOD : KV_BLOCK_BAD;
}
