/* arch.h - what an architecture is, and the inside of a model, for the files that make up both.
 *
 * To add one: write arch_x.c with a weight table and a forward pass over layers.h, and a line in
 * archs[] of model.c. */
#ifndef PENSIEVE_ENGINE_ARCH_H
#define PENSIEVE_ENGINE_ARCH_H

#include "engine/gguf.h"
#include "engine/layers.h"
#include "engine/model.h"
#include "engine/weights.h"

struct arch {
    const char *name;           /* general.architecture */
    const struct weight_rule *rules;
    size_t rules_n;
    /* Sets what is this architecture's own and refuses what its forward pass doesn't do. */
    bool (*check)(const struct gguf *file, struct hparams *hparams, struct err *err);
    void (*forward)(struct forward *forward);
};

extern const struct arch arch_llama;

struct model {
    struct arena *arena;
    struct gguf *file;
    const struct arch *arch;
    struct hparams hparams;
    struct weights weights;
    struct vocab *vocab;
    struct str chat_template, types;
};

/* Makes a model of an opened file, which it takes over, also on failure. */
struct model *model_load(struct gguf *file, struct err *err);

#endif
