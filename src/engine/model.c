/* model.c - a checkpoint to a model: the vocabulary is made, the weights bound. */
#include "engine/model.h"

#include "engine/arch.h"
#include "engine/vocab.h"

/* "q4_1 210, f32 61, q8_0 1": the most frequent first. */
static struct str describe_types(const struct tensors *tensors, struct arena *arena)
{
    size_t counts[QUANT_COUNT] = {0};
    struct str text = {0};

    for (size_t i = 0; i < tensors->n; i++)
        counts[tensors->list[i].quant]++;
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

/* Rows of the embedding decide how many logits there are: folders pad it, tokens may be added past
 * it. A token without a row can't be in a prompt, a row without a token is never sampled. */
static bool count_rows(struct model *model, struct err *err)
{
    const struct tensor *t = tensors_find(&model->checkpoint->tensors, STR("token_embd.weight"));
    const uint64_t rows = t ? t->dims[1] : 0;

    if (!t)
        return err_set(err, ERR_FORMAT, "tensor token_embd.weight is missing");
    model->hparams.vocab = (uint32_t)rows;
    return (rows >= 1 && rows <= VOCAB_TOKENS_MAX) ||
           err_set(err, ERR_FORMAT, "%.*s: %llu rows are not within 1 to %d", STR_ARG(t->origin),
                   (unsigned long long)rows, VOCAB_TOKENS_MAX);
}

static bool bind_weights(struct model *model, struct err *err)
{
    struct hparams *h = &model->hparams;
    struct weights *w = &model->weights;

    if (!count_rows(model, err) ||
        !weights_bind(w, &model->checkpoint->tensors, h, model->arch->rules, model->arch->rules_n,
                      model->arena, err))
        return false;
    if (!w->output.data)
        w->output = w->embedding;
    if (w->rope_factors)
        h->ropes[0].factors = w->rope_factors;
    return hparams_check(h, model->arena, err);         /* of the factors, which came last */
}

struct model *model_load(struct checkpoint *checkpoint, struct err *err)
{
    struct arena *arena = arena_new(1 << 16);
    struct model *model = arena_alloc(arena, sizeof *model);

    *model = (struct model){.arena = arena, .checkpoint = checkpoint, .arch = checkpoint->arch,
                            .hparams = checkpoint->hparams};
    model->vocab = vocab_new(&checkpoint->vocab, err);
    if (model->vocab && bind_weights(model, err)) {
        model->types = describe_types(&checkpoint->tensors, arena);
        return model;
    }
    checkpoint_prefix(checkpoint, err);
    model_close(model);
    return NULL;
}

struct model *model_open(const char *path, struct err *err)
{
    struct checkpoint *checkpoint = checkpoint_open(path, err);

    return checkpoint ? model_load(checkpoint, err) : NULL;
}

void model_close(struct model *model)
{
    if (!model)
        return;
    vocab_free(model->vocab);
    checkpoint_close(model->checkpoint);
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

uint32_t model_variant_length(const struct model *model)
{
    const struct rope *rope = &model->hparams.ropes[0];

    return rope->scaling == ROPE_LONGROPE ? rope->original_context : UINT32_MAX;
}

static struct str token_spelling(const struct vocab *vocab, int32_t id)
{
    return id < 0 ? (struct str){0} : vocab_spelling(vocab, id);
}

void model_describe(const struct model *model, struct model_info *info)
{
    const struct hparams *h = &model->hparams;

    info->path = model->checkpoint->path;
    info->name = model->checkpoint->name;
    info->architecture = str_of(model->arch->name);
    info->types = model->types;
    info->format = str_of(model->checkpoint->format);
    info->tokenizer = str_of(vocab_kind(model->vocab));
    info->chat_template = model->checkpoint->chat_template;
    info->bos = token_spelling(model->vocab, vocab_bos(model->vocab));
    info->eos = token_spelling(model->vocab, vocab_eos(model->vocab));
    info->parameters = 0;
    for (size_t i = 0; i < model->checkpoint->tensors.n; i++)
        info->parameters += model->checkpoint->tensors.list[i].elements;
    info->file_bytes = model->checkpoint->file_bytes;
    info->context_trained = h->context_trained;
    info->temperature = model->checkpoint->advice.temperature;
    info->top_p = model->checkpoint->advice.top_p;
    info->top_k = model->checkpoint->advice.top_k;
    info->layers = h->layers;
    info->hidden = h->hidden;
    info->heads = h->heads;
    info->kv_heads = h->kv_heads;
    info->head_dim = h->head_dim;
    info->vocab_size = h->vocab;
    info->window = h->window;
    info->windowed = 0;
    for (uint32_t i = 0; i < h->layers; i++)
        info->windowed += h->kinds[i].windowed;
    info->experts = h->experts;
    info->experts_used = h->experts_used;
    info->longrope = model_variant_length(model) == UINT32_MAX ? 0 : model_variant_length(model);
    info->kv_bytes_token = hparams_kv_bytes(h);
}
