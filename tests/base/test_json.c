/* test_json.c - the limits around yyjson, and quoting that any parser reads back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/random.h"
#include "base/utf8.h"

static bool parses(struct str text, struct err *err)
{
    struct arena *arena = arena_new(4096);
    yyjson_val *root = NULL;
    const bool ok = json_parse(arena, text, &root, err);

    assert_int_equal(ok, root != NULL);
    arena_free(arena);
    return ok;
}

static void fails_with(struct str text, const char *message)
{
    struct err err = {0};

    assert_false(parses(text, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_string_equal(err.text, message);
}

static void test_what_is_not_json(void **state)
{
    fails_with((struct str){NULL, 0}, "The request body is not valid JSON: it is empty");
    fails_with(STR("{\"a\":1,}"),
               "The request body is not valid JSON: trailing comma is not allowed at byte 6");
    fails_with(STR("\"\\ud83d\""), "The request body is not valid JSON: no low surrogate in string "
                                   "at byte 7");
    fails_with(STR("\xEF\xBB\xBF{}"), "The request body is not valid JSON: byte order mark (BOM) "
                                      "is not supported at byte 0");
    static const char *const bad[] = {
        "{", "[1 2]", "{\"a\" 1}", "{a:1}", "'a'", "[1],", "nul", "+1", ".5", "1.", "0x10", "1e",
        "Infinity", "NaN", "[//\n]", "\"\t\"", "\"\\x41\"", "\"\\u12\"", "\"a", "]",
        "\\\"[[[", "\"",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err err = {0};
        assert_false(parses(str_of(bad[i]), &err));
    }
}

static void test_depth(void **state)
{
    struct buf text = {0};
    struct err err = {0};

    for (int i = 0; i < JSON_DEPTH_MAX; i++)
        buf_cstr(&text, i % 2 ? "[" : "{\"a\":");
    buf_cstr(&text, "1");
    for (int i = JSON_DEPTH_MAX - 1; i >= 0; i--)
        buf_char(&text, i % 2 ? ']' : '}');
    assert_true(parses(buf_view(&text), &err));

    buf_reset(&text);
    for (int i = 0; i <= JSON_DEPTH_MAX; i++)
        buf_char(&text, '[');
    fails_with(buf_view(&text),
               "The request body is not valid JSON: nested deeper than 128 at byte 128");

    buf_reset(&text);                           /* wide is not deep */
    buf_char(&text, '[');
    for (int i = 0; i < 10000; i++)
        buf_cstr(&text, "[[]],");
    buf_cstr(&text, "0]");
    assert_true(parses(buf_view(&text), &err));
    buf_release(&text);
}

/* Brackets and separators in strings count for nothing, however the strings end. */
static void test_strings_hide_brackets(void **state)
{
    static const char *const ends[] = {"", "\\\\", "\\\"", "\\\\\\\"", "\\n\\\\\\\\"};
    struct buf text = {0};
    struct err err = {0};

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        buf_reset(&text);
        buf_cstr(&text, "[\"");
        for (int j = 0; j < 1000; j++)
            buf_cstr(&text, "[{,:");
        buf_cstr(&text, ends[i]);
        buf_cstr(&text, "\",\"]\",[]]");
        assert_true(parses(buf_view(&text), &err));
    }
    buf_release(&text);
}

static void many(struct buf *text, const char *piece, size_t n)
{
    buf_reset(text);
    buf_char(text, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_char(text, ',');
        buf_cstr(text, piece);
    }
    buf_char(text, ']');
}

static void test_value_limit(void **state)
{
    struct buf text = {0};
    struct err err = {0};
    struct arena *arena = arena_new(4096);
    yyjson_val *root;

    many(&text, "0", JSON_VALUES_MAX - 2);      /* the list itself is one, an empty one two */
    assert_true(json_parse(arena, buf_view(&text), &root, &err));
    assert_int_equal(yyjson_arr_size(root), JSON_VALUES_MAX - 2);
    /* The copy of the text, and a tree that was never reallocated. */
    assert_true(arena_used(arena) < text.n + JSON_VALUES_MAX * sizeof(yyjson_val) * 3 / 2 + 4096);
    arena_free(arena);
    many(&text, "0", JSON_VALUES_MAX);
    fails_with(buf_view(&text), "The request body holds more than 2097152 JSON values");
    buf_release(&text);
}

