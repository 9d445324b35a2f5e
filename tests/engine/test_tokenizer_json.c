/* tokenizer.json: hostile and unsupported files are refused by name; what the files say beside their
 * steps (tests/golden/tokens/steps.json has those); patterns that would take for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "engine/tokenizer.h"
#include "engine/tokenizer_json.h"

#define VOCAB "{\"<unk>\":0,\"a\":1,\"b\":2,\"ab\":3,\"\xe2\x96\x81\":4}"
#define MODEL(vocab, merges) "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"vocab\":" vocab \
                             ",\"merges\":" merges "}"
#define GOOD MODEL(VOCAB, "[\"a b\"]")
#define DECODER "\"decoder\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\xe2\x96\x81\"}," \
                "\"content\":\" \"}"
#define WITH(fields) "{" GOOD "," DECODER "," fields "}"
#define SPLIT(regex) WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex \
                          "\"},\"behavior\":\"Isolated\"}")
#define ADDED(fields) WITH("\"added_tokens\":[{" fields "}]")

static struct vocab *vocab_of(struct arena *arena, struct str json, struct str config,
                              struct err *err)
{
    struct vocab_source source;

    return vocab_source_json(arena, json, config, &source, err) ? vocab_new(&source, err) : NULL;
}

static void refused(const char *json, const char *config, const char *why)
{
    struct arena *arena = arena_new(4096);
    struct err err = {0};
    struct vocab *vocab = vocab_of(arena, str_of(json), str_of(config), &err);

    if (vocab)
        fail_msg("taken, though: %s", why);
    assert_int_equal(err.code, ERR_FORMAT);
    if (!strstr(err.text, why))
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
    arena_free(arena);
}

static struct vocab *taken(struct arena *arena, const char *json, const char *config)
{
    struct err err = {0};
    struct vocab *vocab = vocab_of(arena, str_of(json), str_of(config), &err);

    if (!vocab)
        fail_msg("%s", err.text);
    return vocab;
}

static void files_that_are_refused(void **state)
{
    static const char *const cases[][2] = {
        {"", "empty"},
        {"[]", "not an object"},
        {"{}", "model is missing"},
        {"{\"model\":{\"type\":\"WordPiece\"}}", "\"WordPiece\" is not supported; these are: BPE"},
        {"{\"model\":{\"type\":7}}", "type is not a string"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":[]}}", "vocab is not an object"},
        {"{" MODEL("{\"a\":-1}", "[]") "}", "\"a\" has no whole number for an id"},
        {"{" MODEL("{\"a\":0.5}", "[]") "}", "\"a\" has no whole number for an id"},
        {"{" MODEL("{\"a\":18446744073709551615}", "[]") "}", "too large"},
        {"{" MODEL("{\"a\":1048576}", "[]") "}", "too large"},
        {"{" MODEL("{\"a\":0,\"b\":0}", "[]") "}", "\"a\" and \"b\" have the same id 0"},
        {"{" MODEL("{}", "[]") "}", "has 0 ids"},
        {"{" MODEL("{\"a\":0}", "[]") "," DECODER "}", "\"<unk>\" is unk_token, but not"},
        {"{" MODEL("{\"<unk>\":0,\"a\":1,\"a\":2}", "[]") "," DECODER "}", "spelled the same"},
        {"{" MODEL(VOCAB, "{}") "}", "merges is not an array"},
        {"{" MODEL(VOCAB, "[\"ab\"]") "," DECODER "}", "merge 0 is not two tokens"},
        {"{" MODEL(VOCAB, "[\"a x\"]") "," DECODER "}", "merge 0 names no token"},
        {"{" MODEL(VOCAB, "[\"a b\",[\"a\",\"b\"]]") "}", "merge 1 is not a string"},
        {"{" MODEL(VOCAB, "[[\"a\",\"b\"],[\"a\"]]") "}", "merge 1 is not a pair"},
        {"{" MODEL(VOCAB, "[[\"a\",7]]") "}", "merge 0 is not a pair"},
        {"{" MODEL(VOCAB, "[[\"\",\"b\"]]") "," DECODER "}", "merge 0 is not two tokens"},
        {"{\"model\":{\"type\":\"BPE\",\"dropout\":0.1}}", "dropout is not supported"},
        {"{\"model\":{\"type\":\"BPE\",\"byte_fallback\":1}}", "byte_fallback is not true or false"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", "piece 0"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]],\"unk_id\":1}}", "unk_id"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]]}," DECODER "}", "what is unknown"},
        {"{" GOOD "}", "decoder is missing"},
        {WITH("\"added_tokens\":{}"), "added_tokens is not an array"},
        {ADDED("\"id\":1"), "added_tokens 0: content is missing"},
        {ADDED("\"content\":\"x\",\"id\":-1"), "id is not within 0 to"},
        {ADDED("\"content\":\"x\",\"id\":1"), "\"x\" has the id of another token"},
        {ADDED("\"content\":\"x\",\"id\":9"), "\"x\" is added with an id that is not the next one"},
        {ADDED("\"content\":\"\",\"id\":5"), "an added token is empty"},
        {ADDED("\"content\":\"x\",\"id\":5,\"rstrip\":\"yes\""), "rstrip is not true or false"},
        {WITH("\"normalizer\":{\"type\":\"Lowercase\"}"), "normalizer \"Lowercase\" is not supported"},
        {WITH("\"normalizer\":{\"type\":\"Precompiled\"}"), "\"Precompiled\" is not supported"},
        {WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"a\"}"),
         "replaces nothing"},
        {WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a\"},\"content\":\"b\"}"),
         "an expression is not supported"},
        {WITH("\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}"), "\"UnicodeScripts\""},
        {WITH("\"pre_tokenizer\":{\"type\":\"Sequence\"}"), "pretokenizers is missing"},
        {WITH("\"pre_tokenizer\":{\"type\":\"ByteLevel\"}"), "don't agree about ByteLevel"},
        {WITH("\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},"
              "{\"type\":\"Digits\"}]}"), "a step behind ByteLevel"},
        {WITH("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\"}"), "other than U+2581"},
        {WITH("\"post_processor\":{\"type\":\"BertProcessing\"}"), "\"BertProcessing\""},
        {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":"
              "{\"id\":\"x\"}},{\"Sequence\":{}}],\"special_tokens\":{}}"), "has no \"x\""},
        {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":"
              "{\"id\":\"x\"}},{\"Sequence\":{}}],\"special_tokens\":{\"x\":{\"ids\":[77]}}}"),
         "has no such id"},
        {"{" GOOD ",\"decoder\":{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}}",
         "behind Fuse"},
        {"{" GOOD ",\"decoder\":{\"type\":\"Fuse\"}}", "leaves U+2581"},
        {"{" GOOD ",\"decoder\":{\"type\":\"WordPiece\"}}", "decoder \"WordPiece\""},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(cases[i][0], "", cases[i][1]);
    refused(WITH("\"normalizer\":null"), "[]", "tokenizer_config.json is not an object");
    refused(WITH("\"normalizer\":null"), "{\"eos_token\":\"</s>\"}", "\"</s>\" is named, but not");
    refused(WITH("\"normalizer\":null"), "{\"eos_token\":7}", "eos_token is not a token's text");
    (void)state;
}

/* PCRE2 would take most of these, and mean something else by them than Oniguruma does. */
static void patterns_that_are_refused(void **state)
{
    static const char *const cases[][2] = {
        {SPLIT("(a"), "not an expression"},         {SPLIT("[a"), "not closed"},
        {SPLIT("a*"), "matches nothing"},           {SPLIT(""), "0 bytes long"},
        {SPLIT("\\\\h"), "\"\\h\" at byte 0"},      {SPLIT("a\\\\b"), "\"\\b\" at byte 1"},
        {SPLIT("[a&&b]"), "\"&&\""},                {SPLIT("[a[bc]]"), "\"[b\""},
        {SPLIT("[^\\\\S]"), "\"\\S\""},             {SPLIT("(?m:a.)"), "\"(?m:\""},
        {SPLIT("(?R)"), "\"(?R)\""},                {SPLIT("(*ACCEPT)"), "\"(*AC\""},
        {SPLIT("a{2}+"), "\"{2}+\""},               {SPLIT("a\\\\1"), "\"\\1\""},
        {SPLIT("\\\\p{L"), "is not supported"},     {SPLIT("\\\\p{Klingon}"), "not an expression"},
        {SPLIT("\\\\x{110000}"), "not an expression"}, {SPLIT("\\\\C"), "\"\\C\""},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(cases[i][0], "", cases[i][1]);
    (void)state;
}

static void sizes_are_limited(void **state)
{
    struct arena *arena = arena_new(4096);
    struct buf deep = {0};
    struct vocab_source source;
    struct err err = {0};

    for (int i = 0; i < 1000; i++)
        buf_cstr(&deep, "{\"normalizer\":");
    assert_false(vocab_source_json(arena, buf_view(&deep), (struct str){0}, &source, &err));
    assert_non_null(strstr(err.text, "nested deeper"));
    const struct str huge = {"{", (size_t)TOKENIZER_JSON_BYTES_MAX + 1};
    assert_false(vocab_source_json(arena, huge, (struct str){0}, &source, &err));
    assert_non_null(strstr(err.text, "bytes; at most"));
    const struct str config = {"{", (size_t)TOKENIZER_CONFIG_BYTES_MAX + 1};
    assert_false(vocab_source_json(arena, STR(WITH("\"normalizer\":null")), config, &source, &err));
    assert_non_null(strstr(err.text, "tokenizer_config.json has"));
    buf_release(&deep);
    arena_free(arena);
    (void)state;
}

/* Each needs exponential or cubic time of a backtracking matcher. */
static void patterns_that_would_take_for_ever(void **state)
{
    static const char *const files[] = {SPLIT("(a+a+)+[cd]"), SPLIT("(?:a|a|ab)+[cd]"),
                                        SPLIT("a+a+a+[cd]"), SPLIT("(?=(?:a*a*)*[cd])a")};
    enum { BYTES = 1 << 17 };
    char *text = malloc(BYTES);

    memset(text, 'a', BYTES);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct arena *arena = arena_new(4096);
        struct vocab *vocab = taken(arena, files[i], "");
        struct tokens tokens;
        struct err err = {0};
        const uint64_t start = clock_ns();
        assert_false(tokenizer_encode(vocab, arena, (struct str){text, BYTES}, NULL, 0, false,
                                      &tokens, &err));
        assert_int_equal(err.code, ERR_INVALID);
        assert_true(clock_seconds_since(start) < 30);
        vocab_free(vocab);
        arena_free(arena);
    }
    free(text);
    (void)state;
}

