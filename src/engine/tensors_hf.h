/* tensors_hf.h - the tensors of a folder's safetensors files, under GGUF's names. */
#ifndef PENSIEVE_ENGINE_TENSORS_HF_H
#define PENSIEVE_ENGINE_TENSORS_HF_H

#include "engine/arch.h"
#include "engine/safetensors.h"

/* What translates: the architecture's aliases and shapes, the model's numbers. */
struct tensors_hf {
    struct arena *arena;
    const struct arch *arch;
    const struct hparams *hparams;      /* checked */
    bool tied;                  /* the head is the embedding: a stored one is left out */
};

/* GGUF's name for a tensor; n == 0: it is none of the language model's weights (a part that sees, a
 * buffer that is computed). A name that no row knows is returned as it is. */
struct str tensor_name_hf(const struct tensors_hf *reader, struct str name);

/* Fills out->list and its index. A quantised weight, its scales and biases become one tensor. */
bool tensors_read_hf(const struct tensors_hf *reader, struct safetensors *const *files,
                     size_t files_n, struct tensors *out, struct err *err);

#endif
