/* hparams_gguf.c - reads the keys of an architecture: "llama.block_count" and the like.
 *
 * The hard thing is what a file means by leaving a key out; each reader says it. The sources are
 * ggml's docs/gguf.md and the keys that llama.cpp's converter writes. */
#include "engine/hparams_gguf.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "kernels/kernels.h"

enum { TEXT_MAX = 256 };

struct reader {
    struct gguf *const *files;
    uint32_t files_n;
    const struct gguf *file;    /* the first */
    const char *arch;
    struct hparams *h;
    struct arena *arena;
};

/* "llama" + "block_count" -> "llama.block_count"; a key too long is not in the file either. */
struct key { char s[GGUF_NAME_MAX]; };

static struct key key_of(const struct reader *r, const char *name)
{
    struct key key;

    snprintf(key.s, sizeof key.s, "%s.%s", r->arch, name);
    return key;
}

static bool has(const struct reader *r, const char *name)
{
    return gguf_has(r->file, key_of(r, name).s);
}

/* A size that must be there and within [1, max]. */
static bool read_size(const struct reader *r, const char *name, uint32_t max, uint32_t *out,
                      struct err *err)
{
    const struct key key = key_of(r, name);

    if (!gguf_u32(r->file, key.s, out, err))
        return false;
    if (*out < 1 || *out > max)
        return err_set(err, ERR_FORMAT, "byte %" PRIu64 ": key %s: %u is not within 1 to %u",
                       gguf_place(r->file, key.s), key.s, *out, max);
    return true;
}

/* The same, but a file without the key means `otherwise`. */
static bool read_size_or(const struct reader *r, const char *name, uint32_t max, uint32_t otherwise,
                         uint32_t *out, struct err *err)
{
    *out = otherwise;
    return !has(r, name) || read_size(r, name, max, out, err);
}

/* The same, but 0 is a value, and means the same as no key: leaves *out. */
static bool read_count(const struct reader *r, const char *name, uint32_t max, uint32_t *out,
                       struct err *err)
{
    const struct key key = key_of(r, name);
    uint32_t n;

    if (!has(r, name))
        return true;
    if (!gguf_u32(r->file, key.s, &n, err))
        return false;
    return n == 0 || read_size(r, name, max, out, err);
}

/* A number above 0. One that is missing, or 0, which converters write for none, leaves *out. */
static bool read_float(const struct reader *r, const char *name, float *out, struct err *err)
{
    const struct key key = key_of(r, name);
    float value;

    if (!has(r, name))
        return true;
    if (!gguf_f32(r->file, key.s, &value, err))
        return false;
    if (value < 0)
        return err_set(err, ERR_FORMAT, "byte %" PRIu64 ": key %s: %g is not above 0",
                       gguf_place(r->file, key.s), key.s, (double)value);
    if (value > 0)
        *out = value;
    return true;
}

/* A number that must be there, and above 0. */
static bool read_positive(const struct reader *r, const char *name, float *out, struct err *err)
{
    const struct key key = key_of(r, name);

    if (!gguf_f32(r->file, key.s, out, err))
        return false;
    return *out > 0 || err_set(err, ERR_FORMAT, "byte %" PRIu64 ": key %s: %g is not above 0",
                               gguf_place(r->file, key.s), key.s, (double)*out);
}

static bool read_heads(const struct reader *r, struct err *err)
{
    struct hparams *h = r->h;
    uint32_t value_dim;

    if (!read_size(r, "attention.head_count", HEADS_MAX, &h->heads, err) ||
        !read_size_or(r, "attention.head_count_kv", HEADS_MAX, h->heads, &h->kv_heads, err) ||
        !read_size_or(r, "attention.key_length", HEAD_DIM_MAX, h->hidden / h->heads, &h->head_dim,
                      err) ||
        !read_size_or(r, "attention.value_length", HEAD_DIM_MAX, h->head_dim, &value_dim, err))
        return false;
    if (value_dim != h->head_dim)
        return err_set(err, ERR_FORMAT, "values of %u numbers with keys of %u are not supported",
                       value_dim, h->head_dim);
    return true;
}

