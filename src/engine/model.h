/* model.h - a model in memory: its numbers, its weights where they lie in the file, its vocabulary.
 *
 * Opened once, never changed: any thread may read it. A forward pass takes its scratch from struct
 * forward, which the engine thread owns. */
#ifndef PENSIEVE_ENGINE_MODEL_H
#define PENSIEVE_ENGINE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "engine/hparams.h"
#include "engine/kvcache.h"
#include "kernels/kernels.h"
#include "kernels/pool.h"
#include "pensieve/engine.h"

struct vocab;
struct arch;
struct model;

struct model *model_open(const char *path, struct err *err);
void model_close(struct model *model);
const struct hparams *model_hparams(const struct model *model);
const struct vocab *model_vocab(const struct model *model);
/* Sequences of more tokens than this are computed, from their first, in kv_table variant 1; shorter
 * ones in 0. UINT32_MAX: the model has only one. */
uint32_t model_variant_length(const struct model *model);
/* Fills everything of info that comes from the file. Strings live as long as the model. */
void model_describe(const struct model *model, struct model_info *info);

/* One row of a step: a token at a position of a sequence. Rows of one sequence stand together, in
 * order of position, and the table already has room for them. */
struct batch_row {
    int32_t token;
    uint32_t position;
    const struct kv_table *table;
    float *logits;              /* [vocab] to be written, or NULL if not wanted */
};

struct forward;
/* Scratch for steps of up to rows_max rows. Memory grows with rows_max and is freed with it. */
struct forward *forward_new(const struct model *model, const struct kernels *kernels,
                            struct pool *pool, struct kv_cache *cache, uint32_t rows_max,
                            struct err *err);
void forward_free(struct forward *forward);
/* Computes keys and values of all rows into their pages, and the logits that are wanted. */
void forward_step(struct forward *forward, const struct batch_row *rows, uint32_t rows_n);

#endif
