/* Keys of GGUF files that the tiny models do not have: each is written here and must arrive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/buf.h"
#include "engine/hparams_gguf.h"

enum { U32 = 4, F32 = 6, BOOL = 7, STRING = 8, ARRAY = 9 };

/* A file of keys alone. */
struct keys {
    struct buf body;
    uint64_t n;
};

static void add_string(struct buf *out, const char *s)
{
    const uint64_t n = strlen(s);

    buf_append(out, &n, sizeof n);
    buf_cstr(out, s);
}

static void add(struct keys *keys, const char *name, uint32_t type, const void *value, size_t n)
{
    char whole[128];

    snprintf(whole, sizeof whole, "x.%s", name);
    add_string(&keys->body, whole);
    buf_append(&keys->body, &type, sizeof type);
    buf_append(&keys->body, value, n);
    keys->n++;
}

static void add_u32(struct keys *keys, const char *name, uint32_t value)
{
    add(keys, name, U32, &value, sizeof value);
}

static void add_f32(struct keys *keys, const char *name, float value)
{
    add(keys, name, F32, &value, sizeof value);
}

static void add_text(struct keys *keys, const char *name, const char *value)
{
    struct buf text = {0};

    add_string(&text, value);
    add(keys, name, STRING, text.data, text.n);
    buf_release(&text);
}

static void add_bools(struct keys *keys, const char *name, const char *values)
{
    struct buf array = {0};
    const uint32_t element = BOOL;
    const uint64_t n = strlen(values);

    buf_append(&array, &element, sizeof element);
    buf_append(&array, &n, sizeof n);
    for (; *values; values++)
        buf_char(&array, *values == '1');
    add(keys, name, ARRAY, array.data, array.n);
    buf_release(&array);
}

static struct keys plain_keys(void)
{
    struct keys keys = {0};

    add_u32(&keys, "block_count", 3);
    add_u32(&keys, "embedding_length", 64);
    add_u32(&keys, "context_length", 2048);
    add_u32(&keys, "attention.head_count", 4);
    add_f32(&keys, "attention.layer_norm_rms_epsilon", 1e-5f);
    return keys;
}

/* Takes the keys over. */
static bool read(struct keys *keys, struct hparams *h, struct arena *arena, struct err *err)
{
    const uint32_t version = 3;
    const uint64_t tensors = 0;
    struct buf file = {0};

    buf_cstr(&file, "GGUF");
    buf_append(&file, &version, sizeof version);
    buf_append(&file, &tensors, sizeof tensors);
    buf_append(&file, &keys->n, sizeof keys->n);
    buf_str(&file, buf_view(&keys->body));
    struct gguf *gguf = gguf_parse(file.data, file.n, "x", err);
    assert_non_null(gguf);
    hparams_init(h);
    const bool ok = hparams_read_gguf(h, &gguf, 1, "x", arena, err) && hparams_check(h, arena, err);
    gguf_close(gguf);
    buf_release(&file);
    buf_release(&keys->body);
    return ok;
}

static struct hparams good(struct keys *keys, struct arena *arena)
{
    struct hparams h;
    struct err err;

    if (!read(keys, &h, arena, &err))
        fail_msg("%s", err.text);
    return h;
}

static void test_positions(void **state)
{
    struct arena *arena = arena_new(1 << 12);
    struct keys keys = plain_keys();

    add_u32(&keys, "feed_forward_length", 128);
    add_f32(&keys, "rope.freq_base", 150000);
    add_f32(&keys, "rope.freq_base_swa", 20000);
    add_u32(&keys, "rope.dimension_count", 8);
    add_text(&keys, "rope.scaling.type", "yarn");
    add_f32(&keys, "rope.scaling.factor", 32);
    add_u32(&keys, "rope.scaling.original_context_length", 4096);
    add_f32(&keys, "rope.scaling.yarn_beta_fast", 16);
    add_f32(&keys, "rope.scaling.yarn_beta_slow", 2);
    add_f32(&keys, "rope.scaling.attn_factor", 1.5f);
    const struct hparams h = good(&keys, arena);
    const struct rope *rope = &h.ropes[0];
    assert_true(rope->base == 150000 && h.ropes[1].base == 20000 && h.rotary == 8);
    assert_true(rope->scaling == ROPE_YARN && rope->factor == 32 && rope->low == 2);
    assert_true(rope->high == 16 && rope->original_context == 4096 && rope->magnitude == 1.5f);
    assert_int_equal(h.ropes[1].scaling, ROPE_PLAIN);
    arena_free(arena);
}

