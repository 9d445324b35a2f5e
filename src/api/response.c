/* response.c - one generation as SSE frames, or as one JSON body.
 *
 * The order of keys is the wire's. The hard thing is a block that a keepalive opened before the
 * backend did: clients push a block at each content_block_start, so the backend's own start of that
 * block must then add nothing, and an end without it must still close the block. It is one of text:
 * a thought or a call closes it, and comes behind it. */
#include "api/response.h"

#include <assert.h>

#include "api/errors.h"
#include "base/json.h"
#include "base/random.h"

enum { ID_BYTES = 32 };

struct message_writer {
    const struct message_request *request;
    struct str request_id, id;
    bool started, ended, written;
    bool open;                  /* a block is open */
    bool early;                 /* ... and the backend hasn't started it yet */
    enum block_type type;       /* ... of this type */
    uint32_t blocks;            /* how many were opened */
    bool passed;                /* the open block is another server's: no form of ours */
    bool ending_passed;         /* ... the message_delta was */
    bool whole;                 /* ... the JSON answer is: content holds its members */
    struct usage prompt;
    struct buf content;         /* JSON answer: its blocks so far */
    size_t block_begin, text_begin;     /* JSON answer: where in content the open block begins */
};

/* How a block of each type is written: its beginning is the same in a stream and in a body. */
static const struct {
    const char *begin;          /* up to its text */
    const char *delta, *key;    /* the delta that brings more of it, and where in that */
} block_forms[] = {
    [BLOCK_TEXT] = {"{\"type\":\"text\",\"text\":\"", "text_delta", "text"},
    [BLOCK_THINKING] = {"{\"type\":\"thinking\",\"thinking\":\"", "thinking_delta", "thinking"},
    [BLOCK_TOOL_USE] = {"{\"type\":\"tool_use\",\"id\":", "input_json_delta", "partial_json"},
};

#define CALLER ",\"caller\":{\"type\":\"direct\"}}"

static const char *const stop_names[STOP_REASONS] = {
    [STOP_END_TURN] = "end_turn",
    [STOP_MAX_TOKENS] = "max_tokens",
    [STOP_STOP_SEQUENCE] = "stop_sequence",
    [STOP_CONTEXT_WINDOW] = "model_context_window_exceeded",
    [STOP_TOOL_USE] = "tool_use",
};

struct message_writer *message_writer_new(struct arena *arena,
                                          const struct message_request *request,
                                          struct str request_id)
{
    struct message_writer *writer = arena_alloc(arena, sizeof *writer);
    char id[ID_BYTES];

    random_id(id, sizeof id, "msg_");
    writer->request = request;
    writer->request_id = request_id;
    writer->id = arena_str(arena, str_of(id));
    return writer;
}

void message_writer_release(struct message_writer *writer)
{
    buf_release(&writer->content);
}

bool message_writer_started(const struct message_writer *writer)
{
    return writer->written;
}

struct str message_writer_id(const struct message_writer *writer)
{
    return writer->id;
}

/* ---- the message itself, whole or at the start of a stream ---- */

static void write_usage_input(struct buf *out, const struct usage *usage)
{
    buf_printf(out,
               "\"input_tokens\":%u,\"cache_creation_input_tokens\":%u,"
               "\"cache_read_input_tokens\":%u",
               usage->input_tokens, usage->cache_creation_5m + usage->cache_creation_1h,
               usage->cache_read);
}

static void write_cache_creation(struct buf *out, const struct usage *usage)
{
    buf_printf(out,
               ",\"cache_creation\":{\"ephemeral_5m_input_tokens\":%u,"
               "\"ephemeral_1h_input_tokens\":%u}",
               usage->cache_creation_5m, usage->cache_creation_1h);
}

static void write_head(const struct message_writer *writer, struct buf *out)
{
    buf_cstr(out, "{\"model\":");
    json_quote(out, writer->request->model);
    buf_printf(out, ",\"id\":\"%.*s\",\"type\":\"message\",\"role\":\"assistant\",",
               STR_ARG(writer->id));
}

