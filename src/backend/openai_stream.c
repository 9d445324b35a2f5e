/* openai_stream.c - see openai_stream.h.
 *
 * The hard thing is calls. OpenAI's pieces name the call they belong to, so calls may come mixed,
 * or whole at once, with the name again in each piece, or without an index; our blocks come one
 * after the other. So the first call that is not told to its end is live, and what comes for others
 * waits; it ends when another one has begun and its own input is whole. */
#include "backend/openai_stream.h"

#include "backend/upstream_errors.h"
#include "base/json.h"
#include "base/json_close.h"
#include "base/utf8.h"

struct openai_call {
    int64_t index;                      /* -1: it had none */
    struct str id, name;
    struct buf input;
    size_t told;                        /* bytes of it */
    enum { CALL_WAITING, CALL_LIVE, CALL_TOLD } stage;
};

void openai_stream_release(struct openai_stream *stream)
{
    for (size_t i = 0; i < stream->calls_n; i++)
        buf_release(&stream->calls[i].input);
    stream->calls_n = 0;
    buf_release(&stream->held);
    telling_release(&stream->told);
}

/* ---- blocks ---- */

static void say(struct openai_stream *stream, int kind, enum block_type type, struct str text)
{
    const struct saying saying = {.kind = kind, .type = type, .text = text};

    telling_say(&stream->told, &saying);
}

/* Of text and thoughts; a call that is open stays so. */
static void close_words(struct openai_stream *stream)
{
    buf_reset(&stream->held);
    if (stream->open == OPENAI_TEXT || stream->open == OPENAI_THINKING) {
        say(stream, SAYING_CLOSE, BLOCK_TEXT, (struct str){0});
        stream->open = OPENAI_NONE;
    }
}

static struct openai_call *live_call(struct openai_stream *stream)
{
    for (size_t i = 0; i < stream->calls_n; i++)
        if (stream->calls[i].stage == CALL_LIVE)
            return &stream->calls[i];
    return NULL;
}

static bool end_call(struct openai_stream *stream, struct openai_call *call, struct err *err);

/* More text, or more of a thought. */
static bool take_words(struct openai_stream *stream, bool thought, struct str text,
                       struct err *err)
{
    const int kind = thought ? OPENAI_THINKING : OPENAI_TEXT;

    if (text.n == 0)
        return true;
    if ((int)stream->open != kind) {
        if (stream->open == OPENAI_TEXT || stream->open == OPENAI_THINKING)
            close_words(stream);
        buf_str(&stream->held, text);
        if (utf8_is_blank(buf_view(&stream->held)))
            return true;
        if (stream->open == OPENAI_CALL && !end_call(stream, live_call(stream), err))
            return false;
        say(stream, SAYING_OPEN, thought ? BLOCK_THINKING : BLOCK_TEXT, (struct str){0});
        stream->open = kind;
        text = buf_view(&stream->held);
    }
    say(stream, SAYING_MORE, BLOCK_TEXT, text);
    buf_reset(&stream->held);
    return true;
}

/* ---- calls ---- */

static void tell_input(struct openai_stream *stream, struct openai_call *call)
{
    const size_t n = call->input.n - call->told;

    if (n)
        say(stream, SAYING_MORE, BLOCK_TOOL_USE, (struct str){call->input.data + call->told, n});
    call->told = call->input.n;
}

/* JSON's white space alone: what may stand behind a value. */
static struct str without_space_behind(struct str text)
{
    while (text.n && memchr(" \t\r\n", text.s[text.n - 1], 4))
        text.n--;
    return text;
}

/* Asked at each piece of a call behind which another one waits: what does not end like one is not
 * read. */
static bool is_object(struct openai_stream *stream, struct str text)
{
    yyjson_val *root;

    text = without_space_behind(text);
    return text.n && text.s[text.n - 1] == '}' &&
           json_parse(stream->scratch, text, &root, NULL) && yyjson_is_obj(root);
}

/* The live call gets what it lacks to be JSON. */
static bool end_call(struct openai_stream *stream, struct openai_call *call, struct err *err)
{
    struct buf rest = {0};

    if (json_close(&rest, buf_view(&call->input)))
        buf_str(&call->input, buf_view(&rest));
    buf_release(&rest);
    if (!is_object(stream, buf_view(&call->input)))
        return err_set(err, ERR_FORMAT, "the input of its call of %.*s is no JSON object",
                       (int)(call->name.n < 64 ? call->name.n : 64), call->name.s);
    tell_input(stream, call);
    say(stream, SAYING_CLOSE, BLOCK_TOOL_USE, (struct str){0});
    call->stage = CALL_TOLD;
    stream->open = OPENAI_NONE;
    return true;
}

static struct openai_call *waiting_call(struct openai_stream *stream)
{
    for (size_t i = 0; i < stream->calls_n; i++)
        if (stream->calls[i].stage == CALL_WAITING && stream->calls[i].name.n)
            return &stream->calls[i];
    return NULL;
}

