/* upstream_anthropic.c - an upstream that speaks our own API: what the client wrote goes there, and
 * what comes back goes to the client.
 *
 * In the request the model's name is replaced where it stands, and nothing else. Of the answer ours
 * are the model's name, the message's id, the blocks' numbers and the pings; what else there is, of
 * kinds that we don't know too, is passed on (GEN_PASS). */
#include <stdlib.h>

#include "backend/upstream_parts.h"

struct reader {
    struct usage usage;
    bool started, open, over;           /* open: a block is */
};

/* ---- the request ---- */

/* Behind the closing quote of the string that begins at `at`. */
static size_t string_end(struct str text, size_t at)
{
    for (at++; at < text.n && text.s[at] != '"'; at++)
        at += text.s[at] == '\\';
    return at < text.n ? at + 1 : text.n;
}

/* The string that a top-level key of a valid object has, with its quotes. */
static bool find_string(struct str body, const char *name, struct str *value)
{
    size_t depth = 0;
    bool key = false;

    for (size_t i = 0; i < body.n; i++) {
        const char c = body.s[i];
        if (c == '{' || c == '[') {
            key = ++depth == 1;
        } else if (c == '}' || c == ']') {
            depth--;
        } else if (c == ',') {
            key = depth == 1;
        } else if (c == '"') {
            size_t end = string_end(body, i);
            const bool found = key && str_is((struct str){body.s + i + 1, end - i - 2}, name);
            key = false;
            while (found && end < body.n && strchr(": \t\r\n", body.s[end]))
                end++;
            if (found && end < body.n && body.s[end] == '"') {
                *value = (struct str){body.s + end, string_end(body, end) - end};
                return true;
            }
            i = end - 1;
        }
    }
    return false;
}

static bool write_body(struct buf *out, const struct upstream *upstream,
                       const struct message_request *request, struct err *err)
{
    const struct str body = request->body;
    struct str model;

    if (!find_string(body, "model", &model))
        return err_set(err, ERR_INVALID, "model: write its key without escapes");
    const char *rest = model.s + model.n;
    buf_append(out, body.s, (size_t)(model.s - body.s));
    json_quote(out, upstream->model);
    buf_append(out, rest, (size_t)(body.s + body.n - rest));
    return !out->overflow || err_set(err, ERR_OVERLOADED, "no memory for a request");
}

static bool anthropic_headers(struct curl_slist **headers, const struct message_request *request)
{
    const bool v26 = request && request->version == API_V26;
    struct buf betas = {0};
    bool fine = upstream_header(headers, "anthropic-version: ",
                                v26 ? STR("2026-10-21") : STR("2023-06-01"));

    for (size_t i = 0; request && i < request->betas_n; i++) {
        if (i)
            buf_char(&betas, ',');
        buf_str(&betas, request->betas[i]);
    }
    if (betas.n)
        fine = fine && upstream_header(headers, "anthropic-beta: ", buf_view(&betas));
    buf_release(&betas);
    return fine;
}

static bool anthropic_write(struct generation *generation, struct err *err)
{
    return write_body(&generation->body, generation->upstream, generation->request, err);
}

/* ---- the answer ---- */

static void take_count(yyjson_val *usage, const char *name, uint32_t *out)
{
    const uint64_t n = yyjson_get_uint(yyjson_obj_get(usage, name));

    if (n && n <= UINT32_MAX)
        *out = (uint32_t)n;
}

static void take_usage(struct usage *out, yyjson_val *usage)
{
    yyjson_val *creation = yyjson_obj_get(usage, "cache_creation");
    yyjson_val *details = yyjson_obj_get(usage, "output_tokens_details");

    take_count(usage, "input_tokens", &out->input_tokens);
    take_count(usage, "cache_read_input_tokens", &out->cache_read);
    take_count(usage, "output_tokens", &out->output_tokens);
    take_count(details, "thinking_tokens", &out->thinking_tokens);
    if (creation) {
        take_count(creation, "ephemeral_5m_input_tokens", &out->cache_creation_5m);
        take_count(creation, "ephemeral_1h_input_tokens", &out->cache_creation_1h);
    } else {
        take_count(usage, "cache_creation_input_tokens", &out->cache_creation_5m);
    }
}

/* The members of an object, but for those that are ours: NULL-terminated. */
static void write_members(struct buf *out, yyjson_val *object, const char *const *ours)
{
    yyjson_val *key, *value;
    size_t i, max;

    yyjson_obj_foreach(object, i, max, key, value) {
        size_t k = 0, n = 0;
        while (ours[k] && !yyjson_equals_str(key, ours[k]))
            k++;
        char *text = ours[k] ? NULL : yyjson_val_write(value, 0, &n);
        if (!text) {
            out->overflow |= !ours[k];
            continue;
        }
        if (out->n)
            buf_char(out, ',');
        json_quote(out, json_str(key));
        buf_char(out, ':');
        buf_append(out, text, n);
        free(text);
    }
}

static void tell(struct generation *generation, struct gen_event event)
{
    generation->told = true;
    if (!generation->silent)
        generation->on_event(generation->context, &event);
}

/* Whole or not at all: a part that found no memory would leave an event that is no JSON. */
static bool pass(struct generation *generation, enum gen_pass what, struct str name,
                 yyjson_val *object, struct err *err)
{
    static const char *const of_events[] = {"type", "index", NULL};
    static const char *const of_messages[] = {"type", "id", "model", "role", NULL};
    struct buf members = {0};

    write_members(&members, object, what == PASS_MESSAGE ? of_messages : of_events);
    const bool whole = !members.overflow;
    if (whole)
        tell(generation, (struct gen_event){.type = GEN_PASS, .pass = what, .pass_name = name,
                                            .text = buf_view(&members)});
    buf_release(&members);
    return whole || err_set(err, ERR_OVERLOADED, "no memory for a part of its answer");
}

