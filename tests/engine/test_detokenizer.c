/* Characters from bytes: however the bytes are cut, the same text comes out, and what Python's
 * errors="replace" makes of broken ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/random.h"
#include "base/utf8.h"
#include "engine/detokenizer.h"

#define R "\xef\xbf\xbd"

static void expect(struct str bytes, struct str expected)
{
    for (size_t step = 1; step <= bytes.n; step++) {
        struct detokenizer detokenizer = {0};
        struct buf out = {0};
        for (size_t at = 0; at < bytes.n; at += step) {
            const size_t n = bytes.n - at < step ? bytes.n - at : step;
            detokenizer_push(&detokenizer, (struct str){bytes.s + at, n}, &out);
            assert_true(utf8_valid(buf_view(&out)));
        }
        detokenizer_finish(&detokenizer, &out);
        assert_true(str_equal(buf_view(&out), expected));
        buf_release(&out);
    }
}

static void characters_come_whole(void **state)
{
    static const struct str texts[] = {STR("plain"), STR("caf\xc3\xa9 \xe4\xbd\xa0\xe5\xa5\xbd"),
                                       STR("\xf0\x9f\x99\x82\xf0\x9f\x99\x82"), STR("a\0b")};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        expect(texts[i], texts[i]);
    (void)state;
}

static void broken_bytes_are_replaced_as_python_does(void **state)
{
    expect(STR("\xff"), STR(R));
    expect(STR("a\xff" "b"), STR("a" R "b"));
    expect(STR("\xc3("), STR(R "("));
    expect(STR("\xe2\x82"), STR(R));                        /* one for the beginning of a character */
    expect(STR("\xe2\x82" "A"), STR(R "A"));
    expect(STR("\xf0\x9f\x99" "A"), STR(R "A"));
    expect(STR("\xed\xa0\x80"), STR(R R R));                /* a surrogate: each byte by itself */
    expect(STR("\xc0\xaf"), STR(R R));
    expect(STR("\xf5\x80\x80\x80"), STR(R R R R));
    expect(STR("\xe4\xbd\xe4\xbd\xa0"), STR(R "\xe4\xbd\xa0"));
    expect(STR("\xf0\x9f\x99\x82\xf0\x9f"), STR("\xf0\x9f\x99\x82" R));
    (void)state;
}

static void nothing_whole_is_held_back(void **state)
{
    struct detokenizer detokenizer = {0};
    struct buf out = {0};

    detokenizer_push(&detokenizer, STR("ab\xe4"), &out);
    assert_true(str_is(buf_view(&out), "ab"));
    detokenizer_push(&detokenizer, STR(""), &out);
    detokenizer_push(&detokenizer, STR("\xbd"), &out);
    assert_true(str_is(buf_view(&out), "ab"));
    detokenizer_push(&detokenizer, STR("\xa0!"), &out);
    assert_true(str_is(buf_view(&out), "ab\xe4\xbd\xa0!"));
    detokenizer_finish(&detokenizer, &out);
    assert_true(str_is(buf_view(&out), "ab\xe4\xbd\xa0!"));
    buf_release(&out);
    (void)state;
}

static void random_bytes_give_the_same_however_cut(void **state)
{
    static const unsigned char bytes[] = {'a', 0x80, 0xbf, 0xc2, 0xe0, 0xa0, 0xed, 0xf0, 0x90, 0xf4,
                                          0x8f, 0xff};
    struct rng rng;

    rng_seed(&rng, 3);
    for (int round = 0; round < 3000; round++) {
        char text[12];
        struct detokenizer detokenizer = {0};
        struct buf whole = {0};
        const size_t n = 1 + rng_next(&rng) % sizeof text;
        for (size_t i = 0; i < n; i++)
            text[i] = (char)bytes[rng_next(&rng) % sizeof bytes];
        detokenizer_push(&detokenizer, (struct str){text, n}, &whole);
        detokenizer_finish(&detokenizer, &whole);
        expect((struct str){text, n}, buf_view(&whole));
        buf_release(&whole);
    }
    (void)state;
}

static void expect_decoded(enum vocab_decode decode, const char *const *pieces, const char *expected)
{
    struct detokenizer detokenizer = {.decode = decode};
    struct buf out = {0};

    for (; *pieces; pieces++)
        detokenizer_push(&detokenizer, str_of(*pieces), &out);
    detokenizer_finish(&detokenizer, &out);
    assert_true(str_is(buf_view(&out), expected));
    buf_release(&out);
}

static void a_space_before_the_first_word_is_dropped(void **state)
{
    expect_decoded(DECODE_PLAIN, (const char *const[]){" a", " b", NULL}, " a b");
    expect_decoded(DECODE_STRIP_SPACE, (const char *const[]){" a", " b", NULL}, "a b");
    expect_decoded(DECODE_STRIP_SPACE, (const char *const[]){"", " ", " ", "b", NULL}, " b");
    expect_decoded(DECODE_STRIP_SPACE, (const char *const[]){"  ", "b", NULL}, " b");
    expect_decoded(DECODE_STRIP_SPACE, (const char *const[]){"a", " b", NULL}, "a b");
    expect_decoded(DECODE_STRIP_SPACE, (const char *const[]){"\xe4", "\xbd", "\xa0", NULL},
                   "\xe4\xbd\xa0");
    expect_decoded(DECODE_STRIP_SPACE, (const char *const[]){NULL}, "");
    expect_decoded(DECODE_STRIP_TOKEN, (const char *const[]){"  ", " b", NULL}, " b");
    expect_decoded(DECODE_STRIP_TOKEN, (const char *const[]){" a", " b", NULL}, "a b");
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_come_whole),
        cmocka_unit_test(broken_bytes_are_replaced_as_python_does),
        cmocka_unit_test(nothing_whole_is_held_back),
        cmocka_unit_test(a_space_before_the_first_word_is_dropped),
        cmocka_unit_test(random_bytes_give_the_same_however_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
