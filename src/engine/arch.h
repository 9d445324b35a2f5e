/* arch.h - what an architecture is, and the inside of a model, for the files that make up both.
 *
 * To add one: write arch_x.c with a weight table and a forward pass over layers.h, and a line in
 * archs[] of arch.c. */
#ifndef PENSIEVE_ENGINE_ARCH_H
#define PENSIEVE_ENGINE_ARCH_H

#include "engine/checkpoint.h"
#include "engine/gguf.h"
#include "engine/layers.h"
#include "engine/model.h"
#include "engine/weights.h"

/* A name of another container for one of the weight table's; see checkpoint_hf.c for the common ones. */
struct tensor_alias {
    const char *theirs, *ours;  /* "self_attn.dense", "attn_output": between layer number and .weight */
};

struct arch {
    const char *name;           /* general.architecture in GGUF */
    const char *const *model_types;     /* model_type in config.json, NULL-terminated */
    const struct weight_rule *rules;
    size_t rules_n;
    const struct tensor_alias *aliases; /* before the common ones; NULL: none */
    size_t aliases_n;
    /* After a container has read what it holds: sets what is this architecture's own and refuses
     * what its forward pass doesn't do. file: NULL unless the container is GGUF. */
    bool (*check)(struct hparams *hparams, const struct gguf *file, struct arena *arena,
                  struct err *err);
    void (*forward)(struct forward *forward);
};

/* NULL, ERR_FORMAT with what is supported. place: "byte 12" or "config.json: model_type". */
const struct arch *arch_of_gguf(struct str name, const char *place, struct err *err);
const struct arch *arch_of_model_type(struct str model_type, const char *place, struct err *err);

extern const struct arch arch_llama;

struct model {
    struct arena *arena;
    struct checkpoint *checkpoint;
    const struct arch *arch;
    struct hparams hparams;
    struct weights weights;
    struct vocab *vocab;
    struct str types;
};

/* Makes a model of an opened checkpoint, which it takes over, also on failure. */
struct model *model_load(struct checkpoint *checkpoint, struct err *err);

#endif
