/* native.h - what the files of the native backend share: the model (native.c), requests on their way to
 * tokens (native_prepare.c), answers being made (native_answer.c). For these files only. */
#ifndef PENSIEVE_BACKEND_NATIVE_H
#define PENSIEVE_BACKEND_NATIVE_H

#include "backend/backend.h"
#include "backend/memory.h"
#include "backend/plan.h"
#include "backend/sign.h"
#include "chat/prompt.h"
#include "chat/template.h"
#include "pensieve/engine.h"

struct native {
    struct backend backend;             /* first: the ops get this */
    uv_loop_t *loop;
    uv_async_t wake;                    /* some generation has pieces */
    uv_timer_t moment;                  /* runs while one may have waited for long */
    int handles;                        /* of these two, not closed yet */
    struct resident resident;
    struct native_options options;
    struct arena *arena;                /* the card's texts */
    struct engine *engine;              /* this and the template: while the model is here */
    struct chat_template *tmpl;         /* NULL: the model has none */
    struct replay_store *replays;       /* from the first load on; stays while the model goes */
    struct signer signer;               /* of thoughts; with the replays */
    struct generation *generations;     /* those that are alive, the youngest first */
    struct counting *counts_waiting;    /* for the model, the youngest first */
};

static inline struct native *native_of(struct backend *backend)
{
    return (struct native *)backend;
}

/* Something is under way that needs the model; the loop may return while nothing is. enter: false if
 * the model is to be waited for. */
bool native_enter(struct native *native);
void native_leave(struct native *native);

/* ---- native_prepare.c ---- */

/* A request on its way to tokens, on the pool. */
struct preparation {
    uv_work_t work;
    struct native *native;
    const struct message_request *request;
    struct arena *arena;                /* of its own: the exchange's belongs to the loop */
    bool answers;                       /* not: its tokens are only counted */
    struct prompt prompt;
    struct prompt_tokens tokens;
    struct plan plan;                   /* what the answer is held to */
    bool ok;
    struct err error;
};

/* after: on the loop, also if it was cancelled; then the arena and the plan are the caller's. */
bool preparation_start(struct preparation *preparation, struct native *native,
                       const struct message_request *request, bool answers,
                       uv_after_work_cb after, struct err *err);

bool native_count(struct backend *backend, struct arena *arena,
                  const struct message_request *request, count_fn *on_count, void *context,
                  struct err *err);
/* The model is there, or can't be had: those who waited go on, or end. error NULL: it is there. */
void counts_settled(struct native *native, const struct err *error);

/* ---- native_answer.c ---- */

struct generation *native_generate(struct backend *backend, struct arena *arena,
                                   const struct message_request *request, gen_event_fn *on_event,
                                   void *context, struct err *err);
void native_pause(struct generation *generation);
void native_resume(struct generation *generation);
void native_cancel(struct generation *generation);
void answers_settled(struct native *native, const struct err *error);  /* as counts_settled */
void answers_wake(uv_async_t *wake);    /* native.wake's */

#endif
