/* What a person may point at: a file, a folder with one or several, a split set; and what they are
 * told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/stat.h>

#include "engine/checkpoint.h"
#include "engine/model.h"
#include "support/folder.h"
#include "support/golden.h"

struct fixture {
    struct arena *arena;
    const char *folder;
    struct str good, parts[2];
};

static struct fixture fixture_new(void)
{
    struct arena *arena = arena_new(1 << 16);

    return (struct fixture){
        .arena = arena, .folder = folder_new(arena),
        .good = golden_read(arena, "../fuzz/corpus/gguf/good.gguf"),
        .parts = {golden_read(arena, "golden/split/good-00001-of-00002.gguf"),
                  golden_read(arena, "golden/split/good-00002-of-00002.gguf")},
    };
}

static void fixture_free(struct fixture *f)
{
    folder_remove(f->folder);
    arena_free(f->arena);
}

static const char *path_of(struct fixture *f, const char *name)
{
    return arena_printf(f->arena, "%s/%s", f->folder, name).s;
}

static void refused(const char *path, enum err_code code, const char *text)
{
    struct err err = {0};

    assert_null(checkpoint_open(path, &err));
    assert_string_equal(err.text, text);
    assert_int_equal(err.code, code);
}

/* The description of a model that opens and binds whole. */
static struct model_info opened(const char *path, struct model **model)
{
    struct model_info info = {0};
    struct err err = {0};

    *model = model_open(path, &err);
    if (!*model)
        fail_msg("%s", err.text);
    model_describe(*model, &info);
    return info;
}

static void test_no_folder(void **state)
{
    refused("/no/such/model", ERR_IO,
            "cannot open the model (No such file or directory): /no/such/model");
}

static void test_empty_folder(void **state)
{
    struct fixture f = fixture_new();

    refused(f.folder, ERR_FORMAT, "the folder holds no model: neither config.json with safetensors "
            "nor a .gguf file");
    folder_write(f.folder, "config.json", STR("{}"));
    refused(f.folder, ERR_FORMAT, "the folder has no weights, or no config.json beside them");
    folder_write(f.folder, "pytorch_model.bin", STR("PK"));
    refused(f.folder, ERR_FORMAT,
            "the weights are Python pickles (.bin, .pt); only safetensors and "
            "GGUF are read: get the model in one of these");
    fixture_free(&f);
}

static void test_folder_of_one(void **state)
{
    struct fixture f = fixture_new();
    struct model *model;

    folder_write(f.folder, "small.gguf", f.good);
    folder_write(f.folder, "mmproj-small.gguf", STR("not looked at"));
    folder_write(f.folder, "README.md", STR("# small"));
    const struct model_info info = opened(f.folder, &model);
    assert_true(str_is(info.path, path_of(&f, "small.gguf")));
    assert_true(str_is(info.name, "small"));
    model_close(model);
    fixture_free(&f);
}

static void test_folder_of_several(void **state)
{
    struct fixture f = fixture_new();

    folder_write(f.folder, "b.gguf", f.good);
    folder_write(f.folder, "a.gguf", f.good);
    folder_write(f.folder, "c-00001-of-00002.gguf", f.parts[0]);
    folder_write(f.folder, "c-00002-of-00002.gguf", f.parts[1]);
    refused(f.folder, ERR_FORMAT,
            "the folder holds 3 models, name one of the files: a.gguf, b.gguf, "
            "c-00001-of-00002.gguf");
    for (int i = 0; i < 60; i++)
        folder_write(f.folder, arena_printf(f.arena, "more-%02d.gguf", i).s, f.good);
    struct err err;
    assert_null(checkpoint_open(f.folder, &err));
    assert_true(str_ends(str_of(err.text), STR("more-06.gguf, more-07.gguf, ...")));
    fixture_free(&f);
}

