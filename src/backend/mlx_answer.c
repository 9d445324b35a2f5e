/* mlx_answer.c - a request's way through the MLX backend: rendered on the pool, sent to a process, its
 * tokens made into blocks as they come; or its tokens counted.
 *
 * The hard thing is that a process can end at any moment, and a request must then end exactly once, too, or
 * begin again. So a request keeps the line that asks for it until its first token has come, and every
 * change of what may go on (a process got ready or ended, an answer made room, a client cancelled or
 * resumed) only wakes answers_go_on, which looks at all requests in the order in which they came. */
#include "backend/mlx_parts.h"

#include "backend/caller.h"
#include "backend/speech.h"
#include "backend/telling.h"
#include "backend/thoughts.h"
#include "backend/usage.h"
#include "base/buf.h"
#include "base/random.h"
#include "chat/prompt.h"

enum {
    PREPARATION_ARENA_BYTES = 16 << 10,
    TRIES_MAX = 3,                      /* processes that end over a request */
    HELD_BYTES_MAX = 64 << 20,          /* of lines for a client that reads too slowly */
};

enum stage {
    WAITING,                            /* for the model to be known */
    PREPARING,                          /* on the pool */
    PREPARED,                           /* for a process that has room */
    SENT,
};

/* A request: for an answer, or (on_count) for its number of tokens. Lies in the exchange's arena. */
struct generation {
    struct mlx *mlx;
    struct generation *previous, *next;
    const struct message_request *request;
    gen_event_fn *on_event;
    count_fn *on_count;
    void *context;
    uint64_t id;
    enum stage stage;
    struct bridge *bridge;              /* SENT */
    unsigned tries;
    uv_work_t work;
    struct arena *arena;                /* of its own: the exchange's belongs to the loop */
    struct prompt prompt;
    struct buf line;                    /* that asks for it */
    bool prepared;
    struct err error;
    struct cache_mark marks[CACHE_MARKS_MAX];
    size_t marks_n;
    struct usage usage;
    struct reuse reuse;
    uint32_t computed;                  /* of the prompt's tokens, so far */
    struct speech speech;
    struct telling telling;             /* what was sent of it */
    struct buf held;                    /* lines that came while it was paused */
    bool started;                       /* it was reported */
    bool heard;                         /* a token of it, or its end */
    bool paused, cancelled;
};

/* ---- the end ---- */

/* The process has nothing more to do for it. */
static void part(struct generation *generation)
{
    if (generation->bridge && generation->on_event)
        generation->bridge->running--;
    generation->bridge = NULL;
}

static void leave(struct generation *generation)
{
    struct mlx *mlx = generation->mlx;

    part(generation);
    if (generation->on_event && generation->stage != SENT)
        mlx->answers_waiting--;
    *(generation->previous ? &generation->previous->next : &mlx->first) = generation->next;
    *(generation->next ? &generation->next->previous : &mlx->last) = generation->previous;
    if (--mlx->alive == 0)
        uv_unref((uv_handle_t *)&mlx->wake);
    else
        uv_async_send(&mlx->wake);      /* there is room for another */
    arena_free(generation->arena);
    buf_release(&generation->line);
    buf_release(&generation->held);
    speech_release(&generation->speech);
    telling_release(&generation->telling);
}

/* The process need not go on with it. */
static void tell_cancel(struct generation *generation)
{
    struct buf line = {0};

    if (!generation->bridge || !generation->on_event)
        return;
    mlx_write_cancel(&line, generation->id);
    child_send(generation->bridge->child, buf_view(&line));
    buf_release(&line);
}

/* The last thing: after it the generation's memory is the caller's. error: not read if it was
 * cancelled. */
static void fail(struct generation *generation, const struct err *error)
{
    struct gen_event event = {.type = GEN_FAILED};

    if (generation->cancelled)
        err_set(&event.error, ERR_CANCELLED, "cancelled");
    else
        event.error = *error;
    leave(generation);
    if (generation->on_count)
        generation->on_count(generation->context, 0, &event.error);
    else
        generation->on_event(generation->context, &event);
}

