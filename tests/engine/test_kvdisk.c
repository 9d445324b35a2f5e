/* Pages on disk: what was written is found again, and whatever happens to the files, a page that is
 * handed out as good is the one that was asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/random.h"
#include "engine/kvcache.h"
#include "engine/kvdisk.h"
#include "engine/kvindex.h"
#include "support/folder.h"

enum { PAGE_BYTES = 4096 + 64 * 5 + 8, MIB = 1 << 20 };

static const struct kv_block_format format = {
    .model = {11, 22}, .key = {33, 44}, .data_bytes = PAGE_BYTES,
};

static void fill(void *bytes, size_t n, uint64_t seed)
{
    struct rng rng;

    rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)bytes)[i] = (unsigned char)rng_next(&rng);
}

static bool holds(const void *bytes, size_t n, uint64_t seed)
{
    unsigned char *wanted = malloc(n);

    fill(wanted, n, seed);
    const bool same = memcmp(bytes, wanted, n) == 0;
    free(wanted);
    return same;
}

static struct kv_block block_of(uint64_t seed)
{
    struct kv_block block = {
        .name = {seed * 3 + 1, seed * 5}, .before = {seed * 7, seed}, .space = seed, .variant = 1,
    };

    fill(block.tokens, sizeof block.tokens, seed);
    return block;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* ---- one block ---- */

struct block_file {
    const char *path;
    struct kv_block block;
    unsigned char data[PAGE_BYTES], got[PAGE_BYTES];
};

static enum kv_block_result read_as(struct block_file *file, const struct kv_block_format *as,
                                    const struct kv_block *wanted)
{
    const int fd = open(file->path, O_RDONLY | O_NONBLOCK);

    assert_true(fd >= 0);
    const enum kv_block_result result = kv_block_read(fd, as, wanted, file->got);
    close(fd);
    return result;
}

static void write_it(struct block_file *file, struct place *place)
{
    file->path = arena_printf(place->arena, "%s/block", place->root).s;
    file->block = block_of(1);
    fill(file->data, sizeof file->data, 5);
    const int fd = open(file->path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(kv_block_write(fd, &format, &file->block, file->data));
    close(fd);
}

static void test_block(void **state)
{
    struct block_file file;

    write_it(&file, *state);
    assert_int_equal(read_as(&file, &format, &file.block), KV_BLOCK_GOOD);
    assert_memory_equal(file.data, file.got, PAGE_BYTES);
}

/* Any single bit of the file, wherever it lies; the gap between head and page alone means nothing. */
static void test_block_bit_flips(void **state)
{
    struct block_file file;

    write_it(&file, *state);
    const int fd = open(file.path, O_RDWR);
    for (size_t at = 0; at < KV_BLOCK_DATA_OFFSET + PAGE_BYTES; at++) {
        unsigned char byte, damaged;
        const bool gap = at >= sizeof(struct kv_block_head) && at < KV_BLOCK_DATA_OFFSET;
        if (gap || (at > KV_BLOCK_DATA_OFFSET + 256 && at % 7))
            continue;
        assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
        damaged = byte ^ (unsigned char)(1 << at % 8);
        assert_int_equal(pwrite(fd, &damaged, 1, (off_t)at), 1);
        assert_int_equal(kv_block_read(fd, &format, &file.block, file.got), KV_BLOCK_BAD);
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    }
    assert_int_equal(kv_block_read(fd, &format, &file.block, file.got), KV_BLOCK_GOOD);
    close(fd);
}

static void test_block_lengths(void **state)
{
    struct block_file file;
    const off_t whole = KV_BLOCK_DATA_OFFSET + PAGE_BYTES;
    const off_t lengths[] = {0, 1, 8, sizeof(struct kv_block_head), KV_BLOCK_DATA_OFFSET,
                             KV_BLOCK_DATA_OFFSET + 1, whole - 1, whole + 1, whole * 2};

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        write_it(&file, *state);
        assert_int_equal(truncate(file.path, lengths[i]), 0);
        assert_int_equal(read_as(&file, &format, &file.block), KV_BLOCK_BAD);
    }
    /* As a power cut leaves them: the right length, and zeros where data was not written yet. */
    write_it(&file, *state);
    assert_int_equal(truncate(file.path, KV_BLOCK_DATA_OFFSET + 100), 0);
    assert_int_equal(truncate(file.path, whole), 0);
    assert_int_equal(read_as(&file, &format, &file.block), KV_BLOCK_BAD);
}