/* The same model whole and in two parts, opened by the folder, the first part and the second. */
static void test_split(void **state)
{
    struct fixture f = fixture_new();
    struct model *whole, *split;
    const struct model_info expected = opened(golden_path(f.arena, "../fuzz/corpus/gguf/good.gguf"),
                                              &whole);

    folder_write(f.folder, "x-00001-of-00002.gguf", f.parts[0]);
    folder_write(f.folder, "x-00002-of-00002.gguf", f.parts[1]);
    const char *const paths[] = {f.folder, path_of(&f, "x-00001-of-00002.gguf"),
                                 path_of(&f, "x-00002-of-00002.gguf")};
    for (size_t i = 0; i < 3; i++) {
        const struct model_info info = opened(paths[i], &split);
        assert_int_equal(info.parameters, expected.parameters);
        assert_true(str_equal(info.types, expected.types));
        assert_int_equal(info.vocab_size, expected.vocab_size);
        assert_int_equal(info.file_bytes, f.parts[0].n + f.parts[1].n);
        model_close(split);
    }
    model_close(whole);
    fixture_free(&f);
}

static void test_split_with_a_part_missing(void **state)
{
    struct fixture f = fixture_new();
    const char *first = path_of(&f, "x-00001-of-00002.gguf");

    folder_write(f.folder, "x-00001-of-00002.gguf", f.parts[0]);
    refused(first, ERR_IO,
            arena_printf(f.arena,
                         "part 2 of 2: cannot open the model (No such file or directory): %s",
                         path_of(&f, "x-00002-of-00002.gguf"))
                .s);
    folder_write(f.folder, "x-00002-of-00002.gguf", f.parts[0]);
    refused(first, ERR_FORMAT,
            "x-00002-of-00002.gguf: byte 4289: it says that it is part 1 of 2, not "
            "2 of 2");
    folder_write(f.folder, "x-00002-of-00002.gguf", f.good);
    refused(first, ERR_FORMAT, "x-00002-of-00002.gguf: key split.no is missing");
    fixture_free(&f);
}

static void test_split_renamed(void **state)
{
    struct fixture f = fixture_new();

    folder_write(f.folder, "x.gguf", f.parts[0]);
    refused(path_of(&f, "x.gguf"), ERR_FORMAT,
            "x.gguf: byte 4314: one of 2 parts, but its name is not "
            "that of a split set, like model-00001-of-00002.gguf");
    fixture_free(&f);
}

/* A tensor that is in both parts, and one that is in neither. */
static void test_split_counts(void **state)
{
    struct fixture f = fixture_new();
    char *count = memmem(f.parts[0].s, f.parts[0].n, "split.tensors.count", 19);

    assert_non_null(count);
    count[19 + 4]++;
    folder_write(f.folder, "x-00001-of-00002.gguf", f.parts[0]);
    folder_write(f.folder, "x-00002-of-00002.gguf", f.parts[1]);
    refused(f.folder, ERR_FORMAT,
            "x-00001-of-00002.gguf: byte 4347: key split.tensors.count: 12, but "
            "the parts have 11 tensors");
    count[19 + 4]--;
    char *name = memmem(f.parts[1].s, f.parts[1].n, "blk.0.attn_v", 12);
    assert_non_null(name);
    name[11] = 'q';
    folder_write(f.folder, "x-00001-of-00002.gguf", f.parts[0]);
    folder_write(f.folder, "x-00002-of-00002.gguf", f.parts[1]);
    refused(f.folder, ERR_FORMAT,
            "x-00002-of-00002.gguf: byte 106: tensor blk.0.attn_q.weight: there "
            "is another tensor of this name, at x-00001-of-00002.gguf: byte 4512: tensor "
            "blk.0.attn_q.weight");
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_folder),
        cmocka_unit_test(test_empty_folder),
        cmocka_unit_test(test_folder_of_one),
        cmocka_unit_test(test_folder_of_several),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_split_with_a_part_missing),
        cmocka_unit_test(test_split_renamed),
        cmocka_unit_test(test_split_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
