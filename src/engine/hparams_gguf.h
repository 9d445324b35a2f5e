/* hparams_gguf.h - a GGUF file's keys as hparams. */
#ifndef PENSIEVE_ENGINE_HPARAMS_GGUF_H
#define PENSIEVE_ENGINE_HPARAMS_GGUF_H

#include "engine/gguf.h"
#include "engine/hparams.h"

/* Tensors that are hparams: longrope's divisors. */
#define GGUF_LONG_FACTORS "rope_factors_long.weight"
#define GGUF_SHORT_FACTORS "rope_factors_short.weight"

/* files: of a set, the first has the keys, which begin with the architecture's name. Arrays lie in
 * the arena. ERR_FORMAT names key and place. */
bool hparams_read_gguf(struct hparams *hparams, struct gguf *const *files, uint32_t files_n,
                       const char *arch, struct arena *arena, struct err *err);

#endif
