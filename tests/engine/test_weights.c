/* The table of rules: whole tensors, slices of fused ones, experts stacked or apart, vectors of
 * every float type, and what is refused. The tensors are made here; their numbers say where they
 * came from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "engine/weights.h"
#include "kernels/half.h"

#define MODEL(member) offsetof(struct weights, member)
#define LAYER(member) offsetof(struct layer_weights, member), .per_layer = true

enum { HIDDEN = 8, FFN = 4, HEADS = 2, KV_HEADS = 1, HEAD = 8, EXPERTS = 3, EXPERT_FFN = 2 };

struct fixture {
    struct arena *arena;
    struct hparams h;
    struct layer_kind kinds[2];
    struct tensors tensors;
    struct weights weights;
    struct err err;
};

static struct fixture *fixture_new(void)
{
    struct arena *arena = arena_new(1 << 12);
    struct fixture *f = arena_alloc(arena, sizeof *f);

    f->arena = arena;
    f->h = (struct hparams){.layers = 1, .hidden = HIDDEN, .ffn = FFN, .heads = HEADS,
                            .kv_heads = KV_HEADS, .head_dim = HEAD, .kinds = f->kinds};
    f->tensors.list = arena_array(arena, 32, sizeof *f->tensors.list);
    return f;
}

/* Number i of the tensor is i. */
static void add(struct fixture *f, const char *name, enum quant quant, uint64_t d0, uint64_t d1,
                uint64_t d2)
{
    const uint64_t n = d0 * d1 * d2;
    uint8_t *data = arena_alloc(f->arena, n * 4 + 1);

    data++;                                             /* files align nothing */
    for (uint64_t i = 0; i < n; i++) {
        const float x = (float)i;
        const uint16_t half = quant == QUANT_F16 ? float_half(x) : (uint16_t)(float_bits(x) >> 16);
        if (quant == QUANT_F32)
            memcpy(data + i * 4, &x, 4);
        else
            memcpy(data + i * 2, &half, 2);
    }
    f->tensors.list[f->tensors.n++] = (struct tensor){
        .name = str_of(name), .origin = arena_printf(f->arena, "tensor %s", name),
        .dims_n = 3, .dims = {d0, d1, d2, 1}, .quant = quant, .data = data, .elements = n,
        .bytes = n * quants[quant].bytes,
    };
}

static bool bind(struct fixture *f, const struct weight_rule *rules, size_t n)
{
    memset(&f->weights, 0, sizeof f->weights);
    assert_true(tensors_index(&f->tensors, f->arena, &f->err));
    return weights_bind(&f->weights, &f->tensors, &f->h, rules, n, f->arena, &f->err);
}
#define BIND(f, rules) bind(f, rules, sizeof (rules) / sizeof *(rules))

static float number_of(const struct matrix *m, uint32_t row, uint32_t col)
{
    float x;

    assert_true(row < m->rows && col < m->cols && m->quant == QUANT_F32);
    memcpy(&x, (const char *)m->data + row * m->row_bytes + col * 4, 4);
    return x;
}

static void test_vectors_of_every_float_type(void **state)
{
    static const enum quant types[] = {QUANT_F32, QUANT_F16, QUANT_BF16};
    static const struct weight_rule rules[] = {
        {"output_norm.weight", MODEL(output_norm), .cols = DIM_HIDDEN, .norm = true},
        {"rope_freqs.weight", MODEL(rope_factors), .cols = DIM_HIDDEN},
    };

    for (size_t i = 0; i < 6; i++) {
        struct fixture *f = fixture_new();
        f->h.norm_plus_one = i >= 3;
        add(f, "output_norm.weight", types[i % 3], HIDDEN, 1, 1);
        add(f, "rope_freqs.weight", types[i % 3], HIDDEN, 1, 1);
        assert_true(BIND(f, rules));
        for (uint32_t k = 0; k < HIDDEN; k++) {
            assert_true(f->weights.output_norm[k] == (float)(k + (i >= 3)));
            assert_true(f->weights.rope_factors[k] == (float)k);
        }
        arena_free(f->arena);
    }
}

