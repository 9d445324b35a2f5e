/* Names, listings and choices of a hub, without one. What only shows with a hub is in
 * tests/conformance/test_pull.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "app/hub.h"

static int open_arena(void **state)
{
    *state = arena_new(4096);
    return 0;
}

static int close_arena(void **state)
{
    arena_free(*state);
    return 0;
}

static void test_names(void **state)
{
    static const struct {
        const char *text, *owner, *name, *wanted, *revision;
    } good[] = {
        {"a/b", "a", "b", "", "main"},
        {"a/b@c", "a", "b", "", "c"},
        {"a/b:x/y*.gguf@refs/pr/1", "a", "b", "x/y*.gguf", "refs/pr/1"},
        {"A-1/b_2.c:Q4", "A-1", "b_2.c", "Q4", "main"},
    };
    static const char *const bad[] = {
        "", "a", "/", "a/", "/b", "a/b/c", "a/.b", "-a/b", "a/b@", "a/b@..", "a/b@x..y", "a/b@x y",
        "a/b..c", "a/b%2F", "a\\b/c", "a/b\n", "\xc3\xa9/b", "a@c/b", "a:b/c",
    };
    struct hub_repo repo;
    struct err err;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(hub_repo_parse(*state, str_of(good[i].text), &repo, &err));
        assert_true(str_is(repo.owner, good[i].owner) && str_is(repo.name, good[i].name));
        assert_true(str_is(repo.wanted, good[i].wanted));
        assert_true(str_is(repo.revision, good[i].revision));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(hub_repo_parse(*state, str_of(bad[i]), &repo, &err));
        assert_int_equal(err.code, ERR_USAGE);
    }
    char longest[2 * HUB_NAME_BYTES_MAX + 3];
    memset(longest, 'a', sizeof(longest));
    longest[HUB_NAME_BYTES_MAX] = '/';
    assert_true(hub_repo_parse(*state, (struct str){longest, sizeof(longest) - 2}, &repo, &err));
    assert_false(hub_repo_parse(*state, (struct str){longest, sizeof(longest) - 1}, &repo, &err));
}

static void test_paths_are_escaped(void **state)
{
    struct hub_repo repo;
    struct err err;
    assert_true(hub_repo_parse(*state, STR("a/b@refs/pr/1"), &repo, &err));
    assert_true(str_is(hub_tree_path(*state, &repo),
                       "/api/models/a/b/tree/refs%2Fpr%2F1?recursive=true"));
    assert_true(str_is(hub_file_path(*state, &repo, STR("d/x y?#%\xc3\xa9.gguf")),
                       "/a/b/resolve/refs%2Fpr%2F1/d/x%20y%3F%23%25%C3%A9.gguf"));
}

static void test_next_pages(void **state)
{
    static const struct {
        const char *link, *query;
    } cases[] = {
        {"", ""},
        {"<https://h/api?cursor=1>; rel=\"next\"", "cursor=1"},
        {"<https://h/api?a=1>; rel=\"prev\", <https://h/api?a=2&b=3>; rel=\"next\"", "a=2&b=3"},
        {"<https://h/api?a=1>; rel=\"prev\"", ""},
        {"<https://h/api>; rel=\"next\"", ""},
        {"<https://h/api?>; rel=\"next\"", ""},
        {"<https://h/api?a b>; rel=\"next\"", ""},
        {"<https://h/api?a#b>; rel=\"next\"", ""},
        {"?a=1; rel=\"next\"", ""},
        {"<<<>>>,,,;;;?", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(str_is(hub_next_query(str_of(cases[i].link)), cases[i].query));
    }
}

/* The names that are chosen of these, one a line. */
static void assert_chosen(struct arena *arena, const char *const *names, size_t n, const char *what,
                          const char *expected)
{
    struct hub_files all = {arena_array(arena, n, sizeof(struct hub_file)), n}, out;
    struct hub_repo repo;
    struct err err = {0};
    struct str text = {0};
    for (size_t i = 0; i < n; i++) {
        const char *slash = strrchr(names[i], '/');
        all.list[i] = (struct hub_file){.path = str_of(names[i]),
                                        .name = str_of(slash ? slash + 1 : names[i])};
    }
    assert_true(hub_repo_parse(arena, str_of(what), &repo, &err));
    if (hub_choose(&all, &repo, arena, &out, &err)) {
        for (size_t i = 0; i < out.n; i++) {
            text = arena_printf(arena, "%.*s%.*s\n", STR_ARG(text), STR_ARG(out.list[i].path));
        }
        assert_string_equal(text.s, expected);
    } else {
        assert_string_equal(err.text, expected);
    }
}