/* A whole and undamaged block that is not the one that was asked for. */
static void test_block_of_another(void **state)
{
    struct block_file file;
    struct kv_block wanted[8];
    struct kv_block_format formats[4];

    write_it(&file, *state);
    for (size_t i = 0; i < 8; i++)
        wanted[i] = file.block;
    wanted[0].name.lo++;
    wanted[1].name.hi++;
    wanted[2].before.lo++;
    wanted[3].before.hi++;
    wanted[4].space++;
    wanted[5].variant++;
    wanted[6].tokens[0]++;
    wanted[7].tokens[KV_PAGE - 1]++;
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(read_as(&file, &format, &wanted[i]), KV_BLOCK_BAD);
    for (size_t i = 0; i < 4; i++)
        formats[i] = format;
    formats[0].model[0]++;
    formats[1].model[1]++;
    formats[2].key.k0++;
    formats[3].data_bytes--;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(read_as(&file, &formats[i], &file.block), KV_BLOCK_BAD);

    struct place *place = *state;
    file.path = place->root;            /* a folder */
    assert_int_equal(read_as(&file, &format, &file.block), KV_BLOCK_BAD);
    file.path = arena_printf(place->arena, "%s/pipe", place->root).s;
    assert_int_equal(mkfifo(file.path, 0600), 0);
    assert_int_equal(read_as(&file, &format, &file.block), KV_BLOCK_BAD);
}

/* ---- the index ---- */

static void test_index(void **state)
{
    struct kv_index index;

    assert_true(kv_index_init(&index, 5));
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(kv_index_add(&index, (struct kv_name){i * 16, i}, 0), i);
    assert_int_equal(kv_index_add(&index, (struct kv_name){99, 9}, 0), KV_INDEX_NONE);
    kv_index_touch(&index, 0);
    assert_int_equal(index.oldest, 1);
    assert_int_equal(index.newest, 0);
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(kv_index_find(&index, (struct kv_name){i * 16, i}), i);
    assert_int_equal(kv_index_find(&index, (struct kv_name){16, 2}), KV_INDEX_NONE);
    kv_index_remove(&index, 3);
    assert_int_equal(kv_index_find(&index, (struct kv_name){48, 3}), KV_INDEX_NONE);
    assert_int_equal(kv_index_add(&index, (struct kv_name){99, 9}, 0), 3);
    assert_int_equal(index.n, 5);
    assert_int_equal(index.newest, 3);
    kv_index_release(&index);
}

/* A chain written beginning first, so the beginning is the oldest; a circle; one without parents. */
static void test_index_parents_first(void **state)
{
    struct kv_index index;
    static const struct { uint64_t name, before; } given[] = {
        {1, 100}, {2, 1}, {7, 8}, {8, 7}, {3, 2}, {9, 55}, {4, 2}, {5, 5},
    };
    static const uint64_t wanted[] = {8, 7, 3, 9, 4, 2, 1, 5};      /* oldest first */

    assert_true(kv_index_init(&index, 8));
    for (size_t i = 0; i < 8; i++)
        kv_index_add(&index, (struct kv_name){given[i].name, 1}, given[i].before);
    kv_index_parents_first(&index);
    uint32_t id = index.oldest, n = 0, place[10] = {0};
    for (; id != KV_INDEX_NONE; id = index.entries[id].newer)
        place[index.entries[id].name.lo] = ++n;
    assert_int_equal(n, 8);
    assert_true(place[1] > place[2] && place[2] > place[3] && place[2] > place[4]);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(place[wanted[i]] > 0, 1);
    assert_int_equal(place[5], 8);                      /* the newest stays it */
    kv_index_release(&index);
}

/* ---- the folder and its threads ---- */

static struct kv_disk *disk_open(struct place *place, uint64_t bytes_max, uint64_t model)
{
    struct err err;
    const struct kv_disk_options options = {
        .dir = arena_printf(place->arena, "%s/a/b", place->root).s, .bytes_max = bytes_max,
        .fingerprint = {model, 2}, .page_bytes = PAGE_BYTES,
    };
    struct kv_disk *disk = kv_disk_open(&options, &err);