static void test_a_quantised_vector(void **state)
{
    static const struct weight_rule rules[] = {
        {"output_norm.weight", MODEL(output_norm), .cols = DIM_HIDDEN},
    };
    struct fixture *f = fixture_new();

    f->h.hidden = 32;
    add(f, "output_norm.weight", QUANT_F32, 32, 1, 1);
    f->tensors.list[0].quant = QUANT_Q8_0;
    assert_false(BIND(f, rules));
    assert_string_equal(f->err.text,
                        "tensor output_norm.weight: expected type f32, f16 or bf16, found q8_0");
    arena_free(f->arena);
}

static const struct weight_rule fused_rules[] = {
    {"attn_qkv.weight", LAYER(q), .rows = DIM_QUERY, .cols = DIM_HIDDEN, .optional = true},
    {"attn_qkv.weight", LAYER(k), .rows = DIM_KV, .cols = DIM_HIDDEN, .optional = true},
    {"attn_qkv.weight", LAYER(v), .rows = DIM_KV, .cols = DIM_HIDDEN, .optional = true},
    {"attn_qkv.bias", LAYER(q_bias), .cols = DIM_QUERY, .optional = true},
    {"attn_qkv.bias", LAYER(k_bias), .cols = DIM_KV, .optional = true},
    {"attn_qkv.bias", LAYER(v_bias), .cols = DIM_KV, .optional = true},
    {"attn_q.weight", LAYER(q), .rows = DIM_QUERY, .cols = DIM_HIDDEN},
    {"attn_k.weight", LAYER(k), .rows = DIM_KV, .cols = DIM_HIDDEN},
    {"attn_v.weight", LAYER(v), .rows = DIM_KV, .cols = DIM_HIDDEN},
};
enum { QUERY = HEADS * HEAD, KV = KV_HEADS * HEAD };

static void test_fused(void **state)
{
    struct fixture *f = fixture_new();

    add(f, "blk.0.attn_qkv.weight", QUANT_F32, HIDDEN, QUERY + 2 * KV, 1);
    add(f, "blk.0.attn_qkv.bias", QUANT_BF16, QUERY + 2 * KV, 1, 1);
    assert_true(BIND(f, fused_rules));
    const struct layer_weights *w = f->weights.layers;
    assert_true(w->q.rows == QUERY && w->k.rows == KV && w->v.rows == KV);
    assert_true(number_of(&w->q, QUERY - 1, HIDDEN - 1) == QUERY * HIDDEN - 1);
    assert_true(number_of(&w->k, 0, 0) == QUERY * HIDDEN);
    assert_true(number_of(&w->v, 1, 2) == (QUERY + KV + 1) * HIDDEN + 2);
    assert_true(w->q_bias[0] == 0 && w->k_bias[0] == QUERY &&
                w->v_bias[KV - 1] == QUERY + 2 * KV - 1);
    arena_free(f->arena);
}

static void test_fused_or_apart(void **state)
{
    struct fixture *f = fixture_new();

    add(f, "blk.0.attn_q.weight", QUANT_F32, HIDDEN, QUERY, 1);
    add(f, "blk.0.attn_k.weight", QUANT_F32, HIDDEN, KV, 1);
    assert_false(BIND(f, fused_rules));
    assert_string_equal(f->err.text, "tensor blk.0.attn_v.weight is missing");
    add(f, "blk.0.attn_v.weight", QUANT_F32, HIDDEN, KV, 1);
    assert_true(BIND(f, fused_rules));
    assert_true(number_of(&f->weights.layers->v, 1, 1) == HIDDEN + 1);
    assert_null(f->weights.layers->q_bias);
    add(f, "blk.0.attn_qkv.weight", QUANT_F32, HIDDEN, QUERY + 2 * KV, 1);
    assert_false(BIND(f, fused_rules));
    assert_string_equal(f->err.text,
                        "tensor blk.0.attn_q.weight: another tensor already holds these weights");
    arena_free(f->arena);
}

static void test_fused_of_wrong_shape(void **state)
{
    struct fixture *f = fixture_new();

    add(f, "blk.0.attn_qkv.weight", QUANT_F32, HIDDEN, QUERY + KV, 1);
    assert_false(BIND(f, fused_rules));
    assert_string_equal(f->err.text, "tensor blk.0.attn_qkv.weight: expected shape [8, 32], found "
                        "[8, 24, 1, 1]");
    arena_free(f->arena);
}

