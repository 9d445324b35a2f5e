/* mlx_parts.h - what the files of the MLX backend share: the processes (mlx.c), and requests on their way
 * through them (mlx_answer.c). For these files only. */
#ifndef PENSIEVE_BACKEND_MLX_PARTS_H
#define PENSIEVE_BACKEND_MLX_PARTS_H

#include "backend/child.h"
#include "backend/mlx.h"
#include "backend/mlx_wire.h"
#include "backend/sign.h"
#include "chat/template.h"

enum { MLX_ARGV_MAX = 16 };

/* One process. */
struct bridge {
    struct mlx *mlx;
    struct child *child;
    const char *name;                   /* for the log */
    bool was_ready;                     /* the one that runs now */
    bool broken;                        /* the last one that ended never was */
    uint32_t running;                   /* answers that it is at */
    uint64_t served;                    /* to their end */
    uint64_t failed;                    /* how often it ended, and */
    char why[CHILD_WHY_BYTES_MAX];      /* how the last time; "": it never did */
};

struct mlx {
    struct backend backend;             /* first: the ops get this */
    uv_loop_t *loop;
    uv_async_t wake;                    /* something may go on: answers_go_on */
    struct arena *arena;                /* this struct, and texts */
    struct mlx_options options;         /* none is 0 any more but `context` and `cache_bytes` */
    const char *argv[MLX_ARGV_MAX];
    struct bridge *bridges;
    struct signer signer;               /* of thoughts */
    struct arena *line;                 /* of the line that is read */
    /* What the first process that got ready said of the model. */
    bool known;
    uint32_t context;
    struct chat_template *tmpl;         /* NULL: it has none */
    const char *why;                    /* how a process ended last */
    struct generation *first, *last;    /* requests that are alive, the oldest first */
    uint32_t alive, answers_waiting;
    uint64_t ids;                       /* given out so far */
    uint64_t prompt_tokens, cached_tokens, output_tokens, prefill_tokens;
};

static inline struct mlx *mlx_of(struct backend *backend)
{
    return (struct mlx *)backend;
}

/* Whether a process is there or may come. */
bool mlx_hopes(const struct mlx *mlx);
/* Who is to have a request of this conversation: NULL if all that are ready have their hands full. answers:
 * not only its tokens are to be counted. */
struct bridge *mlx_choose(struct mlx *mlx, uint64_t flow, bool answers);

/* ---- mlx_answer.c ---- */

struct generation *mlx_generate(struct backend *backend, struct arena *arena,
                                const struct message_request *request, gen_event_fn *on_event,
                                void *context, struct err *err);
bool mlx_count(struct backend *backend, struct arena *arena, const struct message_request *request,
               count_fn *on_count, void *context, struct err *err);
void mlx_pause(struct generation *generation);
void mlx_resume(struct generation *generation);
void mlx_cancel(struct generation *generation);

/* A line about a request. false: it is against the protocol. */
bool answers_line(struct bridge *bridge, struct str text, const struct mlx_line *line,
                  struct err *err);
/* The process has ended: those who have heard nothing of their answer are tried again, the others fail. */
void answers_lost(struct bridge *bridge, const char *why);
/* mlx.wake's: all that can go on does. */
void answers_go_on(uv_async_t *wake);

#endif