/* Tells what can be told. all: nothing more comes. */
static bool go_on(struct openai_stream *stream, bool all, struct err *err)
{
    for (;;) {
        struct openai_call *live = live_call(stream), *next = waiting_call(stream);
        if (live) {
            tell_input(stream, live);
            if (!all && (!next || !is_object(stream, buf_view(&live->input))))
                return true;
            if (!end_call(stream, live, err))
                return false;
        }
        if (!next)
            return true;
        close_words(stream);
        say(stream, SAYING_OPEN, BLOCK_TOOL_USE, next->name);
        next->stage = CALL_LIVE;
        stream->open = OPENAI_CALL;
    }
}

/* Some servers' calls are all number 0: a piece with a name and another id, behind a whole input,
 * is another call's. */
static bool is_anothers(struct openai_stream *stream, const struct openai_call *call, struct str id,
                        struct str name)
{
    return id.n && name.n && call->id.n && !str_equal(call->id, id) &&
           is_object(stream, buf_view(&call->input));
}

static struct openai_call *find_call(struct openai_stream *stream, int64_t index, struct str id,
                                     struct str name)
{
    struct openai_call *last = stream->calls_n ? &stream->calls[stream->calls_n - 1] : NULL;

    for (size_t i = stream->calls_n; i-- > 0 && index >= 0;)
        if (stream->calls[i].index == index)
            return is_anothers(stream, &stream->calls[i], id, name) ? NULL : &stream->calls[i];
    if (index >= 0)
        return NULL;
    for (size_t i = 0; i < stream->calls_n && id.n; i++)
        if (str_equal(stream->calls[i].id, id))
            return &stream->calls[i];
    /* A piece that says nothing is the last one's. */
    return id.n == 0 && name.n == 0 ? last : NULL;
}

static struct openai_call *add_call(struct openai_stream *stream, int64_t index, struct str id,
                                    struct err *err)
{
    struct arena *arena = stream->told.arena;

    if (stream->calls_n == OPENAI_CALLS_MAX) {
        err_set(err, ERR_FORMAT, "its answer has more than %d calls", OPENAI_CALLS_MAX);
        return NULL;
    }
    if (!stream->calls)
        stream->calls = arena_array(arena, OPENAI_CALLS_MAX, sizeof *stream->calls);
    struct openai_call *call = &stream->calls[stream->calls_n++];
    *call = (struct openai_call){.index = index, .id = arena_str(arena, id)};
    return call;
}

static bool take_call(struct openai_stream *stream, int64_t index, struct str id,
                      yyjson_val *function, struct err *err)
{
    yyjson_val *arguments = yyjson_obj_get(function, "arguments");
    const struct str name = json_str(yyjson_obj_get(function, "name"));

    if (id.n > OPENAI_ID_BYTES_MAX || name.n > OPENAI_ID_BYTES_MAX)
        return err_set(err, ERR_FORMAT, "a call's id or name is longer than %d bytes",
                       OPENAI_ID_BYTES_MAX);
    struct openai_call *call = find_call(stream, index, id, name);
    if (!call && !(call = add_call(stream, index, id, err)))
        return false;
    if (call->stage == CALL_TOLD)
        return without_space_behind(json_str(arguments)).n == 0 ||
               err_set(err, ERR_FORMAT, "it goes on with a call that was over");
    if (call->name.n == 0 && name.n)
        call->name = arena_str(stream->told.arena, name);
    if (yyjson_is_obj(arguments)) {             /* some don't write it as text */
        size_t n = 0;
        char *text = yyjson_val_write(arguments, 0, &n);
        buf_append(&call->input, text, n);
        free(text);
    } else {
        buf_str(&call->input, json_str(arguments));
    }
    if (call->input.overflow)
        return err_set(err, ERR_OVERLOADED, "no memory for a call");
    return go_on(stream, false, err);
}

/* Older servers write the one call that they can make as a function_call, newer ones both. */
static bool take_calls(struct openai_stream *stream, yyjson_val *delta, struct err *err)
{
    yyjson_val *calls = yyjson_obj_get(delta, "tool_calls"), *call;
    yyjson_val *only = yyjson_obj_get(delta, "function_call");
    size_t i, n;

    yyjson_arr_foreach(calls, i, n, call) {
        yyjson_val *number = yyjson_obj_get(call, "index");
        const int64_t index = yyjson_is_int(number) ? yyjson_get_sint(number) : -1;
        if (!take_call(stream, index, json_str(yyjson_obj_get(call, "id")),
                       yyjson_obj_get(call, "function"), err))
            return false;
    }
    return yyjson_arr_size(calls) || !yyjson_is_obj(only) ||
           take_call(stream, 0, (struct str){0}, only, err);
}

/* ---- the end of it ---- */

