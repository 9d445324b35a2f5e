/* What lies in a models folder, what it is called, and who is found by a name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "app/models.h"
#include "support/folder.h"

static const char *path_in(const struct place *place, const char *name)
{
    return arena_printf(place->arena, "%s/%s", place->root, name).s;
}

/* An empty file. */
static void put(const struct place *place, const char *name)
{
    folder_write(place->root, name, STR(""));
}

static struct models scan(const struct place *place)
{
    const char *const roots[] = {place->root};
    return models_scan(place->arena, roots, 1);
}

static void assert_ids(const struct models *models, const char *expected)
{
    char text[1024] = "";
    for (size_t i = 0; i < models->n; i++) {
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%.*s\n",
                 STR_ARG(models->list[i].id));
    }
    assert_string_equal(text, expected);
}

static void test_ids(void **state)
{
    struct place *place = *state;
    static const char *const files[] = {
        "plain.gguf", "UPPER.GGUF", "readme.md", ".hidden.gguf", ".gguf",
        "org/folder/config.json", "org/folder/model.safetensors",
        "org/quants/model-q4.gguf", "org/quants/config.json",
        "org/quants/mmproj-model.gguf", "org/quants/big-00001-of-00002.gguf",
        "org/quants/big-00002-of-00002.gguf", "org/quants/odd-0001-of-00002.gguf",
        "bare/config.json", "nothing/model.safetensors", ".partial-a--b/x.gguf",
        "a/b/c/d/deep.gguf", "a/b/c/d/e/deeper.gguf",
    };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        put(place, files[i]);
    }
    struct models models = scan(place);
    assert_ids(&models, "UPPER\na/b/c/d/deep\norg/folder\norg/quants/big\norg/quants/model-q4\n"
                        "org/quants/odd-0001-of-00002\nplain\n");
    assert_string_equal(models.list[3].path, path_in(place, "org/quants/big-00001-of-00002.gguf"));
    assert_string_equal(models.list[2].path, path_in(place, "org/folder"));
}

static void test_the_first_folder_wins(void **state)
{
    struct place *place = *state;
    put(place, "one/x.gguf");
    put(place, "two/x.gguf");
    put(place, "two/y.gguf");
    const char *const roots[] = {path_in(place, "one"), path_in(place, "none"),
                                 path_in(place, "two")};
    struct models models = models_scan(place->arena, roots, 3);
    assert_ids(&models, "x\ny\n");
    assert_string_equal(models.list[0].path, path_in(place, "one/x.gguf"));
}

static void test_a_circle_of_links_ends(void **state)
{
    struct place *place = *state;
    put(place, "sub/x.gguf");
    assert_int_equal(symlink(place->root, path_in(place, "sub/again")), 0);
    struct models models = scan(place);
    assert_true(models.n >= 1 && models.n <= MODELS_DEPTH_MAX);
}

static void test_names(void **state)
{
    struct place *place = *state;
    static const struct {
        const char *name, *id, *error;
    } cases[] = {
        {"small", "small", NULL},
        {"org/other/small", "org/other/small", NULL},
        {"other/small", "org/other/small", NULL},
        {"big", "org/quants/big", NULL},
        {"quants/big", "org/quants/big", NULL},
        {"org/single", "org/single/only", NULL},
        {"single", "org/single/only", NULL},
        {"org/quants", NULL, "org/quants may be each of these: org/quants/big, org/quants/twin"},
        {"twin", NULL, "twin may be each of these: org/quants/twin, them/twin"},
        {"smal", NULL, "there is no model smal; did you mean org/other/small, small?"},
        {"org/quants/bgi", NULL,
         "there is no model org/quants/bgi; did you mean org/quants/big?"},
        {"SINGLE", NULL, "there is no model SINGLE; did you mean org/single/only?"},
        {"mall", NULL, "there is no model mall; did you mean org/other/small, small?"},
        {"elephant", NULL, "there is no model at elephant; `make model` fetches the default one, "
                           "`pensieve list` shows what is there"},
    };
    put(place, "small.gguf");
    put(place, "org/other/small.gguf");
    put(place, "org/quants/big.gguf");
    put(place, "org/quants/twin.gguf");
    put(place, "them/twin.gguf");
    put(place, "org/single/only.gguf");
    struct models models = scan(place);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err err = {0};
        const struct model_entry *entry = models_find(&models, str_of(cases[i].name), &err);
        if (cases[i].id) {
            assert_non_null(entry);
            assert_string_equal(entry->id.s, cases[i].id);
        } else {
            assert_null(entry);
            assert_int_equal(err.code, ERR_NOT_FOUND);
            assert_string_equal(err.text, cases[i].error);
        }
    }
}

static void assert_resolves(const struct place *place, const struct models *models,
                            const char *given, const char *id, const char *path)
{
    struct model_entry entry;
    struct err err = {0};
    if (!models_resolve(models, place->arena, given, &entry, &err)) {
        fail_msg("%s", err.text);
    }
    assert_string_equal(entry.id.s, id);
    assert_string_equal(entry.path, path_in(place, path));
}

static void test_paths(void **state)
{
    struct place *place = *state;
    struct model_entry entry;
    struct err err = {0};
    put(place, "lib/one/x.gguf");
    put(place, "lib/two/y.gguf");
    put(place, "lib/two/z.gguf");
    put(place, "hf/config.json");
    put(place, "hf/model.safetensors");
    put(place, "big-00001-of-00002.gguf");
    const char *const roots[] = {path_in(place, "lib")};
    struct models models = models_scan(place->arena, roots, 1);
    assert_resolves(place, &models, "y", "two/y", "lib/two/y.gguf");
    assert_resolves(place, &models, path_in(place, "lib/two/y.gguf"), "y", "lib/two/y.gguf");
    assert_resolves(place, &models, path_in(place, "lib/one"), "x", "lib/one/x.gguf");
    assert_resolves(place, &models, path_in(place, "hf"), "hf", "hf");
    assert_resolves(place, &models, path_in(place, "hf/"), "hf", "hf/");
    assert_resolves(place, &models, path_in(place, "big-00001-of-00002.gguf"), "big",
                    "big-00001-of-00002.gguf");
    assert_false(models_resolve(&models, place->arena, path_in(place, "lib/two"), &entry, &err));
    assert_non_null(strstr(err.text, "holds 2 models, y and z among them"));
    assert_false(models_resolve(&models, place->arena, path_in(place, "gone"), &entry, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ids, place_open, place_close),
        cmocka_unit_test_setup_teardown(test_the_first_folder_wins, place_open, place_close),
        cmocka_unit_test_setup_teardown(test_a_circle_of_links_ends, place_open, place_close),
        cmocka_unit_test_setup_teardown(test_names, place_open, place_close),
        cmocka_unit_test_setup_teardown(test_paths, place_open, place_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
