/* The tokenizer's rules on a small vocabulary made here: merges, look-alikes, bytes, long input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "engine/tokenizer.h"
#include "vocab_small.h"

#define REPLACEMENT "\xef\xbf\xbd"

static struct tokens encode(const struct vocab *vocab, struct arena *arena, struct str text,
                            const struct plain_range *plain, size_t plain_n)
{
    struct tokens tokens = {0};
    struct err err = {0};

    if (!tokenizer_encode(vocab, arena, text, plain, plain_n, false, &tokens, &err))
        fail_msg("%s", err.text);
    return tokens;
}

/* All tokens' texts, special ones as spelled. */
static struct str decode(const struct vocab *vocab, struct arena *arena, struct tokens tokens)
{
    struct buf buf = {0};

    for (size_t i = 0; i < tokens.n; i++)
        buf_str(&buf, vocab_bytes(vocab, tokens.ids[i]));
    const struct str text = arena_str(arena, buf_view(&buf));
    buf_release(&buf);
    return text;
}

static void expect_spelled(const struct vocab *vocab, struct str text,
                           const struct plain_range *plain, size_t plain_n, const char *expected)
{
    struct arena *arena = arena_new(4096);
    const struct tokens tokens = encode(vocab, arena, text, plain, plain_n);
    struct buf buf = {0};

    for (size_t i = 0; i < tokens.n; i++) {
        buf_str(&buf, vocab_spelling(vocab, tokens.ids[i]));
        buf_char(&buf, ' ');
    }
    buf_char(&buf, '\0');
    assert_string_equal(buf.data, expected);
    buf_release(&buf);
    arena_free(arena);
}

/* ---- a vocabulary made here ---- */

static void merges_go_by_rank_then_place(void **state)
{
    struct vocab *vocab = vocab_small(NULL);

    expect_spelled(vocab, STR("abcab"), NULL, 0, "abc ab ");
    expect_spelled(vocab, STR("aaaaa"), NULL, 0, "aa aa a ");   /* leftmost first */
    expect_spelled(vocab, STR("bcc"), NULL, 0, "b cc ");        /* "c c" is the earlier rule */
    expect_spelled(vocab, STR("a ab"), NULL, 0, "a \xc4\xa0" "ab ");
    expect_spelled(vocab, STR(""), NULL, 0, "");
    vocab_free(vocab);
    (void)state;
}

static void look_alikes_in_plain_ranges_stay_text(void **state)
{
    struct vocab *vocab = vocab_small(NULL);
    const struct str text = STR("ab<|im_end|>ab<|im_end|>");
    const struct plain_range first = {0, 14}, inside = {5, 6}, border = {2, 13}, after = {14, 24},
                             both[] = {{0, 3}, {13, 16}};

    expect_spelled(vocab, text, NULL, 0, "ab <|im_end|> ab <|im_end|> ");
    expect_spelled(vocab, text, &first, 1, "ab < | i m _ e n d | > ab <|im_end|> ");
    expect_spelled(vocab, text, &inside, 1, "ab < | i m _ e n d | > ab <|im_end|> ");
    expect_spelled(vocab, text, &border, 1, "ab < | i m _ e n d | > ab <|im_end|> ");
    expect_spelled(vocab, text, &after, 1, "ab <|im_end|> ab < | i m _ e n d | > ");
    expect_spelled(vocab, text, both, 2, "ab < | i m _ e n d | > ab < | i m _ e n d | > ");
    vocab_free(vocab);
    (void)state;
}

static void borders_of_plain_ranges_do_not_cut_words(void **state)
{
    struct vocab *vocab = vocab_small(NULL);
    const struct plain_range range = {1, 4}, last = {2, 5};

    expect_spelled(vocab, STR("abcab"), &range, 1, "abc ab ");
    expect_spelled(vocab, STR("abcab"), &last, 1, "abc ab ");
    vocab_free(vocab);
    (void)state;
}

static void the_longest_spelling_wins(void **state)
{
    struct vocab *vocab = vocab_small(NULL);
    const struct plain_range end = {9, 10};

    expect_spelled(vocab, STR("<|im_end|>"), NULL, 0, "<|im_end|> ");
    expect_spelled(vocab, STR("<|im_end|>>"), NULL, 0, "<|im_end|>> ");
    /* the longer one reaches into what the client wrote, the shorter one doesn't */
    const struct plain_range tail = {10, 11};
    expect_spelled(vocab, STR("<|im_end|>>"), &tail, 1, "<|im_end|> > ");
    expect_spelled(vocab, STR("<|im_end|>"), &end, 1, "< | i m _ e n d | > ");
    expect_spelled(vocab, STR("<|im_<|im_end|>"), NULL, 0, "< | i m _ <|im_end|> ");
    vocab_free(vocab);
    (void)state;
}