static void write_stop(struct buf *out, const struct gen_event *done)
{
    if (!done) {
        buf_cstr(out, "\"stop_reason\":null,\"stop_sequence\":null,\"stop_details\":null");
        return;
    }
    buf_printf(out, "\"stop_reason\":\"%s\",\"stop_sequence\":", stop_names[done->stop_reason]);
    if (done->stop_reason == STOP_STOP_SEQUENCE)
        json_quote(out, done->stop_sequence);
    else
        buf_cstr(out, "null");
    buf_cstr(out, ",\"stop_details\":null");
}

static void write_diagnostics(const struct message_writer *writer, struct buf *out)
{
    buf_cstr(out, writer->request->diagnostics
                      ? ",\"diagnostics\":{\"cache_miss_reason\":{\"type\":\"unavailable\"}}"
                      : ",\"diagnostics\":null");
}

static void write_context_management(const struct message_writer *writer, struct buf *out)
{
    if (writer->request->context_management)
        buf_cstr(out, ",\"context_management\":{\"applied_edits\":[]}");
}

static void write_body(struct message_writer *writer, struct buf *out,
                       const struct gen_event *done)
{
    write_head(writer, out);
    if (writer->whole) {
        buf_str(out, buf_view(&writer->content));
        buf_char(out, '}');
        return;
    }
    buf_cstr(out, "\"content\":[");
    buf_str(out, buf_view(&writer->content));
    buf_cstr(out, "],\"container\":null,");
    write_stop(out, done);
    buf_cstr(out, ",\"usage\":{");
    write_usage_input(out, &done->usage);
    write_cache_creation(out, &done->usage);
    buf_printf(out,
               ",\"output_tokens\":%u,\"output_tokens_details\":{\"thinking_tokens\":%u},"
               "\"server_tool_use\":null,\"service_tier\":\"standard\",\"speed\":\"standard\","
               "\"inference_geo\":\"not_available\"}",
               done->usage.output_tokens, done->usage.thinking_tokens);
    write_diagnostics(writer, out);
    write_context_management(writer, out);
    buf_char(out, '}');
}

/* ---- frames ---- */

static void frame_begin(struct buf *out, const char *name)
{
    buf_printf(out, "event: %s\ndata: {\"type\":\"%s\"", name, name);
}

static void frame_end(struct buf *out)
{
    buf_cstr(out, "}\n\n");
}

static void frame_ping(struct buf *out)
{
    frame_begin(out, "ping");
    frame_end(out);
}

static void frame_message_start(const struct message_writer *writer, struct buf *out)
{
    frame_begin(out, "message_start");
    buf_cstr(out, ",\"message\":");
    write_head(writer, out);
    buf_cstr(out, "\"content\":[],\"container\":null,");
    write_stop(out, NULL);
    buf_cstr(out, ",\"usage\":{");
    write_usage_input(out, &writer->prompt);
    write_cache_creation(out, &writer->prompt);
    buf_cstr(out, ",\"output_tokens\":1,\"service_tier\":\"standard\","
                  "\"inference_geo\":\"not_available\"}");
    write_diagnostics(writer, out);
    buf_char(out, '}');
    frame_end(out);
}

static void frame_delta(struct buf *out, uint32_t index, const char *type, const char *key,
                        struct str text)
{
    frame_begin(out, "content_block_delta");
    buf_printf(out, ",\"index\":%u,\"delta\":{\"type\":\"%s\",\"%s\":", index, type, key);
    json_quote(out, text);
    buf_char(out, '}');
    frame_end(out);
}

/* More of the open block's text, which may be nothing. */
static void frame_more(const struct message_writer *writer, struct buf *out, struct str text)
{
    frame_delta(out, writer->blocks - 1, block_forms[writer->type].delta,
                block_forms[writer->type].key, text);
}

/* id and name: of a call. */
static void write_block_begin(struct buf *out, const struct gen_event *event)
{
    buf_cstr(out, block_forms[event->block_type].begin);
    if (event->block_type != BLOCK_TOOL_USE)
        return;
    json_quote(out, event->tool_id);
    buf_cstr(out, ",\"name\":");
    json_quote(out, event->tool_name);
    buf_cstr(out, ",\"input\":");
}

/* A call begins with an empty piece of its input, as the hosted API's do. */
static void frame_block_start(const struct message_writer *writer, struct buf *out,
                              const struct gen_event *event)
{
    static const char *const ends[] = {
        [BLOCK_TEXT] = "\"}", [BLOCK_THINKING] = "\",\"signature\":\"\"}",
        [BLOCK_TOOL_USE] = "{}" CALLER};

    frame_begin(out, "content_block_start");
    buf_printf(out, ",\"index\":%u,\"content_block\":", writer->blocks - 1);
    write_block_begin(out, event);
    buf_cstr(out, ends[event->block_type]);
    frame_end(out);
    if (event->block_type == BLOCK_TOOL_USE)
        frame_more(writer, out, STR(""));
}

