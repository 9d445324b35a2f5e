/* GGUF files: what a good one says, and that every way of lying is refused for the right reason.
 *
 * The bad ones are files made by tests/support/make_bad_gguf.py; those whose names begin with cve_
 * repeat what has hurt other engines. Each goes through the same call as a user's file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "engine/arch.h"
#include "engine/gguf.h"
#include "support/golden.h"

#define ARCHS "gemma2, gemma3, gpt-oss, granite, llama, olmo2, phi3, qwen2, qwen3, qwen3moe, smollm3"

static const struct { const char *name, *refusal; } bad_files[] = {
    {"alignment_huge",
     "byte 424: key general.alignment: 2147483648 is not a power of two from 8 to 65536"},
    {"alignment_is_string", "byte 424: key general.alignment: expected an integer, found string"},
    {"alignment_odd", "byte 424: key general.alignment: 24 is not a power of two from 8 to 65536"},
    {"architecture_hostile", "byte 56: architecture (no word) is not supported, these are: " ARCHS},
    {"architecture_missing", "key general.architecture is missing"},
    {"architecture_unknown", "byte 56: architecture \"mamba\" is not supported, these are: " ARCHS},
    {"array_beyond_file",
     "key x: byte 420: an array takes 4194304 bytes, but the file ends after 28 more"},
    {"array_element_unknown", "key x: byte 408: unknown array element type 99"},
    {"array_huge", "key x: byte 408: an array of 8589934592 elements, the limit is 16777216"},
    {"array_of_strings_beyond_file",
     "key x: byte 445: a string in an array takes 8 bytes, but the file ends after 3 more"},
    {"big_endian", "byte 4: a big-endian GGUF file is not supported"},
    {"big_endian_magic", "byte 0: a big-endian GGUF file is not supported"},
    {"block_count_0", "byte 135: key llama.block_count: 0 is not within 1 to 1024"},
    {"block_count_huge", "byte 135: key llama.block_count: 1073741824 is not within 1 to 1024"},
    {"bool_of_two", "key x: byte 408: a bool of 2, not 0 or 1"},
    {"byte_token_malformed", "byte token 2 is not spelled <0xNN>"},
    {"context_length_0", "byte 171: key llama.context_length: 0 is not within 1 to 16777216"},
    {"cut_in_data",
     "byte 4844: tensor blk.0.ffn_down.weight: 512 bytes at offset 6304 of the data end "
     "beyond the file, which has 6752 there"},
    {"cut_in_head", "byte 16: the number of keys takes 8 bytes, but the file ends after 4 more"},
    {"cut_in_key", "byte 183: a key takes 22 bytes, but the file ends after 17 more"},
    {"cut_in_tensor_info",
     "tensor w: byte 420: an offset takes 8 bytes, but the file ends after 0 more"},
    {"cve_2025_0317_alignment_0",
     "byte 424: key general.alignment: 0 is not a power of two from 8 to 65536"},
    {"cve_2025_49847_token_huge", "token 0 is 5000 bytes long; at most 4096 are allowed"},
    {"cve_2025_53630_dims_wrap", "tensor w: byte 408: its dimensions make more than 2^40 numbers"},
    {"cve_2025_53630_four_dims_wrap",
     "tensor w: byte 408: its dimensions make more than 2^40 numbers"},
    {"cve_2026_27940_array_bytes_wrap",
     "key x: byte 408: an array of 2305843009213693953 elements, the limit is 16777216"},
    {"cve_2026_7482_offset_beyond_file",
     "byte 395: tensor w: 32 bytes at offset 1099511627776 of the data end beyond the "
     "file, which has 32 there"},
    {"cve_2026_7482_size_beyond_file",
     "byte 395: tensor w: 4294967296 bytes at offset 0 of the data end beyond the file, "
     "which has 0 there"},
    {"dim_of_0", "tensor w: byte 408: dimension 1 is 0"},
    {"dims_0", "tensor w: byte 404: 0 dimensions, not 1 to 4"},
    {"dims_5", "tensor w: byte 404: 5 dimensions, not 1 to 4"},
    {"embedding_length_0", "byte 209: key llama.embedding_length: 0 is not within 1 to 65536"},
    {"eos_out_of_range", "the eos token is 259, but there are 259 tokens"},
    {"epsilon_0", "byte 391: key llama.attention.layer_norm_rms_epsilon: 0 is not above 0"},
    {"experts", "8 experts: this architecture is not supported as a mixture of experts"},
    {"experts_used_missing", "key llama.expert_used_count is missing"},
    {"feed_forward_length_0",
     "byte 250: key llama.feed_forward_length: 0 is not within 1 to 1048576"},
    {"float_is_integer",
     "byte 391: key llama.attention.layer_norm_rms_epsilon: expected f32, found u32"},
    {"float_is_nan", "byte 391: key llama.attention.layer_norm_rms_epsilon: not a finite number"},
    {"freq_base_0", "byte 427: key llama.rope.freq_base: 0 is not above 0"},
    {"head_count_0", "byte 292: key llama.attention.head_count: 0 is not within 1 to 1024"},
    {"head_count_kv_0", "byte 337: key llama.attention.head_count_kv: 0 is not within 1 to 1024"},
    {"head_dim_odd", "heads of 12 numbers are not supported, only multiples of 8 up to 256"},
    {"heads_do_not_divide", "1 heads do not divide among 3 KV heads"},
    {"integer_is_string", "byte 135: key llama.block_count: expected an integer, found string"},
    {"integer_negative", "byte 135: key llama.block_count: the number does not fit into 32 bits"},
    {"integer_too_wide", "byte 135: key llama.block_count: the number does not fit into 32 bits"},
    {"key_empty", "byte 395: a key is empty or not plain text"},
    {"key_huge", "byte 395: a key is 300 bytes long, the limit is 256"},
    {"key_length_0", "byte 433: key llama.attention.key_length: 0 is not within 1 to 256"},
    {"key_not_utf8", "byte 395: a key is empty or not plain text"},
    {"key_twice", "byte 395: key general.name stands there a second time"},
    {"key_with_control_bytes", "byte 395: a key is empty or not plain text"},
    {"keys_huge",
     "byte 16: 18446744073709551615 keys are more than the limit of 16384 or than the "
     "file can hold"},
    {"keys_more_than_bytes",
     "byte 16: 16000 keys are more than the limit of 16384 or than the file can hold"},
    {"layer_too_many",
     "byte 4905: tensor blk.1.attn_norm.weight is none that this architecture is supported with"},
    {"longrope_factor_0", "position factors: 0 is not above 0"},
    {"longrope_factors_misshapen",
     "byte 4905: tensor rope_factors_long.weight: expected 4 numbers of f32, found 8 of f32"},
    {"merge_of_no_token", "merge 0 names no token: \"a b\""},
    {"merges_of_bools",
     "byte 4171: key tokenizer.ggml.merges: expected array of string, found array of bool"},
    {"misaligned_offset", "byte 395: tensor w: offset 16 is not a multiple of 32"},
    {"nested_arrays", "key x: byte 408: arrays in arrays are not supported"},
    {"not_gguf", "byte 0: not a GGUF file (it does not begin with \"GGUF\")"},
    {"offset_plus_size_wraps",
     "byte 395: tensor w: 32 bytes at offset 18446744073709551584 of the data end beyond "
     "the file, which has 32 there"},
    {"rope_dimension_0", "byte 433: key llama.rope.dimension_count: 0 is not within 1 to 8"},
    {"rope_dimension_odd", "7 rotary dimensions do not make pairs"},
    {"rope_dimension_too_large",
     "byte 433: key llama.rope.dimension_count: 16 is not within 1 to 8"},
    {"rope_factor_0", "position factors: 0 is not above 0"},
    {"rope_scaling_negative", "byte 432: key llama.rope.scaling.factor: -4 is not above 0"},
    {"rope_scaling_unknown",
     "byte 430: key llama.rope.scaling.type: scaling \"sinusoidal\" is not supported, these "
     "are: none, linear, yarn, longrope"},
    {"rope_scaling_without_factors", "longrope without its short and long factors"},
    {"row_not_of_blocks", "tensor w: byte 408: a row of 40 numbers, not a multiple of q8_0's 32"},
    {"softcap_negative", "byte 435: key llama.attn_logit_softcapping: -1 is not above 0"},
    {"split",
     "byte 418: one of 3 parts, but its name is not that of a split set, like "
     "model-00001-of-00003.gguf"},
    {"split_huge",
     "byte 418: one of 2147483648 parts, but its name is not that of a split set, like "
     "model-00001-of-2147483648.gguf"},
    {"string_beyond_file",
     "key x: byte 416: a string takes 100000 bytes, but the file ends after 32 more"},
    {"string_huge",
     "key x: byte 408: a string is 9223372036854775808 bytes long, the limit is 16777216"},
    {"template_not_utf8",
     "byte 4304: key tokenizer.chat_template is longer than 1048576 bytes or not UTF-8"},
    {"tensor_misshapen",
     "byte 4489: tensor blk.0.attn_k.weight: expected shape [8, 8], found [8, 16, 1, 1]"},
    {"tensor_missing", "tensor blk.0.attn_k.weight is missing"},
    {"tensor_name_huge", "byte 395: a tensor name is 300 bytes long, the limit is 256"},
    {"tensor_of_three_dims",
     "byte 4489: tensor blk.0.attn_k.weight: expected shape [8, 8], found [8, 8, 2, 1]"},
    {"tensor_twice", "byte 428: tensor w stands there a second time"},
    {"tensor_unknown",
     "byte 4905: tensor blk.0.attn_q.gate is none that this architecture is supported with"},
    {"tensors_huge",
     "byte 8: 1152921504606846976 tensors are more than the limit of 65536 or than the "
     "file can hold"},
    {"token_type_unknown", "token 0 has the unknown type -1"},
    {"token_types_of_floats",
     "byte 3090: key tokenizer.ggml.token_type: expected array of i32, found array of f32"},
    {"token_types_too_few", "byte 3090: 8 token types for 259 tokens"},
    {"tokenizer_unknown", "byte 427: tokenizer \"rwkv\" is not supported; these are: gpt2 llama"},
    {"tokens_none", "the vocabulary has 0 tokens; 1 to 1048576 are allowed"},
    {"tokens_not_an_array",
     "byte 516: key tokenizer.ggml.tokens: expected array of string, found string"},
    {"tokens_of_numbers",
     "byte 516: key tokenizer.ggml.tokens: expected array of string, found array of u32"},
    {"type_iq2_xxs",
     "tensor w: byte 416: type 16 (iq2_xxs) is not supported, these are: f32, f16, bf16, "
     "q8_0, q4_0, q4_1, q5_0, q5_1, iq4_nl, mxfp4, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_xs"},
    {"type_of_other_container",
     "tensor w: byte 416: type 4294967295 (unknown) is not supported, these are: f32, f16, bf16, "
     "q8_0, q4_0, q4_1, q5_0, q5_1, iq4_nl, mxfp4, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_xs"},
    {"type_unknown",
     "tensor w: byte 416: type 4 (unknown) is not supported, these are: f32, f16, bf16, "
     "q8_0, q4_0, q4_1, q5_0, q5_1, iq4_nl, mxfp4, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_xs"},
    {"value_length_differs", "values of 16 numbers with keys of 8 are not supported"},
    {"value_type_unknown", "key x: byte 404: unknown value type 13"},
    {"version_1", "byte 4: GGUF version 1 is not supported, 2 and 3 are"},
    {"version_4", "byte 4: GGUF version 4 is not supported, 2 and 3 are"},
};

/* None may be left out of the table; the one that is, empty.gguf, has its own test. */
static size_t count_files(const char *folder)
{
    DIR *dir = opendir(folder);
    size_t n = 0;

    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir));)
        n += str_ends(str_of(entry->d_name), STR(".gguf"));
    closedir(dir);
    return n;
}

