/* fuzz_gguf.c - the input is a model file: opened, read, bound and described, as at a start. */
#include <stddef.h>
#include <stdint.h>

#include "engine/arch.h"
#include "engine/gguf.h"
#include "engine/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct err err;
    struct gguf *file = gguf_parse(bytes, n, "fuzz", &err);
    struct checkpoint *checkpoint = file ? checkpoint_of_gguf(file, &err) : NULL;
    struct model *model = checkpoint ? model_load(checkpoint, &err) : NULL;
    struct model_info info = {0};

    if (model)
        model_describe(model, &info);
    model_close(model);
    return 0;
}
