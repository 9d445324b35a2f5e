/* fuzz_safetensors.c - the input is a .safetensors file: its header is checked, its tensors are
 * named, gathered and bound as those of a small Llama, and every one is read at both ends. */
#include <stddef.h>
#include <stdint.h>

#include "engine/arch.h"
#include "engine/safetensors.h"
#include "engine/tensors_hf.h"
#include "engine/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static volatile uint8_t sink;

static void touch(const void *data, uint64_t n)
{
    if (n) {
        sink = ((const uint8_t *)data)[0];
        sink = ((const uint8_t *)data)[n - 1];
    }
}

/* Where the last of a matrix's rows ends, scales and all. */
static void touch_matrix(const struct matrix *m)
{
    touch(m->data, m->rows * m->row_bytes);
    touch(m->scales, m->group ? m->rows * m->scale_row_bytes : 0);
    touch(m->biases, m->group ? m->rows * m->scale_row_bytes : 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct arena *arena = arena_new(1 << 14);
    struct hparams h;
    struct err err;
    struct safetensors *file = safetensors_parse(bytes, n, "fuzz", &err);

    hparams_init(&h);
    h.layers = 1, h.hidden = 64, h.ffn = 128, h.heads = 4, h.kv_heads = 2, h.head_dim = 16;
    h.rms_eps = 1e-5f, h.vocab = 8, h.context_trained = 64, h.rotary = 16;
    if (file && hparams_check(&h, arena, &err)) {
        const struct tensors_hf reader = {.arena = arena, .arch = &arch_llama, .hparams = &h};
        struct tensors tensors = {0};
        struct weights weights = {0};
        for (size_t i = 0; i < safetensors_n(file); i++)
            touch(safetensors_nth(file, i)->data, safetensors_nth(file, i)->bytes);
        if (tensors_read_hf(&reader, &file, 1, &tensors, &err) &&
            weights_bind(&weights, &tensors, &h, arch_llama.rules, arch_llama.rules_n, arena,
                         &err)) {
            touch_matrix(&weights.embedding);
            touch_matrix(&weights.layers[0].q);
            touch_matrix(&weights.layers[0].down);
        }
    }
    safetensors_close(file);
    arena_free(arena);
    return 0;
}
