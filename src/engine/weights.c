/* weights.c - walks an architecture's table of rules and binds each tensor to its field.
 *
 * The hard thing is that one field may come from a whole tensor, from some rows of a fused one, or,
 * for experts, from a stack or from a tensor each. The whole tensor's shape is checked first, so
 * that a part of it needs no check of its own. */
#include "engine/weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kernels/half.h"

struct binding {
    const struct tensors *tensors;
    const struct hparams *h;
    const struct weight_rule *rules;
    size_t rules_n;
    struct arena *arena;
    bool *used;                 /* [tensors->n] */
};

#define EXPERTS_SUFFIX "_exps"

/* What a rule takes of its tensor's rows (numbers, of a vector): n from `first` on, and how many
 * all rules of its name take. */
struct part {
    uint64_t first, n, whole;
};

static uint64_t dim_size(const struct hparams *h, enum weight_dim dim)
{
    switch (dim) {
    case DIM_HIDDEN: return h->hidden;
    case DIM_FFN: return h->ffn;
    case DIM_QUERY: return (uint64_t)h->heads * h->head_dim;
    case DIM_KV: return (uint64_t)h->kv_heads * h->head_dim;
    case DIM_VOCAB: return h->vocab;
    case DIM_ROTARY_HALF: return h->rotary / 2;
    case DIM_HEAD: return h->head_dim;
    case DIM_HEADS: return h->heads;
    case DIM_EXPERTS: return h->experts;
    case DIM_EXPERT_FFN: return h->expert_ffn;
    case DIM_NONE: break;
    }
    return 1;
}

static bool is_vector(const struct weight_rule *rule)
{
    return rule->rows == DIM_NONE;
}

static uint64_t extent(const struct hparams *h, const struct weight_rule *rule)
{
    return dim_size(h, is_vector(rule) ? rule->cols : rule->rows);
}

static struct part place(const struct binding *b, const struct weight_rule *rule)
{
    struct part part = {.n = extent(b->h, rule)};

    for (const struct weight_rule *other = b->rules; other < b->rules + b->rules_n; other++) {
        if (strcmp(other->name, rule->name) != 0)
            continue;
        if (other < rule)
            part.first += extent(b->h, other);
        part.whole += extent(b->h, other);
    }
    return part;
}

static bool check_shape(const struct tensor *t, const uint64_t expected[3], struct err *err)
{
    if (t->dims[0] == expected[0] && t->dims[1] == expected[1] && t->dims[2] == expected[2] &&
        t->dims[3] == 1)
        return true;
    char stack[32] = "";
    if (expected[2] != 1)
        snprintf(stack, sizeof stack, ", %" PRIu64, expected[2]);
    return err_set(err, ERR_FORMAT,
                   "%.*s: expected shape [%" PRIu64 ", %" PRIu64 "%s], found [%" PRIu64 ", %" PRIu64
                   ", %" PRIu64 ", %" PRIu64 "]", STR_ARG(t->origin), expected[0], expected[1],
                   stack, t->dims[0], t->dims[1], t->dims[2], t->dims[3]);
}

static bool check_float(const struct tensor *t, struct err *err)
{
    return t->quant == QUANT_F32 || t->quant == QUANT_F16 || t->quant == QUANT_BF16 ||
           err_set(err, ERR_FORMAT, "%.*s: expected type f32, f16 or bf16, found %s",
                   STR_ARG(t->origin), quants[t->quant].name);
}

/* A vector, or with experts a stack of them, of which each gives its part. */
static bool bind_vector(struct binding *b, const struct weight_rule *rule, const struct tensor *t,
                        const float **field, struct err *err)
{
    const uint64_t stack = rule->experts ? b->h->experts : 1;
    const float plus = rule->norm && b->h->norm_plus_one ? 1 : 0;
    const struct part part = place(b, rule);

    if (!check_shape(t, (uint64_t[]){part.whole, stack, 1}, err) || !check_float(t, err))
        return false;
    b->used[t - b->tensors->list] = true;
    float *copy = arena_array(b->arena, stack * part.n, sizeof *copy);
    for (uint64_t e = 0; e < stack; e++)
        for (uint64_t i = 0; i < part.n; i++)
            copy[e * part.n + i] =
                load_float(t->data, t->quant, e * part.whole + part.first + i) + plus;
    *field = copy;
    return true;
}

/* The nth matrix of a stack; most tensors are a stack of one. */
static bool bind_matrix(struct binding *b, const struct weight_rule *rule, const struct tensor *t,
                        uint32_t stack, uint32_t nth, struct matrix *field, struct err *err)
{
    const struct part part = place(b, rule);

    if (!check_shape(t, (uint64_t[]){dim_size(b->h, rule->cols), part.whole, stack}, err))
        return false;
    b->used[t - b->tensors->list] = true;
    const struct matrix all = tensor_matrix(t);
    *field = matrix_rows(&all, (uint32_t)(nth * part.whole + part.first), (uint32_t)part.n);
    return true;
}

/* "ffn_up_exps.weight" in layer 2, expert 5 -> "blk.2.ffn_up.5.weight". */
static void expert_name(char *out, size_t size, const char *rule_name, uint32_t layer,
                        uint32_t expert)
{
    const char *stack = strstr(rule_name, EXPERTS_SUFFIX);
    const size_t stem = stack ? (size_t)(stack - rule_name) : strlen(rule_name);

    snprintf(out, size, "blk.%u.%.*s.%u%s", layer, (int)stem, rule_name, expert,
             stack ? stack + strlen(EXPERTS_SUFFIX) : "");
}

