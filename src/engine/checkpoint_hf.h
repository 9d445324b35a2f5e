/* checkpoint_hf.h - a folder as Hugging Face and MLX lay it out, as a checkpoint. */
#ifndef PENSIEVE_ENGINE_CHECKPOINT_HF_H
#define PENSIEVE_ENGINE_CHECKPOINT_HF_H

#include "engine/checkpoint.h"

struct safetensors;

enum {
    SHARD_NAME_MAX = 255,               /* bytes */
    SHARD_INDEX_BYTES_MAX = 1 << 26, SHARD_INDEX_VALUES_MAX = 1 << 18,
    SMALL_JSON_BYTES_MAX = 1 << 22,     /* generation_config.json, a template's wrapper */
};

/* The folder's files as they were read; n == 0 where there is none. */
struct hf_files {
    struct str config, generation, tokenizer, tokenizer_config;
    struct str template_jinja, template_json;
    struct safetensors **shards;
    uint32_t shards_n;
};

struct checkpoint *checkpoint_open_hf(const char *path, struct err *err);
/* Of files in memory, whose shards it takes over, also on failure (tests and fuzzing). The strings
 * live as long as the checkpoint. */
struct checkpoint *checkpoint_of_hf(const struct hf_files *files, const char *path,
                                    struct err *err);
/* The names of the files that an index's weight_map names, each once. ERR_FORMAT for one that is
 * not a plain name in the folder. */
bool shard_names(struct arena *arena, struct str index, const struct str **names, uint32_t *n,
                 struct err *err);

#endif
