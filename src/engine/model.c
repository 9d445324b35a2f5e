/* model.c - a GGUF file to a model: picks the architecture, reads and bounds the hparams, binds the
 * weights, hands the vocabulary its source.
 *
 * The hard thing: these numbers later size buffers and divide, so each is bounded here, where the
 * error can still name the key. Nothing past model_load checks them again. */
#include "engine/model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"
#include "engine/arch.h"
#include "engine/vocab.h"

enum {
    LAYERS_MAX = 1024, HIDDEN_MAX = 1 << 16, FFN_MAX = 1 << 20, HEADS_MAX = 1024,
    CONTEXT_MAX = 1 << 24, TEMPLATE_MAX = 1 << 20, TEXT_MAX = 256,
    WORD_MAX = 64,
};

static const struct arch *const archs[] = {&arch_llama};

/* "llama" + "block_count" -> "llama.block_count"; a key too long is not in the file either. */
struct key { char s[GGUF_NAME_MAX]; };

static struct key key_of(const struct arch *arch, const char *name)
{
    struct key key;

    snprintf(key.s, sizeof key.s, "%s.%s", arch->name, name);
    return key;
}

/* A file's own word in an error text: quoted, if it is a word at all. */
static const char *quote(char *out, size_t size, struct str word)
{
    return word.n <= WORD_MAX && utf8_valid(word) ? log_quote(out, size, word) : "(no word)";
}

static const struct arch *find_arch(const struct gguf *file, struct err *err)
{
    struct str name;
    char shown[TEXT_MAX], supported[TEXT_MAX] = "";

    if (!gguf_str(file, "general.architecture", &name, err))
        return NULL;
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        if (str_is(name, archs[i]->name))
            return archs[i];
        const size_t n = strlen(supported);
        snprintf(supported + n, sizeof supported - n, "%s%s", i ? ", " : "", archs[i]->name);
    }
    err_set(err, ERR_FORMAT, "byte %" PRIu64 ": architecture %s is not supported, these are: %s",
            gguf_place(file, "general.architecture"), quote(shown, sizeof shown, name),
            supported);
    return NULL;
}

/* A size that must be there and within [1, max]. */
static bool read_size(const struct gguf *file, const struct arch *arch, const char *name,
                      uint32_t max, uint32_t *out, struct err *err)
{
    const struct key key = key_of(arch, name);

    if (!gguf_u32(file, key.s, out, err))
        return false;
    if (*out < 1 || *out > max)
        return err_set(err, ERR_FORMAT, "byte %" PRIu64 ": key %s: %u is not within 1 to %u",
                       gguf_place(file, key.s), key.s, *out, max);
    return true;
}

/* The same, but a file without the key means `otherwise`. */
static bool read_size_or(const struct gguf *file, const struct arch *arch, const char *name,
                         uint32_t max, uint32_t otherwise, uint32_t *out, struct err *err)
{
    *out = otherwise;
    return !gguf_has(file, key_of(arch, name).s) || read_size(file, arch, name, max, out, err);
}

static bool read_heads(const struct gguf *file, const struct arch *arch, struct hparams *h,
                       struct err *err)
{
    uint32_t value_dim;