/* stack: NULL if the file has no such tensor, and so perhaps one for each expert. */
static bool bind_experts(struct binding *b, const struct weight_rule *rule, uint32_t layer,
                         const struct tensor *stack, struct matrix **field, struct err *err)
{
    const uint32_t n = b->h->experts;
    struct matrix *matrices = arena_array(b->arena, n, sizeof *matrices);

    for (uint32_t e = 0; e < n; e++) {
        char name[TENSOR_NAME_MAX];
        expert_name(name, sizeof name, rule->name, layer, e);
        const struct tensor *t = stack ? stack : tensors_find(b->tensors, str_of(name));
        if (!t)
            return (e == 0 && rule->optional) ||
                   err_set(err, ERR_FORMAT, "tensor %s is missing", name);
        if (!bind_matrix(b, rule, t, stack ? n : 1, stack ? e : 0, &matrices[e], err))
            return false;
    }
    *field = matrices;
    return true;
}

/* Every field begins with a pointer that is NULL until it is bound. */
static bool is_bound(const void *field)
{
    const void *first;

    memcpy(&first, field, sizeof first);
    return first;
}
_Static_assert(offsetof(struct matrix, data) == 0, "is_bound looks at a matrix's data");

static bool has_layer(const struct hparams *h, const struct weight_rule *rule, uint32_t layer)
{
    const bool dense = h->experts == 0 || h->kinds[layer].dense;

    return rule->experts ? !dense
                         : rule->layers == LAYERS_ALL || dense == (rule->layers == LAYERS_DENSE);
}

/* base: the struct weights or struct layer_weights that the rule's field lies in. */
static bool bind(struct binding *b, const struct weight_rule *rule, void *base, uint32_t layer,
                 struct err *err)
{
    void *field = (char *)base + rule->field;
    char name[TENSOR_NAME_MAX];

    if (rule->per_layer)
        snprintf(name, sizeof name, "blk.%u.%s", layer, rule->name);
    else
        snprintf(name, sizeof name, "%s", rule->name);
    const struct tensor *t = tensors_find(b->tensors, str_of(name));
    if (is_bound(field))
        return !t || err_set(err, ERR_FORMAT, "%.*s: another tensor already holds these weights",
                             STR_ARG(t->origin));
    if (rule->experts && !is_vector(rule))
        return bind_experts(b, rule, layer, t, field, err);
    if (!t)
        return rule->optional || err_set(err, ERR_FORMAT, "tensor %s is missing", name);
    return is_vector(rule) ? bind_vector(b, rule, t, field, err)
                           : bind_matrix(b, rule, t, 1, 0, field, err);
}

/* A weight that the forward pass knows nothing of (a bias, say) would be left out of the answer. */
static bool refuse_unused(const struct binding *b, struct err *err)
{
    for (size_t i = 0; i < b->tensors->n; i++)
        if (!b->used[i])
            return err_set(err, ERR_FORMAT, "%.*s is none that this architecture "
                           "is supported with", STR_ARG(b->tensors->list[i].origin));
    return true;
}

bool weights_bind(struct weights *weights, const struct tensors *tensors, const struct hparams *h,
                  const struct weight_rule *rules, size_t rules_n, struct arena *arena,
                  struct err *err)
{
    struct binding b = {.tensors = tensors, .h = h, .rules = rules, .rules_n = rules_n,
                        .arena = arena, .used = arena_array(arena, tensors->n, sizeof *b.used)};

    weights->layers = arena_array(arena, h->layers, sizeof *weights->layers);
    for (const struct weight_rule *rule = rules; rule < rules + rules_n; rule++) {
        if (!rule->per_layer) {
            if (!bind(&b, rule, weights, 0, err))
                return false;
            continue;
        }
        for (uint32_t layer = 0; layer < h->layers; layer++)
            if (has_layer(h, rule, layer) && !bind(&b, rule, &weights->layers[layer], layer, err))
                return false;
    }
    return refuse_unused(&b, err);
}

/* "blk.3.attn_q.weight" -> "attn_q.weight". */
static struct str without_layer(struct str name)
{
    static const char blk[] = "blk.";
    size_t i = strlen(blk);

    if (!str_starts(name, str_of(blk)))
        return name;
    while (i < name.n && name.s[i] != '.')
        i++;
    return i < name.n ? (struct str){name.s + i + 1, name.n - i - 1} : name;
}

/* Whether a rule is for the tensor; an expert's own, "ffn_up.5.weight", is its stack's. */
static bool is_named(const struct weight_rule *rule, struct str name)
{
    const char *stack = rule->experts ? strstr(rule->name, EXPERTS_SUFFIX) : NULL;

    if (str_is(name, rule->name))
        return true;
    if (!stack)
        return false;
    const struct str stem = {rule->name, (size_t)(stack - rule->name)};
    const struct str end = str_of(stack + strlen(EXPERTS_SUFFIX));
    return str_starts(name, stem) && str_ends(name, end) && name.n > stem.n + end.n &&
           name.s[stem.n] == '.';
}

uint64_t weights_cols(const struct weight_rule *rules, size_t rules_n, const struct hparams *h,
                      struct str name)
{
    const bool per_layer = str_starts(name, STR("blk."));
    const struct str short_name = without_layer(name);

    for (const struct weight_rule *rule = rules; rule < rules + rules_n; rule++)
        if (rule->per_layer == per_layer && is_named(rule, short_name))
            return dim_size(h, rule->cols);
    return 0;
}