static void take_usage(struct openai_stream *stream, yyjson_val *usage)
{
    const uint64_t prompt = yyjson_get_uint(yyjson_obj_get(usage, "prompt_tokens"));
    const uint64_t answer = yyjson_get_uint(yyjson_obj_get(usage, "completion_tokens"));
    yyjson_val *in = yyjson_obj_get(usage, "prompt_tokens_details");
    yyjson_val *out = yyjson_obj_get(usage, "completion_tokens_details");
    uint64_t cached = yyjson_get_uint(yyjson_obj_get(in, "cached_tokens"));
    uint64_t thought = yyjson_get_uint(yyjson_obj_get(out, "reasoning_tokens"));

    if (!yyjson_is_obj(usage) || prompt > UINT32_MAX || answer > UINT32_MAX)
        return;
    cached = cached < prompt ? cached : prompt;
    thought = thought < answer ? thought : answer;
    stream->usage = (struct usage){
        .input_tokens = (uint32_t)(prompt - cached), .cache_read = (uint32_t)cached,
        .output_tokens = (uint32_t)answer, .thinking_tokens = (uint32_t)thought,
    };
}

/* Which stop sequence it was: vLLM and SGLang say so beside the reason, llama-server elsewhere. */
static void take_stop_sequence(struct openai_stream *stream, struct str text)
{
    const struct message_request *request = stream->request;

    for (size_t i = 0; i < request->stop_sequences_n && text.n; i++)
        if (str_equal(request->stop_sequences[i], text)) {
            stream->stop_reason = STOP_STOP_SEQUENCE;
            stream->stop_sequence = request->stop_sequences[i];
        }
}

static void take_finish(struct openai_stream *stream, yyjson_val *choice, yyjson_val *chunk)
{
    const struct str reason = json_str(yyjson_obj_get(choice, "finish_reason"));
    const char *const matched[] = {"stop_reason", "matched_stop", "stopping_word"};

    if (reason.n == 0)
        return;
    stream->finished = true;
    stream->promised = str_is(reason, "tool_calls") || str_is(reason, "function_call");
    stream->stop_reason = str_is(reason, "length") ? STOP_MAX_TOKENS : STOP_END_TURN;
    for (size_t i = 0; i < 3 && str_is(reason, "stop"); i++) {
        take_stop_sequence(stream, json_str(yyjson_obj_get(choice, matched[i])));
        take_stop_sequence(stream, json_str(yyjson_obj_get(chunk, matched[i])));
    }
}

/* ---- chunks ---- */

static bool take_delta(struct openai_stream *stream, yyjson_val *delta, struct err *err)
{
    struct str thought = json_str(yyjson_obj_get(delta, "reasoning_content"));

    if (thought.n == 0)
        thought = json_str(yyjson_obj_get(delta, "reasoning"));
    if (stream->request->thinking.kind != THINKING_OFF && !take_words(stream, true, thought, err))
        return false;
    return take_words(stream, false, json_str(yyjson_obj_get(delta, "content")), err) &&
           take_calls(stream, delta, err);
}

static void start(struct openai_stream *stream)
{
    const struct gen_event started = {.type = GEN_STARTED, .usage = stream->usage};

    if (!stream->started && !*stream->told.silent)
        stream->told.on_event(stream->told.context, &started);
    stream->started = true;
}

bool openai_stream_chunk(struct openai_stream *stream, struct str data, struct err *err)
{
    yyjson_val *root, *choices, *choice;
    struct err why;
    size_t i, n;

    if (stream->over)
        return true;
    if (str_is(data, "[DONE]"))
        return stream->over = true;
    arena_reset(stream->scratch);
    if (!json_parse(stream->scratch, data, &root, &why) || !yyjson_is_obj(root))
        return err_set(err, ERR_FORMAT, "a chunk of its answer is no JSON object");
    if (!json_none(yyjson_obj_get(root, "error")))
        return upstream_error_told(root, 0, stream->key, err);
    take_usage(stream, yyjson_obj_get(root, "usage"));
    start(stream);
    choices = yyjson_obj_get(root, "choices");
    yyjson_arr_foreach(choices, i, n, choice) {
        if (yyjson_get_int(yyjson_obj_get(choice, "index")) != 0)
            continue;
        if (!take_delta(stream, yyjson_obj_get(choice, "delta"), err))
            return false;
        take_finish(stream, choice, root);
    }
    return true;
}

/* An answer that is no answer is an error, so that somebody else may be asked. */
static bool check_promise(const struct openai_stream *stream, struct err *err)
{
    for (size_t i = 0; i < stream->calls_n; i++)
        if (stream->calls[i].stage == CALL_WAITING && stream->stop_reason != STOP_MAX_TOKENS)
            return err_set(err, ERR_FORMAT, "a call of its answer has no name");
    return !stream->promised || stream->told.n ||
           err_set(err, ERR_FORMAT, "its answer ends with a call, and there is none in it");
}

bool openai_stream_end(struct openai_stream *stream, struct gen_event *done, struct err *err)
{
    if (!stream->started || (!stream->over && !stream->finished))
        return err_set(err, ERR_IO, "it broke off in the middle of its answer");
    if (!go_on(stream, true, err) || !check_promise(stream, err))
        return false;
    close_words(stream);
    if (stream->told.called && stream->stop_reason == STOP_END_TURN)
        stream->stop_reason = STOP_TOOL_USE;
    *done = (struct gen_event){
        .type = GEN_DONE, .usage = stream->usage, .stop_reason = stream->stop_reason,
        .stop_sequence = stream->stop_sequence,
    };
    return true;
}