    if (!read_size(file, arch, "attention.head_count", HEADS_MAX, &h->heads, err) ||
        !read_size_or(file, arch, "attention.head_count_kv", HEADS_MAX, h->heads, &h->kv_heads,
                      err))
        return false;
    if (h->heads % h->kv_heads)
        return err_set(err, ERR_FORMAT, "%u heads do not divide among %u KV heads", h->heads,
                       h->kv_heads);
    if (!read_size_or(file, arch, "attention.key_length", HEAD_DIM_MAX, h->hidden / h->heads,
                      &h->head_dim, err) ||
        !read_size_or(file, arch, "attention.value_length", HEAD_DIM_MAX, h->head_dim, &value_dim,
                      err))
        return false;
    if (h->head_dim == 0 || h->head_dim % 8 || h->head_dim > HEAD_DIM_MAX)
        return err_set(err, ERR_FORMAT, "heads of %u numbers are not supported, only multiples of "
                       "8 up to %d", h->head_dim, HEAD_DIM_MAX);
    if (value_dim != h->head_dim)
        return err_set(err, ERR_FORMAT, "values of %u numbers with keys of %u are not supported",
                       value_dim, h->head_dim);
    if (h->heads / h->kv_heads > ATTEND_ROWS_MAX)
        return err_set(err, ERR_FORMAT, "%u heads on one KV head, the limit is %d",
                       h->heads / h->kv_heads, ATTEND_ROWS_MAX);
    return true;
}

static bool read_positive(const struct gguf *file, const char *key, float *out, struct err *err)
{
    if (!gguf_f32(file, key, out, err))
        return false;
    return *out > 0 || err_set(err, ERR_FORMAT, "byte %" PRIu64 ": key %s: %g is not above 0",
                               gguf_place(file, key), key, (double)*out);
}

/* Scaling of positions is supported only as the tensor of factors that Llama 3 has. A file may name
 * a linear factor without a type, which then is linear. */
static bool check_rope_scaling(const struct gguf *file, const struct arch *arch, struct err *err)
{
    static const char *const factors[] = {"rope.scaling.factor", "rope.scale_linear"};
    const struct key type = key_of(arch, "rope.scaling.type");
    struct str scaling = STR("linear");
    char shown[TEXT_MAX];

    if (gguf_has(file, type.s) && !gguf_str(file, type.s, &scaling, err))
        return false;
    if (str_is(scaling, "none"))
        return true;
    if (!str_is(scaling, "linear"))
        return err_set(err, ERR_FORMAT, "byte %" PRIu64 ": key %s: scaling %s is not supported",
                       gguf_place(file, type.s), type.s, quote(shown, sizeof shown, scaling));
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
        const struct key key = key_of(arch, factors[i]);
        float factor = 1;
        if (gguf_has(file, key.s) && !gguf_f32(file, key.s, &factor, err))
            return false;
        if (factor != 1 && factor != 0)         /* 0: written for none */
            return err_set(err, ERR_FORMAT, "byte %" PRIu64 ": key %s: scaling positions by %g is "
                           "not supported", gguf_place(file, key.s), key.s, (double)factor);
    }
    return true;
}

static bool read_rope(const struct gguf *file, const struct arch *arch, struct hparams *h,
                      struct err *err)
{
    const struct key base = key_of(arch, "rope.freq_base");

    h->rope_base = 10000.0f;                    /* what the format means by leaving it out */
    if (gguf_has(file, base.s) && !read_positive(file, base.s, &h->rope_base, err))
        return false;
    if (!read_size_or(file, arch, "rope.dimension_count", h->head_dim, h->head_dim, &h->rotary,
                      err))
        return false;
    if (h->rotary % 2)
        return err_set(err, ERR_FORMAT, "%u rotary dimensions do not make pairs", h->rotary);
    return check_rope_scaling(file, arch, err);
}

/* All but vocab, which is the number of tokens the vocabulary turns out to have. */
static bool read_hparams(const struct gguf *file, const struct arch *arch, struct hparams *h,
                         struct err *err)
{
    const struct key eps = key_of(arch, "attention.layer_norm_rms_epsilon");

    return read_size(file, arch, "block_count", LAYERS_MAX, &h->layers, err) &&
           read_size(file, arch, "embedding_length", HIDDEN_MAX, &h->hidden, err) &&
           read_size(file, arch, "feed_forward_length", FFN_MAX, &h->ffn, err) &&
           read_size(file, arch, "context_length", CONTEXT_MAX, &h->context_trained, err) &&
           read_positive(file, eps.s, &h->rms_eps, err) && read_heads(file, arch, h, err) &&
           read_rope(file, arch, h, err) && arch->check(file, h, err);
}

