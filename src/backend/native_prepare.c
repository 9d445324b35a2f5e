/* native_prepare.c - a request to the model's tokens, on libuv's pool: for an answer, or to be
 * counted.
 *
 * Pure, over an arena of its own: the exchange's belongs to the loop. */
#include "backend/native.h"

#include "backend/thoughts.h"

enum { PREPARATION_ARENA_BYTES = 16 << 10 };

/* What the answer is held to. A prompt that leaves no room is refused elsewhere: what is wrong with a
 * schema, which is a part of it, comes first. */
static bool plan(struct preparation *preparation)
{
    const struct native *native = preparation->native;
    const struct message_request *request = preparation->request;
    const uint32_t context = engine_info(native->engine)->context;
    const size_t prompt = preparation->tokens.tokens.n;
    const uint32_t left = prompt < context ? context - (uint32_t)prompt : 0;

    if (!preparation->answers || request->max_tokens == 0)
        return true;
    return plan_make(&preparation->plan, preparation->arena, &(struct plan_needs){
        .engine = native->engine, .request = request,
        .dialect = template_dialect(native->tmpl), .in_thought = preparation->prompt.in_thought,
        .room = left < request->max_tokens ? left : request->max_tokens,
    }, &preparation->error);
}

static void prepare(uv_work_t *work)
{
    struct preparation *preparation = work->data;
    const struct native *native = preparation->native;

    preparation->request = thoughts_sift(preparation->arena, &native->signer, preparation->request,
                                         &preparation->error);
    preparation->ok =
        preparation->request &&
        prompt_render(preparation->arena, preparation->request, native->tmpl, native->replays,
                      &preparation->prompt, &preparation->error) &&
        prompt_tokenize(preparation->arena, native->engine, &preparation->prompt,
                        &preparation->tokens, &preparation->error) &&
        plan(preparation);
}

bool preparation_start(struct preparation *preparation, struct native *native,
                       const struct message_request *request, bool answers,
                       uv_after_work_cb after, struct err *err)
{
    *preparation = (struct preparation){
        .native = native, .request = request, .arena = arena_new(PREPARATION_ARENA_BYTES),
        .answers = answers,
    };
    preparation->work.data = preparation;
    const int rc = uv_queue_work(native->loop, &preparation->work, prepare, after);
    if (rc) {
        arena_free(preparation->arena);
        preparation->arena = NULL;
        return err_set(err, ERR_INTERNAL, "the work pool refused: %s", uv_strerror(rc));
    }
    return true;
}

/* ---- counting ---- */

struct counting {
    struct preparation preparation;
    struct native *native;
    const struct message_request *request;
    count_fn *on_count;
    void *context;
    struct counting *next;              /* while it waits for the model */
};

/* The last thing: after it the counting's memory is the caller's. */
static void counting_end(struct counting *counting, uint32_t tokens, const struct err *error)
{
    native_leave(counting->native);
    counting->on_count(counting->context, tokens, error);
}

static void counted(uv_work_t *work, int status)
{
    struct preparation *preparation = work->data;
    struct counting *counting =
        (struct counting *)((char *)preparation - offsetof(struct counting, preparation));
    const struct err error = preparation->error;
    const bool ok = preparation->ok;

    (void)status;                       /* nobody cancels it */
    arena_free(preparation->arena);
    counting_end(counting, (uint32_t)preparation->tokens.tokens.n, ok ? NULL : &error);
}

bool native_count(struct backend *backend, struct arena *arena,
                  const struct message_request *request, count_fn *on_count, void *context,
                  struct err *err)
{
    struct native *native = native_of(backend);
    struct counting *counting = arena_alloc(arena, sizeof *counting);

    *counting = (struct counting){
        .native = native, .request = request, .on_count = on_count, .context = context,
    };
    if (!native_enter(native)) {
        counting->next = native->counts_waiting;
        native->counts_waiting = counting;
        return true;
    }
    if (preparation_start(&counting->preparation, native, request, false, counted, err))
        return true;
    native_leave(native);
    return false;
}

void counts_settled(struct native *native, const struct err *error)
{
    struct counting *next, *counting = native->counts_waiting;
    struct err err;

    native->counts_waiting = NULL;
    for (; counting; counting = next) {
        next = counting->next;
        if (error)
            counting_end(counting, 0, error);
        else if (!preparation_start(&counting->preparation, native, counting->request, false,
                                    counted, &err))
            counting_end(counting, 0, &err);
    }
}