static void test_bad_files(void **state)
{
    struct arena *arena = arena_new(1 << 16);
    const size_t n = sizeof bad_files / sizeof *bad_files;

    assert_int_equal(count_files(golden_path(arena, "../fuzz/regressions/gguf")), n + 1);
    for (size_t i = 0; i < n; i++) {
        const char *file = arena_printf(arena, "../fuzz/regressions/gguf/%s.gguf",
                                        bad_files[i].name).s;
        struct err err = {0};
        assert_null(model_open(golden_path(arena, file), &err));
        assert_int_equal(err.code, ERR_FORMAT);
        assert_string_equal(err.text, arena_printf(arena, "%s.gguf: %s", bad_files[i].name,
                                                   bad_files[i].refusal).s);
    }
    arena_free(arena);
}

static void test_not_files(void **state)
{
    struct arena *arena = arena_new(1 << 10);
    struct err err = {0};

    assert_null(gguf_open(golden_path(arena, "no_such_file.gguf"), &err));
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.text, "No such file"));
    assert_null(gguf_open(golden_path(arena, "golden"), &err));
    assert_int_equal(err.code, ERR_FORMAT);
    assert_non_null(strstr(err.text, "not a file"));
    assert_null(gguf_open(golden_path(arena, "../fuzz/regressions/gguf/empty.gguf"), &err));
    assert_non_null(strstr(err.text, "is empty"));
    arena_free(arena);
}

