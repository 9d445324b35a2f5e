/* vocab_gguf.c - a GGUF file's tokenizer keys as a vocab_source.
 *
 * The hard thing is what the keys don't say: a kind of tokenizer has its own defaults, Phi-3's
 * special tokens swallow the white space after them, Qwen's text is composed first (families.c). */
#include "engine/vocab_gguf.h"

#include <inttypes.h>

#include "engine/families.h"
#include "engine/gguf.h"
#include "engine/spelling.h"

/* A token id; *out stays if the file names none. Whether there is such a token vocab checks. */
static bool read_token(const struct gguf *file, const char *key, int64_t *out, struct err *err)
{
    uint32_t id;

    if (!gguf_has(file, key))
        return true;
    if (!gguf_u32(file, key, &id, err))
        return false;
    *out = id == UINT32_MAX ? -1 : (int64_t)id;          /* some converters write -1 for none */
    return true;
}

static bool count_check(const struct gguf *file, const char *key, const char *what, size_t n,
                        size_t tokens_n, struct err *err)
{
    return n == tokens_n ||
           err_set(err, ERR_FORMAT, "byte %" PRIu64 ": %zu token %s for %zu tokens",
                   gguf_place(file, key), n, what, tokens_n);
}

static bool read_types(const struct gguf *file, struct arena *arena, struct vocab_source *out,
                       struct err *err)
{
    static const char key[] = "tokenizer.ggml.token_type";
    size_t n;

    return !gguf_has(file, key) || (gguf_i32s(file, key, arena, &out->types, &n, err) &&
                                    count_check(file, key, "types", n, out->tokens_n, err));
}

static bool read_scores(const struct gguf *file, struct arena *arena, struct vocab_source *out,
                        struct err *err)
{
    static const char key[] = "tokenizer.ggml.scores";
    const float *scores;
    size_t n;

    if (!gguf_f32s(file, key, arena, &scores, &n, err) ||
        !count_check(file, key, "scores", n, out->tokens_n, err))
        return false;
    double *wide = arena_array(arena, n, sizeof *wide);
    for (size_t i = 0; i < n; i++)
        wide[i] = (double)scores[i];
    out->scores = wide;
    return true;
}

/* Byte pairs over GPT-2's alphabet. */
static bool read_bytes_model(const struct gguf *file, struct arena *arena, struct vocab_source *out,
                             struct err *err)
{
    out->model = VOCAB_BPE_BYTES;
    out->pre = STR("default");
    if (gguf_has(file, "tokenizer.ggml.pre") &&
        !gguf_str(file, "tokenizer.ggml.pre", &out->pre, err))
        return false;
    const struct family *family = family_of(out->pre, err);
    if (!family)
        return false;
    out->add_bos = family->add_bos;
    if (family->compose)
        out->normalize.list[out->normalize.n++].kind = NORMALIZE_NFC;
    return !gguf_has(file, "tokenizer.ggml.merges") ||
           gguf_strings(file, "tokenizer.ggml.merges", arena, &out->merges, &out->merges_n, err);
}

/* Phi-3's special tokens swallow the white space after them, but for three. */
static bool is_phi3(const struct gguf *file)
{
    static const char key[] = "general.architecture";
    struct str name;

    return gguf_has(file, key) && gguf_str(file, key, &name, NULL) && str_is(name, "phi3");
}

static void phi3_flags(struct arena *arena, struct vocab_source *out)
{
    static const char *const others[] = {"<unk>", "<s>", "<|endoftext|>"};
    uint8_t *flags = arena_alloc(arena, out->tokens_n);

    for (size_t id = 0; id < out->tokens_n; id++) {
        const int32_t type = out->types ? out->types[id] : TOKEN_NORMAL;
        bool swallows = type == TOKEN_CONTROL || type == TOKEN_USER_DEFINED;
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            swallows &= !str_is(out->tokens[id], others[i]);
        flags[id] = swallows ? TOKEN_RSTRIP : 0;
    }
    out->flags = flags;
}

/* SentencePiece's pairs, by the score of what they make. */
static bool read_chars_model(const struct gguf *file, struct arena *arena, struct vocab_source *out,
                             struct err *err)
{
    static const char key[] = "tokenizer.ggml.add_space_prefix";
    bool prefix = true;

    out->model = VOCAB_BPE_CHARS;
    out->byte_fallback = out->fuse_unknown = out->add_bos = true;
    out->unknown = 0;
    out->bos = 1;
    out->eos = 2;
    if (!read_scores(file, arena, out, err) ||
        (gguf_has(file, key) && !gguf_bool(file, key, &prefix, err)))
        return false;
    if (prefix) {
        out->normalize.list[out->normalize.n++] =
            (struct normalizer_step){.kind = NORMALIZE_PREPEND, .to = STR(SPACE_MARK)};
        out->decode = DECODE_STRIP_SPACE;
    }
    out->normalize.list[out->normalize.n++] = (struct normalizer_step){
        .kind = NORMALIZE_REPLACE, .from = STR(" "), .to = STR(SPACE_MARK)};
    if (is_phi3(file))
        phi3_flags(arena, out);
    return true;
}

static bool read_model(const struct gguf *file, struct arena *arena, struct vocab_source *out,
                       struct err *err)
{
    static const char key[] = "tokenizer.ggml.model";
    struct str name;

    if (!gguf_str(file, key, &name, err))
        return false;
    if (str_is(name, "gpt2"))
        return read_bytes_model(file, arena, out, err);
    if (str_is(name, "llama"))
        return read_chars_model(file, arena, out, err);
    return err_set(err, ERR_FORMAT, "byte %" PRIu64 ": tokenizer \"%.*s\" is not supported; these "
                   "are: gpt2 llama", gguf_place(file, key), (int)(name.n < 40 ? name.n : 40),
                   name.s);
}

bool vocab_source_gguf(const struct gguf *file, struct arena *arena, struct vocab_source *out,
                       struct err *err)
{
    static const char add_bos[] = "tokenizer.ggml.add_bos_token";
    int64_t eom = -1;

    vocab_source_init(out);
    if (!gguf_strings(file, "tokenizer.ggml.tokens", arena, &out->tokens, &out->tokens_n, err) ||
        !read_types(file, arena, out, err) || !read_model(file, arena, out, err) ||
        (gguf_has(file, add_bos) && !gguf_bool(file, add_bos, &out->add_bos, err)) ||
        !read_token(file, "tokenizer.ggml.bos_token_id", &out->bos, err) ||
        !read_token(file, "tokenizer.ggml.eos_token_id", &out->eos, err) ||
        !read_token(file, "tokenizer.ggml.unknown_token_id", &out->unknown, err) ||
        !read_token(file, "tokenizer.ggml.eot_token_id", &out->eot, err) ||
        !read_token(file, "tokenizer.ggml.eom_token_id", &eom, err))
        return false;
    if (eom >= 0) {
        int64_t *ends = arena_array(arena, 1, sizeof *ends);
        *ends = eom;
        out->ends = ends;
        out->ends_n = 1;
    }
    return true;
}