static void test_linear_without_a_type(void **state)
{
    static const char *const names[] = {"rope.scaling.factor", "rope.scale_linear"};
    struct arena *arena = arena_new(1 << 12);

    for (size_t i = 0; i < 2; i++) {
        struct keys keys = plain_keys();
        add_u32(&keys, "feed_forward_length", 128);
        add_f32(&keys, names[i], 8);
        const struct hparams h = good(&keys, arena);
        assert_true(h.ropes[0].scaling == ROPE_LINEAR && h.ropes[0].factor == 8);
    }
    arena_free(arena);
}

static void test_windows(void **state)
{
    struct arena *arena = arena_new(1 << 12);
    struct keys keys = plain_keys();

    add_u32(&keys, "feed_forward_length", 128);
    add_u32(&keys, "attention.sliding_window", 32);
    struct hparams h = good(&keys, arena);
    assert_int_equal(h.window, 32);
    assert_true(h.kinds[0].windowed && h.kinds[1].windowed && h.kinds[2].windowed);
    keys = plain_keys();
    add_u32(&keys, "feed_forward_length", 128);
    add_u32(&keys, "attention.sliding_window", 32);
    add_bools(&keys, "attention.sliding_window_pattern", "101");
    h = good(&keys, arena);
    assert_true(h.kinds[0].windowed && !h.kinds[1].windowed && h.kinds[2].windowed);
    keys = plain_keys();
    add_u32(&keys, "feed_forward_length", 128);
    add_u32(&keys, "attention.sliding_window", 32);
    add_bools(&keys, "attention.sliding_window_pattern", "10");
    struct err err;
    assert_false(read(&keys, &h, arena, &err));
    assert_non_null(strstr(err.text, "key x.attention.sliding_window_pattern: 2 values for 3 "
                           "layers"));
    arena_free(arena);
}

static void test_multipliers(void **state)
{
    struct arena *arena = arena_new(1 << 12);
    struct keys keys = plain_keys();

    add_u32(&keys, "feed_forward_length", 128);
    add_f32(&keys, "attention.scale", 0.5f);
    add_f32(&keys, "attn_logit_softcapping", 50);
    add_f32(&keys, "final_logit_softcapping", 30);
    add_f32(&keys, "embedding_scale", 12);
    add_f32(&keys, "residual_scale", 0.25f);
    add_f32(&keys, "logit_scale", 8);
    struct hparams h = good(&keys, arena);
    assert_true(h.attention_scale == 0.5f && h.attention_softcap == 50 && h.logits_softcap == 30);
    assert_true(h.embedding_scale == 12 && h.residual_scale == 0.25f && h.logits_scale == 0.125f);
    keys = plain_keys();
    add_u32(&keys, "feed_forward_length", 128);
    h = good(&keys, arena);
    assert_true(h.attention_scale == 0.25f && h.attention_softcap == 0 && h.logits_softcap == 0);
    assert_true(h.embedding_scale == 1 && h.residual_scale == 1 && h.logits_scale == 1);
    arena_free(arena);
}

static void test_experts(void **state)
{
    struct arena *arena = arena_new(1 << 12);
    struct keys keys = plain_keys();
    struct hparams h;
    struct err err;

    add_u32(&keys, "expert_count", 8);
    add_u32(&keys, "expert_used_count", 2);
    add_u32(&keys, "expert_feed_forward_length", 32);
    add(&keys, "expert_weights_norm", BOOL, "\1", 1);
    h = good(&keys, arena);
    assert_true(h.experts == 8 && h.experts_used == 2 && h.expert_ffn == 32 && h.experts_norm);
    assert_int_equal(h.ffn, 32);
    keys = plain_keys();
    add_u32(&keys, "expert_count", 8);
    add_u32(&keys, "expert_used_count", 9);
    add_u32(&keys, "expert_feed_forward_length", 32);
    assert_false(read(&keys, &h, arena, &err));
    assert_string_equal(err.text, "experts used: 9 is not within 1 to 8");
    keys = plain_keys();
    add_u32(&keys, "expert_count", 8);
    add_u32(&keys, "expert_used_count", 2);
    add_u32(&keys, "expert_feed_forward_length", 32);
    add_u32(&keys, "expert_shared_count", 1);
    assert_false(read(&keys, &h, arena, &err));
    assert_string_equal(err.text, "key x.expert_shared_count: shared experts are not supported");
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_linear_without_a_type),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_multipliers),
        cmocka_unit_test(test_experts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