static void frame_block_stop(struct buf *out, uint32_t index)
{
    frame_begin(out, "content_block_stop");
    buf_printf(out, ",\"index\":%u", index);
    frame_end(out);
}

static void frame_message_delta(const struct message_writer *writer, struct buf *out,
                                const struct gen_event *done)
{
    frame_begin(out, "message_delta");
    buf_cstr(out, ",\"delta\":{");
    write_stop(out, done);
    buf_cstr(out, ",\"container\":null},\"usage\":{");
    write_usage_input(out, &done->usage);
    buf_printf(out, ",\"output_tokens\":%u,\"output_tokens_details\":{\"thinking_tokens\":%u}}",
               done->usage.output_tokens, done->usage.thinking_tokens);
    write_context_management(writer, out);
    frame_end(out);
}

static void frame_message_end(const struct message_writer *writer, struct buf *out,
                              const struct gen_event *done)
{
    if (!writer->ending_passed)
        frame_message_delta(writer, out, done);
    frame_begin(out, "message_stop");
    frame_end(out);
}

static void frame_error(const struct message_writer *writer, struct buf *out,
                        const struct err *error)
{
    buf_cstr(out, "event: error\ndata: ");
    api_error_body(out, error, writer->request_id);
    buf_cstr(out, "\n\n");
}

/* ---- events ---- */

/* A backend's input is an object. Another server's may not be, or was cut off: it must not break
 * the body that it stands in. */
static void keep_object(struct message_writer *writer)
{
    struct buf *content = &writer->content;
    yyjson_doc *doc = yyjson_read(content->data + writer->text_begin,
                                  content->n - writer->text_begin, YYJSON_READ_NOFLAG);

    if (!yyjson_is_obj(yyjson_doc_get_root(doc))) {
        content->n = writer->text_begin;
        buf_cstr(content, "{}");
    }
    yyjson_doc_free(doc);
}

/* The end of a block in a body. An empty text block is none. */
static void write_block_end(struct message_writer *writer, struct str signature)
{
    struct buf *content = &writer->content;
    const bool empty = content->n == writer->text_begin;

    switch (writer->type) {
    case BLOCK_THINKING:
        buf_cstr(content, "\",\"signature\":");
        json_quote(content, signature);
        buf_char(content, '}');
        break;
    case BLOCK_TOOL_USE:
        keep_object(writer);
        buf_cstr(content, CALLER);
        break;
    default:
        if (empty)
            content->n = writer->block_begin;
        else
            buf_cstr(content, "\"}");
    }
}

static void block_stop(struct message_writer *writer, struct buf *out, struct str signature)
{
    writer->open = writer->early = writer->passed = false;
    if (!writer->request->stream) {
        write_block_end(writer, signature);
        return;
    }
    if (writer->type == BLOCK_THINKING)
        frame_delta(out, writer->blocks - 1, "signature_delta", "signature", signature);
    frame_block_stop(out, writer->blocks - 1);
}

static void block_start(struct message_writer *writer, struct buf *out,
                        const struct gen_event *event)
{
    const bool begun = writer->early && event->block_type == BLOCK_TEXT;

    if (writer->early && !begun)
        block_stop(writer, out, STR(""));
    writer->early = false;
    if (begun)
        return;
    assert(writer->started && !writer->open);
    assert(event->block_type == BLOCK_TEXT || event->block_type == BLOCK_THINKING ||
           event->block_type == BLOCK_TOOL_USE);
    writer->open = true;
    writer->type = event->block_type;
    writer->blocks++;
    if (writer->request->stream) {
        frame_block_start(writer, out, event);
        return;
    }
    writer->block_begin = writer->content.n;
    buf_cstr(&writer->content, writer->content.n ? "," : "");
    write_block_begin(&writer->content, event);
    writer->text_begin = writer->content.n;
}

