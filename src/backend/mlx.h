/* mlx.h - models that mlx-lm runs, in processes of their own beside the server (docs/mlx-protocol.md).
 *
 * Each process is bridge/mlx_inference.py: it reads requests and writes tokens, both as lines of JSON. It is
 * started with the backend and kept: none is ever started for a request. What an answer is made of
 * (template, blocks, stop sequences, usage) is made here, as for a model of ours; only tokens come from
 * there. What mlx-lm can't do is refused with a 400: forced tool calls, and answers held to a schema. */
#ifndef PENSIEVE_BACKEND_MLX_H
#define PENSIEVE_BACKEND_MLX_H

#include "backend/backend.h"

enum {
    MLX_PROCESSES_MAX = 64,
    MLX_SEQUENCES = 8, MLX_SEQUENCES_MAX = 256,
    MLX_QUEUE = 256,
    MLX_STALL_MS = 60 * 1000,
    MLX_START_MS = 10 * 60 * 1000,
};

/* Copied by mlx_new, texts and all. */
struct mlx_options {
    struct model_card card;             /* max_input_tokens, max_tokens 0: as the model says, once it is loaded */
    const char *model_path;             /* an MLX folder */
    const char *python;                 /* a program, or its name in PATH; NULL: "python3" */
    const char *script;                 /* NULL: as mlx_script finds it */
    uint32_t processes;                 /* 0: one */
    uint32_t sequences_max;             /* answers that one process works on at once; 0: MLX_SEQUENCES */
    uint32_t queue_max;                 /* requests waiting, all together; 0: MLX_QUEUE */
    uint32_t context;                   /* tokens of prompt and answer; 0, or more than it has: the model's own */
    uint32_t stall_ms;                  /* a process that is silent for so long is ended; 0: MLX_STALL_MS */
    uint32_t start_ms;                  /* and one that is not ready by then; 0: MLX_START_MS */
    uint64_t cache_bytes;               /* of keys and values that a process keeps of past requests; 0: its default */
    bool seeded;                        /* every request samples with this seed; otherwise each */
    uint64_t seed;                      /* draws its own */
};

/* Where the bridge lies: installed, in PREFIX/share/pensieve for a program in PREFIX/bin; not
 * installed, in the source tree that the program was built in. ERR_IO: in neither. */
bool mlx_script(char *out, size_t size, struct err *err);

/* Starts the processes and returns at once; requests wait until one of them is ready. ERR_USAGE: an
 * option makes no sense. While no generation or count is under way it keeps no loop from
 * returning; its free leaves closing handles on the loop until the processes have ended. */
struct backend *mlx_new(uv_loop_t *loop, const struct mlx_options *options, struct err *err);

#endif
