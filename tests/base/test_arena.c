/* test_arena.c - zeroed, aligned, poisoned when forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#endif

static void test_zeroed_and_aligned(void **state)
{
    struct arena *arena = arena_new(1);

    for (int round = 0; round < 2; round++) {
        for (size_t n = 0; n < 3000; n += 7) {
            unsigned char *p = arena_alloc(arena, n);
            assert_int_equal((uintptr_t)p % 16, 0);
            for (size_t i = 0; i < n; i++) {
                assert_int_equal(p[i], 0);
                p[i] = 0xAA;
            }
        }
        arena_reset(arena);
        assert_int_equal(arena_used(arena), 0);
    }
    arena_free(arena);
}

static void test_neighbours_do_not_overlap(void **state)
{
    struct arena *arena = arena_new(256);
    unsigned char *all[200];

    for (int i = 0; i < 200; i++) {
        all[i] = arena_raw(arena, (size_t)i);
        memset(all[i], i, (size_t)i);
    }
    for (int i = 0; i < 200; i++)
        for (int j = 0; j < i; j++)
            assert_int_equal(all[i][j], i);
    arena_free(arena);
}

static void test_larger_than_any_block(void **state)
{
    struct arena *arena = arena_new(256);
    char *small = arena_alloc(arena, 10);
    char *large = arena_alloc(arena, 5 << 20);

    small[9] = large[(5 << 20) - 1] = 1;
    assert_true(arena_used(arena) >= (5 << 20) + 10);
    arena_free(arena);
}

static void test_strings(void **state)
{
    struct arena *arena = arena_new(256);
    const struct str s = arena_str(arena, (struct str){"a\0b", 3});

    assert_int_equal(s.n, 3);
    assert_memory_equal(s.s, "a\0b", 4);
    assert_string_equal(arena_cstr(arena, STR("xyz")), "xyz");
    assert_string_equal(arena_cstr(arena, (struct str){NULL, 0}), "");
    const struct str f = arena_printf(arena, "%s-%d", "n", 7);
    assert_int_equal(f.n, 3);
    assert_string_equal(f.s, "n-7");
    assert_int_equal(arena_printf(arena, "%s", "").n, 0);
    arena_free(arena);
}

/* Under AddressSanitizer the rest of a block is out of bounds, and after a reset all of it is. */
static void test_poison(void **state)
{
#ifdef WITH_ASAN
    struct arena *arena = arena_new(4096);
    char *p = arena_alloc(arena, 13);

    assert_false(__asan_address_is_poisoned(p + 12));
    assert_true(__asan_address_is_poisoned(p + 13));
    char *q = arena_alloc(arena, 8192);
    assert_false(__asan_address_is_poisoned(q + 8191));
    arena_reset(arena);
    assert_true(__asan_address_is_poisoned(p));
    arena_free(arena);
#else
    skip();
#endif
}

/* A size that no machine has ends the process with its own status, and never wraps around. */
static void test_overflow_ends_the_process(void **state)
{
    for (int i = 0; i < 2; i++) {
        const pid_t child = fork();
        if (child == 0) {
            struct arena *arena = arena_new(256);
            if (i == 0)
                arena_array(arena, SIZE_MAX / 8, 16);
            else
                arena_alloc(arena, SIZE_MAX - 8);
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 70);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zeroed_and_aligned),
        cmocka_unit_test(test_neighbours_do_not_overlap),
        cmocka_unit_test(test_larger_than_any_block),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_poison),
        cmocka_unit_test(test_overflow_ends_the_process),
    };

    arena_free(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
