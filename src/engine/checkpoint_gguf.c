/* checkpoint_gguf.c - a GGUF file as a checkpoint: its keys are the hparams, its tokens the vocabulary.
 *
 * Errors name the key and where in the file it stands. */
#include "engine/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"
#include "engine/arch.h"
#include "engine/gguf.h"
#include "engine/vocab_gguf.h"

enum { TEXT_MAX = 256, WORD_MAX = 64 };

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
    static const char key[] = "general.architecture";
    struct str name;
    char place[TEXT_MAX];

    if (!gguf_str(file, key, &name, err))
        return NULL;
    snprintf(place, sizeof place, "byte %" PRIu64, gguf_place(file, key));
    return arch_of_gguf(name, place, err);
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

    if (gguf_has(file, base.s) && !read_positive(file, base.s, &h->ropes[0].base, err))
        return false;
    if (!read_size_or(file, arch, "rope.dimension_count", h->head_dim, h->head_dim, &h->rotary,
                      err))
        return false;
    if (h->rotary % 2)
        return err_set(err, ERR_FORMAT, "%u rotary dimensions do not make pairs", h->rotary);
    return check_rope_scaling(file, arch, err);
}

static bool read_hparams(const struct gguf *file, const struct arch *arch, struct hparams *h,
                         struct err *err)
{
    const struct key eps = key_of(arch, "attention.layer_norm_rms_epsilon");

    return read_size(file, arch, "block_count", LAYERS_MAX, &h->layers, err) &&
           read_size(file, arch, "embedding_length", HIDDEN_MAX, &h->hidden, err) &&
           read_size(file, arch, "feed_forward_length", FFN_MAX, &h->ffn, err) &&
           read_size(file, arch, "context_length", CONTEXT_MAX, &h->context_trained, err) &&
           read_positive(file, eps.s, &h->rms_eps, err) && read_heads(file, arch, h, err) &&
           read_rope(file, arch, h, err);
}

static bool read_template(const struct gguf *file, struct str *out, struct err *err)
{
    static const char key[] = "tokenizer.chat_template";

    if (!gguf_has(file, key))
        return true;
    if (!gguf_str(file, key, out, err))
        return false;
    if (out->n > CHAT_TEMPLATE_BYTES_MAX || !utf8_valid((*out)))
        return err_set(err, ERR_FORMAT, "byte %" PRIu64 ": key %s is longer than %d bytes or not "
                       "UTF-8", gguf_place(file, key), key, CHAT_TEMPLATE_BYTES_MAX);
    return true;
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

static void read_tensors(const struct gguf *file, struct arena *arena, struct tensors *out)
{
    out->n = gguf_tensors_n(file);
    out->list = arena_array(arena, out->n, sizeof *out->list);
    for (size_t i = 0; i < out->n; i++) {
        const struct gguf_tensor *t = gguf_tensor_nth(file, i);
        struct tensor *to = &out->list[i];
        *to = (struct tensor){
            .name = t->name, .dims_n = t->dims_n, .quant = t->quant, .data = t->data,
            .elements = t->elements, .bytes = t->bytes,
            .origin = arena_printf(arena, "byte %" PRIu64 ": tensor %.*s", t->place,
                                   STR_ARG(t->name)),
        };
        memcpy(to->dims, t->dims, sizeof to->dims);
    }
}

static void close_gguf(struct checkpoint *checkpoint)
{
    gguf_close(checkpoint->files);
}

struct checkpoint *checkpoint_of_gguf(struct gguf *file, struct err *err)
{
    struct arena *arena = arena_new(1 << 20);
    struct checkpoint *c = arena_alloc(arena, sizeof *c);

    *c = (struct checkpoint){
        .arena = arena, .format = "gguf", .path = gguf_name(file), .files = file,
        .close = close_gguf, .file_bytes = gguf_bytes(file), .advice = {-1, -1, -1},
    };
    c->name = describe_name(file);
    hparams_init(&c->hparams);
    c->arch = find_arch(file, err);
    if (c->arch && read_hparams(file, c->arch, &c->hparams, err) &&
        c->arch->check(&c->hparams, file, arena, err) &&
        hparams_check(&c->hparams, arena, err) && vocab_source_gguf(file, arena, &c->vocab, err) &&
        read_template(file, &c->chat_template, err)) {
        read_tensors(file, arena, &c->tensors);
        if (tensors_index(&c->tensors, arena, err))
            return c;
    }
    gguf_prefix(file, err);
    checkpoint_close(c);
    return NULL;
}
