/* The vocabulary: what it says of good files, and which bad ones it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "vocab_small.h"

static int32_t id_of(const struct vocab *vocab, const char *spelling)
{
    for (size_t id = 0; id < vocab_size(vocab); id++) {
        if (str_is(vocab_spelling(vocab, (int32_t)id), spelling))
            return (int32_t)id;
    }
    fail_msg("no token %s", spelling);
    return -1;
}

static void tokens_write_what_they_spell(void **state)
{
    struct vocab *vocab = vocab_small(NULL);
    char byte;

    for (unsigned i = 0; i < 256; i++) {
        byte = (char)i;
        assert_true(str_equal(vocab_bytes(vocab, vocab_byte(vocab, (uint8_t)i)),
                              (struct str){&byte, 1}));
    }
    const int32_t ab = id_of(vocab, "\xc4\xa0" "ab");
    assert_true(str_is(vocab_bytes(vocab, ab), " ab"));
    assert_int_equal(vocab_word(vocab, STR(" ab")), ab);
    assert_int_equal(vocab_word(vocab, STR(" abx")), -1);
    assert_int_equal(vocab_word(vocab, STR("<|im_end|>")), -1);     /* not an ordinary token */
    assert_true(str_is(vocab_bytes(vocab, id_of(vocab, "   ")), "   "));
    assert_string_equal(vocab_kind(vocab), "gpt2/gpt-2");
    vocab_free(vocab);
    (void)state;
}

static void ids_out_of_range_are_empty_tokens(void **state)
{
    struct vocab *vocab = vocab_small(NULL);
    const int32_t ids[] = {-1, INT32_MIN, INT32_MAX, (int32_t)vocab_size(vocab)};

    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        assert_int_equal(vocab_bytes(vocab, ids[i]).n, 0);
        assert_int_equal(vocab_spelling(vocab, ids[i]).n, 0);
        assert_false(vocab_is_end(vocab, ids[i]));
        assert_false(vocab_is_special(vocab, ids[i]));
    }
    vocab_free(vocab);
    (void)state;
}

static void turns_end_by_id_and_by_spelling(void **state)
{
    struct small *small = malloc(sizeof *small);

    small_init(small, NULL);
    const int32_t eos = small_token(small, "<my_eos>", TOKEN_CONTROL);
    const int32_t eot = small_token(small, "<my_eot>", TOKEN_CONTROL);
    const int32_t other = small_token(small, "<other>", TOKEN_CONTROL);
    const int32_t llama = small_token(small, "<|eot_id|>", TOKEN_CONTROL);
    const int32_t text = small_token(small, "</s>", TOKEN_NORMAL);
    small->source.eos = eos;
    small->source.eot = eot;
    struct vocab *vocab = vocab_new(&small->source, NULL);
    assert_true(vocab_is_end(vocab, eos));
    assert_true(vocab_is_end(vocab, eot));
    assert_true(vocab_is_end(vocab, llama));
    assert_true(vocab_is_end(vocab, id_of(vocab, "<|im_end|>")));
    assert_false(vocab_is_end(vocab, other));
    assert_false(vocab_is_end(vocab, text));                /* spelled so, but an ordinary word */
    assert_true(vocab_is_special(vocab, other));
    assert_true(vocab_is_special(vocab, id_of(vocab, "<think>")));
    assert_false(vocab_is_special(vocab, id_of(vocab, "   ")));
    vocab_free(vocab);
    free(small);
    (void)state;
}

/* ---- files that are refused ---- */

static void refused(struct small *small, const char *why)
{
    struct err err = {0};
    struct vocab *vocab = vocab_new(&small->source, &err);

    if (vocab)
        fail_msg("taken, though: %s", why);
    assert_int_equal(err.code, ERR_FORMAT);
    if (!strstr(err.text, why))
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
}

static void counts_and_ids_out_of_range(void **state)
{
    struct small *small = malloc(sizeof *small);

    small_init(small, NULL);
    small->source.tokens_n = 0;
    refused(small, "0 tokens");
    small->source.tokens_n = (size_t)VOCAB_TOKENS_MAX + 1;
    refused(small, "tokens");
    small->source.tokens_n = SIZE_MAX;                      /* a negative length, read as a size */
    refused(small, "tokens");

    small_init(small, NULL);
    small->source.merges_n = (size_t)VOCAB_MERGES_MAX + 1;
    refused(small, "merges");

    const struct {
        size_t field;
        const char *name;
    } ids[] = {{offsetof(struct vocab_source, bos), "bos"}, {offsetof(struct vocab_source, eos), "eos"},
               {offsetof(struct vocab_source, eot), "eot"},
               {offsetof(struct vocab_source, unknown), "unknown"}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        const int64_t bad[] = {-2, INT64_MIN, INT64_MAX, UINT32_MAX, SMALL_TOKENS_MAX};
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
            small_init(small, NULL);
            memcpy((char *)&small->source + ids[i].field, &bad[k], sizeof bad[k]);
            refused(small, ids[i].name);
        }
    }
    free(small);
    (void)state;
}

