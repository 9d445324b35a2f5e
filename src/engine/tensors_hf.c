/* tensors_hf.c - translates names and gathers quantised weights.
 *
 * The hard thing is MLX's quantisation: a weight is U32 words that say neither how many bits a
 * number has nor how many numbers share a scale, and what config.json says of both is not to be
 * trusted. The row's length, which the architecture knows, gives both: words * 32 / length, and
 * length / scales. */
#include "engine/tensors_hf.h"

#include <inttypes.h>

static const struct tensor_alias model_names[] = {
    {"embed_tokens", "token_embd"}, {"norm", "output_norm"}, {"lm_head", "output"},
};

static const struct tensor_alias layer_names[] = {
    {"input_layernorm", "attn_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.qkv_proj", "attn_qkv"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"self_attn.sinks", "attn_sinks"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.gate_up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"mlp.gate", "ffn_gate_inp"},
    {"mlp.router", "ffn_gate_inp"},
    {"mlp.experts.#.gate_proj", "ffn_gate.#"},
    {"mlp.experts.#.up_proj", "ffn_up.#"},
    {"mlp.experts.#.down_proj", "ffn_down.#"},
    {"mlp.switch_mlp.gate_proj", "ffn_gate_exps"},
    {"mlp.switch_mlp.up_proj", "ffn_up_exps"},
    {"mlp.switch_mlp.down_proj", "ffn_down_exps"},
};

/* Where the language model stands in a model of several. */
static const char *const prefixes[] = {"language_model.", "model."};
/* What is none of its weights. */
static const char *const other_parts[] = {
    "vision_tower.", "vision_model.", "multi_modal_projector.", "visual.", "embed_vision.",
};
static const char *const buffers[] = {
    "rotary_emb.inv_freq", "attention.masked_bias", "attn.masked_bias", "rotary_pos_emb.inv_freq",
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* How many digits a run at the front has. */
static size_t digits(struct str text)
{
    size_t n = 0;

    while (n < text.n && is_digit(text.s[n]))
        n++;
    return n;
}

static struct str skip(struct str text, size_t n)
{
    return (struct str){text.s + n, text.n - n};
}

/* Whether the whole of text is as the pattern; *number is the digits that '#' stood for. */
static bool matches(const char *pattern, struct str text, struct str *number)
{
    for (; *pattern; pattern++) {
        if (*pattern == '#') {
            *number = (struct str){text.s, digits(text)};
            if (number->n == 0)
                return false;
            text = skip(text, number->n);
        } else {
            if (text.n == 0 || text.s[0] != *pattern)
                return false;
            text = skip(text, 1);
        }
    }
    return text.n == 0;
}

static struct str fill_in(struct arena *arena, const char *ours, struct str number)
{
    const char *mark = strchr(ours, '#');

    return mark ? arena_printf(arena, "%.*s%.*s%s", (int)(mark - ours), ours, STR_ARG(number),
                               mark + 1)
                : str_of(ours);
}

static struct str find_row(struct arena *arena, const struct tensor_alias *rows, size_t n,
                           struct str module)
{
    struct str number = {0};

    for (size_t i = 0; i < n; i++)
        if (matches(rows[i].theirs, module, &number))
            return fill_in(arena, rows[i].ours, number);
    return (struct str){0};
}

/* "self_attn.q_proj" -> "attn_q"; n == 0: no row knows it. */
static struct str layer_module(const struct tensors_hf *r, struct str module)
{
    const struct str own = find_row(r->arena, r->arch->aliases, r->arch->aliases_n, module);

    return own.n ? own
                 : find_row(r->arena, layer_names, sizeof layer_names / sizeof *layer_names, module);
}

static bool is_left_out(struct str name)
{
    for (size_t i = 0; i < sizeof other_parts / sizeof *other_parts; i++)
        if (str_starts(name, str_of(other_parts[i])))
            return true;
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (str_ends(name, str_of(buffers[i])))
            return true;
    return false;
}

static struct str without_prefixes(struct str name)
{
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes;) {
        if (str_starts(name, str_of(prefixes[i]))) {
            name = skip(name, strlen(prefixes[i]));
            i = 0;
        } else {
            i++;
        }
    }
    return name;
}

/* Cuts ".weight" or ".bias" off; a tensor without one of them, gpt-oss' sinks, is a weight. */
static struct str cut_suffix(struct str *name)
{
    static const char *const suffixes[] = {".weight", ".bias", ".scales", ".biases"};

    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (str_ends(*name, str_of(suffixes[i]))) {
            name->n -= strlen(suffixes[i]);
            return str_of(suffixes[i]);
        }
    return str_of(suffixes[0]);
}