static void block_delta(struct message_writer *writer, struct buf *out, struct str text)
{
    assert(writer->open);
    if (text.n == 0 || (writer->type == BLOCK_THINKING && writer->request->thinking.omitted))
        return;
    if (writer->request->stream)
        frame_more(writer, out, text);
    else if (writer->type == BLOCK_TOOL_USE)
        buf_str(&writer->content, text);
    else
        json_escape(&writer->content, text);
}

static void start(struct message_writer *writer, struct buf *out, const struct gen_event *event)
{
    writer->started = true;
    writer->prompt = event->usage;
    if (writer->request->stream) {
        frame_message_start(writer, out);
        frame_ping(out);
    }
}

/* ---- what another server said ---- */

static void frame_passed(struct buf *out, const char *name, const uint32_t *index,
                         struct str members)
{
    frame_begin(out, name);
    if (index)
        buf_printf(out, ",\"index\":%u", *index);
    buf_char(out, ',');
    buf_str(out, members);
    frame_end(out);
}

static void pass_block(struct message_writer *writer, struct buf *out, struct str members)
{
    if (writer->open)
        block_stop(writer, out, STR(""));
    writer->open = writer->passed = true;
    writer->type = BLOCK_TEXT;
    frame_passed(out, "content_block_start", &writer->blocks, members);
    writer->blocks++;
}

static void pass(struct message_writer *writer, struct buf *out, const struct gen_event *event)
{
    const uint32_t index = writer->blocks - 1;
    char name[64];

    if (event->pass == PASS_MESSAGE) {
        buf_str(&writer->content, event->text);
        writer->whole = true;
        return;
    }
    if (!writer->request->stream || event->text.n == 0)
        return;
    switch (event->pass) {
    case PASS_BLOCK:
        pass_block(writer, out, event->text);
        break;
    case PASS_DELTA:
        if (writer->open)
            frame_passed(out, "content_block_delta", &index, event->text);
        break;
    case PASS_ENDING:
        if (writer->open)
            block_stop(writer, out, STR(""));
        writer->ending_passed = true;
        frame_passed(out, "message_delta", NULL, event->text);
        break;
    case PASS_EVENT:
        snprintf(name, sizeof name, "%.*s", STR_ARG(event->pass_name));
        frame_passed(out, name, NULL, event->text);
        break;
    case PASS_MESSAGE:
        break;
    }
}

static void done(struct message_writer *writer, struct buf *out, const struct gen_event *event)
{
    assert(writer->started);
    if (writer->open)                   /* by a keepalive, or cut off: clients want it closed */
        block_stop(writer, out, STR(""));
    writer->ended = true;
    out->overflow |= writer->content.overflow;  /* a part is missing: the caller must know */
    if (writer->request->stream)
        frame_message_end(writer, out, event);
    else
        write_body(writer, out, event);
}

void message_writer_event(struct message_writer *writer, struct buf *out,
                          const struct gen_event *event)
{
    const size_t before = out->n;

    if (writer->ended)
        return;
    switch (event->type) {
    case GEN_STARTED:
        start(writer, out, event);
        break;
    case GEN_BLOCK_START:
        block_start(writer, out, event);
        break;
    case GEN_DELTA:
        block_delta(writer, out, event->text);
        break;
    case GEN_BLOCK_STOP:
        block_stop(writer, out, event->signature);
        break;
    case GEN_PASS:
        pass(writer, out, event);
        break;
    case GEN_DONE:
        done(writer, out, event);
        break;
    case GEN_FAILED:
        writer->ended = true;
        if (writer->written)
            frame_error(writer, out, &event->error);
        break;
    }
    writer->written |= out->n > before;
}

void message_writer_keepalive(struct message_writer *writer, struct buf *out, bool content)
{
    if (!writer->request->stream || writer->ended)
        return;
    if (!content || !writer->started || writer->passed || writer->ending_passed) {
        frame_ping(out);
        writer->written = true;
        return;
    }
    if (!writer->open) {
        block_start(writer, out, &(struct gen_event){.block_type = BLOCK_TEXT});
        writer->early = true;
    }
    frame_more(writer, out, STR(""));
}

void response_count_tokens(struct buf *out, const struct message_request *request,
                           uint32_t tokens)
{
    buf_printf(out, "{\"input_tokens\":%u", tokens);
    if (request->context_management)
        buf_printf(out, ",\"context_management\":{\"original_input_tokens\":%u}", tokens);
    buf_char(out, '}');
}