    if (!disk)
        fail_msg("%s", err.text);
    return disk;
}

static struct kv_disk_counts counts_of(struct kv_disk *disk)
{
    struct kv_disk_counts counts;

    kv_disk_counts(disk, &counts);
    return counts;
}

static void put(struct kv_disk *disk, uint64_t seed)
{
    const struct kv_block block = block_of(seed);
    unsigned char page[PAGE_BYTES];

    fill(page, sizeof page, seed);
    while (!kv_disk_write(disk, &block, page))
        pause_ms(1);
    memset(page, 0, sizeof page);       /* it was copied */
}

static bool get(struct kv_disk *disk, uint64_t seed)
{
    const struct kv_block block = block_of(seed);
    static unsigned char page[PAGE_BYTES];
    uint32_t tag;
    bool good;

    assert_true(kv_disk_read(disk, &block, page, 77));
    while (!kv_disk_take(disk, &tag, &good))
        pause_ms(1);
    assert_int_equal(tag, 77);
    if (good)
        assert_true(holds(page, sizeof page, seed));
    return good;
}

static char *path_of(struct place *place, struct kv_disk *disk, uint64_t seed)
{
    const struct kv_block block = block_of(seed);

    return (char *)arena_printf(place->arena, "%s/%016llx%016llx-%016llx.kv", kv_disk_path(disk),
                                (unsigned long long)block.name.lo,
                                (unsigned long long)block.name.hi,
                                (unsigned long long)block.before.lo).s;
}

static void test_disk_restart(void **state)
{
    struct kv_disk *disk = disk_open(*state, MIB, 1);

    for (uint64_t i = 0; i < 20; i++)
        put(disk, i);
    assert_false(get(disk, 100));
    kv_disk_close(disk, 5000);

    disk = disk_open(*state, MIB, 1);
    assert_int_equal(counts_of(disk).blocks, 20);
    assert_true(counts_of(disk).writable);
    for (uint64_t i = 0; i < 20; i++) {
        assert_true(kv_disk_has(disk, block_of(i).name));
        assert_true(get(disk, i));
    }
    kv_disk_close(disk, 0);

    disk = disk_open(*state, MIB, 2);   /* another model finds nothing of it */
    assert_int_equal(counts_of(disk).blocks, 0);
    assert_false(kv_disk_has(disk, block_of(3).name));
    kv_disk_close(disk, 0);
}

/* The cap holds, and what was used last is what is left, also by the order after a restart. */
static void test_disk_cap(void **state)
{
    const uint64_t block_bytes = KV_BLOCK_DATA_OFFSET + PAGE_BYTES;
    struct kv_disk *disk = disk_open(*state, 10 * block_bytes, 1);
    struct kv_name name = block_of(0).name;

    for (uint64_t i = 0; i < 30; i++) {
        put(disk, i);
        if (i >= 5)                     /* the first one is in use all the time */
            kv_disk_touch(disk, &name, 1);
        pause_ms(2);
        assert_true(counts_of(disk).bytes <= 10 * block_bytes);
    }
    kv_disk_close(disk, 5000);
    disk = disk_open(*state, 5 * block_bytes, 1);
    assert_int_equal(counts_of(disk).blocks, 5);
    assert_true(get(disk, 29));
    assert_false(kv_disk_has(disk, block_of(20).name));
    struct stat st;
    assert_int_equal(stat(path_of(*state, disk, 20), &st), -1);
    kv_disk_close(disk, 0);
}