static void named_tokens_and_bos(void **state)
{
    static const char with_template[] = WITH(
        "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
        "\"a\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"a\":{\"ids\":[1]}}}");
    struct arena *arena = arena_new(4096);
    struct vocab *vocab = taken(arena, with_template, "{\"bos_token\":\"b\"}");

    assert_int_equal(vocab_bos(vocab), 1);                  /* the template says more */
    assert_true(vocab_adds_bos(vocab));
    vocab_free(vocab);
    vocab = taken(arena, WITH("\"normalizer\":null"),
                  "{\"bos_token\":{\"content\":\"b\"},\"eos_token\":\"ab\",\"add_bos_token\":true}");
    assert_int_equal(vocab_bos(vocab), 2);
    assert_int_equal(vocab_eos(vocab), 3);
    assert_true(vocab_is_end(vocab, 3));
    assert_true(vocab_adds_bos(vocab));
    vocab_free(vocab);
    vocab = taken(arena, WITH("\"normalizer\":null"), "{\"bos_token\":\"b\"}");
    assert_false(vocab_adds_bos(vocab));
    vocab_free(vocab);
    vocab = taken(arena, WITH("\"normalizer\":null"), "");
    assert_int_equal(vocab_bos(vocab), -1);
    vocab_free(vocab);
    arena_free(arena);
    (void)state;
}

/* Ids that no token has are tokens that write nothing, and text never becomes one. */
static void holes_are_empty_tokens(void **state)
{
    struct arena *arena = arena_new(4096);
    struct vocab *vocab = taken(
        arena, "{" MODEL("{\"<unk>\":0,\"a\":3,\"\xe2\x96\x81\":9}", "[]") "," DECODER "}", "");

    assert_int_equal(vocab_size(vocab), 10);
    assert_int_equal(vocab_type(vocab, 5), TOKEN_UNUSED);
    assert_int_equal(vocab_bytes(vocab, 5).n, 0);
    assert_int_equal(vocab_find(vocab, STR("a")), 3);
    vocab_free(vocab);
    arena_free(arena);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_that_are_refused),
        cmocka_unit_test(patterns_that_are_refused),
        cmocka_unit_test(sizes_are_limited),
        cmocka_unit_test(patterns_that_would_take_for_ever),
        cmocka_unit_test(named_tokens_and_bos),
        cmocka_unit_test(holes_are_empty_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
