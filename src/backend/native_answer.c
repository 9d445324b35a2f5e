/* native_answer.c - an answer's life: a request to a sequence, tokens to events.
 *
 * Three threads work on a generation, one after the other and two at a time:
 *   - the pool renders and tokenises (native_prepare.c);
 *   - the engine thread takes stop sequences out of the characters that come (struct voice: its own
 *     from engine_submit until on_done);
 *   - the loop does all the rest.
 * Before all that its model may have to be loaded: until then it waits.
 * The hard thing is handing it over without ever waiting on the engine thread. Each generation
 * has a small queue of pieces whose last place is kept for the end; while the loop is behind and no
 * other place is free, what is to be told is gathered for the next piece. So a token goes out as it is
 * sampled, memory is bounded by the answer's length, and the end always finds its place. */
#include "backend/native.h"

#include <assert.h>
#include <stdlib.h>

#include "backend/caller.h"
#include "backend/telling.h"
#include "backend/usage.h"
#include "backend/voice.h"
#include "base/queue.h"

enum {
    PIECES_MAX = 32,
    MOMENT_MS = 1000,                   /* who waits longer for the engine is started all the same */
};

/* The start, then what is told of blocks, then the end (with what there was left to tell). */
struct piece {
    enum { PIECE_START, PIECE_SAYINGS, PIECE_END } kind;
    struct sequence_start start;        /* START */
    struct sequence_result result;      /* END */
    int stop;                           /* END: the matched stop sequence, or -1 */
    size_t n;
    char sayings[];
};

struct generation {
    struct native *native;
    struct generation *previous, *next;
    struct arena *arena;                /* the exchange's: its own struct lies in it */
    const struct message_request *request;
    gen_event_fn *on_event;
    void *context;
    struct preparation preparation;     /* its arena: until the engine has begun */
    struct cache_mark marks[CACHE_MARKS_MAX];
    size_t marks_n;
    struct replay begun;                /* how the answer begins, for when it is told again */
    struct telling telling;             /* what was sent of it */
    struct reuse reuse;
    struct str around;                  /* the text where the prompt left what was cached */
    uint64_t submitted_ms;              /* loop time */
    struct sequence *sequence;          /* NULL until submitted */
    struct voice voice;
    struct queue *pieces;
    uint32_t prompt_tokens;
    bool waiting;                       /* for the model */
    bool started;                       /* it was reported */
    bool cancelled, paused;
};

/* ---- on the engine thread ---- */

static struct piece *piece_new(int kind, struct str sayings)
{
    struct piece *piece = malloc(sizeof *piece + sayings.n);

    if (!piece)
        abort();                        /* as arenas do: the machine is out of memory */
    piece->kind = kind;
    piece->n = sayings.n;
    if (sayings.n)
        memcpy(piece->sayings, sayings.s, sayings.n);
    return piece;
}

static void hand_over(struct generation *generation, struct piece *piece)
{
    const bool placed = queue_put(generation->pieces, piece);

    assert(placed);
    (void)placed;
    uv_async_send(&generation->native->wake);
}

/* One producer: a place that is free now stays free until it puts something there. */
static void hand_over_sayings(struct generation *generation)
{
    struct sayings *sayings = &generation->voice.sayings;

    if (sayings->bytes.n == 0 || queue_length(generation->pieces) >= PIECES_MAX - 1)
        return;
    hand_over(generation, piece_new(PIECE_SAYINGS, buf_view(&sayings->bytes)));
    sayings_reset(sayings);
}

static void on_start(void *context, const struct sequence_start *start)
{
    struct piece *piece = piece_new(PIECE_START, STR(""));

    piece->start = *start;
    hand_over(context, piece);
}

static bool on_token(void *context, struct sequence *sequence, int32_t id, struct str characters)
{
    struct generation *generation = context;
    const bool goes_on = voice_token(&generation->voice, sequence, id, characters);

    if (goes_on)
        hand_over_sayings(generation);
    return goes_on;
}

static void on_done(void *context, const struct sequence_result *result)
{
    struct generation *generation = context;
    struct voice *voice = &generation->voice;

    voice_end(voice, result->tail);
    struct piece *piece = piece_new(PIECE_END, buf_view(&voice->sayings.bytes));
    piece->result = *result;
    piece->result.tail = (struct str){0};       /* is in the sayings, or was part of a match */
    piece->stop = speech_stop(&voice->speech);
    hand_over(generation, piece);
}

