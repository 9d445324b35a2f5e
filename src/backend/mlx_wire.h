/* mlx_wire.h - the lines of docs/mlx-protocol.md: those that are written, and those that are read. */
#ifndef PENSIEVE_BACKEND_MLX_WIRE_H
#define PENSIEVE_BACKEND_MLX_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "api/request.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "chat/prompt.h"

enum {
    MLX_PROTOCOL = 1,
    MLX_LINE_BYTES_MAX = 4 << 20,       /* of what a bridge writes: its longest holds a template */
    MLX_LINE_VALUES_MAX = 256,
    MLX_REQUEST_BYTES_MAX = 256 << 20,  /* of what it reads */
};

enum mlx_line_type {
    MLX_READY, MLX_FATAL, MLX_ALIVE, MLX_STARTED, MLX_PROGRESS, MLX_TOKEN, MLX_DONE, MLX_COUNT,
    MLX_ERROR, MLX_LINE_TYPES
};

enum mlx_reason { MLX_STOP, MLX_LENGTH, MLX_CONTEXT, MLX_REASONS };

/* One line of a bridge. What a type does not have is zero; texts lie in the arena. */
struct mlx_line {
    enum mlx_line_type type;
    uint64_t id;                        /* STARTED to ERROR: the request's */
    uint32_t protocol, context;         /* READY */
    struct str chat_template, bos, eos; /* READY; template n == 0: it has none */
    struct str message;                 /* FATAL, ERROR */
    uint32_t prompt_tokens, cached_tokens;      /* STARTED; PROGRESS: done and all that is to do */
    uint32_t marked_tokens;             /* STARTED: of the cached, in beginnings that were declared */
    uint32_t marks[PROMPT_POINTS_MAX];  /* STARTED: tokens before each */
    size_t marks_n;
    struct str text;                    /* TOKEN */
    bool control;                       /* TOKEN: the text is a special token's spelling */
    uint32_t tokens;                    /* TOKEN, DONE: of the answer so far; COUNT: the prompt's */
    enum mlx_reason reason;             /* DONE */
    bool too_long;                      /* ERROR: the prompt has `tokens`, and may have `maximum` */
    bool invalid;                       /* ERROR: it is the request's fault */
    uint32_t maximum;
};

/* ERR_FORMAT: what is wrong with it. */
bool mlx_line_read(struct arena *arena, struct str line, struct mlx_line *out, struct err *err);

/* Of the request's sampling only; the rest of it is in the prompt. */
struct mlx_sampling {
    double temperature, top_p;
    int64_t top_k;                      /* 0: all */
    uint64_t seed;
};

/* Each appends a whole line, its end included. */
void mlx_write_generate(struct buf *out, uint64_t id, const struct message_request *request,
                        const struct prompt *prompt, const struct mlx_sampling *sampling);
void mlx_write_count(struct buf *out, uint64_t id, const struct prompt *prompt);
void mlx_write_cancel(struct buf *out, uint64_t id);

#endif
