/* checkpoint.h - a model as it lies on disk, whatever form a person has it in, opened and checked.
 *
 *   GGUF                one file, any of a split set (x-00001-of-00003.gguf), or a folder with one
 *   MLX, Hugging Face   a directory with config.json, tokenizer.json and safetensors
 *
 * Everything a model needs is named and shaped the same way here; what made the difference stays in
 * checkpoint_gguf.c and checkpoint_hf.c. Strings and arrays live as long as the checkpoint. */
#ifndef PENSIEVE_ENGINE_CHECKPOINT_H
#define PENSIEVE_ENGINE_CHECKPOINT_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "engine/hparams.h"
#include "engine/tensors.h"
#include "engine/vocab.h"

struct arch;
struct gguf;

/* Sampling that the model's makers advise (generation_config.json); a field < 0: they say nothing. */
struct sampling_advice {
    float temperature, top_p, top_k;
};

struct checkpoint {
    struct arena *arena;
    const char *format;         /* "gguf", "mlx", "hf" */
    struct str path;            /* as given */
    struct str name;            /* printable, never empty */
    const struct arch *arch;
    struct hparams hparams;     /* all but vocab */
    struct tensors tensors;
    struct vocab_source vocab;
    struct str chat_template;   /* n == 0: none; valid UTF-8, bounded */
    struct sampling_advice advice;
    uint64_t file_bytes;        /* of all files that hold tensors */
    void *files;                /* the container's own, let go by close */
    void (*close)(struct checkpoint *checkpoint);
};

enum { CHECKPOINT_FILES_MAX = 1024, CHAT_TEMPLATE_BYTES_MAX = 1 << 20, FOLDER_GGUFS_MAX = 256 };

/* ERR_IO, ERR_FORMAT: the text names the file and the place. */
struct checkpoint *checkpoint_open(const char *path, struct err *err);
/* Puts the file's or folder's name before the error's text. Returns false. */
bool checkpoint_prefix(const struct checkpoint *checkpoint, struct err *err);
/* Of an opened GGUF file, which it takes over, also on failure (tests and fuzzing). */
struct checkpoint *checkpoint_of_gguf(struct gguf *file, struct err *err);
void checkpoint_close(struct checkpoint *checkpoint);           /* NULL is allowed */

#endif
