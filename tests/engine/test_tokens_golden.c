/* The tokenizer against tokens that Hugging Face's `tokenizers` gave, with real vocabularies:
 * tests/golden/tokens (made by tests/golden/scripts/tokens_golden.py and tokenizer_steps.py; tiny_*.json
 * by the project's fixture scripts) and the larger fixtures. What needs a file that isn't there is
 * skipped, and says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "engine/detokenizer.h"
#include "engine/gguf.h"
#include "engine/pretokenizer.h"
#include "engine/tokenizer.h"
#include "engine/tokenizer_json.h"
#include "engine/vocab_gguf.h"

enum { PATH_BYTES = 4096 };

/* "$variable/name", or below the folder of the tests where the variable is not set. */
static void path_of(char *out, const char *variable, const char *below_tests, const char *name)
{
    const char *folder = variable ? getenv(variable) : NULL, *tests = getenv("PENSIEVE_TESTS");

    if (folder)
        snprintf(out, PATH_BYTES, "%s/%s", folder, name);
    else
        snprintf(out, PATH_BYTES, "%s/%s/%s", tests ? tests : "tests", below_tests, name);
}

static void or_skip(const char *path)
{
    if (access(path, R_OK) == 0)
        return;
    print_message("skipped: %s is not there\n", path);
    skip();
}

static struct str text_of(const char *path, struct arena *arena)
{
    FILE *file = fopen(path, "rb");
    struct buf buf = {0};
    char block[1 << 16];

    if (!file)
        fail_msg("%s can't be opened", path);
    for (size_t n; (n = fread(block, 1, sizeof block, file)) > 0;)
        buf_append(&buf, block, n);
    fclose(file);
    const struct str text = arena_str(arena, buf_view(&buf));
    buf_release(&buf);
    return text;
}

static yyjson_val *json_of(const char *path, struct arena *arena)
{
    yyjson_val *root = NULL;
    struct err err = {0};

    if (!json_parse(arena, text_of(path, arena), &root, &err))
        fail_msg("%s: %s", path, err.text);
    return root;
}

/* "x/tokenizer.json" -> the text of x/tokenizer_config.json, empty if there is none. */
static struct str config_beside(const char *path, struct arena *arena)
{
    char config[PATH_BYTES];

    snprintf(config, sizeof config, "%.*s_config.json", (int)(strlen(path) - strlen(".json")), path);
    return access(config, R_OK) == 0 ? text_of(config, arena) : (struct str){0};
}

/* The vocabulary alone, so that files without weights serve too. */
static struct vocab *vocab_of(const char *path)
{
    struct err err = {0};
    struct arena *arena = arena_new(1 << 16);
    struct vocab_source source;
    struct gguf *file = NULL;
    struct vocab *vocab = NULL;
    bool ok;

    if (str_ends(str_of(path), STR(".json"))) {
        ok = vocab_source_json(arena, text_of(path, arena), config_beside(path, arena), &source,
                               &err);
    } else {
        file = gguf_open(path, &err);
        ok = file && vocab_source_gguf(file, arena, &source, &err);
    }
    if (ok)
        vocab = vocab_new(&source, &err);
    if (!vocab)
        fail_msg("%s: %s", path, err.text);
    arena_free(arena);
    gguf_close(file);
    return vocab;
}

static struct tokens encode(const struct vocab *vocab, struct arena *arena, struct str text,
                            bool plain)
{
    const struct plain_range all = {0, text.n};
    struct tokens tokens = {0};
    struct err err = {0};

    if (!tokenizer_encode(vocab, arena, text, &all, plain, false, &tokens, &err))
        fail_msg("%s", err.text);
    return tokens;
}

static bool ids_equal(struct tokens tokens, yyjson_val *ids)
{
    if (tokens.n != yyjson_arr_size(ids))
        return false;
    for (size_t i = 0; i < tokens.n; i++) {
        if (tokens.ids[i] != yyjson_get_int(yyjson_arr_get(ids, i)))
            return false;
    }
    return true;
}

static bool tokens_equal(struct tokens a, struct tokens b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.ids, b.ids, a.n * sizeof *a.ids) == 0);
}

static struct str decode(const struct vocab *vocab, struct arena *arena, struct tokens tokens)
{
    struct detokenizer detokenizer = {.decode = vocab_decode(vocab)};
    struct buf buf = {0};