/* The folders of models that nobody has loaded make room first. */
static void test_disk_cap_of_all_models(void **state)
{
    const uint64_t block_bytes = KV_BLOCK_DATA_OFFSET + PAGE_BYTES;
    struct kv_disk *first = disk_open(*state, 12 * block_bytes, 1);

    for (uint64_t i = 0; i < 12; i++)
        put(first, i);
    kv_disk_close(first, 5000);
    first = disk_open(*state, 12 * block_bytes, 1);
    assert_int_equal(counts_of(first).blocks, 12);

    struct kv_disk *second = disk_open(*state, 12 * block_bytes, 2);
    assert_int_equal(counts_of(second).bytes_max, 3 * block_bytes);    /* the first is in use */
    kv_disk_close(second, 0);
    kv_disk_close(first, 0);
    second = disk_open(*state, 12 * block_bytes, 2);
    assert_int_equal(counts_of(second).bytes_max, 12 * block_bytes);
    kv_disk_close(second, 0);
    first = disk_open(*state, 12 * block_bytes, 1);
    assert_int_equal(counts_of(first).blocks, 0);
    kv_disk_close(first, 0);
}

static void damage(const char *path, int how)
{
    unsigned char byte;
    int fd;

    switch (how) {
    case 0:                             /* a bit of the page */
        fd = open(path, O_RDWR);
        assert_int_equal(pread(fd, &byte, 1, 5000), 1);
        byte ^= 64;
        assert_int_equal(pwrite(fd, &byte, 1, 5000), 1);
        close(fd);
        return;
    case 1:
        assert_int_equal(truncate(path, 0), 0);
        return;
    case 2:
        assert_int_equal(truncate(path, 4500), 0);
        return;
    case 3:
        assert_int_equal(unlink(path), 0);
        return;
    default:
        assert_int_equal(unlink(path), 0);
        assert_int_equal(how == 4 ? mkdir(path, 0700) : how == 5 ? mkfifo(path, 0600)
                                  : symlink("/dev/zero", path), 0);
    }
}

/* While the folder is open, and before it is: each is dropped, and can be written again. */
static void test_disk_damage(void **state)
{
    enum { KINDS = 7 };

    for (int before = 0; before < 2; before++) {
        struct kv_disk *disk = disk_open(*state, MIB, 1);
        for (uint64_t i = 0; i < KINDS + 1; i++)
            put(disk, i);
        kv_disk_close(disk, 5000);
        disk = disk_open(*state, MIB, 1);
        const char *paths[KINDS];
        for (uint64_t i = 0; i < KINDS; i++)
            paths[i] = path_of(*state, disk, i);
        if (before)
            kv_disk_close(disk, 0);
        for (uint64_t i = 0; i < KINDS; i++)
            damage(paths[i], (int)i);
        if (before)
            disk = disk_open(*state, MIB, 1);
        for (uint64_t i = 0; i < KINDS; i++) {
            assert_false(get(disk, i));
            assert_false(kv_disk_has(disk, block_of(i).name));
        }
        assert_true(get(disk, KINDS));
        if (!before)                    /* all but the one that is gone were found damaged */
            assert_int_equal(counts_of(disk).dropped, KINDS - 1);
        for (uint64_t i = 0; i < KINDS; i++)
            put(disk, i);
        kv_disk_close(disk, 5000);
        disk = disk_open(*state, MIB, 1);
        for (uint64_t i = 0; i <= KINDS; i++)
            assert_true(get(disk, i));
        kv_disk_close(disk, 0);
    }
}

/* One block under another's name: what its name says is not what it is. */
static void test_disk_renamed_block(void **state)
{
    struct kv_disk *disk = disk_open(*state, MIB, 1);

    put(disk, 1);
    put(disk, 2);
    kv_disk_close(disk, 5000);
    disk = disk_open(*state, MIB, 1);
    assert_int_equal(rename(path_of(*state, disk, 1), path_of(*state, disk, 2)), 0);
    assert_false(get(disk, 2));
    assert_int_equal(counts_of(disk).dropped, 1);
    kv_disk_close(disk, 0);
}

/* No space for files: writing stops, nothing else does, and after a while it is tried again. */
static void test_disk_full(void **state)
{
    struct kv_disk *disk = disk_open(*state, MIB, 1);
    struct rlimit before, tiny;

    put(disk, 1);
    while (counts_of(disk).written < 1)
        pause_ms(1);
    getrlimit(RLIMIT_FSIZE, &before);
    tiny = (struct rlimit){6000, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tiny), 0);
    for (uint64_t i = 2; i < 30; i++)
        put(disk, i);
    while (counts_of(disk).failures < 1)
        pause_ms(1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(get(disk, 1));
    put(disk, 50);                      /* not tried: it is too soon */
    pause_ms(20);
    assert_false(kv_disk_has(disk, block_of(50).name));
    assert_true(counts_of(disk).failures <= 2);
    const struct kv_disk_counts counts = counts_of(disk);
    assert_int_equal(counts.blocks, 1);
    kv_disk_close(disk, 0);
    disk = disk_open(*state, MIB, 1);
    assert_int_equal(counts_of(disk).blocks, 1);
    assert_true(get(disk, 1));
    kv_disk_close(disk, 0);
}

