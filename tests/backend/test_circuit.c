/* test_circuit.c - when somebody who has failed is asked again, by a clock that the test turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "backend/circuit.h"

static void fail_once(struct circuit *circuit, uint64_t now_ms)
{
    assert_true(circuit_allows(circuit));
    circuit_begin(circuit);
    circuit_failure(circuit, now_ms);
}

static void open_it(struct circuit *circuit, uint64_t now_ms)
{
    for (int i = 0; i < CIRCUIT_FAILURES; i++)
        fail_once(circuit, now_ms);
}

static void test_failures_in_a_row(void **state)
{
    struct circuit circuit = {0};

    for (int round = 0; round < 2; round++) {           /* a success between them starts anew */
        for (int i = 0; i < CIRCUIT_FAILURES - 1; i++)
            fail_once(&circuit, 5);
        circuit_begin(&circuit);
        circuit_success(&circuit);
    }
    for (int i = 0; i < CIRCUIT_FAILURES; i++)
        fail_once(&circuit, 100);
    assert_false(circuit_allows(&circuit));
    assert_int_equal(circuit_rest_ms(&circuit, 100), CIRCUIT_REST_MS);
    assert_int_equal(circuit_rest_ms(&circuit, 100 + CIRCUIT_REST_MS), 0);
}

static void test_half_open_lets_one_try(void **state)
{
    struct circuit circuit = {0};

    circuit_away(&circuit, 100, 50);
    circuit_wake(&circuit, 149);
    assert_false(circuit_allows(&circuit));
    circuit_wake(&circuit, 150);
    assert_true(circuit_allows(&circuit));
    circuit_begin(&circuit);
    assert_false(circuit_allows(&circuit));
    circuit_nothing(&circuit);                          /* it was cancelled: the next may try */
    assert_true(circuit_allows(&circuit));
    circuit_begin(&circuit);
    circuit_success(&circuit);
    assert_int_equal(circuit.state, CIRCUIT_CLOSED);
    circuit_begin(&circuit);
    assert_true(circuit_allows(&circuit));
}

static void test_each_rest_is_longer(void **state)
{
    struct circuit circuit = {0};
    uint64_t now = 0, expected = CIRCUIT_REST_MS;

    open_it(&circuit, now);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(circuit_rest_ms(&circuit, now), expected);
        now += expected;
        circuit_wake(&circuit, now);
        fail_once(&circuit, now);
        expected = expected * 2 < CIRCUIT_REST_MAX_MS ? expected * 2 : CIRCUIT_REST_MAX_MS;
    }
    circuit_half(&circuit);
    circuit_begin(&circuit);
    circuit_success(&circuit);
    open_it(&circuit, now);                             /* all is forgiven */
    assert_int_equal(circuit_rest_ms(&circuit, now), CIRCUIT_REST_MS);
}

static void test_share_of_failures(void **state)
{
    struct circuit circuit = {0};
    int asked = 0;

    while (circuit_allows(&circuit)) {                  /* two of three fail: never three in a row */
        circuit_begin(&circuit);
        if (++asked % 3 == 0)
            circuit_success(&circuit);
        else
            circuit_failure(&circuit, 0);
        assert_true(asked <= CIRCUIT_WINDOW);
    }
    assert_int_equal(asked, CIRCUIT_WINDOW);
    circuit = (struct circuit){0};
    for (int i = 0; i < 1000; i++) {                    /* one of two does not open it */
        circuit_begin(&circuit);
        if (i % 2)
            circuit_success(&circuit);
        else
            circuit_failure(&circuit, 0);
        assert_int_equal(circuit.state, CIRCUIT_CLOSED);
    }
}

static void test_late_news(void **state)
{
    struct circuit circuit = {0};

    circuit_begin(&circuit);                            /* two were asked before it opened */
    circuit_begin(&circuit);
    circuit_away(&circuit, 0, CIRCUIT_REST_MS);
    circuit_failure(&circuit, 500);                     /* the rest is as long as it was */
    assert_int_equal(circuit_rest_ms(&circuit, 500), CIRCUIT_REST_MS - 500);
    circuit_success(&circuit);                          /* it answers: it is there */
    assert_true(circuit_allows(&circuit));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failures_in_a_row), cmocka_unit_test(test_half_open_lets_one_try),
        cmocka_unit_test(test_each_rest_is_longer), cmocka_unit_test(test_share_of_failures),
        cmocka_unit_test(test_late_news),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
