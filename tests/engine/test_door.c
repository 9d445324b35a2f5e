/* Places to wait in, and the pace of steps: two small counters that refusals and chunks hang on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/door.h"
#include "engine/pace.h"

static void test_full(void **state)
{
    struct door *door = door_new(8);
    struct err err = {0};

    assert_int_equal(door_share(8), 6);
    for (int i = 0; i < 6; i++)
        assert_true(door_enter(door, 1, RANK_MAIN, 100, &err));
    assert_false(door_enter(door, 1, RANK_MAIN, 100, &err));
    assert_int_equal(err.code, ERR_RATE);
    assert_true(door_enter(door, 2, RANK_SIDE, 10, &err));
    assert_true(door_enter(door, 3, RANK_SIDE, 10, &err));
    assert_false(door_enter(door, 4, RANK_MAIN, 100, &err));
    assert_int_equal(err.code, ERR_OVERLOADED);
    const struct door_stats stats = door_stats(door);
    assert_int_equal(stats.waiting[RANK_MAIN], 6);
    assert_int_equal(stats.waiting[RANK_SIDE], 2);
    assert_int_equal(stats.waiting_tokens, 620);
    door_leave(door, 2, RANK_SIDE, 10, 5);
    assert_false(door_enter(door, 1, RANK_MAIN, 100, &err));
    assert_int_equal(err.code, ERR_RATE);
    assert_true(door_enter(door, 4, RANK_MAIN, 100, &err));
    door_leave(door, 4, RANK_MAIN, 100, -1);
    door_leave(door, 3, RANK_SIDE, 10, 7);
    for (int i = 0; i < 6; i++)
        door_leave(door, 1, RANK_MAIN, 100, 1);
    const struct door_stats after = door_stats(door);
    assert_int_equal(after.waiting[RANK_MAIN] + after.waiting[RANK_SIDE], 0);
    assert_int_equal(after.waiting_tokens, 0);
    assert_int_equal(after.admitted[RANK_MAIN], 6);
    assert_int_equal(after.admitted[RANK_SIDE], 2);
    assert_true(after.waited_ms[RANK_SIDE] == 12);
    door_free(door);
}

static void test_one_place(void **state)
{
    struct door *door = door_new(1);

    assert_true(door_enter(door, 1, RANK_MAIN, 1, NULL));
    assert_false(door_enter(door, 2, RANK_MAIN, 1, NULL));
    door_leave(door, 1, RANK_MAIN, 1, 0);
    door_free(door);
}

/* 100 rows a second beside 0.1 s of decoding. */
static void test_pace(void **state)
{
    struct pace pace = {0};

    assert_int_equal(pace_rows(&pace, 0.5), UINT32_MAX);
    for (int i = 0; i < 100; i++) {
        pace_learn(&pace, 0, 4, 0.1);
        pace_learn(&pace, 256, 4, 2.66);
        pace_learn(&pace, 100, 0, 1.0);
    }
    assert_in_range(pace_rows(&pace, 1.1), 98, 101);
    assert_int_equal(pace_rows(&pace, 0.2), PACE_ROWS_MIN);
    assert_int_equal(pace_rows(&pace, 0.01), PACE_ROWS_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_one_place),
        cmocka_unit_test(test_pace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