/* Short texts full of values, pretty and dense: each kind of growth of the tree. */
static void test_trees_of_all_shapes(void **state)
{
    static const char *const pieces[] = {"0", "[]", "{}", "\"\"", "[0,0]", "{\"\":0}", "\n 0",
                                         "-1e1", "[[],[]]", "{\"a\":{\"b\":[1,2,3]}}"};
    struct buf text = {0};
    struct err err = {0};

    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        for (size_t n = 1; n < 3000; n = n * 3 / 2 + 1) {
            struct arena *arena = arena_new(256);
            yyjson_val *root, *item;
            many(&text, pieces[i], n);
            assert_true(json_parse(arena, buf_view(&text), &root, &err));
            yyjson_arr_iter iterator = yyjson_arr_iter_with(root);
            size_t found = 0;
            while ((item = yyjson_arr_iter_next(&iterator)))
                found++;
            assert_int_equal(found, n);
            arena_free(arena);
        }
    buf_release(&text);
}

static void reads_back(struct str s)
{
    struct arena *arena = arena_new(4096);
    struct buf quoted = {0};
    yyjson_val *root;
    struct err err = {0};

    assert_true(json_quote(&quoted, s));
    for (size_t i = 0; i < quoted.n; i++)
        assert_true((unsigned char)quoted.data[i] >= 0x20);
    assert_true(json_parse(arena, buf_view(&quoted), &root, &err));
    assert_true(str_equal(json_str(root), s));
    buf_release(&quoted);
    arena_free(arena);
}

static void test_a_file(void **state)
{
    struct arena *arena = arena_new(1 << 10);
    yyjson_val *root;
    struct err err;

    assert_true(json_parse_file(arena, STR("{\"a\":[1]}"), "config.json", 4, &root, &err));
    assert_int_equal(yyjson_arr_size(yyjson_obj_get(root, "a")), 1);
    assert_false(json_parse_file(arena, STR("{\"a\":[1,2]}"), "config.json", 4, &root, &err));
    assert_int_equal(err.code, ERR_FORMAT);
    assert_string_equal(err.text, "config.json holds more than 4 JSON values");
    assert_false(json_parse_file(arena, STR("{\"a\""), "config.json", 4, &root, &err));
    assert_int_equal(err.code, ERR_FORMAT);
    assert_true(str_starts(str_of(err.text), STR("config.json is not valid JSON: ")));
    arena_free(arena);
}

static void test_quote(void **state)
{
    struct buf out = {0};

    json_quote(&out, STR("a\"b\\c/\n\r\t\b\f\x7F\xE2\x80\xA8"));
    json_escape(&out, STR("\"\x1F"));
    json_quote(&out, STR(""));
    assert_true(str_is(buf_view(&out),
                       "\"a\\\"b\\\\c/\\n\\r\\t\\u0008\\u000c\x7F\xE2\x80\xA8\"\\\"\\u001f\"\""));
    buf_release(&out);
}

static void test_quote_reads_back(void **state)
{
    struct rng rng;
    char text[64];

    for (int c = 0; c < 0x80; c++)
        reads_back((struct str){(const char[]){(char)c}, 1});
    rng_seed(&rng, 1);
    for (int i = 0; i < 2000; i++) {
        size_t n = 0;
        while (n < sizeof text - 4)
            n += utf8_encode(text + n, (uint32_t)(rng_next(&rng) % (i % 2 ? 0x40 : 0x110000)));
        reads_back((struct str){text, n});
    }
}

static void test_quote_reports_overflow(void **state)
{
    struct buf out;

    buf_init(&out, 4);
    assert_false(json_quote(&out, STR("abc")));
    assert_true(out.overflow);
    buf_release(&out);
}

static void values_are_put_as_python_has_them(void **state)
{
    static const char text[] = "{\"b\":[1,-2.5,true,null,\"\\u00e9\\n\\\"\"],\"a\":{},\"c\":[[ ]]}";
    struct arena *arena = arena_new(4096);
    struct buf out = {0};
    yyjson_val *value;

    assert_true(json_parse(arena, STR(text), &value, NULL));
    json_put(&out, value, NULL);
    buf_char(&out, '\0');
    assert_string_equal(out.data, "{\"b\": [1, -2.5, true, null, \"\xc3\xa9\\n\\\"\"], \"a\": {}, "
                                  "\"c\": [[]]}");
    buf_release(&out);
    arena_free(arena);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_not_json),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_strings_hide_brackets),
        cmocka_unit_test(test_value_limit),
        cmocka_unit_test(test_trees_of_all_shapes),
        cmocka_unit_test(test_a_file),
        cmocka_unit_test(test_quote),
        cmocka_unit_test(test_quote_reads_back),
        cmocka_unit_test(test_quote_reports_overflow),
        cmocka_unit_test(values_are_put_as_python_has_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