/* The second server reads what there is and writes nothing; when the first has gone, the next one
 * writes. */
static void test_disk_second_server(void **state)
{
    struct kv_disk *first = disk_open(*state, MIB, 1);

    put(first, 1);
    while (counts_of(first).written < 1)
        pause_ms(1);
    struct kv_disk *second = disk_open(*state, MIB, 1);
    assert_false(counts_of(second).writable);
    assert_true(get(second, 1));
    put(second, 2);
    put(first, 3);
    kv_disk_close(first, 5000);
    assert_false(kv_disk_has(second, block_of(3).name));        /* came after its start */
    kv_disk_close(second, 5000);

    first = disk_open(*state, MIB, 1);
    second = disk_open(*state, MIB, 1);
    assert_true(counts_of(first).writable && !counts_of(second).writable);
    assert_true(get(second, 1) && get(second, 3));
    assert_false(kv_disk_has(second, block_of(2).name));
    put(first, 4);
    kv_disk_close(first, 5000);
    put(second, 5);                     /* the lock is free: it finds what came since, and writes */
    while (counts_of(second).written < 1)
        pause_ms(1);
    assert_true(counts_of(second).writable);
    assert_true(get(second, 4) && get(second, 5));
    kv_disk_close(second, 0);
}

static void test_disk_refusals(void **state)
{
    struct place *place = *state;
    struct err err;
    struct kv_disk_options options = {
        .dir = "", .bytes_max = MIB, .fingerprint = {1, 2}, .page_bytes = PAGE_BYTES,
    };

    assert_null(kv_disk_open(&options, &err));
    assert_int_equal(err.code, ERR_IO);
    folder_write(place->root, "file", STR("x"));
    options.dir = arena_printf(place->arena, "%s/file", place->root).s;
    assert_null(kv_disk_open(&options, &err));
    assert_int_equal(err.code, ERR_IO);
    options.dir = place->root;
    options.bytes_max = PAGE_BYTES;     /* not one block */
    assert_null(kv_disk_open(&options, &err));
    assert_int_equal(err.code, ERR_IO);
}

/* A key that is gone or short: all is as at first use. */
static void test_disk_lost_key(void **state)
{
    for (int gone = 0; gone < 2; gone++) {
        struct kv_disk *disk = disk_open(*state, MIB, 1);
        put(disk, 1);
        kv_disk_close(disk, 5000);
        disk = disk_open(*state, MIB, 1);
        const char *key = arena_printf(((struct place *)*state)->arena, "%s/key",
                                       kv_disk_path(disk)).s;
        kv_disk_close(disk, 0);
        assert_int_equal(gone ? unlink(key) : truncate(key, 31), 0);
        disk = disk_open(*state, MIB, 1);
        assert_int_equal(counts_of(disk).blocks, 0);
        kv_disk_close(disk, 0);
    }
}

/* A writer is killed at any moment, again and again: what is found afterwards is whole. */
static void test_disk_killed(void **state)
{
    enum { ROUNDS = 10 };
    uint64_t found = 0;

    for (uint64_t round = 0; round < ROUNDS; round++) {
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct kv_disk *disk = disk_open(*state, 16 * MIB, 1);
            for (uint64_t i = 0;; i++)
                put(disk, round * 1000 + i % 1000);
        }
        pause_ms(20 + (long)round * 3);
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        struct kv_disk *disk = disk_open(*state, 16 * MIB, 1);
        assert_true(counts_of(disk).writable);
        for (uint64_t i = 0; i < 1000; i++)
            if (kv_disk_has(disk, block_of(round * 1000 + i).name)) {
                assert_true(get(disk, round * 1000 + i));
                found++;
            }
        DIR *list = opendir(kv_disk_path(disk));
        for (const struct dirent *entry; (entry = readdir(list));)
            assert_null(strstr(entry->d_name, ".new"));
        closedir(list);
        kv_disk_close(disk, 0);
    }
    assert_true(found > ROUNDS);
}