/* Wherever a download stops, the file is refused: under ASan no byte past the cut is touched. */
static void test_every_cut(void **state)
{
    struct arena *arena = arena_new(1 << 16);
    const struct str whole = golden_read(arena, "../fuzz/corpus/gguf/good.gguf");

    for (size_t n = 0; n < whole.n; n++) {
        struct err err = {0};
        void *bytes = malloc(n ? n : 1);
        memcpy(bytes, whole.s, n);
        assert_null(gguf_parse(bytes, n, "cut", &err));
        assert_int_equal(err.code, ERR_FORMAT);
        free(bytes);
    }
    struct err err = {0};
    struct model *model =
        model_load(checkpoint_of_gguf(gguf_parse(whole.s, whole.n, "good", &err), &err), &err);
    assert_non_null(model);
    model_close(model);
    arena_free(arena);
}

static void test_version_2(void **state)
{
    struct arena *arena = arena_new(1 << 16);
    struct str file = golden_read(arena, "../fuzz/corpus/gguf/good.gguf");
    struct err err = {0};

    ((char *)file.s)[4] = 2;
    struct gguf *two = gguf_parse(file.s, file.n, "two", &err);
    assert_non_null(two);
    gguf_close(two);
    arena_free(arena);
}

static void test_lookups(void **state)
{
    struct arena *arena = arena_new(1 << 16);
    struct err err = {0};
    struct gguf *file = gguf_open(golden_path(arena, TINY "llama_tied/q4_1.gguf"), &err);
    const struct str *strings;
    const int32_t *numbers;
    struct str text;
    uint32_t number;
    float real;
    bool flag = true;
    size_t n;

    assert_non_null(file);
    assert_true(gguf_str(file, "general.architecture", &text, &err) && str_is(text, "llama"));
    assert_true(gguf_u32(file, "llama.block_count", &number, &err) && number == 2);
    assert_true(gguf_f32(file, "llama.rope.freq_base", &real, &err) && real == 10000.0f);
    assert_true(gguf_bool(file, "tokenizer.ggml.add_bos_token", &flag, &err) && !flag);
    assert_true(gguf_strings(file, "tokenizer.ggml.tokens", arena, &strings, &n, &err) && n == 512);
    assert_true(str_is(strings[2], "<|im_end|>"));
    assert_true(gguf_i32s(file, "tokenizer.ggml.token_type", arena, &numbers, &n, &err) && n == 512);
    assert_true(numbers[2] == 3 && numbers[511] == 1);
    assert_true(gguf_has(file, "llama.vocab_size") && !gguf_has(file, "llama.vocab"));

    assert_false(gguf_u32(file, "llama.nothing", &number, &err));
    assert_string_equal(err.text, "key llama.nothing is missing");
    assert_false(gguf_bool(file, "llama.block_count", &flag, &err));
    assert_non_null(strstr(err.text, ": key llama.block_count: expected bool, found u32"));
    assert_false(gguf_str(file, "llama.block_count", &text, &err));
    assert_false(gguf_strings(file, "tokenizer.ggml.token_type", arena, &strings, &n, &err));
    assert_false(gguf_i32s(file, "tokenizer.ggml.tokens", arena, &numbers, &n, &err));

    const struct gguf_tensor *t = gguf_tensor_find(file, "blk.1.ffn_down.weight");
    assert_non_null(t);
    assert_true(t->quant == QUANT_Q4_1 && t->dims[0] == 128 && t->dims[1] == 64 && t->dims[2] == 1);
    assert_int_equal(t->bytes, 128 * 64 / 32 * 20);
    assert_null(gguf_tensor_find(file, "blk.2.ffn_down.weight"));
    assert_int_equal(gguf_tensors_n(file), 20);
    assert_null(gguf_tensor_nth(file, 20));
    gguf_close(file);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_files), cmocka_unit_test(test_not_files),
        cmocka_unit_test(test_every_cut), cmocka_unit_test(test_version_2),
        cmocka_unit_test(test_lookups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
