/* fuzz_kvblock.c - the input is a block's file: it is taken if and only if it is what the writer would
 * have written for the data that it carries. (Not: for the seed's data alone. The fuzzer watches
 * comparisons, sees the right sum there, and so can sign any data, which nobody without the key can.) */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/kvblock.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { DATA_BYTES = 200 };

static const struct kv_block_format format = {
    .model = {1, 2}, .key = {3, 4}, .data_bytes = DATA_BYTES,
};

/* The one that is wanted; with these data it is also the seed. */
static struct kv_block wanted(uint8_t data[DATA_BYTES])
{
    struct kv_block block = {.name = {5, 6}, .before = {7, 8}, .space = 9, .variant = 1};

    for (int i = 0; i < KV_PAGE; i++)
        block.tokens[i] = i * i;
    for (int i = 0; i < DATA_BYTES; i++)
        data[i] = (uint8_t)(i * 7);
    return block;
}

static int file_of(const uint8_t *bytes, size_t n)
{
    const int fd = memfd_create("block", MFD_CLOEXEC);

    if (fd < 0 || (n && write(fd, bytes, n) != (ssize_t)n))
        abort();
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    uint8_t data[DATA_BYTES], *got = malloc(DATA_BYTES);
    const struct kv_block block = wanted(data);
    const int fd = file_of(bytes, n), whole = file_of(NULL, 0);
    uint8_t right[KV_BLOCK_DATA_OFFSET + DATA_BYTES] = {0};

    if (n == sizeof right)
        memcpy(data, bytes + KV_BLOCK_DATA_OFFSET, DATA_BYTES);
    if (!kv_block_write(whole, &format, &block, data) ||
        pread(whole, right, sizeof right, 0) != sizeof right)
        abort();
    const enum kv_block_result result = kv_block_read(fd, &format, &block, got);
    const bool is_it = n == sizeof right &&
                       memcmp(bytes, right, sizeof(struct kv_block_head)) == 0;
    if ((result == KV_BLOCK_GOOD) != is_it || (is_it && memcmp(got, data, DATA_BYTES) != 0))
        abort();
    close(whole);
    close(fd);
    free(got);
    return 0;
}