static void test_folders(void **state)
{
    static const char *const two_forms[] = {
        "config.json", "consolidated.safetensors", "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors", "model.safetensors.index.json", "params.json",
        "tokenizer.json", "tekken.json", "onnx/config.json", "x.gguf", "model.bin",
    };
    static const char *const odd[] = {"config.json", "weights.safetensors"};
    static const char *const no_config[] = {"model.safetensors"};
    assert_chosen(*state, two_forms, sizeof(two_forms) / sizeof(two_forms[0]), "a/b",
                  "config.json\nmodel-00001-of-00002.safetensors\n"
                  "model-00002-of-00002.safetensors\nmodel.safetensors.index.json\n"
                  "tokenizer.json\n");
    assert_chosen(*state, two_forms, sizeof(two_forms) / sizeof(two_forms[0]), "a/b:x", "x.gguf\n");
    assert_chosen(*state, odd, 2, "a/b", "config.json\nweights.safetensors\n");
    assert_chosen(*state, no_config, 1, "a/b",
                  "a/b holds neither GGUF files nor a folder with safetensors");
}

static void test_ggufs(void **state)
{
    static const char *const names[] = {
        "m-IQ2_M.gguf", "m-Q4_K_M.gguf", "sub/m-Q8_0-00002-of-00002.gguf",
        "sub/m-Q8_0-00001-of-00002.gguf", "mmproj-F16.gguf", "m-Q4_K_M.imatrix",
        "half-00001-of-00003.gguf",
    };
    size_t n = sizeof(names) / sizeof(names[0]);
    assert_chosen(*state, names, n, "a/b", "m-Q4_K_M.gguf\n");
    assert_chosen(*state, names, n, "a/b:Q8_0",
                  "sub/m-Q8_0-00002-of-00002.gguf\nsub/m-Q8_0-00001-of-00002.gguf\n");
    assert_chosen(*state, names, n, "a/b:m-Q8_0-00001-of-00002.gguf",
                  "sub/m-Q8_0-00002-of-00002.gguf\nsub/m-Q8_0-00001-of-00002.gguf\n");
    assert_chosen(*state, names, n, "a/b:half", "half: the hub has 1 of its 3 parts");
    assert_chosen(*state, names, n, "a/b:*Q*_M", ":*Q*_M fits several: m-IQ2_M, m-Q4_K_M");
    assert_chosen(*state, names, n, "a/b:mmproj",
                  "no GGUF file is called mmproj; there are m-IQ2_M, m-Q4_K_M, m-Q8_0, half");
    assert_chosen(*state, names, 1, "a/b", "m-IQ2_M.gguf\n");

    static const char *const nested[] = {"m-Q4_K_M.gguf", "m-Q4_K.gguf", "x/m-Q4_K_S.gguf"};
    assert_chosen(*state, nested, 3, "a/b:m-Q4_K", "m-Q4_K.gguf\n");   /* exactly is stronger */
    assert_chosen(*state, nested, 3, "a/b:m-Q4_K.gguf", "m-Q4_K.gguf\n");
    assert_chosen(*state, nested, 3, "a/b:x/m-Q4_K_S.gguf", "x/m-Q4_K_S.gguf\n");
    assert_chosen(*state, nested, 3, "a/b:*.gguf",
                  ":*.gguf fits several: m-Q4_K_M, m-Q4_K, m-Q4_K_S");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(test_paths_are_escaped, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(test_next_pages, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(test_folders, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(test_ggufs, open_arena, close_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
