/* weights.c - walks an architecture's table of rules and binds each tensor to its field. */
#include "engine/weights.h"

#include <stdio.h>
#include <string.h>

static uint64_t dim_size(const struct hparams *h, enum weight_dim dim)
{
    switch (dim) {
    case DIM_HIDDEN: return h->hidden;
    case DIM_FFN: return h->ffn;
    case DIM_QUERY: return (uint64_t)h->heads * h->head_dim;
    case DIM_KV: return (uint64_t)h->kv_heads * h->head_dim;
    case DIM_VOCAB: return h->vocab;
    case DIM_ROTARY_HALF: return h->rotary / 2;
    case DIM_NONE: break;
    }
    return 1;
}

static bool check_shape(const struct gguf_tensor *t, uint64_t rows, uint64_t cols, struct err *err)
{
    if (t->dims[0] == cols && t->dims[1] == rows && t->dims[2] == 1 && t->dims[3] == 1)
        return true;
    return err_set(err, ERR_FORMAT,
                   "byte %llu: tensor %.*s: expected shape [%llu, %llu], found "
                   "[%llu, %llu, %llu, %llu]",
                   (unsigned long long)t->place, STR_ARG(t->name), (unsigned long long)cols,
                   (unsigned long long)rows, (unsigned long long)t->dims[0],
                   (unsigned long long)t->dims[1], (unsigned long long)t->dims[2],
                   (unsigned long long)t->dims[3]);
}

static bool bind_vector(const float **field, const struct gguf_tensor *t, struct arena *arena,
                        struct err *err)
{
    if (t->quant != QUANT_F32)
        return err_set(err, ERR_FORMAT, "byte %llu: tensor %.*s: expected type f32, found %s",
                       (unsigned long long)t->place, STR_ARG(t->name), quants[t->quant].name);
    float *copy = arena_alloc(arena, t->bytes);
    memcpy(copy, t->data, t->bytes);
    *field = copy;
    return true;
}

static struct matrix matrix_of(const struct gguf_tensor *t)
{
    const struct quant_info *quant = &quants[t->quant];

    return (struct matrix){
        .data = t->data,
        .row_bytes = t->dims[0] / quant->block * quant->bytes,
        .rows = (uint32_t)t->dims[1],
        .cols = (uint32_t)t->dims[0],
        .quant = t->quant,
    };
}

/* base: the struct weights or struct layer_weights that the rule's field lies in. used: one flag a
 * tensor of the file. */
static bool bind(void *base, const struct weight_rule *rule, const char *name,
                 const struct gguf *file, const struct hparams *h, struct arena *arena, bool *used,
                 struct err *err)
{
    const struct gguf_tensor *t = gguf_tensor_find(file, name);
    void *field = (char *)base + rule->field;

    if (!t)
        return rule->optional || err_set(err, ERR_FORMAT, "tensor %s is missing", name);
    if (!check_shape(t, dim_size(h, rule->rows), dim_size(h, rule->cols), err))
        return false;
    used[t - gguf_tensor_nth(file, 0)] = true;
    if (rule->rows == DIM_NONE)
        return bind_vector(field, t, arena, err);
    *(struct matrix *)field = matrix_of(t);
    return true;
}

/* A weight that the forward pass knows nothing of (a bias, say) would be left out of the answer. */
static bool refuse_unused(const struct gguf *file, const bool *used, struct err *err)
{
    for (size_t i = 0; i < gguf_tensors_n(file); i++) {
        const struct gguf_tensor *t = gguf_tensor_nth(file, i);
        if (!used[i])
            return err_set(err, ERR_FORMAT, "byte %llu: tensor %.*s is none that this architecture "
                           "is supported with", (unsigned long long)t->place, STR_ARG(t->name));
    }
    return true;
}

bool weights_bind(struct weights *weights, const struct gguf *file, const struct hparams *h,
                  const struct weight_rule *rules, size_t rules_n, struct arena *arena,
                  struct err *err)
{
    bool *used = arena_array(arena, gguf_tensors_n(file), sizeof *used);

    weights->layers = arena_array(arena, h->layers, sizeof *weights->layers);
    for (const struct weight_rule *rule = rules; rule < rules + rules_n; rule++) {
        for (uint32_t layer = 0; layer < (rule->per_layer ? h->layers : 1); layer++) {
            void *base = rule->per_layer ? (void *)&weights->layers[layer] : (void *)weights;
            char name[GGUF_NAME_MAX];
            if (rule->per_layer)
                snprintf(name, sizeof name, "blk.%u.%s", layer, rule->name);
            else
                snprintf(name, sizeof name, "%s", rule->name);
            if (!bind(base, rule, name, file, h, arena, used, err))
                return false;
        }
    }
    return refuse_unused(file, used, err);
}