static void names_that_are_not_supported(void **state)
{
    struct small *small = malloc(sizeof *small);

    small_init(small, NULL);
    small->source.pre = STR("no-such-pattern");
    refused(small, "smollm");                               /* says which are */
    free(small);
    (void)state;
}

static void bad_tokens(void **state)
{
    struct small *small = malloc(sizeof *small);
    char *long_one = malloc(VOCAB_TOKEN_BYTES_MAX + 1);

    memset(long_one, 'x', VOCAB_TOKEN_BYTES_MAX + 1);
    small_init(small, NULL);
    small_token(small, "x", TOKEN_NORMAL);                  /* as the letter's own */
    refused(small, "spelled the same");
    small_init(small, NULL);
    small_token(small, "\xff", TOKEN_NORMAL);
    refused(small, "UTF-8");
    small_init(small, NULL);
    small->tokens[small_token(small, "", TOKEN_NORMAL)] =
        (struct str){long_one, VOCAB_TOKEN_BYTES_MAX + 1};
    refused(small, "bytes long");
    const int32_t types[] = {0, -1, 7, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        small_init(small, NULL);
        small_token(small, "new", types[i]);
        refused(small, "unknown type");
    }
    small_init(small, "a");
    refused(small, "0x61");
    small_init(small, "\xbd");
    refused(small, "0xBD");
    free(long_one);
    free(small);
    (void)state;
}

/* CVE-2025-49847: a byte token is exactly <0xNN>. */
static void malformed_byte_tokens(void **state)
{
    static const char *const spellings[] = {
        "<0x>", "<0x1>", "<0xZZ>", "<0x1G>", "<0x123>", "<0x-1>", "0x41", "<0x41", "<1x41>", "",
        "<0xFFFFFFFFFFFFFFFF>", "<0x 1>", "<0x+1>",
    };
    struct small *small = malloc(sizeof *small);

    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        small_init(small, NULL);
        small_token(small, spellings[i], TOKEN_BYTE);
        refused(small, "<0xNN>");
    }
    small_init(small, "\x04");
    const int32_t id = small_token(small, "<0x04>", TOKEN_BYTE);
    struct vocab *vocab = vocab_new(&small->source, NULL);
    assert_non_null(vocab);
    assert_int_equal(vocab_byte(vocab, 4), id);
    assert_true(str_is(vocab_bytes(vocab, id), "\x04"));
    vocab_free(vocab);
    free(small);
    (void)state;
}

static void bad_merges(void **state)
{
    static const struct {
        const char *rule, *why;
    } rules[] = {
        {"", "not two tokens"},       {"ab", "not two tokens"},  {" ", "not two tokens"},
        {"a", "not two tokens"},      {"a ", "names no token"},  {" b", "not two tokens"},
        {"a  b", "names no token"},   {"a b c", "names no token"}, {"zz b", "names no token"},
        {"a zz", "names no token"},   {"a x", "names no token"}, /* no token ax */
    };
    struct small *small = malloc(sizeof *small);

    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        small_init(small, NULL);
        small->merges[small->source.merges_n++] = str_of(rules[i].rule);
        refused(small, rules[i].why);
    }
    char *long_rule = malloc(3 * VOCAB_TOKEN_BYTES_MAX);
    memset(long_rule, 'x', 3 * VOCAB_TOKEN_BYTES_MAX);
    long_rule[5] = ' ';
    small_init(small, NULL);
    small->merges[0] = (struct str){long_rule, 3 * VOCAB_TOKEN_BYTES_MAX};
    refused(small, "not two tokens");
    free(long_rule);
    free(small);
    (void)state;
}

/* Else plain text could become a special token: "<|im_end|>" is never a symbol, but ">>" may be. */
static void merges_never_make_special_tokens(void **state)
{
    struct small *small = malloc(sizeof *small);
    uint32_t rank;
    int32_t merged;

    small_init(small, NULL);
    const int32_t part = small_token(small, "<|im_end|", TOKEN_NORMAL);
    small->merges[small->source.merges_n++] = STR("<|im_end| >");
    small->merges[small->source.merges_n++] = STR("<|im_end|> >");
    struct vocab *vocab = vocab_new(&small->source, NULL);
    assert_non_null(vocab);
    const int32_t end = id_of(vocab, ">");
    assert_false(vocab_merge(vocab, part, end, &rank, &merged));
    assert_false(vocab_merge(vocab, id_of(vocab, "<|im_end|>"), end, &rank, &merged));
    vocab_free(vocab);
    free(small);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_write_what_they_spell),
        cmocka_unit_test(ids_out_of_range_are_empty_tokens),
        cmocka_unit_test(turns_end_by_id_and_by_spelling),
        cmocka_unit_test(counts_and_ids_out_of_range),
        cmocka_unit_test(names_that_are_not_supported),
        cmocka_unit_test(bad_tokens),
        cmocka_unit_test(malformed_byte_tokens),
        cmocka_unit_test(bad_merges),
        cmocka_unit_test(merges_never_make_special_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