struct str tensor_name_hf(const struct tensors_hf *r, struct str original)
{
    struct str name = without_prefixes(original), layer = {0}, ours;

    if (is_left_out(name))
        return (struct str){0};
    const struct str suffix = cut_suffix(&name);
    if (str_starts(name, STR("layers."))) {
        name = skip(name, strlen("layers."));
        layer = (struct str){name.s, digits(name)};
        if (layer.n == 0 || layer.n == name.n || name.s[layer.n] != '.')
            return original;
        ours = layer_module(r, skip(name, layer.n + 1));
    } else {
        ours = find_row(r->arena, model_names, sizeof model_names / sizeof *model_names, name);
    }
    if (ours.n == 0)
        return original;
    if (r->tied && str_is(ours, "output"))
        return (struct str){0};
    return layer.n ? arena_printf(r->arena, "blk.%.*s.%.*s%.*s", STR_ARG(layer), STR_ARG(ours),
                                  STR_ARG(suffix))
                   : arena_printf(r->arena, "%.*s%.*s", STR_ARG(ours), STR_ARG(suffix));
}

/* Every tensor of every file by its own name, to find the scales of a weight by. */
struct originals {
    struct tensors index;
    const struct safetensor **list;     /* [index.n] */
};

static bool gather(const struct tensors_hf *r, struct safetensors *const *files, size_t files_n,
                   struct originals *out, struct err *err)
{
    size_t n = 0;

    for (size_t i = 0; i < files_n; i++)
        n += safetensors_n(files[i]);
    out->index.list = arena_array(r->arena, n, sizeof *out->index.list);
    out->list = arena_array(r->arena, n, sizeof *out->list);
    for (size_t i = 0; i < files_n; i++) {
        const struct str file = safetensors_name(files[i]);
        for (size_t k = 0; k < safetensors_n(files[i]); k++) {
            const struct safetensor *t = safetensors_nth(files[i], k);
            out->list[out->index.n] = t;
            out->index.list[out->index.n++] = (struct tensor){
                .name = t->name,
                .origin = arena_printf(r->arena, "%.*s: tensor %.*s", STR_ARG(file),
                                       STR_ARG(t->name)),
            };
        }
    }
    return tensors_index(&out->index, r->arena, err);
}

static const struct safetensor *find(const struct originals *originals, struct str name)
{
    const struct tensor *t = tensors_find(&originals->index, name);

    return t ? originals->list[t - originals->index.list] : NULL;
}

/* The tensor's dims, innermost first; `cols` is the row's length where it is not the file's. */
static bool set_dims(struct tensor *to, const struct safetensor *t, uint64_t cols, struct err *err)
{
    if (t->dims_n > TENSOR_DIMS_MAX)
        return err_set(err, ERR_FORMAT, "%.*s: %u dimensions, the limit is %d", STR_ARG(to->origin),
                       t->dims_n, TENSOR_DIMS_MAX);
    to->dims_n = t->dims_n ? t->dims_n : 1;
    to->elements = 1;
    for (uint32_t i = 0; i < TENSOR_DIMS_MAX; i++) {
        to->dims[i] = i < t->dims_n ? t->dims[t->dims_n - 1 - i] : 1;
        if (i == 0 && cols)
            to->dims[i] = cols;
        to->elements *= to->dims[i];
    }
    return true;
}

static bool quant_of_dtype(enum dtype dtype, enum quant *out)
{
    switch (dtype) {
    case DTYPE_F32: *out = QUANT_F32; return true;
    case DTYPE_F16: *out = QUANT_F16; return true;
    case DTYPE_BF16: *out = QUANT_BF16; return true;
    default: return false;
    }
}

static bool quant_of_bits(uint64_t bits, enum quant *out)
{
    for (int q = 0; q < QUANT_COUNT; q++)
        if (quants[q].affine && quants[q].affine == bits) {
            *out = q;
            return true;
        }
    return false;
}

/* The same shape but for the innermost dimension. */
static bool same_rows(const struct safetensor *a, const struct safetensor *b)
{
    return a->dims_n == b->dims_n &&
           memcmp(a->dims, b->dims, (a->dims_n - 1) * sizeof *a->dims) == 0;
}

/* words, scales and the row's length -> bits and group. */
static bool set_format(struct tensor *to, uint64_t words, uint64_t scales, uint64_t cols,
                       struct err *err)
{
    const uint64_t bits = words * 32 / cols, group = cols / scales;