/* ---- the cache with a disk ---- */

enum { LAYERS = 2, HEADS = 3, DIM = 8, KV_BYTES = LAYERS * HEADS * DIM * KV_PAGE * 2 * 2 };

static struct kv_cache *cache_open(struct place *place, uint32_t pages)
{
    struct err err;
    struct kv_cache *cache = kv_cache_new(LAYERS, HEADS, DIM, (uint64_t)pages * KV_BYTES, &err);
    const struct kv_disk_options options = {
        .dir = arena_printf(place->arena, "%s/cache", place->root).s, .bytes_max = 64 * MIB,
        .fingerprint = {9, 9}, .page_bytes = KV_BYTES,
    };
    struct kv_disk *disk = kv_disk_open(&options, &err);

    assert_non_null(cache);
    assert_non_null(disk);
    assert_true(kv_cache_use_disk(cache, disk));
    return cache;
}

/* What a page must hold depends on all tokens up to its end, and on space and variant. */
static uint64_t digest(const struct kv_table *table, const int32_t *tokens, uint32_t n)
{
    uint64_t x = 17 + table->space * 31 + table->variant;

    for (uint32_t i = 0; i < n; i++)
        x = (x ^ (uint32_t)tokens[i]) * 0x9e3779b97f4a7c15u;
    return x;
}

static void *page_of(const struct kv_cache *cache, const struct kv_table *table, uint32_t i)
{
    return kv_page_k(cache, table->pages[i], 0, 0);
}

/* As a sequence does: what is in memory, then what is on disk, the rest computed. */
static uint32_t restore(struct kv_cache *cache, struct kv_table *table, const int32_t *tokens,
                        uint32_t n)
{
    uint32_t found;

    kv_table_lookup(cache, table, tokens, n);
    if (!kv_table_reserve(cache, table, n))
        return 0;
    kv_table_read(cache, table, tokens, n);
    for (; kv_cache_poll(cache), !kv_table_settle(cache, table, tokens, &found);)
        pause_ms(1);
    return found;
}

static void compute(struct kv_cache *cache, struct kv_table *table, const int32_t *tokens,
                    uint32_t n)
{
    for (uint32_t i = 0; i < table->length / KV_PAGE; i++)
        assert_true(holds(page_of(cache, table, i), KV_BYTES,
                          digest(table, tokens, (i + 1) * KV_PAGE)));
    for (uint32_t i = table->length / KV_PAGE; i < n / KV_PAGE; i++)
        fill(page_of(cache, table, i), KV_BYTES, digest(table, tokens, (i + 1) * KV_PAGE));
    kv_table_commit(cache, table, tokens, n);
    kv_cache_poll(cache);
}

static void test_cache_restart(void **state)
{
    enum { N = 6 * KV_PAGE + 5 };
    int32_t tokens[N], other[N];
    struct kv_table table;

    fill(tokens, sizeof tokens, 3);
    memcpy(other, tokens, sizeof other);
    other[4 * KV_PAGE]++;
    struct kv_cache *cache = cache_open(*state, 16);
    kv_table_init(&table, 1);
    table.space = 5;
    assert_int_equal(restore(cache, &table, tokens, N), 0);
    compute(cache, &table, tokens, N);
    kv_table_release(cache, &table);
    kv_cache_free(cache);

    cache = cache_open(*state, 16);
    assert_int_equal(restore(cache, &table, other, N), 4 * KV_PAGE);
    compute(cache, &table, other, N);
    kv_table_release(cache, &table);
    assert_int_equal(restore(cache, &table, tokens, N), 2 * KV_PAGE);   /* the rest is in memory */
    compute(cache, &table, tokens, N);
    kv_table_release(cache, &table);
    table.space = 6;
    assert_int_equal(restore(cache, &table, tokens, N), 0);
    kv_table_release(cache, &table);
    table.space = 5;
    table.variant = 0;
    assert_int_equal(restore(cache, &table, tokens, N), 0);
    kv_table_release(cache, &table);
    kv_cache_free(cache);
}