/* A token id, -1 if the file names none. Whether there is such a token is vocab's to check. */
static bool read_token(const struct gguf *file, const char *key, int64_t *out, struct err *err)
{
    uint32_t id;

    *out = -1;
    if (!gguf_has(file, key))
        return true;
    if (!gguf_u32(file, key, &id, err))
        return false;
    *out = id == UINT32_MAX ? -1 : (int64_t)id;          /* some converters write -1 for none */
    return true;
}

static bool read_vocab(struct model *model, struct err *err)
{
    const struct gguf *file = model->file;
    struct vocab_source source = {0};
    struct arena *arena = arena_new(1 << 20);   /* the lists are needed until vocab has its own */
    size_t types_n = 0;
    bool ok = gguf_str(file, "tokenizer.ggml.model", &source.model, err) &&
              gguf_strings(file, "tokenizer.ggml.tokens", arena, &source.tokens, &source.tokens_n,
                           err);

    if (ok && gguf_has(file, "tokenizer.ggml.pre"))
        ok = gguf_str(file, "tokenizer.ggml.pre", &source.pre, err);
    if (ok && gguf_has(file, "tokenizer.ggml.token_type")) {
        ok = gguf_i32s(file, "tokenizer.ggml.token_type", arena, &source.types, &types_n, err);
        if (ok && types_n != source.tokens_n)
            ok = err_set(err, ERR_FORMAT, "byte %" PRIu64 ": %zu token types for %zu tokens",
                         gguf_place(file, "tokenizer.ggml.token_type"), types_n, source.tokens_n);
    }
    if (ok && gguf_has(file, "tokenizer.ggml.merges"))
        ok = gguf_strings(file, "tokenizer.ggml.merges", arena, &source.merges, &source.merges_n,
                          err);
    if (ok && gguf_has(file, "tokenizer.ggml.add_bos_token"))
        ok = gguf_bool(file, "tokenizer.ggml.add_bos_token", &source.add_bos, err);
    ok = ok && read_token(file, "tokenizer.ggml.bos_token_id", &source.bos, err) &&
         read_token(file, "tokenizer.ggml.eos_token_id", &source.eos, err) &&
         read_token(file, "tokenizer.ggml.unknown_token_id", &source.unknown, err) &&
         read_token(file, "tokenizer.ggml.eot_token_id", &source.eot, err) &&
         (model->vocab = vocab_new(&source, err));
    arena_free(arena);
    if (ok)
        model->hparams.vocab = (uint32_t)vocab_size(model->vocab);
    return ok;
}

static bool read_template(struct model *model, struct err *err)
{
    static const char key[] = "tokenizer.chat_template";

    if (!gguf_has(model->file, key))
        return true;
    if (!gguf_str(model->file, key, &model->chat_template, err))
        return false;
    if (model->chat_template.n > TEMPLATE_MAX || !utf8_valid(model->chat_template))
        return err_set(err, ERR_FORMAT, "byte %" PRIu64 ": key %s is longer than %d bytes or not "
                       "UTF-8", gguf_place(model->file, key), key, TEMPLATE_MAX);
    return true;
}

static bool bind_weights(struct model *model, struct err *err)
{
    const struct hparams *h = &model->hparams;
    struct weights *w = &model->weights;

    if (!weights_bind(w, model->file, h, model->arch->rules, model->arch->rules_n, model->arena,
                      err))
        return false;
    if (!w->output.data)
        w->output = w->embedding;
    for (uint32_t i = 0; w->rope_factors && i < h->rotary / 2; i++)
        if (!(w->rope_factors[i] > 0) || !isfinite(w->rope_factors[i]))
            return err_set(err, ERR_FORMAT, "tensor rope_freqs.weight: %g is not above 0",
                           (double)w->rope_factors[i]);
    return true;
}

