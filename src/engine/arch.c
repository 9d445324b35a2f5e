/* arch.c - the architectures there are. */
#include "engine/arch.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

enum { TEXT_MAX = 200 };

static const struct arch *const archs[] = {
    &arch_gemma2,
    &arch_gemma3,
    &arch_gptoss,
    &arch_granite,
    &arch_llama,
    &arch_olmo2,
    &arch_phi3,
    &arch_qwen2,
    &arch_qwen3,
    &arch_qwen3moe,
    &arch_smollm3,
};
enum { ARCHS = sizeof archs / sizeof *archs };

static void list(char *out, size_t size, const char *word)
{
    const size_t n = strlen(out);

    snprintf(out + n, size - n, "%s%s", n ? ", " : "", word);
}

const struct arch *arch_of_gguf(struct str name, const char *place, struct err *err)
{
    char shown[TEXT_MAX], supported[TEXT_MAX] = "";

    for (size_t i = 0; i < ARCHS; i++) {
        if (str_is(name, archs[i]->name))
            return archs[i];
        list(supported, sizeof supported, archs[i]->name);
    }
    err_set(err, ERR_FORMAT, "%s: architecture %s is not supported, these are: %s", place,
            log_quote_word(shown, sizeof shown, name), supported);
    return NULL;
}

const struct arch *arch_of_model_type(struct str model_type, const char *place, struct err *err)
{
    char shown[TEXT_MAX], supported[TEXT_MAX] = "";

    for (size_t i = 0; i < ARCHS; i++)
        for (const char *const *type = archs[i]->model_types; *type; type++) {
            if (str_is(model_type, *type))
                return archs[i];
            list(supported, sizeof supported, *type);
        }
    err_set(err, ERR_FORMAT, "%s: model type %s is not supported, these are: %s", place,
            log_quote_word(shown, sizeof shown, model_type), supported);
    return NULL;
}

bool arch_check_dense(struct hparams *h, const struct gguf *file, struct arena *arena,
                      struct err *err)
{
    return h->experts == 0 ||
           err_set(err, ERR_FORMAT, "%u experts: this architecture is not supported as a mixture of "
                   "experts", h->experts);
}

bool arch_check_mixed(struct hparams *h, const struct gguf *file, struct arena *arena,
                      struct err *err)
{
    return h->experts > 0 || err_set(err, ERR_FORMAT, "a mixture without experts");
}

void arch_set_windows(struct hparams *h, uint32_t period, struct arena *arena)
{
    if (h->kinds)
        return;
    struct layer_kind *kinds = arena_array(arena, h->layers, sizeof *kinds);
    for (uint32_t i = 0; i < h->layers; i++)
        kinds[i].windowed = (i + 1) % period != 0;
    h->kinds = kinds;
}