    for (size_t i = 0; i < tokens.n; i++)
        detokenizer_push(&detokenizer, vocab_bytes(vocab, tokens.ids[i]), &buf);
    detokenizer_finish(&detokenizer, &buf);
    const struct str text = arena_str(arena, buf_view(&buf));
    buf_release(&buf);
    return text;
}

/* {"t": text, "ids": [...], "ll": [...], "plain": [...], "dec": text}
 * ll: where llama.cpp says otherwise, which will do for a GGUF file: Qwen's vocabulary alone lacks
 * tokens that its tokenizer.json has, and llama.cpp makes an ordinary token spelled </s> a special
 * one. plain: a look-alike taken as text, by llama.cpp. dec: what the ids say, where that is not the text. */
static size_t check_vectors(const struct vocab *vocab, yyjson_val *vectors, bool gguf)
{
    yyjson_arr_iter each = yyjson_arr_iter_with(vectors);
    size_t wrong = 0;

    for (yyjson_val *vector; (vector = yyjson_arr_iter_next(&each));) {
        struct arena *arena = arena_new(4096);
        const struct str text = json_str(yyjson_obj_get(vector, "t"));
        yyjson_val *ll = yyjson_obj_get(vector, "ll"), *plain = yyjson_obj_get(vector, "plain");
        yyjson_val *ids = yyjson_obj_get(vector, "ids");
        yyjson_val *dec = yyjson_obj_get(vector, "dec");
        const struct tokens tokens = encode(vocab, arena, text, false);
        const struct tokens as_text = encode(vocab, arena, text, true);
        const bool good =
            (ids_equal(tokens, ids) || (gguf && ll && ids_equal(tokens, ll))) &&
            (ll || (plain ? ids_equal(as_text, plain) : tokens_equal(as_text, tokens))) &&
            (str_equal(decode(vocab, arena, tokens), dec ? json_str(dec) : text) ||
             (gguf && ll && str_equal(decode(vocab, arena, tokens), text)));
        if (!good)
            print_error("differs: \"%.*s\"\n", STR_ARG(text));
        wrong += !good;
        arena_free(arena);
    }
    return wrong;
}

static uint32_t crc32_of(struct tokens tokens)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < tokens.n * sizeof *tokens.ids; i++) {
        crc ^= (uint32_t)tokens.ids[i / 4] >> i % 4 * 8 & 0xff;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static bool is_long_result(yyjson_val *vector, struct tokens tokens, const char *n, const char *crc)
{
    return tokens.n == yyjson_get_uint(yyjson_obj_get(vector, n)) &&
           crc32_of(tokens) == yyjson_get_uint(yyjson_obj_get(vector, crc));
}

/* {"unit": text, "n": how often, "len": tokens, "crc": of the ids, "ll_len", "ll_crc": as above} */
static size_t check_long(const struct vocab *vocab, yyjson_val *vectors, bool gguf)
{
    yyjson_arr_iter each = yyjson_arr_iter_with(vectors);
    size_t wrong = 0;

    for (yyjson_val *vector; (vector = yyjson_arr_iter_next(&each));) {
        struct arena *arena = arena_new(4096);
        const struct str unit = json_str(yyjson_obj_get(vector, "unit"));
        struct buf text = {0};
        for (uint64_t i = yyjson_get_uint(yyjson_obj_get(vector, "n")); i > 0; i--)
            buf_str(&text, unit);
        const struct tokens tokens = encode(vocab, arena, buf_view(&text), false);
        const bool good = is_long_result(vector, tokens, "len", "crc") ||
                          (gguf && is_long_result(vector, tokens, "ll_len", "ll_crc"));
        if (!good)
            print_error("differs: many \"%.*s\"\n", STR_ARG(unit));
        wrong += !good;
        buf_release(&text);
        arena_free(arena);
    }
    return wrong;
}

static struct str base64_decode(struct arena *arena, struct str text)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out = arena_alloc(arena, text.n);
    size_t n = 0;
    uint32_t bits = 0;

    for (size_t i = 0; i < text.n && text.s[i] != '='; i++) {
        bits = bits << 6 | (uint32_t)(strchr(alphabet, text.s[i]) - alphabet);
        if (i % 4)
            out[n++] = (char)(bits >> (6 - 2 * (i % 4)));
    }
    return (struct str){out, n};
}