/* "q4_1 210, f32 61, q8_0 1": the most frequent first. */
static struct str describe_types(const struct gguf *file, struct arena *arena)
{
    size_t counts[QUANT_COUNT] = {0};
    struct str text = {0};

    for (size_t i = 0; i < gguf_tensors_n(file); i++)
        counts[gguf_tensor_nth(file, i)->quant]++;
    for (;;) {
        int most = 0;
        for (int q = 1; q < QUANT_COUNT; q++)
            if (counts[q] > counts[most])
                most = q;
        if (counts[most] == 0)
            return text;
        text = arena_printf(arena, "%.*s%s%s %zu", STR_ARG(text), text.n ? ", " : "",
                            quants[most].name, counts[most]);
        counts[most] = 0;
    }
}

struct model *model_load(struct gguf *file, struct err *err)
{
    struct arena *arena = arena_new(1 << 16);
    struct model *model = arena_alloc(arena, sizeof *model);

    *model = (struct model){.arena = arena, .file = file};
    model->arch = find_arch(file, err);
    if (model->arch && read_hparams(file, model->arch, &model->hparams, err) &&
        read_vocab(model, err) && read_template(model, err) && bind_weights(model, err)) {
        model->types = describe_types(file, arena);
        return model;
    }
    gguf_prefix(file, err);
    model_close(model);
    return NULL;
}

struct model *model_open(const char *path, struct err *err)
{
    struct gguf *file = gguf_open(path, err);

    return file ? model_load(file, err) : NULL;
}

void model_close(struct model *model)
{
    if (!model)
        return;
    vocab_free(model->vocab);
    gguf_close(model->file);
    arena_free(model->arena);
}

const struct hparams *model_hparams(const struct model *model)
{
    return &model->hparams;
}

const struct vocab *model_vocab(const struct model *model)
{
    return model->vocab;
}

static bool is_printable(struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.s[i] < ' ' || text.s[i] == 0x7f)
            return false;
    return text.n > 0 && text.n <= TEXT_MAX && utf8_valid(text);
}

/* The model's name, or the file's where it has none fit to be shown. */
static struct str describe_name(const struct gguf *file)
{
    struct str name = {0}, path = gguf_name(file);

    if (gguf_has(file, "general.name") && gguf_str(file, "general.name", &name, NULL) &&
        is_printable(name))
        return name;
    for (size_t i = path.n; i > 0; i--)
        if (path.s[i - 1] == '/')
            return (struct str){path.s + i, path.n - i};
    return path;
}

static struct str token_spelling(const struct vocab *vocab, int32_t id)
{
    return id < 0 ? (struct str){0} : vocab_spelling(vocab, id);
}

void model_describe(const struct model *model, struct model_info *info)
{
    const struct hparams *h = &model->hparams;

    info->path = gguf_name(model->file);
    info->name = describe_name(model->file);
    info->architecture = str_of(model->arch->name);
    info->types = model->types;
    info->tokenizer = str_of(vocab_kind(model->vocab));
    info->chat_template = model->chat_template;
    info->bos = token_spelling(model->vocab, vocab_bos(model->vocab));
    info->eos = token_spelling(model->vocab, vocab_eos(model->vocab));
    info->parameters = 0;
    for (size_t i = 0; i < gguf_tensors_n(model->file); i++)
        info->parameters += gguf_tensor_nth(model->file, i)->elements;
    info->file_bytes = gguf_bytes(model->file);
    info->context_trained = h->context_trained;
    info->layers = h->layers;
    info->hidden = h->hidden;
    info->heads = h->heads;
    info->kv_heads = h->kv_heads;
    info->head_dim = h->head_dim;
    info->vocab_size = h->vocab;
    info->kv_bytes_token = (uint64_t)h->layers * h->kv_heads * h->head_dim * 2 * sizeof(uint16_t);
}
