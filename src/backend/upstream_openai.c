/* upstream_openai.c - an upstream that speaks OpenAI's API: answers of /v1/chat/completions, and
 * what a prompt counts.
 *
 * OpenAI's API can't count a prompt. vLLM's /tokenize takes messages and says a number;
 * llama-server renders them with /apply-template, and then tokenizes the text. Which of them it is
 * shows in what it answers: llama-server's /tokenize takes no messages, and finds no tokens. */
#include <stdlib.h>

#include "backend/openai_request.h"
#include "backend/thoughts.h"
#include "backend/upstream_parts.h"

static struct openai_target target_of(const struct upstream *upstream)
{
    return (struct openai_target){upstream->model, upstream->extra};
}

/* ---- answers ---- */

static bool openai_write(struct generation *generation, struct err *err)
{
    const struct upstream *upstream = generation->upstream;
    const struct openai_target target = target_of(upstream);
    const struct message_request *request =
        thoughts_sift(generation->arena, &upstream->signer, generation->request, err);

    if (!request)
        return false;
    openai_write_request(&generation->body, &target, request);
    return !generation->body.overflow || err_set(err, ERR_OVERLOADED, "no memory for a request");
}

/* Whoever has it told this, has told something. */
static void tell(void *context, const struct gen_event *event)
{
    struct generation *generation = context;

    generation->told = true;
    generation->flowing |= event->type == GEN_BLOCK_START;
    generation->on_event(generation->context, event);
}

static void *openai_open(struct generation *generation)
{
    struct openai_stream *stream = arena_alloc(generation->arena, sizeof *stream);

    *stream = (struct openai_stream){
        .request = generation->request, .scratch = generation->scratch,
        .key = generation->upstream->options.key,
        .told = {
            .arena = generation->arena, .signer = &generation->upstream->signer,
            .omitted = generation->request->thinking.omitted, .silent = &generation->silent,
            .on_event = tell, .context = generation,
        },
    };
    return stream;
}

static void openai_close(void *reader)
{
    openai_stream_release(reader);
}

static bool openai_read(struct generation *generation, struct str data, struct err *err)
{
    return openai_stream_chunk(generation->reader, data, err);
}

static bool openai_is_over(const struct generation *generation)
{
    const struct openai_stream *stream = generation->reader;

    return stream->over;
}

static bool openai_end(struct generation *generation, struct gen_event *done, struct err *err)
{
    if (generation->text.n)
        return err_set(err, ERR_FORMAT, "it was asked for an event stream, and answered something "
                       "else");
    return openai_stream_end(generation->reader, done, err);
}

/* ---- counting ---- */

struct counting {
    struct upstream *upstream;
    struct arena *arena;
    const struct message_request *request;
    count_fn *on_count;
    void *context;
    bool rendered;                      /* the text is being tokenized */
};

static void count_end(struct counting *counting, uint64_t n, const struct err *error)
{
    counting->on_count(counting->context, n < UINT32_MAX ? (uint32_t)n : UINT32_MAX, error);
}

static void count_fail(struct counting *counting, enum err_code code, const char *text)
{
    struct err err;

    err_set(&err, code, "%s", text);
    upstream_blame(counting->upstream, &err);
    count_end(counting, 0, &err);
}

static void on_tokens(void *context, struct arena *arena, yyjson_val *answer, long status,
                      const struct err *error);

static void on_rendered(void *context, struct arena *arena, yyjson_val *answer, long status,
                        const struct err *error)
{
    struct counting *counting = context;
    yyjson_val *prompt = yyjson_obj_get(answer, "prompt");
    struct buf body = {0};
    struct err err;

    (void)arena, (void)status;
    if (error) {
        count_end(counting, 0, error);
        return;
    }
    if (!yyjson_is_str(prompt)) {
        count_fail(counting, ERR_UNSUPPORTED, "it can't count the tokens of a prompt");
        return;
    }
    buf_cstr(&body, "{\"add_special\":true,\"parse_special\":true,\"content\":");
    json_quote(&body, json_str(prompt));
    buf_char(&body, '}');
    counting->rendered = counting->upstream->counts_by_template = true;
    const struct asking asking = {
        .path = "/tokenize", .request = counting->request, .body = &body, .on_asked = on_tokens,
        .context = counting,
    };
    if (!upstream_ask(counting->upstream, &asking, &err))
        count_end(counting, 0, &err);
}

static bool ask_prompt(struct counting *counting, const char *path, asked_fn *on_asked,
                       struct err *err)
{
    const struct openai_target target = target_of(counting->upstream);
    struct buf body = {0};

    openai_write_prompt(&body, &target, counting->request);
    const struct asking asking = {
        .path = path, .request = counting->request, .body = &body, .on_asked = on_asked,
        .context = counting,
    };
    return upstream_ask(counting->upstream, &asking, err);
}

static void on_tokens(void *context, struct arena *arena, yyjson_val *answer, long status,
                      const struct err *error)
{
    struct counting *counting = context;
    yyjson_val *count = yyjson_obj_get(answer, "count"), *tokens = yyjson_obj_get(answer, "tokens");
    struct err err;

    (void)arena;
    if (status == 404 || status == 405 || status == 501) {
        count_fail(counting, ERR_UNSUPPORTED, "it can't count the tokens of a prompt: it has no "
                   "/tokenize");
    } else if (error) {
        count_end(counting, 0, error);
    } else if (yyjson_is_uint(count)) {
        count_end(counting, yyjson_get_uint(count), NULL);
    } else if (counting->rendered && yyjson_is_arr(tokens)) {
        count_end(counting, yyjson_arr_size(tokens), NULL);
    } else if (counting->rendered) {
        count_fail(counting, ERR_FORMAT, "its /tokenize answered no tokens");
    } else if (!ask_prompt(counting, "/apply-template", on_rendered, &err)) {
        count_end(counting, 0, &err);
    }
}

static bool openai_count(struct upstream *upstream, struct arena *arena,
                         const struct message_request *request, count_fn *on_count,
                         void *context, struct err *err)
{
    struct counting *counting = arena_alloc(arena, sizeof *counting);

    if (request->refused)
        return err_set(err, ERR_UNSUPPORTED, "it can't count the tokens of images");
    *counting = (struct counting){
        .upstream = upstream, .arena = arena, .on_count = on_count, .context = context,
        .request = thoughts_sift(arena, &upstream->signer, request, err),
    };
    if (!counting->request)
        return false;
    if (upstream->counts_by_template)
        return ask_prompt(counting, "/apply-template", on_rendered, err);
    return ask_prompt(counting, "/tokenize", on_tokens, err);
}

const struct upstream_api upstream_openai = {
    .path = "/v1/chat/completions", .key_header = "authorization: Bearer ",
    .write = openai_write, .open = openai_open, .close = openai_close, .read = openai_read,
    .is_over = openai_is_over, .end = openai_end, .count = openai_count,
};