static void start(struct generation *generation, yyjson_val *usage)
{
    struct reader *reader = generation->reader;

    take_usage(&reader->usage, usage);
    reader->started = true;
    tell(generation, (struct gen_event){.type = GEN_STARTED, .usage = reader->usage});
}

static bool is_word(struct str name)
{
    for (size_t i = 0; i < name.n; i++)
        if (!(name.s[i] >= 'a' && name.s[i] <= 'z') && name.s[i] != '_')
            return false;
    return name.n > 0;
}

static bool is_of_block(struct str type)
{
    return str_is(type, "content_block_delta") || str_is(type, "content_block_stop");
}

static bool take_event(struct generation *generation, struct str type, yyjson_val *root,
                       struct err *err)
{
    struct reader *reader = generation->reader;

    if (str_is(type, "error"))
        return upstream_error_told(root, 0, generation->upstream->options.key, err);
    if (str_is(type, "ping"))
        return true;
    if (str_is(type, "message_start") == reader->started)
        return err_set(err, ERR_FORMAT, "message_start is not where its answer begins");
    if (str_is(type, "content_block_start") ? reader->open : reader->open < is_of_block(type))
        return err_set(err, ERR_FORMAT, "its answer's blocks don't come one after the other");
    if (str_is(type, "message_start")) {
        start(generation, yyjson_obj_get(yyjson_obj_get(root, "message"), "usage"));
    } else if (str_is(type, "content_block_start")) {
        generation->flowing = reader->open = true;
        return pass(generation, PASS_BLOCK, type, root, err);
    } else if (str_is(type, "content_block_delta")) {
        return pass(generation, PASS_DELTA, type, root, err);
    } else if (str_is(type, "content_block_stop")) {
        reader->open = false;
        tell(generation, (struct gen_event){.type = GEN_BLOCK_STOP});
    } else if (str_is(type, "message_delta")) {
        take_usage(&reader->usage, yyjson_obj_get(root, "usage"));
        return pass(generation, PASS_ENDING, type, root, err);
    } else if (str_is(type, "message_stop")) {
        reader->over = true;
    } else if (is_word(type)) {
        return pass(generation, PASS_EVENT, type, root, err);
    }
    return true;
}

static bool anthropic_read(struct generation *generation, struct str data, struct err *err)
{
    const struct reader *reader = generation->reader;
    yyjson_val *root;
    struct err why;

    if (reader->over)
        return true;
    arena_reset(generation->scratch);
    if (!json_parse(generation->scratch, data, &root, &why) || !yyjson_is_obj(root))
        return err_set(err, ERR_FORMAT, "an event of its answer is no JSON object");
    return take_event(generation, json_str(yyjson_obj_get(root, "type")), root, err);
}

static void *anthropic_open(struct generation *generation)
{
    return arena_alloc(generation->arena, sizeof(struct reader));
}

static bool anthropic_is_over(const struct generation *generation)
{
    const struct reader *reader = generation->reader;

    return reader->over;
}

static bool take_message(struct generation *generation, struct err *err)
{
    yyjson_val *root;
    struct err why;

    arena_reset(generation->scratch);
    if (!json_parse(generation->scratch, buf_view(&generation->text), &root, &why) ||
        !yyjson_equals_str(yyjson_obj_get(root, "type"), "message"))
        return err_set(err, ERR_FORMAT, "its answer is no message");
    start(generation, yyjson_obj_get(root, "usage"));
    return pass(generation, PASS_MESSAGE, STR("message"), root, err);
}

static bool anthropic_end(struct generation *generation, struct gen_event *done, struct err *err)
{
    struct reader *reader = generation->reader;

    if (generation->request->stream && !reader->over)
        return err_set(err, ERR_IO, "it broke off in the middle of its answer");
    if (!generation->request->stream && !take_message(generation, err))
        return false;
    *done = (struct gen_event){.type = GEN_DONE, .usage = reader->usage};
    return true;
}

/* ---- counting ---- */

struct counting {
    struct upstream *upstream;
    count_fn *on_count;
    void *context;
};

static void on_counted(void *context, struct arena *arena, yyjson_val *answer, long status,
                       const struct err *error)
{
    const struct counting *counting = context;
    yyjson_val *tokens = yyjson_obj_get(answer, "input_tokens");
    const uint64_t n = yyjson_get_uint(tokens);
    struct err err;

    (void)arena, (void)status;
    if (!error && (!yyjson_is_uint(tokens) || n > UINT32_MAX)) {
        err_set(&err, ERR_FORMAT, "its count_tokens answered no input_tokens");
        upstream_blame(counting->upstream, &err);
        error = &err;
    }
    counting->on_count(counting->context, error ? 0 : (uint32_t)n, error);
}

static bool anthropic_count(struct upstream *upstream, struct arena *arena,
                            const struct message_request *request, count_fn *on_count,
                            void *context, struct err *err)
{
    struct counting *counting = arena_alloc(arena, sizeof *counting);
    struct buf body = {0};

    *counting = (struct counting){upstream, on_count, context};
    if (!write_body(&body, upstream, request, err)) {
        buf_release(&body);
        return false;
    }
    const struct asking asking = {
        .path = "/v1/messages/count_tokens", .request = request, .body = &body,
        .on_asked = on_counted, .context = counting,
    };
    return upstream_ask(upstream, &asking, err);
}

const struct upstream_api upstream_anthropic = {
    .path = "/v1/messages", .key_header = "x-api-key: ", .headers = anthropic_headers,
    .write = anthropic_write, .open = anthropic_open, .read = anthropic_read,
    .is_over = anthropic_is_over, .end = anthropic_end, .count = anthropic_count,
};