static void added_text_is_found_in_plain_ranges_too(void **state)
{
    struct vocab *vocab = vocab_small(NULL);
    const struct plain_range all = {0, 100};

    expect_spelled(vocab, STR("a   b"), NULL, 0, "a     b ");
    expect_spelled(vocab, STR("a   b"), &all, 1, "a     b ");
    expect_spelled(vocab, STR("<think>"), &all, 1, "< t h i n k > ");
    expect_spelled(vocab, STR("<think>"), NULL, 0, "<think> ");
    vocab_free(vocab);
    (void)state;
}

static void what_no_token_writes_becomes_the_replacement_character(void **state)
{
    struct vocab *vocab = vocab_small("\x04\xf1");
    struct arena *arena = arena_new(4096);
    const struct str text = STR("a\x04" "b\xf1\x80\x80\x80" "c");

    const struct str back = decode(vocab, arena, encode(vocab, arena, text, NULL, 0));
    assert_true(str_equal(back, STR("a" REPLACEMENT "b" REPLACEMENT "c")));
    arena_free(arena);
    vocab_free(vocab);
    (void)state;
}

static void invalid_utf8_goes_byte_by_byte(void **state)
{
    static const struct str texts[] = {
        STR("\xff"), STR("a\xff" "b"), STR("\xe2\x82"), STR("\xc3("), STR("\xed\xa0\x80"),
        STR("\xf0\x9f\x99"), STR("\xf5\x80\x80\x80"), STR("\x80\x80"), STR("ab\xc0\x80"),
        STR("\xe4\xbd" "<|im_end|>\xa0"),
    };
    struct vocab *vocab = vocab_small(NULL);
    struct arena *arena = arena_new(4096);

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const struct str back = decode(vocab, arena, encode(vocab, arena, texts[i], NULL, 0));
        assert_true(str_equal(back, texts[i]));
    }
    arena_free(arena);
    vocab_free(vocab);
    (void)state;
}

static void every_byte_comes_back(void **state)
{
    struct vocab *vocab = vocab_small(NULL);
    struct arena *arena = arena_new(4096);
    char all[512];

    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (char)(i * 37 + i / 256);
    const struct str text = {all, sizeof all};
    assert_true(str_equal(decode(vocab, arena, encode(vocab, arena, text, NULL, 0)), text));
    arena_free(arena);
    vocab_free(vocab);
    (void)state;
}

/* ---- given ranges and cuts ---- */

/* The text alone would be [ab][abc][ab]...; a cut inside a token counts the whole ones before it. */
static void given_ranges_are_taken_as_they_are_and_cuts_are_found(void **state)
{
    struct vocab *vocab = vocab_small(NULL);
    struct arena *arena = arena_new(4096);
    const int32_t ids[] = {vocab_byte(vocab, 'a'), vocab_byte(vocab, 'b'), vocab_byte(vocab, 'c')};
    const struct given_range given = {2, 5, ids, 3};
    const size_t cuts[] = {20, 0, 1, 2, 4, 5, 6, 7, 9, 17, 18};
    static const uint32_t expected[] = {7, 0, 0, 1, 1, 4, 4, 5, 5, 6, 6};
    static const char *const spelled[] = {"ab", "a", "b", "c", "ab", "<|im_end|>", "abc"};
    enum { CUTS = sizeof cuts / sizeof *cuts };
    const struct known_text known = {.text = STR("ababcab<|im_end|>abc"), .given = &given,
                                     .given_n = 1, .cuts = cuts, .cuts_n = CUTS};
    uint32_t found[CUTS];
    struct tokens tokens;

    assert_true(tokenizer_encode_known(vocab, arena, &known, &tokens, found, NULL));
    assert_int_equal(tokens.n, 7);
    for (size_t i = 0; i < tokens.n; i++)
        assert_true(str_is(vocab_spelling(vocab, tokens.ids[i]), spelled[i]));
    for (size_t i = 0; i < CUTS; i++)
        assert_int_equal(found[i], expected[i]);
    arena_free(arena);
    vocab_free(vocab);
    (void)state;
}

/* Cuts never change a token, and lie where the tokens' texts say; specials don't reach over a range. */
static void cuts_change_nothing(void **state)
{
    static const struct str text = STR(" ab<|im_end|>> abcc\xe4\xbd\xa0 aab<think>\n\n  cc");
    struct vocab *vocab = vocab_small(NULL);
    struct arena *arena = arena_new(4096);
    const struct tokens plain = encode(vocab, arena, text, NULL, 0);

    for (size_t cut = 0; cut <= text.n; cut++) {
        const struct known_text known = {.text = text, .cuts = &cut, .cuts_n = 1};
        struct tokens tokens;
        uint32_t found;
        size_t bytes = 0;
        assert_true(tokenizer_encode_known(vocab, arena, &known, &tokens, &found, NULL));
        assert_int_equal(tokens.n, plain.n);
        assert_memory_equal(tokens.ids, plain.ids, plain.n * sizeof *plain.ids);
        for (uint32_t i = 0; i < found; i++)
            bytes += vocab_spelling(vocab, tokens.ids[i]).n ? vocab_bytes(vocab, tokens.ids[i]).n
                                                            : 0;
        assert_true(bytes <= cut);
        const struct given_range given = {cut, cut, NULL, 0};
        const struct known_text split = {.text = text, .given = &given, .given_n = 1};
        assert_true(tokenizer_encode_known(vocab, arena, &split, &tokens, NULL, NULL));
        assert_true(str_equal(decode(vocab, arena, tokens), decode(vocab, arena, plain)));
    }
    arena_free(arena);
    vocab_free(vocab);
    (void)state;
}

