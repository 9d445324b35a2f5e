/* Files in whole: places, ends, errors; and folders that are there already, or can't be made. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/io.h"

static char folder[64];

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/pensieve-io-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return rmdir(folder);
}

static int file_open(char path[96], int flags)
{
    snprintf(path, 96, "%s/file", folder);
    const int fd = open(path, flags | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    return fd;
}

static void places_and_ends(void **state)
{
    char path[96], got[16];
    const int fd = file_open(path, O_RDWR);

    (void)state;
    assert_true(io_write(fd, "0123456789", 10, 0));
    assert_true(io_write(fd, "ab", 2, 9));
    assert_int_equal(io_read(fd, got, 4, 2), 4);
    assert_memory_equal(got, "2345", 4);
    assert_int_equal(io_read(fd, got, sizeof got, 7), 4);
    assert_memory_equal(got, "78ab", 4);
    assert_int_equal(io_read(fd, got, sizeof got, 11), 0);
    assert_int_equal(io_read(fd, got, 0, 0), 0);
    assert_true(io_write(fd, NULL, 0, 0));
    close(fd);
    errno = 0;
    assert_int_equal(io_read(fd, got, 1, 0), -1);
    assert_int_equal(errno, EBADF);
    assert_false(io_write(fd, "x", 1, 0));
    unlink(path);
}

static void to_the_end_of_one_opened_to_append(void **state)
{
    char path[96], got[4];
    const int fd = file_open(path, O_RDWR | O_APPEND);

    (void)state;
    assert_true(io_write(fd, "ab", 2, 0));
    assert_true(io_write(fd, "cd", 2, 2));
    assert_int_equal(io_read(fd, got, 4, 0), 4);
    assert_memory_equal(got, "abcd", 4);
    close(fd);
    unlink(path);
}

static void folders(void **state)
{
    static const char *const made[] = {"a/b/c", "a/b", "a"};
    char path[128], same[128];
    struct str failed = {0};
    struct stat info;

    (void)state;
    snprintf(path, sizeof path, "%s/a/b//c", folder);
    strcpy(same, path);
    assert_true(io_make_folders(path, 0700, &failed));
    assert_true(io_make_folders(path, 0700, &failed));
    assert_string_equal(path, same);
    assert_true(stat(path, &info) == 0 && S_ISDIR(info.st_mode));
    assert_int_equal(failed.n, 0);
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, made[i]);
        assert_int_equal(rmdir(path), 0);
    }
}

static void a_folder_that_cannot_be_made(void **state)
{
    char file[96], path[128], same[128];
    struct str failed = {0};

    (void)state;
    close(file_open(file, O_WRONLY));
    snprintf(path, sizeof path, "%s/in/side", file);
    strcpy(same, path);
    assert_false(io_make_folders(path, 0700, &failed));
    assert_int_equal(errno, ENOTDIR);
    assert_true(failed.s == path && failed.n == strlen(file) + 3);
    assert_string_equal(path, same);
    unlink(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_and_ends),
        cmocka_unit_test(to_the_end_of_one_opened_to_append),
        cmocka_unit_test(folders),
        cmocka_unit_test(a_folder_that_cannot_be_made),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