/* ---- a generation's life, on the loop ---- */

static void emit(struct generation *generation, const struct gen_event *event)
{
    generation->on_event(generation->context, event);
}

/* Lets go of everything but the struct, which is the exchange's. */
static void generation_end(struct generation *generation, const struct gen_event *last)
{
    struct native *native = generation->native;

    sequence_free(generation->sequence);
    queue_free(generation->pieces);
    arena_free(generation->preparation.arena);
    plan_release(&generation->preparation.plan);
    voice_release(&generation->voice);
    telling_release(&generation->telling);
    *(generation->previous ? &generation->previous->next : &native->generations) = generation->next;
    if (generation->next)
        generation->next->previous = generation->previous;
    native_leave(native);
    emit(generation, last);
}

/* error: not read if it was cancelled */
static void generation_fail(struct generation *generation, const struct err *error)
{
    struct gen_event event = {.type = GEN_FAILED};

    if (generation->cancelled)
        err_set(&event.error, ERR_CANCELLED, "cancelled");
    else
        event.error = *error;
    generation_end(generation, &event);
}

/* Reports the start, once: when the engine begins, or when it was waited for long enough. Then no more is
 * known than how long the prompt is. */
static void report_start(struct generation *generation, const struct sequence_start *start)
{
    const struct sequence_start unknown = {.prompt_tokens = generation->prompt_tokens};

    if (generation->started || generation->cancelled)
        return;
    generation->started = true;
    emit(generation, &(struct gen_event){
        .type = GEN_STARTED, .reuse = generation->reuse,
        .usage = start ? usage_of(generation->marks, generation->marks_n, start)
                       : usage_of(NULL, 0, &unknown),
        .prompt = generation->preparation.prompt.text,
    });
}

static void begin(struct generation *generation, const struct sequence_start *start)
{
    const uint32_t found = start->memory_tokens + start->disk_tokens;

    generation->reuse = (struct reuse){
        .known = true, .memory = start->memory_tokens, .disk = start->disk_tokens,
        .computed = start->prompt_tokens - found, .diverged_at = start->diverged_at,
    };
    if (!generation->preparation.arena)
        return;
    generation->around = prompt_around(generation->arena, generation->native->engine,
                                       &generation->preparation.tokens.tokens,
                                       start->diverged_at);
    report_start(generation, start);
    arena_free(generation->preparation.arena);  /* the engine has its own copy of the tokens */
    generation->preparation.arena = NULL;
}

/* Those that wait for the engine have waited for a moment, or soon will have. */
static void on_moment(uv_timer_t *moment)
{
    struct native *native = moment->data;
    uint64_t now = uv_now(native->loop), next = 0;

    for (struct generation *generation = native->generations; generation;
         generation = generation->next) {
        if (!generation->sequence || generation->started || generation->cancelled)
            continue;
        const uint64_t due = generation->submitted_ms + MOMENT_MS;
        if (due <= now)
            report_start(generation, NULL);
        else if (next == 0 || due < next)
            next = due;
    }
    if (next)
        uv_timer_start(moment, on_moment, next - now, 0);
}

static void tell(struct generation *generation, const struct piece *piece)
{
    struct str sayings = {piece->sayings, piece->n};
    struct saying saying;

    while (!generation->cancelled && sayings_take(&sayings, &saying))
        telling_say(&generation->telling, &saying);
}

/* What was sent, and by which tokens it was sampled: it comes back in the next request. Also what a client
 * heard of an answer that it cut short (whole: it did not, nor did a stop): it may tell that much again. */
static void keep_answer(struct generation *generation, bool whole)
{
    const struct message_request *request = generation->request;
    const struct telling *telling = &generation->telling;
    const struct message *last = &request->messages[request->messages_n - 1];
    const size_t before = request->prefill ? last->blocks_n : 0;
    struct replay_store *store = generation->native->replays;
    struct replay replay = generation->begun;

    if (!store || telling->text.overflow || telling->n == 0 ||
        !voice_recall(&generation->voice, telling->text.n, whole && !telling->broken, &replay))
        return;
    struct content_block *blocks = arena_array(generation->arena, before + telling->n,
                                               sizeof *blocks);
    for (size_t i = 0; i < before; i++)
        blocks[i] = last->blocks[i];
    memcpy(blocks + before, telling_blocks(telling), telling->n * sizeof *blocks);
    replay_put(store, replay_key_of(store, request->caller.space, blocks, before + telling->n),
               &replay);
}