/* {"b64": bytes, "ids_replace": the ids of what Python's errors="replace" makes of them} */
static size_t check_invalid(const struct vocab *vocab, yyjson_val *vectors)
{
    yyjson_arr_iter each = yyjson_arr_iter_with(vectors);
    size_t wrong = 0;

    for (yyjson_val *vector; (vector = yyjson_arr_iter_next(&each));) {
        struct arena *arena = arena_new(4096);
        struct detokenizer detokenizer = {0};
        struct buf replaced = {0};
        const struct str b64 = json_str(yyjson_obj_get(vector, "b64"));
        const struct str bytes = base64_decode(arena, b64);
        detokenizer_push(&detokenizer, bytes, &replaced);
        detokenizer_finish(&detokenizer, &replaced);
        const bool good = ids_equal(encode(vocab, arena, buf_view(&replaced), false),
                                    yyjson_obj_get(vector, "ids_replace"));
        assert_true(encode(vocab, arena, bytes, false).n > 0);
        if (!good)
            print_error("differs: invalid UTF-8 %.*s\n", STR_ARG(b64));
        wrong += !good;
        buf_release(&replaced);
        arena_free(arena);
    }
    return wrong;
}

static void check_file(const char *json, const char *model)
{
    struct arena *arena = arena_new(1 << 16);
    yyjson_val *root = json_of(json, arena);
    struct vocab *vocab = vocab_of(model);
    const size_t n = yyjson_arr_size(yyjson_obj_get(root, "vectors"));

    assert_true(n > 0);
    const bool gguf = str_ends(str_of(model), STR(".gguf"));
    const size_t wrong = check_vectors(vocab, yyjson_obj_get(root, "vectors"), gguf) +
                         check_long(vocab, yyjson_obj_get(root, "long"), gguf) +
                         check_invalid(vocab, yyjson_obj_get(root, "bad_utf8"));
    vocab_free(vocab);
    arena_free(arena);
    print_message("%zu strings of %s by %s, %zu wrong\n", n, json, model, wrong);
    assert_int_equal(wrong, 0);
}

static void check_fixture(const char *json_name, const char *model_variable,
                          const char *model_below, const char *model_name)
{
    char json[PATH_BYTES], model[PATH_BYTES];

    path_of(json, "PENSIEVE_FIXTURES", "../../shared/fixtures", json_name);
    path_of(model, model_variable, model_below, model_name);
    or_skip(json);
    or_skip(model);
    check_file(json, model);
}

#define SMOLLM2 "SmolLM2-135M-Instruct.Q4_1.gguf"

static void smollm2_golden(void **state)
{
    char json[PATH_BYTES], model[PATH_BYTES];

    path_of(json, NULL, "golden", "tokens/smollm2.json");
    path_of(model, "PENSIEVE_MODELS", "../models", SMOLLM2);
    or_skip(model);
    check_file(json, model);
    (void)state;
}

static void smollm2_fixture(void **state)
{
    check_fixture("out/tok/tokvec_smollm2.json", "PENSIEVE_MODELS", "../models", SMOLLM2);
    (void)state;
}

static void tiny_golden(void **state)
{
    static const char *const sets[][2] = {
        {"tiny_bpe", "llama_tied/f16.gguf"},        {"tiny_bpe", "llama_tied/hf/tokenizer.json"},
        {"tiny_spm", "phi3_longrope_s/f16.gguf"},   {"tiny_spm", "phi3_longrope_s/hf/tokenizer.json"},
        {"tiny_gemma", "gemma3_text/f16.gguf"},     {"tiny_gemma", "gemma3_text/hf/tokenizer.json"},
    };

    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        char name[64], json[PATH_BYTES], model[PATH_BYTES];
        snprintf(name, sizeof name, "tokens/%s.json", sets[i][0]);
        path_of(json, NULL, "golden", name);
        path_of(model, NULL, "../build/golden", sets[i][1]);
        check_file(json, model);
    }
    (void)state;
}

