/* A JSON value followed byte by byte, against yyjson: the same texts are whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <yyjson.h>

#include "base/json_follow.h"
#include "base/random.h"
#include "base/str.h"

/* Whether all of text is one value. A number is whole once something else follows it. */
static bool is_whole(struct str text)
{
    struct json_follow follow = {0};
    enum json_step step = JSON_MORE;
    size_t i = 0;

    while (i < text.n && step == JSON_MORE)
        step = json_follow(&follow, text.s[i++]);
    if (step == JSON_MORE)
        return json_follow(&follow, ' ') == JSON_WHOLE_BEFORE;
    while (step == JSON_WHOLE && i < text.n && strchr(" \t\r\n", text.s[i]))
        i++;
    if (step == JSON_WHOLE_BEFORE) {
        i--;
        while (i < text.n && text.s[i] && strchr(" \t\r\n", text.s[i]))
            i++;
    }
    return step != JSON_WRONG && i == text.n;
}

static bool is_json(struct str text)
{
    yyjson_doc *doc = yyjson_read(text.s, text.n, YYJSON_READ_NUMBER_AS_RAW);
    const bool ok = doc;

    yyjson_doc_free(doc);
    return ok;
}

static void check(struct str text)
{
    if (is_whole(text) != is_json(text))
        fail_msg("%.*s: %d", STR_ARG(text), is_whole(text));
}

static void texts_like_json(void **state)
{
    static const char *const texts[] = {
        "{}", "[]", "{\"a\":1}", "{\"a\" : [1, -2.5e+3, true, null, \"x\"] }", "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"", "\"\\ude00\"", "\"\\ud83dx\"", "\"\\u00e9\\n\\/\"", "\"\\x\"", "\"\\u12g4\"", "01",
        "-", "-0", "0.", "1e", "1e+", "1.5E-7", "tru", "truex", "[1,]", "{\"a\":}", "{a:1}", "{,}", "[,]",
        "{\"a\":1,}", "]", "{]", "[}", "1 2", "\"a\nb\"", "", " ", " 7 ", "[[[[]]]]", "{\"a\":{\"b\":[{}]}}",
        "\"\\ud83d\\n\"", "\"\\ud83d\\ud83d\"", "nul", "+1", ".5", "[1 2]", "{\"a\" 1}", "[true,false]",
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        check(str_of(texts[i]));
    (void)state;
}

static void random_texts(void **state)
{
    static const char *const pieces[] = {
        "{", "}", "[", "]", ",", ":", "\"a\"", "\"", "\\", "u00e9", "\\ud83d", "\\ude00", "1", "0", "-",
        ".", "e", "true", "null", " ", "x", "{\"k\":", "[1,",
    };
    struct rng rng;

    rng_seed(&rng, 7);
    for (int round = 0; round < 200000; round++) {
        char text[64] = "";
        const size_t n = 1 + rng_next(&rng) % 7;
        for (size_t i = 0; i < n; i++)
            strcat(text, pieces[rng_next(&rng) % (sizeof pieces / sizeof *pieces)]);
        check(str_of(text));
    }
    (void)state;
}

static void nesting_has_a_limit(void **state)
{
    struct json_follow follow = {0};

    for (int i = 0; i < JSON_FOLLOW_DEPTH_MAX; i++)
        assert_int_equal(json_follow(&follow, '['), JSON_MORE);
    assert_int_equal(json_follow(&follow, '['), JSON_WRONG);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_like_json),
        cmocka_unit_test(random_texts),
        cmocka_unit_test(nesting_has_a_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