/* A table that goes while the disk fills its pages leaves nothing behind. */
static void test_cache_released_while_reading(void **state)
{
    enum { N = 8 * KV_PAGE + 5 };
    int32_t tokens[N];
    struct kv_table table;

    fill(tokens, sizeof tokens, 3);
    struct kv_cache *cache = cache_open(*state, 32);
    kv_table_init(&table, 0);
    restore(cache, &table, tokens, N);
    compute(cache, &table, tokens, N);
    kv_table_release(cache, &table);
    kv_cache_free(cache);
    for (int round = 0; round < 20; round++) {
        cache = cache_open(*state, 32);
        kv_table_lookup(cache, &table, tokens, N);
        assert_true(kv_table_reserve(cache, &table, N));
        assert_int_equal(kv_table_read(cache, &table, tokens, N), 8 * KV_PAGE);
        if (round % 2)
            kv_cache_poll(cache);
        kv_table_release(cache, &table);
        if (round % 4 == 0) {           /* else the cache goes, too */
            assert_int_equal(restore(cache, &table, tokens, N), 8 * KV_PAGE);
            compute(cache, &table, tokens, N);
            kv_table_release(cache, &table);
            while (kv_cache_counts(cache).used)
                kv_cache_poll(cache);
        }
        kv_cache_free(cache);
    }
}

/* Many beginnings in little memory, restarts and damaged files in between: every page that is handed
 * out holds what its tokens ask for. */
static void test_cache_random_lives(void **state)
{
    enum { N_MAX = 6 * KV_PAGE, STEPS = 600 };
    struct place *place = *state;
    struct kv_cache *cache = cache_open(place, 12);
    int32_t tokens[N_MAX];
    struct rng rng;
    uint64_t found = 0;

    rng_seed(&rng, 4);
    for (int step = 0; step < STEPS; step++) {
        struct kv_table table;
        const uint32_t n = 1 + (uint32_t)(rng_next(&rng) % N_MAX);
        const uint32_t common = (uint32_t)(rng_next(&rng) % N_MAX);
        fill(tokens, sizeof tokens, rng_next(&rng) % 3);
        for (uint32_t i = common; i < N_MAX; i++)
            tokens[i] = (int32_t)(rng_next(&rng) % 2);
        kv_table_init(&table, rng_next(&rng) % 2);
        table.space = rng_next(&rng) % 2;
        found += restore(cache, &table, tokens, n);
        assert_true(table.pages_n * KV_PAGE >= n);
        compute(cache, &table, tokens, n);
        if (rng_next(&rng) % 2)
            kv_table_mark(cache, &table, tokens, n, 300);
        kv_table_release(cache, &table);
        if (rng_next(&rng) % 60 == 0) {
            kv_cache_free(cache);
            cache = cache_open(place, 12);
        }
    }
    kv_cache_free(cache);
    assert_true(found > 20 * KV_PAGE);
}

int main(void)
{
#define IN_A_PLACE(test) cmocka_unit_test_setup_teardown(test, place_open, place_close)
    const struct CMUnitTest tests[] = {
        IN_A_PLACE(test_block),
        IN_A_PLACE(test_block_bit_flips),
        IN_A_PLACE(test_block_lengths),
        IN_A_PLACE(test_block_of_another),
        cmocka_unit_test(test_index),
        cmocka_unit_test(test_index_parents_first),
        IN_A_PLACE(test_disk_killed),   /* forks: before there are threads */
        IN_A_PLACE(test_disk_restart),
        IN_A_PLACE(test_disk_cap),
        IN_A_PLACE(test_disk_cap_of_all_models),
        IN_A_PLACE(test_disk_damage),
        IN_A_PLACE(test_disk_renamed_block),
        IN_A_PLACE(test_disk_full),
        IN_A_PLACE(test_disk_second_server),
        IN_A_PLACE(test_disk_refusals),
        IN_A_PLACE(test_disk_lost_key),
        IN_A_PLACE(test_cache_restart),
        IN_A_PLACE(test_cache_released_while_reading),
        IN_A_PLACE(test_cache_random_lives),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
