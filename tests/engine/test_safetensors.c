/* .safetensors files: what a good one says, and that every way of lying is refused in words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/buf.h"
#include "engine/safetensors.h"
#include "support/folder.h"
#include "support/safetensors_text.h"

/* Each is a header, of a file with 64 bytes of data. */
static const struct { const char *header, *refusal; } bad_headers[] = {
    {"", "the header is not valid JSON: it is empty"},
    {"[]", "the header is not a JSON object"},
    {"{\"w\":", "the header is not valid JSON: unexpected end of data at byte 5"},
    {"{\"\":{}}", "the name of a tensor is empty, longer than 256 bytes or not plain text"},
    {"{\"a\\u001bb\":{}}",
     "the name of a tensor is empty, longer than 256 bytes or not plain text"},
    {"{\"w\":[]}", "tensor w: its dtype is missing"},
    {"{\"w\":{\"dtype\":\"F31\"}}", "tensor w: dtype F31 is not known"},
    {"{\"w\":{\"dtype\":\"F\\n\"}}", "tensor w: dtype  is not known"},
    {"{\"w\":{\"dtype\":3}}", "tensor w: its dtype is missing"},
    {"{\"w\":{\"dtype\":\"F32\"}}", "tensor w: its shape is missing"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1]}}",
     "tensor w: 9 dimensions, the limit is 8"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4,0]}}", "tensor w: dimension 1 is no number above 0"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[-4]}}", "tensor w: dimension 0 is no number above 0"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4.0]}}", "tensor w: dimension 0 is no number above 0"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1e30]}}", "tensor w: dimension 0 is no number above 0"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296]}}",
     "tensor w: its dimensions make more than 2^40 numbers"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2097152,2097152,2097152,2097152]}}",
     "tensor w: its dimensions make more than 2^40 numbers"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[18446744073709551615]}}",
     "tensor w: its dimensions make more than 2^40 numbers"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4]}}", "tensor w: its data_offsets are not two numbers"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16,32]}}",
     "tensor w: its data_offsets are not two numbers"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[-16,0]}}",
     "tensor w: its data_offsets are not two numbers"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,12]}}",
     "tensor w: its shape takes 16 bytes, data_offsets [0, 12] are 12"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16,0]}}",
     "tensor w: data_offsets [16, 0] are not within the data, of which the file has 64 bytes"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[56,72]}}",
     "tensor w: data_offsets [56, 72] are not within the data, of which the file has 64 bytes"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[18446744073709551600,16]}}",
     "tensor w: data_offsets [18446744073709551600, 16] are not within the data, of which the file "
     "has "
     "64 bytes"},
};

static void test_bad_headers(void **state)
{
    struct arena *arena = arena_new(1 << 16);

    for (size_t i = 0; i < sizeof bad_headers / sizeof *bad_headers; i++) {
        struct err err = {0};
        const struct str file = safetensors_text(arena, bad_headers[i].header, 64);
        assert_null(safetensors_parse(file.s, file.n, "some/x.safetensors", &err));
        assert_string_equal(err.text, arena_printf(arena, "x.safetensors: %s",
                                                   bad_headers[i].refusal).s);
        assert_int_equal(err.code, ERR_FORMAT);
    }
    arena_free(arena);
}

static const char good[] =
    "{\"__metadata__\":{\"format\":\"mlx\",\"total\":\"3\"},"
    "\"b\":{\"dtype\":\"BF16\",\"shape\":[3,2],\"data_offsets\":[17,29]}," /* unaligned, unordered
                                                                            */
    "\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[1,17]},"
    "\"one\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[20,28]}}";

static void test_good(void **state)
{
    struct arena *arena = arena_new(1 << 16);
    struct err err;
    const struct str text = safetensors_text(arena, good, 29);
    struct safetensors *file = safetensors_parse(text.s, text.n, "x.safetensors", &err);

    assert_non_null(file);
    assert_int_equal(safetensors_n(file), 3);
    assert_int_equal(safetensors_bytes(file), text.n);
    assert_true(str_is(safetensors_format(file), "mlx"));
    const struct safetensor *b = safetensors_nth(file, 0);
    assert_true(str_is(b->name, "b") && b->dtype == DTYPE_BF16 && b->dims_n == 2);
    assert_true(b->dims[0] == 3 && b->dims[1] == 2 && b->elements == 6 && b->bytes == 12);
    assert_ptr_equal(b->data, text.s + text.n - 29 + 17);
    const struct safetensor *one = safetensors_nth(file, 2);
    assert_true(one->dims_n == 0 && one->elements == 1 && one->bytes == 8);
    assert_null(safetensors_nth(file, 3));
    safetensors_close(file);
    arena_free(arena);
}