static void finish(struct generation *generation, enum stop_reason reason)
{
    const int stop = speech_stop(&generation->speech);
    struct gen_event event = {
        .type = GEN_DONE, .usage = generation->usage, .reuse = generation->reuse,
        .stop_reason = reason,
    };

    telling_end(&generation->telling);
    if (generation->cancelled) {
        fail(generation, NULL);
        return;
    }
    if (generation->telling.called && reason == STOP_END_TURN)
        event.stop_reason = STOP_TOOL_USE;
    if (stop >= 0) {
        event.stop_reason = STOP_STOP_SEQUENCE;
        event.stop_sequence = generation->request->stop_sequences[stop];
    }
    if (event.usage.output_tokens)
        event.decoding.steps = event.usage.output_tokens - 1;
    generation->mlx->output_tokens += event.usage.output_tokens;
    if (generation->bridge)
        generation->bridge->served++;
    leave(generation);
    generation->on_event(generation->context, &event);
}

static void say(void *context, const struct saying *saying)
{
    struct generation *generation = context;

    telling_say(&generation->telling, saying);
}

/* ---- on the pool ---- */

static void prepare(uv_work_t *work)
{
    struct generation *generation = work->data;
    const struct mlx *mlx = generation->mlx;
    const struct mlx_options *options = &mlx->options;
    const struct message_request *request =
        thoughts_sift(generation->arena, &mlx->signer, generation->request, &generation->error);

    generation->prepared = request && prompt_render(generation->arena, request, mlx->tmpl, NULL,
                                                    &generation->prompt, &generation->error);
    if (!generation->prepared)
        return;
    if (generation->on_count) {
        mlx_write_count(&generation->line, generation->id, &generation->prompt);
    } else {
        const struct mlx_sampling sampling = {
            .temperature = request->has_temperature ? request->temperature : 1,
            .top_p = request->has_top_p ? request->top_p : 1,
            .top_k = request->has_top_k && request->top_k > 0 ? request->top_k : 0,
            .seed = options->seeded ? options->seed : random_u64(),
        };
        mlx_write_generate(&generation->line, generation->id, request, &generation->prompt,
                           &sampling);
    }
    if (generation->line.overflow)
        generation->prepared = err_set(&generation->error, ERR_INVALID, "the prompt is longer than "
                                       "%d bytes", MLX_REQUEST_BYTES_MAX);
}

static void after_prepare(uv_work_t *work, int status)
{
    struct generation *generation = work->data;
    const struct message_request *request = generation->request;

    generation->stage = PREPARED;
    if (status == UV_ECANCELED || generation->cancelled || !generation->prepared) {
        fail(generation, &generation->error);
        return;
    }
    speech_init(&generation->speech, &(struct speech_options){
        .blocks = {
            .dialect = template_dialect(generation->mlx->tmpl), .request = request,
            .in_thought = generation->prompt.in_thought,
            .tools = request->tool_choice.kind != CHOICE_NONE,
        },
        .stops = request->stop_sequences, .stops_n = request->stop_sequences_n,
        .one_call = request->tool_choice.one, .say = say, .context = generation,
    });
    uv_async_send(&generation->mlx->wake);
}

/* ---- towards a process ---- */

static void start_preparing(struct generation *generation)
{
    generation->arena = arena_new(PREPARATION_ARENA_BYTES);
    generation->work.data = generation;
    buf_init(&generation->line, MLX_REQUEST_BYTES_MAX);
    generation->stage = PREPARING;
    const int rc = uv_queue_work(generation->mlx->loop, &generation->work, prepare, after_prepare);
    if (rc) {
        generation->stage = PREPARED;
        err_set(&generation->error, ERR_INTERNAL, "the work pool refused: %s", uv_strerror(rc));
        fail(generation, &generation->error);
    }
}

static void send_if_there_is_room(struct generation *generation)
{
    const bool answers = generation->on_event != NULL;
    struct bridge *bridge = mlx_choose(generation->mlx, caller_flow(generation->request), answers);

    if (!bridge || !child_send(bridge->child, buf_view(&generation->line)))
        return;
    generation->stage = SENT;
    generation->bridge = bridge;
    generation->tries++;
    bridge->running += answers;
    generation->mlx->answers_waiting -= answers;
}