/* A dense model's one feed-forward length may be missing from a mixture that has none. */
static bool read_ffn(const struct reader *r, struct err *err)
{
    struct hparams *h = r->h;
    uint32_t shared = 0;

    if (!read_count(r, "expert_count", EXPERTS_MAX, &h->experts, err))
        return false;
    if (h->experts == 0)
        return read_size(r, "feed_forward_length", FFN_MAX, &h->ffn, err);
    if (!read_size(r, "expert_used_count", EXPERTS_MAX, &h->experts_used, err) ||
        !read_count(r, "feed_forward_length", FFN_MAX, &h->ffn, err) ||
        !read_size_or(r, "expert_feed_forward_length", FFN_MAX, h->ffn, &h->expert_ffn, err) ||
        !read_count(r, "expert_shared_count", EXPERTS_MAX, &shared, err))
        return false;
    if (h->ffn == 0)
        h->ffn = h->expert_ffn;
    const struct key norm = key_of(r, "expert_weights_norm");
    if (gguf_has(r->file, norm.s) && !gguf_bool(r->file, norm.s, &h->experts_norm, err))
        return false;
    return shared == 0 || err_set(err, ERR_FORMAT, "key %s: shared experts are not supported",
                                  key_of(r, "expert_shared_count").s);
}

/* The divisors of longrope, which are tensors here. */
static bool read_factors(const struct reader *r, const char *name, const float **out,
                         struct err *err)
{
    const struct gguf_tensor *t = NULL;

    for (uint32_t i = 0; i < r->files_n && !t; i++)
        t = gguf_tensor_find(r->files[i], name);
    if (!t)
        return true;
    if (t->quant != QUANT_F32 || t->elements != r->h->rotary / 2)
        return err_set(err, ERR_FORMAT, "byte %" PRIu64 ": tensor %s: expected %u numbers of f32, "
                       "found %" PRIu64 " of %s", t->place, name, r->h->rotary / 2, t->elements,
                       quants[t->quant].name);
    float *copy = arena_alloc(r->arena, t->bytes);
    memcpy(copy, t->data, t->bytes);
    *out = copy;
    return true;
}

/* A file with longrope's factors need not say its type, nor one with a linear factor. */
static bool read_scaling_type(const struct reader *r, struct rope *rope, struct err *err)
{
    static const struct { const char *name; enum rope_scaling scaling; } names[] = {
        {"none", ROPE_PLAIN}, {"linear", ROPE_LINEAR}, {"yarn", ROPE_YARN},
        {"longrope", ROPE_LONGROPE},
    };
    const struct key type = key_of(r, "rope.scaling.type");
    struct str name;
    char shown[TEXT_MAX];

    if (!gguf_has(r->file, type.s)) {
        rope->scaling = rope->long_factors ? ROPE_LONGROPE
                        : rope->factor != 1 ? ROPE_LINEAR : ROPE_PLAIN;
        return true;
    }
    if (!gguf_str(r->file, type.s, &name, err))
        return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_is(name, names[i].name)) {
            rope->scaling = names[i].scaling;
            return true;
        }
    return err_set(err, ERR_FORMAT, "byte %" PRIu64 ": key %s: scaling %s is not supported, these "
                   "are: none, linear, yarn, longrope", gguf_place(r->file, type.s), type.s,
                   log_quote_word(shown, sizeof shown, name));
}