static enum stop_reason stop_reason_of(const struct generation *generation, enum sequence_end end)
{
    switch (end) {
    case SEQUENCE_MAX_TOKENS: return STOP_MAX_TOKENS;
    case SEQUENCE_CONTEXT_FULL: return STOP_CONTEXT_WINDOW;
    default: return generation->telling.called ? STOP_TOOL_USE : STOP_END_TURN;
    }
}

/* The end of one that was neither cancelled nor failed. */
static struct gen_event done_of(const struct generation *generation, const struct piece *piece)
{
    const struct sequence_result *result = &piece->result;
    struct gen_event done = {
        .type = GEN_DONE, .stop_reason = stop_reason_of(generation, result->end),
        .usage = usage_of(generation->marks, generation->marks_n, &result->start),
        .reuse = generation->reuse,
        .decoding = {result->decode_steps, result->drafted_tokens, result->accepted_tokens},
        .diverged = generation->around,
    };

    done.usage.output_tokens = result->output_tokens;
    done.usage.thinking_tokens = generation->voice.thinking_tokens;
    if (piece->stop >= 0) {
        done.stop_reason = STOP_STOP_SEQUENCE;
        done.stop_sequence = generation->request->stop_sequences[piece->stop];
    }
    return done;
}

static void finish(struct generation *generation, const struct piece *piece)
{
    const struct sequence_result *result = &piece->result;
    const bool failed = result->end == SEQUENCE_FAILED;

    if (!generation->cancelled && !failed) {
        begin(generation, &result->start);      /* all that is known of it, also of one that never was */
        tell(generation, piece);
        telling_end(&generation->telling);
    }
    keep_answer(generation, !generation->cancelled && !failed && piece->stop < 0);
    if (generation->cancelled || failed) {
        generation_fail(generation, &result->error);
        return;
    }
    const struct gen_event done = done_of(generation, piece);
    generation_end(generation, &done);
}

/* Everything a generation has to say now. The reader may cancel or pause it at any event; paused,
 * it keeps its pieces, and is woken by resume. */
static void drain(struct generation *generation)
{
    struct piece *piece;

    while ((!generation->paused || generation->cancelled) &&
           (piece = queue_take(generation->pieces))) {
        const bool end = piece->kind == PIECE_END;
        if (end)
            finish(generation, piece);
        else if (piece->kind == PIECE_START)
            begin(generation, &piece->start);
        else
            tell(generation, piece);
        free(piece);
        if (end)
            return;
    }
}

void answers_wake(uv_async_t *wake)
{
    struct native *native = wake->data;
    struct generation *next;

    for (struct generation *generation = native->generations; generation; generation = next) {
        next = generation->next;
        if (generation->sequence)
            drain(generation);
        else if (generation->waiting && generation->cancelled)
            generation_fail(generation, NULL);
    }
}