static void fail_without_process(struct generation *generation)
{
    struct err error;

    err_set(&error, ERR_OVERLOADED, "the model's process does not start: %s",
            generation->mlx->why);
    fail(generation, &error);
}

/* The process that had it has ended. */
static void lost(struct generation *generation, const char *why)
{
    struct err error;

    const bool heard = generation->heard || generation->held.n;
    if (heard)
        err_set(&error, ERR_INTERNAL, "the model's process ended in the middle of the answer: %s",
                why);
    else
        err_set(&error, ERR_INTERNAL, "%u processes of the model ended over this request: %s",
                generation->tries, why);
    if (generation->cancelled || heard || generation->tries >= TRIES_MAX) {
        fail(generation, &error);
        return;
    }
    part(generation);
    generation->mlx->answers_waiting += generation->on_event != NULL;
    generation->stage = PREPARED;
}

void answers_lost(struct bridge *bridge, const char *why)
{
    struct generation *next;

    for (struct generation *generation = bridge->mlx->first; generation; generation = next) {
        next = generation->next;
        if (generation->bridge == bridge)
            lost(generation, why);
    }
}

/* ---- what a process says of it ---- */

static bool take_started(struct generation *generation, const struct mlx_line *line,
                         struct err *err)
{
    const struct prompt *prompt = &generation->prompt;
    const struct sequence_start start = {.prompt_tokens = line->prompt_tokens,
                                         .marked_tokens = line->marked_tokens};

    if (line->marks_n != prompt->points_n)
        return err_set(err, ERR_FORMAT, "started: there are %zu marks, and not %zu", line->marks_n,
                       prompt->points_n);
    generation->marks_n = 0;
    for (size_t i = 0; i < line->marks_n; i++)
        generation->marks[generation->marks_n++] = (struct cache_mark){
            line->marks[i], prompt->seconds[prompt->points[i].number]};
    generation->marks_n = usage_marks(generation->marks, generation->marks_n);
    generation->usage = usage_of(generation->marks, generation->marks_n, &start);
    generation->reuse = (struct reuse){
        .known = true, .memory = line->cached_tokens, .diverged_at = line->cached_tokens,
        .computed = line->prompt_tokens - line->cached_tokens,
    };
    generation->computed = 0;
    generation->mlx->prompt_tokens += line->prompt_tokens;
    generation->mlx->cached_tokens += line->cached_tokens;
    if (!generation->started)           /* it may be its second try */
        generation->on_event(generation->context, &(struct gen_event){
            .type = GEN_STARTED, .usage = generation->usage, .reuse = generation->reuse,
            .prompt = prompt->text,
        });
    generation->started = true;
    return true;
}

/* So much of the prompt is computed. */
static void compute_to(struct generation *generation, uint32_t tokens)
{
    if (tokens <= generation->computed || tokens > generation->reuse.computed)
        return;
    generation->mlx->prefill_tokens += tokens - generation->computed;
    generation->computed = tokens;
}

/* From the first token on it is not tried again. */
static void begin_to_hear(struct generation *generation)
{
    generation->heard = true;
    compute_to(generation, generation->reuse.computed);
    buf_release(&generation->line);
    arena_free(generation->arena);
    generation->arena = NULL;
}

static void take_token(struct generation *generation, const struct mlx_line *line)
{
    struct speech *speech = &generation->speech;

    const bool thought = speech_thinks(speech);
    const uint32_t before = generation->usage.output_tokens;

    begin_to_hear(generation);
    generation->usage.output_tokens = line->tokens;
    speech_say(speech, line->text, line->control);
    if ((thought || speech_thinks(speech)) && line->tokens > before)
        generation->usage.thinking_tokens += line->tokens - before;
    if (!speech_over(speech) || generation->cancelled)
        return;
    tell_cancel(generation);
    finish(generation, STOP_END_TURN);
}

static void take_done(struct generation *generation, const struct mlx_line *line)
{
    static const enum stop_reason reasons[MLX_REASONS] = {
        [MLX_STOP] = STOP_END_TURN, [MLX_LENGTH] = STOP_MAX_TOKENS,
        [MLX_CONTEXT] = STOP_CONTEXT_WINDOW,
    };

    begin_to_hear(generation);
    generation->usage.output_tokens = line->tokens;
    speech_end(&generation->speech, false);
    finish(generation, reasons[line->reason]);
}

