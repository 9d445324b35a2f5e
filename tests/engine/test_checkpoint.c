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

static struct checkpoint *open_tiny(struct arena *arena, const char *model, const char *form)
{
    struct err err;
    const char *name = arena_printf(arena, TINY "%s/%s", model, form).s;
    struct checkpoint *c = checkpoint_open(golden_path(arena, name), &err);

    if (!c)
        fail_msg("%s: %s", name, err.text);
    return c;
}

static void same_ropes(const struct rope *a, const struct rope *b, uint32_t rotary)
{
    assert_true(a->base == b->base && a->scaling == b->scaling);
    if (a->scaling != ROPE_LONGROPE)
        return;
    assert_int_equal(a->original_context, b->original_context);
    assert_memory_equal(a->short_factors, b->short_factors, rotary / 2 * sizeof(float));
    assert_memory_equal(a->long_factors, b->long_factors, rotary / 2 * sizeof(float));
}

static void same_numbers(const struct hparams *a, const struct hparams *b)
{
    assert_true(a->layers == b->layers && a->hidden == b->hidden && a->heads == b->heads);
    assert_true(a->kv_heads == b->kv_heads && a->head_dim == b->head_dim);
    assert_true(a->rotary == b->rotary && a->context_trained == b->context_trained);
    assert_true(a->rms_eps == b->rms_eps && a->activation == b->activation);
    assert_true(a->attention_scale == b->attention_scale && a->logits_scale == b->logits_scale);
    assert_true(a->embedding_scale == b->embedding_scale && a->residual_scale == b->residual_scale);
    assert_true(a->attention_softcap == b->attention_softcap);
    assert_true(a->logits_softcap == b->logits_softcap && a->window == b->window);
    assert_true(a->experts == b->experts && a->experts_used == b->experts_used);
    assert_true(a->expert_ffn == b->expert_ffn && a->experts_norm == b->experts_norm);
    for (uint32_t i = 0; i < a->layers; i++) {
        assert_true(a->kinds[i].windowed == b->kinds[i].windowed);
        assert_true(a->kinds[i].no_rope == b->kinds[i].no_rope);
        assert_true(a->kinds[i].dense == b->kinds[i].dense);
        same_ropes(&a->ropes[a->kinds[i].rope], &b->ropes[b->kinds[i].rope], a->rotary);
    }
}

/* However a model is stored, it says the same of itself. (Not among them: Mistral, whose window GGUF
 * leaves out, and Llama 3.1, whose scaling is a tensor there.) */
static void test_every_form_says_the_same(void **state)
{
    static const char *const models[] = {"llama_tied", "qwen2", "qwen3", "qwen3_moe", "gemma3_text",
                                         "phi3_longrope", "phi3_longrope_s"};
    static const char *const forms[] = {"hf-new", "mlx-4bit-g64", "f16.gguf"};
    struct arena *arena = arena_new(1 << 14);

    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct checkpoint *hf = open_tiny(arena, models[i], "hf");
        for (size_t k = 0; k < sizeof forms / sizeof *forms; k++) {
            struct checkpoint *other = open_tiny(arena, models[i], forms[k]);
            same_numbers(&hf->hparams, &other->hparams);
            assert_ptr_equal(hf->arch, other->arch);
            checkpoint_close(other);
        }
        checkpoint_close(hf);
    }
    arena_free(arena);
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
        cmocka_unit_test(test_every_form_says_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