static void test_rows_of_affine(void **state)
{
    static const char data[64], scales[64], biases[64];
    const struct matrix whole = {.data = data, .row_bytes = 8, .rows = 4, .scales = scales,
                                 .biases = biases, .scale_row_bytes = 2};
    const struct matrix part = matrix_rows(&whole, 3, 1);

    assert_ptr_equal(part.data, data + 24);
    assert_ptr_equal(part.scales, scales + 6);
    assert_ptr_equal(part.biases, biases + 6);
    assert_int_equal(part.rows, 1);
}

static const struct weight_rule expert_rules[] = {
    {"ffn_up.weight", LAYER(up), .rows = DIM_FFN, .cols = DIM_HIDDEN, .layers = LAYERS_DENSE},
    {"ffn_gate_inp.weight", LAYER(router), .rows = DIM_EXPERTS, .cols = DIM_HIDDEN,
     .layers = LAYERS_MIXED},
    {"ffn_up_exps.weight", LAYER(experts_up), .rows = DIM_EXPERT_FFN, .cols = DIM_HIDDEN,
     .experts = true},
    {"ffn_up_exps.bias", LAYER(experts_up_bias), .cols = DIM_EXPERT_FFN, .experts = true,
     .optional = true},
};

static struct fixture *mixed_new(void)
{
    struct fixture *f = fixture_new();

    f->h.layers = 2;
    f->h.experts = EXPERTS;
    f->h.expert_ffn = EXPERT_FFN;
    f->kinds[0].dense = true;
    add(f, "blk.0.ffn_up.weight", QUANT_F32, HIDDEN, FFN, 1);
    add(f, "blk.1.ffn_gate_inp.weight", QUANT_F32, HIDDEN, EXPERTS, 1);
    return f;
}

static void test_stacked_experts(void **state)
{
    struct fixture *f = mixed_new();

    add(f, "blk.1.ffn_up_exps.weight", QUANT_F32, HIDDEN, EXPERT_FFN, EXPERTS);
    add(f, "blk.1.ffn_up_exps.bias", QUANT_F16, EXPERT_FFN, EXPERTS, 1);
    assert_true(BIND(f, expert_rules));
    const struct layer_weights *dense = &f->weights.layers[0], *mixed = &f->weights.layers[1];
    assert_true(dense->up.rows == FFN && !dense->experts_up && !mixed->up.data);
    assert_int_equal(mixed->router.rows, EXPERTS);
    for (uint32_t e = 0; e < EXPERTS; e++) {
        assert_int_equal(mixed->experts_up[e].rows, EXPERT_FFN);
        assert_true(number_of(&mixed->experts_up[e], 1, 3) ==
                    (float)((e * EXPERT_FFN + 1) * HIDDEN + 3));
    }
    assert_true(mixed->experts_up_bias[EXPERTS * EXPERT_FFN - 1] == EXPERTS * EXPERT_FFN - 1);
    arena_free(f->arena);
}

static void test_experts_apart(void **state)
{
    struct fixture *f = mixed_new();

    assert_false(BIND(f, expert_rules));
    assert_string_equal(f->err.text, "tensor blk.1.ffn_up.0.weight is missing");
    for (uint32_t e = 0; e < EXPERTS - 1; e++)
        add(f, arena_printf(f->arena, "blk.1.ffn_up.%u.weight", e).s, QUANT_F32, HIDDEN,
            EXPERT_FFN, 1);
    assert_false(BIND(f, expert_rules));
    assert_string_equal(f->err.text, "tensor blk.1.ffn_up.2.weight is missing");
    add(f, "blk.1.ffn_up.2.weight", QUANT_F32, HIDDEN, EXPERT_FFN, 1);
    assert_true(BIND(f, expert_rules));
    assert_true(number_of(&f->weights.layers[1].experts_up[2], 1, 3) == HIDDEN + 3);
    add(f, "blk.1.ffn_up.3.weight", QUANT_F32, HIDDEN, EXPERT_FFN, 1);
    assert_false(BIND(f, expert_rules));
    assert_string_equal(f->err.text, "tensor blk.1.ffn_up.3.weight is none that this architecture "
                        "is supported with");
    arena_free(f->arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors_of_every_float_type),
        cmocka_unit_test(test_a_quantised_vector),
        cmocka_unit_test(test_fused),
        cmocka_unit_test(test_fused_or_apart),
        cmocka_unit_test(test_fused_of_wrong_shape),
        cmocka_unit_test(test_rows_of_affine),
        cmocka_unit_test(test_stacked_experts),
        cmocka_unit_test(test_experts_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