/* Every form in which the fixtures' folder holds a tokenizer, those that mlx_lm wrote again too. */
static void tiny_fixtures(void **state)
{
    static const char *const spm[] = {
        "phi3_longrope_s/f16.gguf", "phi3_longrope_s/hf/tokenizer.json",
        "phi3_longrope_s/mlx-4bit-g64/tokenizer.json", "phi3_longrope/hf/tokenizer.json",
        NULL};
    static const char *const gemma[] = {
        "gemma3_text/f16.gguf", "gemma3_text/hf/tokenizer.json",
        "gemma3_text/mlx-4bit-g64/tokenizer.json", NULL};
    static const char *const bpe[] = {
        "llama_tied/q4_0.gguf", "llama_tied/hf/tokenizer.json", "llama_tied/mlx-bf16/tokenizer.json",
        "llama_k256/mlx-mixed_3_6/tokenizer.json", NULL};
    static const struct {
        const char *json;
        const char *const *models;
    } sets[] = {{"out/tok/tokvec_tiny_spm.json", spm}, {"out/tok/tokvec_tiny_spm_gemma.json", gemma},
                {"out/tok/tokvec_tiny_bpe.json", bpe}};

    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        for (const char *const *model = sets[i].models; *model; model++) {
            char name[PATH_BYTES];
            snprintf(name, sizeof name, "out/tiny/%s", *model);
            check_fixture(sets[i].json, "PENSIEVE_FIXTURES", "../../shared/fixtures", name);
        }
    }
    (void)state;
}

/* PENSIEVE_VOCABS: a folder with vocabularies of real models alone, ggml-vocab-NAME.gguf as llama.cpp
 * has them, or NAME/tokenizer.json; those that are not there are not looked at. */
static void real_fixtures(void **state)
{
    static const char *const sets[][3] = {
        {"gpt2", "ggml-vocab-gpt-2.gguf", "gpt2/tokenizer.json"},
        {"phi3", "ggml-vocab-phi-3.gguf", "phi3/tokenizer.json"},
        {"qwen", "ggml-vocab-qwen2.gguf", "qwen3/tokenizer.json"},
        {"smollm2", SMOLLM2, "smollm2/tokenizer.json"},
    };
    const char *folder = getenv("PENSIEVE_VOCABS");

    for (size_t i = 0; folder && i < sizeof sets / sizeof *sets; i++) {
        for (size_t k = 1; k < 3; k++) {
            char json[PATH_BYTES], name[64], model[PATH_BYTES];
            snprintf(name, sizeof name, "out/tok/tokvec_%s.json", sets[i][0]);
            path_of(json, "PENSIEVE_FIXTURES", "../../shared/fixtures", name);
            path_of(model, "PENSIEVE_VOCABS", "", sets[i][k]);
            if (access(json, R_OK) == 0 && access(model, R_OK) == 0)
                check_file(json, model);
        }
    }
    (void)state;
}

/* {"NAME": [{"t": text, "words": [...]}]}: every pattern, without any vocabulary. */
static void words_golden(void **state)
{
    char json[PATH_BYTES];
    struct arena *arena = arena_new(1 << 16);
    struct err err = {0};
    size_t wrong = 0;

    path_of(json, NULL, "golden", "tokens/words.json");
    yyjson_obj_iter names = yyjson_obj_iter_with(json_of(json, arena));
    for (yyjson_val *name; (name = yyjson_obj_iter_next(&names));) {
        struct pretokenizer *pretokenizer = pretokenizer_named(json_str(name), &err);
        assert_non_null(pretokenizer);
        struct splitter *splitter = splitter_new(pretokenizer, &err);
        assert_non_null(splitter);
        yyjson_arr_iter each = yyjson_arr_iter_with(yyjson_obj_iter_get_val(name));
        for (yyjson_val *vector; (vector = yyjson_arr_iter_next(&each));) {
            const struct str text = json_str(yyjson_obj_get(vector, "t"));
            yyjson_val *words = yyjson_obj_get(vector, "words");
            size_t i = 0;
            bool good = true;
            struct str word;
            splitter_start(splitter, text);
            for (;; i++) {
                assert_true(splitter_next(splitter, &word, &err));
                if (word.n == 0)
                    break;
                good &= str_equal(word, json_str(yyjson_arr_get(words, i)));
            }
            good &= i == yyjson_arr_size(words);
            if (!good)
                print_error("%s splits otherwise: \"%.*s\"\n", yyjson_get_str(name), STR_ARG(text));
            wrong += !good;
        }
        splitter_free(splitter);
        pretokenizer_free(pretokenizer);
    }
    arena_free(arena);
    assert_int_equal(wrong, 0);
    (void)state;
}