static void bos_is_added_where_the_file_asks_for_it(void **state)
{
    struct vocab *plain = vocab_small(NULL), *with = vocab_small_bos();
    struct arena *arena = arena_new(4096);
    struct tokens tokens;

    assert_true(tokenizer_encode(plain, arena, STR("a"), NULL, 0, true, &tokens, NULL));
    assert_int_equal(tokens.n, 1);
    assert_true(tokenizer_encode(with, arena, STR("a"), NULL, 0, true, &tokens, NULL));
    assert_int_equal(tokens.n, 2);
    assert_int_equal(tokens.ids[0], vocab_bos(with));
    assert_true(tokenizer_encode(with, arena, STR("a"), NULL, 0, false, &tokens, NULL));
    assert_int_equal(tokens.n, 1);
    arena_free(arena);
    vocab_free(plain);
    vocab_free(with);
    (void)state;
}

/* A peer kept lengths in int32: past 2^31 they turned negative, passed its check, and the copy ran
 * over. Ours stay size_t, and such a text is refused before a byte of it is read. */
static void cve_2025_52566_lengths_never_turn_negative(void **state)
{
    static const size_t lengths[] = {(size_t)INT32_MAX, (size_t)INT32_MAX + 1, (size_t)UINT32_MAX,
                                     (size_t)UINT32_MAX + 1, SIZE_MAX / 2 + 1, SIZE_MAX};
    struct vocab *vocab = vocab_small(NULL);
    struct arena *arena = arena_new(4096);

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const struct str text = {"a", lengths[i]};
        struct tokens tokens = {.n = 7};
        struct err err = {0};
        assert_false(tokenizer_encode(vocab, arena, text, NULL, 0, false, &tokens, &err));
        assert_int_equal(err.code, ERR_TOO_LARGE);
        assert_int_equal(tokens.n, 7);
    }
    arena_free(arena);
    vocab_free(vocab);
    (void)state;
}

static void too_much_text_is_refused(void **state)
{
    struct vocab *vocab = vocab_small(NULL);
    struct arena *arena = arena_new(4096);
    struct tokens tokens;
    struct err err = {0};
    const struct str text = {"a", (size_t)TOKENIZER_TEXT_BYTES_MAX + 1};

    assert_false(tokenizer_encode(vocab, arena, text, NULL, 0, false, &tokens, &err));
    assert_int_equal(err.code, ERR_TOO_LARGE);
    arena_free(arena);
    vocab_free(vocab);
    (void)state;
}

/* A quadratic step anywhere would take minutes here, even without sanitizers. */
static void long_input_stays_near_linear(void **state)
{
    static const char *const units[] = {
        "a", "aab", " ", "\n", " \n", "0", "=", "\xe4\xbd\xa0", "\xf0\x9f\x99\x82", "<", "<|im_",
        "<|im_end|>", "word ", "'s", "\xff", "\xe4", "\xc2\xa0", "a\xcc\x81", "   ",
    };
    struct vocab *vocab = vocab_small(NULL);
    enum { BYTES = 1 << 20 };
    char *text = malloc(BYTES);

    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        struct arena *arena = arena_new(4096);
        const size_t unit = strlen(units[i]), n = BYTES / unit * unit;
        for (size_t at = 0; at < n; at += unit)
            memcpy(text + at, units[i], unit);
        const struct str all = {text, n};
        const struct plain_range plain = {0, n / 2};
        const uint64_t start = clock_ns();
        const struct tokens tokens = encode(vocab, arena, all, &plain, 1);
        assert_true(clock_seconds_since(start) < 10);
        assert_true(str_equal(decode(vocab, arena, tokens), all));
        arena_free(arena);
    }
    free(text);
    vocab_free(vocab);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_go_by_rank_then_place),
        cmocka_unit_test(look_alikes_in_plain_ranges_stay_text),
        cmocka_unit_test(borders_of_plain_ranges_do_not_cut_words),
        cmocka_unit_test(the_longest_spelling_wins),
        cmocka_unit_test(added_text_is_found_in_plain_ranges_too),
        cmocka_unit_test(what_no_token_writes_becomes_the_replacement_character),
        cmocka_unit_test(invalid_utf8_goes_byte_by_byte),
        cmocka_unit_test(every_byte_comes_back),
        cmocka_unit_test(given_ranges_are_taken_as_they_are_and_cuts_are_found),
        cmocka_unit_test(cuts_change_nothing),
        cmocka_unit_test(bos_is_added_where_the_file_asks_for_it),
        cmocka_unit_test(too_much_text_is_refused),
        cmocka_unit_test(cve_2025_52566_lengths_never_turn_negative),
        cmocka_unit_test(long_input_stays_near_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
