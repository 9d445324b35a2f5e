/* What a model says of itself: its hparams, and the description that /health and `check` show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/model.h"
#include "engine/vocab.h"
#include "support/golden.h"

static struct model *open_golden(struct arena *arena, const char *name)
{
    struct err err;
    struct model *model = model_open(golden_path(arena, name), &err);

    if (!model)
        fail_msg("%s", err.text);
    return model;
}

static void test_hparams(void **state)
{
    struct arena *arena = arena_new(1 << 10);
    struct model *model = open_golden(arena, TINY "llama31_untied/q4_0.gguf");
    const struct hparams *h = model_hparams(model);

    assert_int_equal(h->layers, 3);
    assert_int_equal(h->hidden, 64);
    assert_int_equal(h->ffn, 192);
    assert_int_equal(h->heads, 2);
    assert_int_equal(h->kv_heads, 1);
    assert_int_equal(h->head_dim, 32);
    assert_int_equal(h->rotary, 32);
    assert_int_equal(h->vocab, 512);
    assert_int_equal(h->context_trained, 131072);
    assert_true(h->rms_eps == 1e-5f && h->ropes[0].base == 500000.0f && h->rope_adjacent);
    assert_int_equal(vocab_size(model_vocab(model)), 512);
    model_close(model);
    arena_free(arena);
}

static void test_description(void **state)
{
    struct arena *arena = arena_new(1 << 10);
    struct model *model = open_golden(arena, TINY "llama_tied/q4_1.gguf");
    struct model_info info = {0};

    model_describe(model, &info);
    assert_true(str_ends(info.path, STR(TINY "llama_tied/q4_1.gguf")));
    assert_true(str_is(info.name, "tiny random llama"));
    assert_true(str_is(info.architecture, "llama"));
    assert_true(str_is(info.types, "q4_1 15, f32 5"));
    assert_true(str_is(info.tokenizer, "gpt2/smollm"));
    assert_true(str_starts(info.chat_template, STR("{% for message in messages %}")));
    assert_true(str_is(info.bos, "<|im_start|>"));
    assert_true(str_is(info.eos, "<|im_end|>"));
    assert_int_equal(info.parameters, 512 * 64 + 64 + 2 * (2 * 64 + 64 * 64 * 2 + 32 * 64 * 2
                                                          + 3 * 128 * 64));
    assert_int_equal(info.file_bytes, 81184);
    assert_int_equal(info.context_trained, 2048);
    assert_int_equal(info.kv_bytes_token, 2 * 2 * 16 * 2 * 2);
    assert_true(info.layers == 2 && info.hidden == 64 && info.heads == 4 && info.kv_heads == 2);
    assert_true(info.head_dim == 16 && info.vocab_size == 512);
    model_close(model);
    arena_free(arena);
}

/* What a file leaves out has the format's own meaning: head_dim, rotary, rope_base, a template. */
static void test_defaults(void **state)
{
    struct arena *arena = arena_new(1 << 10);
    struct model *model = open_golden(arena, "../fuzz/corpus/gguf/good.gguf");
    const struct hparams *h = model_hparams(model);
    struct model_info info = {0};

    assert_true(h->head_dim == 8 && h->rotary == 8 && h->ropes[0].base == 10000.0f);
    model_describe(model, &info);
    assert_int_equal(info.chat_template.n, 0);
    assert_true(str_is(info.name, "small"));
    model_close(model);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hparams), cmocka_unit_test(test_description),
        cmocka_unit_test(test_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
