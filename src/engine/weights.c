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

static bool check_shape(const struct tensor *t, uint64_t rows, uint64_t cols, struct err *err)
{
    if (t->dims[0] == cols && t->dims[1] == rows && t->dims[2] == 1 && t->dims[3] == 1)
        return true;
    return err_set(err, ERR_FORMAT,
                   "%.*s: expected shape [%llu, %llu], found "
                   "[%llu, %llu, %llu, %llu]",
                   STR_ARG(t->origin), (unsigned long long)cols,
                   (unsigned long long)rows, (unsigned long long)t->dims[0],
                   (unsigned long long)t->dims[1], (unsigned long long)t->dims[2],
                   (unsigned long long)t->dims[3]);
}

static bool bind_vector(const float **field, const struct tensor *t, struct arena *arena,
                        struct err *err)
{
    if (t->quant != QUANT_F32)
        return err_set(err, ERR_FORMAT, "%.*s: expected type f32, found %s",
                       STR_ARG(t->origin), quants[t->quant].name);
    float *copy = arena_alloc(arena, t->bytes);
    memcpy(copy, t->data, t->bytes);
    *field = copy;
    return true;
}

/* base: the struct weights or struct layer_weights that the rule's field lies in. used: one flag a
 * tensor of the file. */
static bool bind(void *base, const struct weight_rule *rule, const char *name,
                 const struct tensors *tensors, const struct hparams *h, struct arena *arena, bool *used,
                 struct err *err)
{
    const struct tensor *t = tensors_find(tensors, str_of(name));
    void *field = (char *)base + rule->field;

    if (!t)
        return rule->optional || err_set(err, ERR_FORMAT, "tensor %s is missing", name);
    if (!check_shape(t, dim_size(h, rule->rows), dim_size(h, rule->cols), err))
        return false;
    used[t - tensors->list] = true;
    if (rule->rows == DIM_NONE)
        return bind_vector(field, t, arena, err);
    *(struct matrix *)field = tensor_matrix(t);
    return true;
}

/* A weight that the forward pass knows nothing of (a bias, say) would be left out of the answer. */
static bool refuse_unused(const struct tensors *tensors, const bool *used, struct err *err)
{
    for (size_t i = 0; i < tensors->n; i++) {
        const struct tensor *t = &tensors->list[i];
        if (!used[i])
            return err_set(err, ERR_FORMAT, "%.*s is none that this architecture "
                           "is supported with", STR_ARG(t->origin));
    }
    return true;
}

bool weights_bind(struct weights *weights, const struct tensors *tensors, const struct hparams *h,
                  const struct weight_rule *rules, size_t rules_n, struct arena *arena,
                  struct err *err)
{
    bool *used = arena_array(arena, tensors->n, sizeof *used);

    weights->layers = arena_array(arena, h->layers, sizeof *weights->layers);
    for (const struct weight_rule *rule = rules; rule < rules + rules_n; rule++) {
        for (uint32_t layer = 0; layer < (rule->per_layer ? h->layers : 1); layer++) {
            void *base = rule->per_layer ? (void *)&weights->layers[layer] : (void *)weights;
            char name[TENSOR_NAME_MAX];
            if (rule->per_layer)
                snprintf(name, sizeof name, "blk.%u.%s", layer, rule->name);
            else
                snprintf(name, sizeof name, "%s", rule->name);
            if (!bind(base, rule, name, tensors, h, arena, used, err))
                return false;
        }
    }
    return refuse_unused(tensors, used, err);
}