    if (words * 32 == bits * cols && quant_of_bits(bits, &to->quant) && group * scales == cols &&
        (group == 32 || group == 64 || group == 128)) {
        to->group = (uint32_t)group;
        return true;
    }
    return err_set(err, ERR_FORMAT, "%.*s: %" PRIu64 " words and %" PRIu64 " scales for a row of %"
                   PRIu64 " numbers are no format of MLX's: 2, 3, 4, 5, 6 or 8 bits in groups of "
                   "32, 64 or 128", STR_ARG(to->origin), words, scales, cols);
}

/* A weight that is U32, its scales and its biases. */
static bool set_affine(const struct tensors_hf *r, const struct originals *originals,
                       struct tensor *to, const struct safetensor *t, struct err *err)
{
    struct str module = t->name;
    cut_suffix(&module);
    const struct safetensor *scales =
        find(originals, arena_printf(r->arena, "%.*s.scales", STR_ARG(module)));
    const struct safetensor *biases =
        find(originals, arena_printf(r->arena, "%.*s.biases", STR_ARG(module)));
    const uint64_t cols = weights_cols(r->arch->rules, r->arch->rules_n, r->hparams, to->name);

    if (!cols)
        return err_set(err, ERR_FORMAT, "%.*s is none that this architecture is supported with",
                       STR_ARG(to->origin));
    if (scales && scales->dtype == DTYPE_U8)
        return err_set(err, ERR_FORMAT, "%.*s: scales of U8 (MLX's mxfp4 and the like) are not "
                       "supported, only affine ones", STR_ARG(to->origin));
    if (!scales || !biases || t->dims_n < 2 || !same_rows(t, scales) || !same_rows(t, biases) ||
        scales->dims[t->dims_n - 1] != biases->dims[t->dims_n - 1] ||
        scales->dtype != biases->dtype || !quant_of_dtype(scales->dtype, &to->scale_quant))
        return err_set(err, ERR_FORMAT,
                       "%.*s: words of U32 without scales and biases of their shape",
                       STR_ARG(to->origin));
    to->scales = scales->data;
    to->biases = biases->data;
    return set_dims(to, t, cols, err) &&
           set_format(to, t->dims[t->dims_n - 1], scales->dims[t->dims_n - 1], cols, err);
}

/* Scales and biases are part of their weight, if that is quantised. */
static bool is_part(const struct originals *originals, struct str name)
{
    if (!str_ends(name, STR(".scales")) && !str_ends(name, STR(".biases")))
        return false;
    cut_suffix(&name);
    char weight[SAFETENSORS_NAME_MAX + sizeof ".weight"];
    memcpy(weight, name.s, name.n);
    memcpy(weight + name.n, ".weight", strlen(".weight"));
    const struct safetensor *t =
        find(originals, (struct str){weight, name.n + strlen(".weight")});
    return t && t->dtype == DTYPE_U32;
}

static bool read_tensor(const struct tensors_hf *r, const struct originals *originals,
                        struct tensor *to, const struct safetensor *t, struct err *err)
{
    to->data = t->data;
    to->bytes = t->bytes;
    if (t->dtype == DTYPE_U32)
        return set_affine(r, originals, to, t, err);
    if (!quant_of_dtype(t->dtype, &to->quant))
        return err_set(err, ERR_FORMAT,
                       "%.*s: type %s is not supported, these are: F32, F16, BF16 and "
                       "MLX's U32 with scales",
                       STR_ARG(to->origin), dtype_name(t->dtype));
    return set_dims(to, t, 0, err);
}

bool tensors_read_hf(const struct tensors_hf *r, struct safetensors *const *files, size_t files_n,
                     struct tensors *out, struct err *err)
{
    struct originals originals = {0};

    if (!gather(r, files, files_n, &originals, err))
        return false;
    out->list = arena_array(r->arena, originals.index.n, sizeof *out->list);
    for (size_t i = 0; i < originals.index.n; i++) {
        const struct safetensor *t = originals.list[i];
        const struct str name = tensor_name_hf(r, t->name);
        if (name.n == 0 || is_part(&originals, t->name))
            continue;
        struct tensor *to = &out->list[out->n++];
        *to = (struct tensor){.name = name, .origin = originals.index.list[i].origin};
        if (!read_tensor(r, &originals, to, t, err))
            return false;
    }
    return tensors_index(out, r->arena, err);
}
