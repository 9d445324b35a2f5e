/* test_formats.c - what the scalar table reads from blocks of every format, held to what other
 * programs read from them, bit for bit (tests/golden/scripts/quant_golden.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "kernels/kernels.h"

enum { BYTES_MAX = 4096 };

struct bytes {
    size_t n;
    unsigned char at[BYTES_MAX];
};

/* A string of hexadecimal digits; none at all if there is no such field. */
static void read_hex(struct bytes *bytes, yyjson_val *of, const char *field)
{
    const char *text = yyjson_get_str(yyjson_obj_get(of, field));
    bytes->n = text ? strlen(text) / 2 : 0;
    assert_true(bytes->n <= BYTES_MAX);
    for (size_t i = 0; i < bytes->n; i++) {
        unsigned byte;
        assert_int_equal(sscanf(text + 2 * i, "%2x", &byte), 1);
        bytes->at[i] = (unsigned char)byte;
    }
}

static enum quant quant_of(const char *name)
{
    for (enum quant quant = 0; quant < QUANT_COUNT; quant++)
        if (strcmp(quants[quant].name, name) == 0)
            return quant;
    fail_msg("no format %s", name);
    return QUANT_COUNT;
}

static enum quant test_case(yyjson_val *item)
{
    static struct bytes data, scales, biases, values;
    static float got[BYTES_MAX / 4];
    const char *name = yyjson_get_str(yyjson_obj_get(item, "format"));
    read_hex(&data, item, "data");
    read_hex(&values, item, "values");
    read_hex(&scales, item, "scales");
    read_hex(&biases, item, "biases");
    struct matrix w = {
        .data = data.at, .quant = quant_of(name), .rows = 1, .row_bytes = data.n,
        .cols = (uint32_t)(values.n / sizeof *got), .scales = scales.at, .biases = biases.at,
        .group = (uint32_t)yyjson_get_uint(yyjson_obj_get(item, "group")),
        .scale_row_bytes = scales.n,
    };
    assert_int_equal(w.cols / quants[w.quant].block * quants[w.quant].bytes, data.n);
    if (quants[w.quant].affine) {
        w.scale_quant = quant_of(yyjson_get_str(yyjson_obj_get(item, "scale_type")));
        assert_int_equal(w.cols / w.group * quants[w.scale_quant].bytes, scales.n);
    }
    kernels_nth(0)->dequant[w.quant](got, &w, 0);
    for (size_t i = 0; i < w.cols; i++) {
        float want;
        memcpy(&want, values.at + i * sizeof want, sizeof want);
        if (memcmp(&got[i], &want, sizeof want) != 0 && !(got[i] == 0 && want == 0))
            fail_msg("%s, number %zu: %.9g, should be %.9g", name, i, (double)got[i], (double)want);
    }
    return w.quant;
}

static void test_values(void **state)
{
    char path[4096];
    bool seen[QUANT_COUNT] = {false};
    assert_non_null(getenv("PENSIEVE_TESTS"));
    snprintf(path, sizeof path, "%s/golden/quant/formats.json", getenv("PENSIEVE_TESTS"));
    yyjson_doc *doc = yyjson_read_file(path, 0, NULL, NULL);
    assert_non_null(doc);
    yyjson_val *cases = yyjson_obj_get(yyjson_doc_get_root(doc), "cases"), *item;
    size_t i, n;
    yyjson_arr_foreach(cases, i, n, item) seen[test_case(item)] = true;
    for (enum quant quant = 0; quant < QUANT_COUNT; quant++)
        assert_true(seen[quant] || quants[quant].floats);
    yyjson_doc_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
