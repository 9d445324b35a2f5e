/* Which files make a model: a file, a split set, a folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "app/whole.h"
#include "support/folder.h"

static const char *put(const struct place *place, const char *name, size_t bytes)
{
    char *text = arena_alloc(place->arena, bytes);
    memset(text, 'x', bytes);
    folder_write(place->root, name, (struct str){text, bytes});
    return arena_printf(place->arena, "%s/%s", place->root, name).s;
}

static void assert_whole(const struct place *place, const char *path, size_t files, uint64_t bytes)
{
    struct whole whole;
    struct err err = {0};
    if (!whole_read(place->arena, path, &whole, &err)) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(whole.files, files);
    assert_int_equal(whole.bytes, bytes);
}

static void test_files_and_split_sets(void **state)
{
    struct place *place = *state;
    const char *single = put(place, "m.gguf", 3000000);
    const char *first = put(place, "m-00001-of-00003.gguf", 10);
    put(place, "m-00002-of-00003.gguf", 200);
    put(place, "m-00003-of-00003.gguf", 3000);
    put(place, "n-00001-of-00002.gguf", 5);
    put(place, "readme", 7);
    assert_whole(place, single, 1, 3000000);
    assert_whole(place, first, 3, 3210);
    assert_whole(place, place->root, 5, 3003215);       /* no config.json: its GGUF files */
    put(place, "config.json", 2);
    put(place, ".hidden", 2);
    assert_whole(place, place->root, 7, 3003224);
    assert_int_equal(chdir(place->root), 0);
    assert_whole(place, "m-00001-of-00003.gguf", 3, 3210);
    assert_int_equal(chdir("/"), 0);
}

static void test_what_cannot_be_read(void **state)
{
    struct place *place = *state;
    struct whole whole;
    struct err err = {0};
    const char *gone = arena_printf(place->arena, "%s/gone.gguf", place->root).s;
    assert_false(whole_read(place->arena, gone, &whole, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.text, "gone.gguf: No such file"));
    assert_false(whole_read(place->arena, "/proc/self/mem", &whole, &err));     /* a bad sector */
    assert_non_null(strstr(err.text, "/proc/self/mem: byte 0 can't be read: "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files_and_split_sets, place_open, place_close),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_read, place_open, place_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
