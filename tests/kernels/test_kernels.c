/* test_kernels.c - the choice of a table, and what a layout promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/acts.h"
#include "kernels/kernels.h"

static void test_every_table_is_complete(void **state)
{
    size_t n = 0;
    for (const struct kernels *table; (table = kernels_nth(n)); n++) {
        for (size_t i = 0; i < QUANT_COUNT; i++) {
            assert_non_null(table->dequant[i]);
            assert_non_null(table->matmul[i]);
        }
        assert_true(table->acts_quantize && table->rmsnorm && table->rope && table->silu_mul);
        assert_true(table->add && table->attend && table->f32_to_f16 && table->f16_to_f32);
        assert_true(table->gelu_mul && table->softcap && table->softmax_exp);
        struct err err;
        assert_ptr_equal(kernels_select(table->isa, &err), table);
    }
    assert_true(n >= 1);
    assert_string_equal(kernels_nth(0)->isa, "scalar");
    assert_ptr_equal(kernels_select(NULL, NULL), kernels_nth(n - 1));
}

static void test_unknown_name(void **state)
{
    struct err err;
    assert_null(kernels_select("abacus", &err));
    assert_int_equal(err.code, ERR_USAGE);
    assert_non_null(strstr(err.text, "abacus"));
    assert_non_null(strstr(err.text, "scalar"));
}

/* No two numbers of a panel lie in one place, none outside the storage, columns may be fewer than
 * made for. */
static void test_acts_layout(void **state)
{
    enum { K = 96, COLUMNS = 21 };
    static _Alignas(64) unsigned char storage[1 << 16];
    static unsigned char seen[1 << 16];
    assert_true(acts_bytes(K, COLUMNS) <= sizeof storage);
    for (size_t columns = 1; columns <= COLUMNS; columns++) {
        struct acts x;
        acts_init(&x, storage, K, COLUMNS);
        x.columns = columns;
        memset(seen, 0, sizeof seen);
        size_t lanes = acts_lanes(columns), bytes = (size_t)((char *)x.scale - (char *)x.q);
        for (size_t c = 0; c < (columns + lanes - 1) / lanes * lanes; c++) {
            for (size_t i = 0; i < K; i += ACT_QUAD) {
                size_t at = acts_at(&x, lanes, c, i);
                assert_true(at + ACT_QUAD <= bytes && at % ACT_QUAD == 0);
                assert_int_equal(seen[at]++, 0);
            }
        }
    }
}

static void test_formats(void **state)
{
    for (size_t i = 0; i < QUANT_COUNT; i++) {
        assert_non_null(quants[i].name);
        assert_true(quants[i].block > 0 && quants[i].bytes > 0);
        assert_true(quants[i].floats == (quants[i].block == 1));
        for (size_t j = 0; j < i; j++)
            assert_true(quants[i].ggml_type != quants[j].ggml_type ||
                        quants[i].ggml_type == QUANT_NOT_GGML);
        assert_true((quants[i].affine > 0) == (quants[i].ggml_type == QUANT_NOT_GGML));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_table_is_complete), cmocka_unit_test(test_unknown_name),
        cmocka_unit_test(test_acts_layout), cmocka_unit_test(test_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