/* Wherever it is cut, a file is refused, and nothing past its end is read. */
static void test_every_cut(void **state)
{
    struct arena *arena = arena_new(1 << 16);
    const struct str text = safetensors_text(arena, good, 29);

    for (size_t n = 0; n < text.n; n++) {
        struct err err = {0};
        void *bytes = malloc(n ? n : 1);
        memcpy(bytes, text.s, n);
        assert_null(safetensors_parse(bytes, n, "cut", &err));
        assert_int_equal(err.code, ERR_FORMAT);
        free(bytes);
    }
    arena_free(arena);
}

static void refused_length(uint64_t length, const char *text)
{
    struct err err = {0};
    char bytes[32] = {0};

    memcpy(bytes, &length, sizeof length);
    assert_null(safetensors_parse(bytes, sizeof bytes, "x", &err));
    assert_string_equal(err.text, text);
}

static void test_header_lengths(void **state)
{
    refused_length(25, "x: byte 8: the header takes 25 bytes, but the file ends after 24 more");
    refused_length(UINT64_MAX, "x: byte 0: a header of 18446744073709551615 bytes, the limit is "
                   "67108864; is this a safetensors file?");
    refused_length(SAFETENSORS_HEADER_MAX,
                   "x: byte 8: the header takes 67108864 bytes, but the file ends after 24 more");
}

static void test_deep_header(void **state)
{
    struct arena *arena = arena_new(1 << 16);
    struct buf header = {0};
    struct err err;

    buf_cstr(&header, "{\"w\":");
    for (int i = 0; i < 100000; i++)
        buf_char(&header, '[');
    buf_char(&header, '\0');
    const struct str file = safetensors_text(arena, header.data, 0);
    assert_null(safetensors_parse(file.s, file.n, "x", &err));
    assert_string_equal(err.text,
                        "x: the header is not valid JSON: nested deeper than 128 at byte 132");
    buf_release(&header);
    arena_free(arena);
}

static void test_too_many_tensors(void **state)
{
    struct arena *arena = arena_new(1 << 16);
    struct buf header = {0};
    struct err err;

    buf_cstr(&header, "{\"w\":0");
    for (int i = 0; i < SAFETENSORS_TENSORS_MAX; i++)
        buf_printf(&header, ",\"%d\":0", i);
    buf_append(&header, "}", 2);
    const struct str file = safetensors_text(arena, header.data, 0);
    assert_null(safetensors_parse(file.s, file.n, "x", &err));
    assert_string_equal(err.text, "x: 65537 tensors, the limit is 65536");
    buf_release(&header);
    arena_free(arena);
}

static void test_files(void **state)
{
    struct arena *arena = arena_new(1 << 16);
    const char *folder = folder_new(arena);
    const char *path = arena_printf(arena, "%s/x.safetensors", folder).s;
    struct err err;

    assert_null(safetensors_open(path, &err));
    assert_int_equal(err.code, ERR_IO);
    folder_write(folder, "x.safetensors", (struct str){0});
    assert_null(safetensors_open(path, &err));
    assert_string_equal(err.text, arena_printf(arena, "a file of weights is empty: %s", path).s);
    assert_null(safetensors_open(folder, &err));
    assert_string_equal(err.text, arena_printf(arena, "a file of weights is not a file: %s",
                                               folder).s);
    folder_write(folder, "x.safetensors", safetensors_text(arena, good, 29));
    struct safetensors *file = safetensors_open(path, &err);
    assert_non_null(file);
    assert_true(str_is(safetensors_name(file), "x.safetensors"));
    safetensors_close(file);
    folder_remove(folder);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_header_lengths),
        cmocka_unit_test(test_deep_header),
        cmocka_unit_test(test_too_many_tensors),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