static void take_error(struct generation *generation, const struct mlx_line *line)
{
    struct err error;

    if (line->too_long)
        err_set(&error, ERR_INVALID, "prompt is too long: %u tokens > %u maximum", line->tokens,
                line->maximum);
    else
        err_set(&error, line->invalid ? ERR_INVALID : ERR_INTERNAL, "%.*s",
                STR_ARG(line->message));
    fail(generation, &error);
}

static void take_count(struct generation *generation, const struct mlx_line *line)
{
    const uint32_t tokens = line->tokens;

    leave(generation);
    generation->on_count(generation->context, tokens, NULL);
}

/* Whether a line of this type may come now. */
static bool fits(const struct generation *generation, enum mlx_line_type type)
{
    if (type == MLX_ERROR)
        return true;
    if (generation->on_count)
        return type == MLX_COUNT;
    if (type == MLX_STARTED)
        return !generation->heard;
    return type != MLX_COUNT && generation->started;
}

static bool take(struct generation *generation, const struct mlx_line *line, struct err *err)
{
    if (!fits(generation, line->type))
        return err_set(err, ERR_FORMAT, "it says of a request what can't be so");
    switch (line->type) {
    case MLX_STARTED:
        return take_started(generation, line, err);
    case MLX_PROGRESS:
        compute_to(generation, line->prompt_tokens);
        return true;
    case MLX_TOKEN:
        take_token(generation, line);
        return true;
    case MLX_DONE:
        take_done(generation, line);
        return true;
    case MLX_COUNT:
        take_count(generation, line);
        return true;
    default:
        take_error(generation, line);
        return true;
    }
}

static struct generation *find(const struct mlx *mlx, uint64_t id)
{
    struct generation *generation = mlx->first;

    while (generation && generation->id != id)
        generation = generation->next;
    return generation;
}

/* Its client reads no more for now. */
static void hold(struct generation *generation, struct str text, const struct mlx_line *line)
{
    struct err error;

    if (buf_str(&generation->held, text) && buf_char(&generation->held, '\n')) {
        if (line->type == MLX_DONE || line->type == MLX_ERROR) {
            part(generation);
            uv_async_send(&generation->mlx->wake);      /* there is room for another */
        }
        return;
    }
    tell_cancel(generation);
    err_set(&error, ERR_TIMEOUT, "the answer was not read for so long that it could not be kept");
    fail(generation, &error);
}

bool answers_line(struct bridge *bridge, struct str text, const struct mlx_line *line,
                  struct err *err)
{
    struct generation *generation = find(bridge->mlx, line->id);

    if (line->id > bridge->mlx->ids)
        return err_set(err, ERR_FORMAT, "it speaks of a request that there never was");
    if (generation && generation->bridge != bridge)
        return err_set(err, ERR_FORMAT, "it speaks of a request that it was not given");
    if (!generation || generation->cancelled)           /* late: it was on its way when that ended */
        return true;
    if (!generation->paused && generation->held.n == 0)
        return take(generation, line, err);
    hold(generation, text, line);
    return true;
}

/* What was held, until it ends or is paused again. false: it has ended. */
static bool take_held(struct generation *generation)
{
    struct mlx *mlx = generation->mlx;
    const uint64_t id = generation->id;
    struct mlx_line line;
    struct err err;
    const char *end;

    while (!generation->paused && !generation->cancelled && generation->held.n) {
        end = memchr(generation->held.data, '\n', generation->held.n);
        const size_t n = (size_t)(end - generation->held.data);
        arena_reset(mlx->line);
        const bool ok = mlx_line_read(mlx->line, (struct str){generation->held.data, n}, &line,
                                      &err);
        buf_consume(&generation->held, n + 1);
        if (!ok || !take(generation, &line, &err)) {
            if (generation->bridge)
                child_end(generation->bridge->child, "%s", err.text);
            else
                fail(generation, &err);         /* its process has nothing more to say of it */
        }
        if (find(mlx, id) != generation)
            return false;
    }
    return true;
}