static bool read_scaling(const struct reader *r, struct rope *rope, struct err *err)
{
    rope->factor = 1;
    rope->low = 1, rope->high = 32;             /* yarn's own */
    if (!read_factors(r, GGUF_LONG_FACTORS, &rope->long_factors, err) ||
        !read_factors(r, GGUF_SHORT_FACTORS, &rope->short_factors, err) ||
        !read_float(r, "rope.scale_linear", &rope->factor, err) ||
        !read_float(r, "rope.scaling.factor", &rope->factor, err) ||
        !read_scaling_type(r, rope, err))
        return false;
    rope->original_context = r->h->context_trained;
    if (!read_count(r, "rope.scaling.original_context_length", CONTEXT_MAX, &rope->original_context,
                    err) ||
        !read_float(r, "rope.scaling.attn_factor", &rope->magnitude, err) ||
        !read_float(r, "rope.scaling.yarn_beta_slow", &rope->low, err) ||
        !read_float(r, "rope.scaling.yarn_beta_fast", &rope->high, err))
        return false;
    if (rope->factor == 1 && rope->scaling == ROPE_LINEAR)
        rope->scaling = ROPE_PLAIN;
    return true;
}

static bool read_rope(const struct reader *r, struct err *err)
{
    struct hparams *h = r->h;

    if (has(r, "rope.freq_base") && !read_positive(r, "rope.freq_base", &h->ropes[0].base, err))
        return false;
    if (!read_float(r, "rope.freq_base_swa", &h->ropes[1].base, err) ||
        !read_size_or(r, "rope.dimension_count", h->head_dim, h->head_dim, &h->rotary, err))
        return false;
    return read_scaling(r, &h->ropes[0], err);
}

/* A file with a window need not say which layers have it: that is its architecture's to know. */
static bool read_window(const struct reader *r, struct err *err)
{
    const struct key pattern = key_of(r, "attention.sliding_window_pattern");
    const bool *windowed;
    size_t n;

    if (!read_count(r, "attention.sliding_window", UINT32_MAX, &r->h->window, err))
        return false;
    if (r->h->window == 0 || !gguf_is_array(r->file, pattern.s))
        return true;
    if (!gguf_bools(r->file, pattern.s, r->arena, &windowed, &n, err))
        return false;
    if (n < r->h->layers)
        return err_set(err, ERR_FORMAT, "byte %" PRIu64 ": key %s: %zu values for %u layers",
                       gguf_place(r->file, pattern.s), pattern.s, n, r->h->layers);
    struct layer_kind *kinds = arena_array(r->arena, r->h->layers, sizeof *kinds);
    for (uint32_t i = 0; i < r->h->layers; i++)
        kinds[i].windowed = windowed[i];
    r->h->kinds = kinds;
    return true;
}

static bool read_multipliers(const struct reader *r, struct err *err)
{
    struct hparams *h = r->h;
    const struct { const char *name; float *out; } rows[] = {
        {"attention.scale", &h->attention_scale},
        {"attn_logit_softcapping", &h->attention_softcap},
        {"final_logit_softcapping", &h->logits_softcap},
        {"embedding_scale", &h->embedding_scale},
        {"residual_scale", &h->residual_scale},
    };
    float divisor = 1;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!read_float(r, rows[i].name, rows[i].out, err))
            return false;
    if (!read_float(r, "logit_scale", &divisor, err))
        return false;
    h->logits_scale = 1 / divisor;              /* Granite's, the only one that has it, divides */
    return true;
}

bool hparams_read_gguf(struct hparams *h, struct gguf *const *files, uint32_t files_n,
                       const char *arch, struct arena *arena, struct err *err)
{
    const struct reader r = {.files = files, .files_n = files_n, .file = files[0], .arch = arch,
                             .h = h, .arena = arena};

    return read_size(&r, "block_count", LAYERS_MAX, &h->layers, err) &&
           read_size(&r, "embedding_length", HIDDEN_MAX, &h->hidden, err) &&
           read_size(&r, "context_length", CONTEXT_MAX, &h->context_trained, err) &&
           read_positive(&r, "attention.layer_norm_rms_epsilon", &h->rms_eps, err) &&
           read_ffn(&r, err) && read_heads(&r, err) && read_rope(&r, err) &&
           read_window(&r, err) && read_multipliers(&r, err);
}