/* A prompt must leave room for one token of an answer, if one is wanted. */
static bool submit(struct generation *generation, struct err *err)
{
    struct native *native = generation->native;
    const struct message_request *request = generation->request;
    const struct prompt_tokens *prepared = &generation->preparation.tokens;
    const struct tokens *tokens = &prepared->tokens;
    struct plan *plan = &generation->preparation.plan;
    const uint32_t maximum = engine_info(native->engine)->context - (request->max_tokens > 0);

    if (tokens->n > maximum)
        return err_set(err, ERR_INVALID, "prompt is too long: %zu tokens > %u maximum", tokens->n,
                       maximum);
    generation->prompt_tokens = (uint32_t)tokens->n;
    memcpy(generation->marks, prepared->marks, sizeof generation->marks);
    generation->marks_n = usage_marks(generation->marks, prepared->marks_n);
    generation->begun = replay_copy(generation->arena, &generation->preparation.prompt.begun);
    voice_init(&generation->voice, &(struct voice_options){
        .engine = native->engine, .plan = plan,
        .blocks = {
            .dialect = template_dialect(native->tmpl), .request = request,
            .in_thought = generation->preparation.prompt.in_thought,
            .tools = request->tool_choice.kind != CHOICE_NONE,
        },
        .stop_sequences = request->stop_sequences, .stop_sequences_n = request->stop_sequences_n,
    });
    const struct sequence_params params = {
        .tokens = tokens->ids, .tokens_n = tokens->n, .max_tokens = request->max_tokens,
        .continues = request->prefill,
        .sampling = caller_sampling(request, engine_info(native->engine), &native->options),
        .owner = request->caller.owner, .flow = caller_flow(request), .rank = caller_rank(request),
        .space = request->caller.space,
        .marks = generation->marks, .marks_n = (uint32_t)generation->marks_n,
        .constraint = plan->start, .constraint_after = plan->start_after, .context = generation,
        .on_start = on_start, .on_token = on_token, .on_done = on_done,
    };
    generation->sequence = engine_submit(native->engine, &params, err);
    if (!generation->sequence)
        return false;
    plan->start = NULL;
    if (generation->paused)
        sequence_pause(generation->sequence);
    return true;
}

static void prepared(uv_work_t *work, int status)
{
    struct preparation *preparation = work->data;
    struct generation *generation =
        (struct generation *)((char *)preparation - offsetof(struct generation, preparation));
    struct native *native = generation->native;

    if (status == UV_ECANCELED || generation->cancelled || !preparation->ok ||
        !submit(generation, &preparation->error)) {
        generation_fail(generation, &preparation->error);
        return;
    }
    generation->submitted_ms = uv_now(native->loop);
    if (!uv_is_active((uv_handle_t *)&native->moment))
        uv_timer_start(&native->moment, on_moment, MOMENT_MS, 0);
}

struct generation *native_generate(struct backend *backend, struct arena *arena,
                                   const struct message_request *request, gen_event_fn *on_event,
                                   void *context, struct err *err)
{
    struct native *native = native_of(backend);
    struct generation *generation = arena_alloc(arena, sizeof *generation);

    *generation = (struct generation){
        .native = native, .arena = arena, .request = request, .on_event = on_event,
        .context = context, .pieces = queue_new(PIECES_MAX, NULL, NULL),
        .telling = {
            .arena = arena, .signer = &native->signer, .omitted = request->thinking.omitted,
            .silent = &generation->cancelled, .on_event = on_event, .context = context,
        },
    };
    if (!generation->pieces) {
        err_set(err, ERR_OVERLOADED, "no memory for one more request");
        return NULL;
    }
    generation->waiting = !native_enter(native);
    if (!generation->waiting &&
        !preparation_start(&generation->preparation, native, request, true, prepared, err)) {
        native_leave(native);
        queue_free(generation->pieces);
        return NULL;
    }
    generation->next = native->generations;
    if (native->generations)
        native->generations->previous = generation;
    native->generations = generation;
    return generation;
}

void native_pause(struct generation *generation)
{
    generation->paused = true;
    if (generation->sequence)
        sequence_pause(generation->sequence);
}

void native_resume(struct generation *generation)
{
    generation->paused = false;
    if (!generation->sequence)
        return;
    sequence_resume(generation->sequence);
    uv_async_send(&generation->native->wake);   /* for what it kept */
}

void native_cancel(struct generation *generation)
{
    generation->cancelled = true;
    if (!generation->sequence && !generation->waiting) {
        uv_cancel((uv_req_t *)&generation->preparation.work);   /* fails if it is begun: no harm */
        return;
    }
    if (generation->sequence)
        sequence_cancel(generation->sequence);
    uv_async_send(&generation->native->wake);   /* it may have ended already, and be paused */
}

/* Those who waited, in the order in which they came. */
void answers_settled(struct native *native, const struct err *error)
{
    struct generation *previous, *generation = native->generations;
    struct err err;

    while (generation && generation->next)
        generation = generation->next;
    for (; generation; generation = previous) {
        previous = generation->previous;
        if (!generation->waiting)
            continue;
        generation->waiting = false;
        if (error || generation->cancelled)
            generation_fail(generation, error);
        else if (!preparation_start(&generation->preparation, native, generation->request, true,
                                    prepared, &err))
            generation_fail(generation, &err);
    }
}