/* ---- what may go on ---- */

static void go_on(struct generation *generation)
{
    const struct mlx *mlx = generation->mlx;

    if (generation->stage == PREPARING)
        return;
    if (generation->cancelled) {
        tell_cancel(generation);
        fail(generation, NULL);
    } else if (generation->stage == SENT) {
        take_held(generation);
    } else if (!mlx_hopes(mlx)) {
        fail_without_process(generation);
    } else if (generation->stage == PREPARED) {
        send_if_there_is_room(generation);
    } else if (mlx->known) {
        start_preparing(generation);
    }
}

void answers_go_on(uv_async_t *wake)
{
    const struct mlx *mlx = wake->data;
    struct generation *next;

    for (struct generation *generation = mlx->first; generation; generation = next) {
        next = generation->next;
        go_on(generation);
    }
}

/* ---- the beginning ---- */

static void enter(struct generation *generation)
{
    struct mlx *mlx = generation->mlx;

    generation->id = ++mlx->ids;
    buf_init(&generation->held, HELD_BYTES_MAX);
    generation->previous = mlx->last;
    *(mlx->last ? &mlx->last->next : &mlx->first) = generation;
    mlx->last = generation;
    mlx->answers_waiting += generation->on_event != NULL;
    if (mlx->alive++ == 0)
        uv_ref((uv_handle_t *)&mlx->wake);
    uv_async_send(&mlx->wake);
}

/* What would hold an answer to a grammar is not to be had from mlx-lm. */
static bool can_do(const struct message_request *request, struct err *err)
{
    const enum choice_kind choice = request->tool_choice.kind;

    if (request->format.schema.n)
        return err_set(err, ERR_INVALID, "%s: a model that mlx-lm runs can't be held to a schema",
                       request->format.path);
    if (choice == CHOICE_ANY || choice == CHOICE_TOOL)
        return err_set(err, ERR_INVALID, "tool_choice: a model that mlx-lm runs can't be made to "
                       "use a tool: only auto and none are supported");
    for (size_t i = 0; i < request->tools_n; i++)
        if (request->tools[i].strict)
            return err_set(err, ERR_INVALID, "%s: a model that mlx-lm runs can't be held to a "
                           "schema: strict tools are not supported", request->tools[i].path);
    return true;
}

struct generation *mlx_generate(struct backend *backend, struct arena *arena,
                                const struct message_request *request, gen_event_fn *on_event,
                                void *context, struct err *err)
{
    struct mlx *mlx = mlx_of(backend);

    if (!can_do(request, err))
        return NULL;
    if (mlx->answers_waiting >= mlx->options.queue_max) {
        err_set(err, ERR_OVERLOADED, "%u requests are waiting for the model already",
                mlx->answers_waiting);
        return NULL;
    }
    struct generation *generation = arena_alloc(arena, sizeof *generation);
    *generation = (struct generation){
        .mlx = mlx, .request = request, .on_event = on_event, .context = context,
        .telling = {
            .arena = arena, .signer = &mlx->signer, .omitted = request->thinking.omitted,
            .silent = &generation->cancelled, .on_event = on_event, .context = context,
        },
    };
    enter(generation);
    return generation;
}

bool mlx_count(struct backend *backend, struct arena *arena, const struct message_request *request,
               count_fn *on_count, void *context, struct err *err)
{
    struct generation *generation = arena_alloc(arena, sizeof *generation);

    (void)err;
    *generation = (struct generation){
        .mlx = mlx_of(backend), .request = request, .on_count = on_count, .context = context,
    };
    enter(generation);
    return true;
}

void mlx_pause(struct generation *generation)
{
    generation->paused = true;
}

void mlx_resume(struct generation *generation)
{
    generation->paused = false;
    uv_async_send(&generation->mlx->wake);
}

void mlx_cancel(struct generation *generation)
{
    generation->cancelled = true;
    if (generation->stage == PREPARING)
        uv_cancel((uv_req_t *)&generation->work);       /* fails if it is begun: no harm */
    uv_async_send(&generation->mlx->wake);
}
