/* Stop sequences against a plain search over the whole text, for random texts cut at random. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/random.h"
#include "chat/stops.h"

/* Where the first match ends and which it is, by looking at every end; -1: none. */
static int plain_search(struct str text, const struct str *sequences, size_t n, size_t *begin)
{
    for (size_t end = 1; end <= text.n; end++) {
        int found = -1;
        for (size_t i = 0; i < n; i++) {
            if (sequences[i].n && str_ends((struct str){text.s, end}, sequences[i]) &&
                (found < 0 || sequences[i].n > sequences[found].n))
                found = (int)i;
        }
        if (found >= 0) {
            *begin = end - sequences[found].n;
            return found;
        }
    }
    *begin = text.n;
    return -1;
}

static void random_cuts_agree_with_a_plain_search(void **state)
{
    struct rng rng;

    rng_seed(&rng, 42);
    for (int round = 0; round < 20000; round++) {
        char text[64], bytes[4][8];
        struct str sequences[4];
        const size_t n = rng_next(&rng) % 5, text_n = rng_next(&rng) % sizeof text;
        const unsigned letters = 1 + (unsigned)(rng_next(&rng) % 3);
        for (size_t i = 0; i < n; i++) {
            sequences[i] = (struct str){bytes[i], rng_next(&rng) % sizeof bytes[i]};
            for (size_t k = 0; k < sequences[i].n; k++)
                bytes[i][k] = (char)('a' + rng_next(&rng) % letters);
        }
        for (size_t i = 0; i < text_n; i++)
            text[i] = (char)('a' + rng_next(&rng) % letters);

        size_t begin;
        const int expected = plain_search((struct str){text, text_n}, sequences, n, &begin);
        struct stops stops;
        struct buf out = {0};
        bool stopped = false;
        stops_init(&stops, sequences, n);
        for (size_t at = 0, step; at < text_n; at += step) {
            step = 1 + rng_next(&rng) % 9;
            if (step > text_n - at)
                step = text_n - at;
            stopped = stops_push(&stops, (struct str){text + at, step}, &out);
            /* nothing of a match is out, and no more is held than may become one */
            assert_true(out.n <= begin);
            assert_true(stops.held.n < sizeof bytes[0]);
        }
        if (!stopped)
            stops_finish(&stops, &out);
        assert_int_equal(stopped, expected >= 0);
        assert_int_equal(stops.matched, expected);
        assert_true(str_equal(buf_view(&out), (struct str){text, begin}));
        stops_release(&stops);
        buf_release(&out);
    }
    (void)state;
}

static void undecided_text_waits_and_decided_text_does_not(void **state)
{
    const struct str sequences[] = {STR("\n\nHuman:"), STR("END")};
    struct stops stops;
    struct buf out = {0};

    stops_init(&stops, sequences, 2);
    assert_false(stops_push(&stops, STR("one\n"), &out));
    assert_true(str_is(buf_view(&out), "one"));
    assert_false(stops_push(&stops, STR("two E"), &out));
    assert_true(str_is(buf_view(&out), "one\ntwo "));
    assert_false(stops_push(&stops, STR("Nx\n\nHum"), &out));
    assert_true(str_is(buf_view(&out), "one\ntwo ENx"));
    assert_true(stops_push(&stops, STR("an: and more"), &out));
    assert_int_equal(stops.matched, 0);
    assert_true(str_is(buf_view(&out), "one\ntwo ENx"));
    assert_true(stops_push(&stops, STR("END"), &out));      /* too late */
    stops_finish(&stops, &out);
    assert_int_equal(stops.matched, 0);
    assert_true(str_is(buf_view(&out), "one\ntwo ENx"));
    stops_release(&stops);
    buf_release(&out);
    (void)state;
}

static void what_was_held_comes_out_at_the_end(void **state)
{
    const struct str sequences[] = {STR("STOP")};
    struct stops stops;
    struct buf out = {0};

    stops_init(&stops, sequences, 1);
    assert_false(stops_push(&stops, STR("no STO"), &out));
    assert_true(str_is(buf_view(&out), "no "));
    stops_finish(&stops, &out);
    assert_true(str_is(buf_view(&out), "no STO"));
    stops_release(&stops);
    buf_release(&out);
    (void)state;
}

static void repetitive_sequences_cost_no_more_than_others(void **state)
{
    enum { SEQUENCES = 64, BYTES = 4096, TEXT = 1 << 16 };
    char *a = malloc(BYTES), *text = malloc(TEXT);
    struct str sequences[SEQUENCES];
    struct stops stops;
    struct buf out = {0};

    memset(a, 'a', BYTES);
    memset(text, 'a', TEXT);
    a[BYTES - 1] = 'b';
    for (size_t i = 0; i < SEQUENCES; i++)
        sequences[i] = (struct str){a + i, BYTES - i};      /* a...ab, of many lengths */
    for (size_t i = 4000; i < TEXT; i += 4000)
        text[i] = 'c';
    const uint64_t start = clock_ns();
    stops_init(&stops, sequences, SEQUENCES);
    for (size_t i = 0; i < TEXT; i += 4)
        assert_false(stops_push(&stops, (struct str){text + i, 4}, &out));
    stops_finish(&stops, &out);
    assert_true(str_equal(buf_view(&out), (struct str){text, TEXT}));
    assert_true(clock_seconds_since(start) < 5);
    stops_release(&stops);
    buf_release(&out);
    free(a);
    free(text);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_cuts_agree_with_a_plain_search),
        cmocka_unit_test(undecided_text_waits_and_decided_text_does_not),
        cmocka_unit_test(what_was_held_comes_out_at_the_end),
        cmocka_unit_test(repetitive_sequences_cost_no_more_than_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