/* [{"name", "file": a tokenizer.json, "vectors": [{"t", "ids", "dec"}]}]: every step and flag that a
 * file may have. */
static void steps_golden(void **state)
{
    char json[PATH_BYTES];
    struct arena *arena = arena_new(1 << 16);
    size_t wrong = 0, n = 0;

    path_of(json, NULL, "golden", "tokens/steps.json");
    yyjson_arr_iter each = yyjson_arr_iter_with(json_of(json, arena));
    for (yyjson_val *one; (one = yyjson_arr_iter_next(&each)); n++) {
        struct vocab_source source;
        struct err err = {0};
        const bool ok = vocab_source_json(arena, json_str(yyjson_obj_get(one, "file")),
                                          (struct str){0}, &source, &err);
        struct vocab *vocab = ok ? vocab_new(&source, &err) : NULL;
        const char *name = yyjson_get_str(yyjson_obj_get(one, "name"));
        if (!vocab)
            fail_msg("%s: %s", name, err.text);
        yyjson_arr_iter vectors = yyjson_arr_iter_with(yyjson_obj_get(one, "vectors"));
        for (yyjson_val *vector; (vector = yyjson_arr_iter_next(&vectors));) {
            const struct str text = json_str(yyjson_obj_get(vector, "t"));
            const struct tokens tokens = encode(vocab, arena, text, false);
            if (ids_equal(tokens, yyjson_obj_get(vector, "ids")) &&
                str_equal(decode(vocab, arena, tokens), json_str(yyjson_obj_get(vector, "dec"))))
                continue;
            print_error("%s differs: \"%.*s\"\n", name, STR_ARG(text));
            wrong++;
        }
        vocab_free(vocab);
    }
    arena_free(arena);
    assert_true(n > 50);
    assert_int_equal(wrong, 0);
    (void)state;
}

/* A quadratic step anywhere would take minutes here. The kinds of tests/golden/tokens/steps.json. */
static void long_input_stays_near_linear(void **state)
{
    static const char *const kinds[] = {"NFC", "NFKD", "split Contiguous False", "characters",
                                        "unknown, fused", "unigram", "unigram metaspace first True"};
    static const char *const units[] = {"a", " ", "\n", "ab", "\xcc\x81\xcc\xa3",
                                        "\xe1\x84\x80\xe1\x85\xa1", "\xe4\xbd\xa0"};
    enum { BYTES = 1 << 17 };
    char json[PATH_BYTES];
    struct arena *arena = arena_new(1 << 16);
    size_t n = 0;

    path_of(json, NULL, "golden", "tokens/steps.json");
    yyjson_arr_iter each = yyjson_arr_iter_with(json_of(json, arena));
    for (yyjson_val *one; (one = yyjson_arr_iter_next(&each));) {
        struct vocab_source source;
        bool wanted = false;
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
            wanted |= str_is(json_str(yyjson_obj_get(one, "name")), kinds[i]);
        if (!wanted)
            continue;
        assert_true(vocab_source_json(arena, json_str(yyjson_obj_get(one, "file")),
                                      (struct str){0}, &source, NULL));
        struct vocab *vocab = vocab_new(&source, NULL);
        for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
            struct arena *scratch = arena_new(1 << 16);
            struct buf text = {0};
            while (text.n < BYTES)
                buf_cstr(&text, units[i]);
            const uint64_t start = clock_ns();
            assert_true(encode(vocab, scratch, buf_view(&text), false).n > 0);
            assert_true(clock_seconds_since(start) < 10);
            buf_release(&text);
            arena_free(scratch);
        }
        vocab_free(vocab);
        n++;
    }
    arena_free(arena);
    assert_int_equal(n, sizeof kinds / sizeof *kinds);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_golden),     cmocka_unit_test(steps_golden),
        cmocka_unit_test(tiny_golden),      cmocka_unit_test(long_input_stays_near_linear),
        cmocka_unit_test(smollm2_golden),   cmocka_unit_test(smollm2_fixture),
        cmocka_unit_test(tiny_fixtures),    cmocka_unit_test(real_fixtures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
