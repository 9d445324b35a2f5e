/* test_response.c - a generation's events as frames and as one body, byte for byte; and random
 * generations against a small reader of streams that accepts only what the contract allows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/response.h"
#include "base/json.h"
#include "base/random.h"

#define STARTED_USAGE                                                                            \
    "\"usage\":{\"input_tokens\":12,\"cache_creation_input_tokens\":0,"                          \
    "\"cache_read_input_tokens\":0,\"cache_creation\":{\"ephemeral_5m_input_tokens\":0,"         \
    "\"ephemeral_1h_input_tokens\":0},\"output_tokens\":1,\"service_tier\":\"standard\","        \
    "\"inference_geo\":\"not_available\"}"
#define PING "event: ping\ndata: {\"type\":\"ping\"}\n\n"
#define BLOCK_START                                                                              \
    "event: content_block_start\n"                                                               \
    "data: {\"type\":\"content_block_start\",\"index\":0,"                                       \
    "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
#define DELTA(text)                                                                              \
    "event: content_block_delta\n"                                                               \
    "data: {\"type\":\"content_block_delta\",\"index\":0,"                                       \
    "\"delta\":{\"type\":\"text_delta\",\"text\":\"" text "\"}}\n\n"
#define BLOCK_STOP                                                                               \
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
#define MESSAGE_STOP "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"

struct fixture {
    struct arena *arena;
    struct message_request request;
    struct message_writer *writer;
    struct buf out;
};

static void begin(struct fixture *f, bool stream)
{
    *f = (struct fixture){.arena = arena_new(1024),
                          .request = {.model = STR("local-7b"), .stream = stream}};
    f->writer = message_writer_new(f->arena, &f->request, STR("req_01AbC"));
}

static void end(struct fixture *f)
{
    message_writer_release(f->writer);
    buf_release(&f->out);
    arena_free(f->arena);
}

static void event(struct fixture *f, struct gen_event e)
{
    message_writer_event(f->writer, &f->out, &e);
}

static void started(struct fixture *f)
{
    event(f, (struct gen_event){.type = GEN_STARTED, .usage = {.input_tokens = 12}});
}

static void delta(struct fixture *f, const char *text)
{
    event(f, (struct gen_event){.type = GEN_DELTA, .text = str_of(text)});
}

static void done(struct fixture *f, enum stop_reason reason, const char *sequence)
{
    event(f, (struct gen_event){.type = GEN_DONE, .stop_reason = reason,
                                .stop_sequence = str_of(sequence),
                                .usage = {.input_tokens = 12, .output_tokens = 41}});
}

/* The whole output so far; %s in expected is the message's id. Empties the output. */
static void wrote(struct fixture *f, const char *expected)
{
    struct buf text = {0};
    const char *id = strstr(expected, "%s");

    buf_append(&text, expected, id ? (size_t)(id - expected) : strlen(expected));
    if (id) {
        buf_str(&text, message_writer_id(f->writer));
        buf_cstr(&text, id + 2);
    }
    buf_char(&text, '\0');
    buf_char(&f->out, '\0');
    assert_string_equal(f->out.data, text.data);
    buf_release(&text);
    buf_reset(&f->out);
}

static void test_stream_byte_for_byte(void **state)
{
    struct fixture f;

    begin(&f, true);
    assert_false(message_writer_started(f.writer));
    started(&f);
    assert_true(message_writer_started(f.writer));
    wrote(&f, "event: message_start\n"
              "data: {\"type\":\"message_start\",\"message\":{\"model\":\"local-7b\",\"id\":\"%s\","
              "\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"container\":null,"
              "\"stop_reason\":null,\"stop_sequence\":null,\"stop_details\":null," STARTED_USAGE
              ",\"diagnostics\":null}}\n\n" PING);
    event(&f, (struct gen_event){.type = GEN_BLOCK_START});
    wrote(&f, BLOCK_START);
    delta(&f, "The fee is \"5\".\n\xE2\x82\xAC\x01");
    wrote(&f, DELTA("The fee is \\\"5\\\".\\n\xE2\x82\xAC\\u0001"));
    event(&f, (struct gen_event){.type = GEN_BLOCK_STOP});
    wrote(&f, BLOCK_STOP);
    done(&f, STOP_END_TURN, "");
    wrote(&f, "event: message_delta\n"
              "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\","
              "\"stop_sequence\":null,\"stop_details\":null,\"container\":null},"
              "\"usage\":{\"input_tokens\":12,\"cache_creation_input_tokens\":0,"
              "\"cache_read_input_tokens\":0,\"output_tokens\":41,"
              "\"output_tokens_details\":{\"thinking_tokens\":0}}}\n\n" MESSAGE_STOP);
    end(&f);
}

static void test_body_byte_for_byte(void **state)
{
    struct fixture f;

    begin(&f, false);
    started(&f);
    event(&f, (struct gen_event){.type = GEN_BLOCK_START});
    delta(&f, "H");
    delta(&f, "i\t.");
    event(&f, (struct gen_event){.type = GEN_BLOCK_STOP});
    message_writer_keepalive(f.writer, &f.out, true);
    assert_int_equal(f.out.n, 0);
    assert_false(message_writer_started(f.writer));
    done(&f, STOP_STOP_SEQUENCE, "\n\"END\"");
    assert_true(message_writer_started(f.writer));
    wrote(&f, "{\"model\":\"local-7b\",\"id\":\"%s\",\"type\":\"message\",\"role\":\"assistant\","
              "\"content\":[{\"type\":\"text\",\"text\":\"Hi\\t.\"}],\"container\":null,"
              "\"stop_reason\":\"stop_sequence\",\"stop_sequence\":\"\\n\\\"END\\\"\","
              "\"stop_details\":null,\"usage\":{\"input_tokens\":12,"
              "\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,"
              "\"cache_creation\":{\"ephemeral_5m_input_tokens\":0,"
              "\"ephemeral_1h_input_tokens\":0},\"output_tokens\":41,"
              "\"output_tokens_details\":{\"thinking_tokens\":0},\"server_tool_use\":null,"
              "\"service_tier\":\"standard\",\"speed\":\"standard\","
              "\"inference_geo\":\"not_available\"},\"diagnostics\":null}");
    end(&f);
}

static void test_body_without_a_word(void **state)
{
    struct fixture f;

    begin(&f, false);
    started(&f);
    event(&f, (struct gen_event){.type = GEN_BLOCK_START});     /* an empty text block is none */
    event(&f, (struct gen_event){.type = GEN_BLOCK_STOP});
    done(&f, STOP_MAX_TOKENS, "");
    buf_char(&f.out, '\0');
    assert_non_null(strstr(f.out.data, "\"content\":[],\"container\":null,"
                                       "\"stop_reason\":\"max_tokens\",\"stop_sequence\":null"));
    end(&f);
}

static void test_body_of_several_blocks(void **state)
{
    struct fixture f;

    begin(&f, false);
    started(&f);
    for (int i = 0; i < 3; i++) {
        event(&f, (struct gen_event){.type = GEN_BLOCK_START});
        delta(&f, i == 1 ? "" : "a");
        event(&f, (struct gen_event){.type = GEN_BLOCK_STOP});
    }
    done(&f, STOP_CONTEXT_WINDOW, "");
    buf_char(&f.out, '\0');
    assert_non_null(strstr(f.out.data,
                           "\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
                           "{\"type\":\"text\",\"text\":\"a\"}],\"container\":null,"
                           "\"stop_reason\":\"model_context_window_exceeded\""));
    end(&f);
}

static void test_what_was_asked_for_is_answered(void **state)
{
    struct fixture f;
    const char *const diagnostics =
        "\"diagnostics\":{\"cache_miss_reason\":{\"type\":\"unavailable\"}}";

    for (int stream = 0; stream <= 1; stream++) {
        begin(&f, stream);
        f.request.diagnostics = f.request.context_management = true;
        started(&f);
        done(&f, STOP_END_TURN, "");
        buf_char(&f.out, '\0');
        assert_non_null(strstr(f.out.data, diagnostics));
        assert_non_null(strstr(f.out.data, ",\"context_management\":{\"applied_edits\":[]}}"));
        end(&f);
    }
}

static void test_model_is_echoed_escaped(void **state)
{
    struct fixture f;

    begin(&f, false);
    f.request.model = STR("a\"\nb");
    started(&f);
    done(&f, STOP_END_TURN, "");
    buf_char(&f.out, '\0');
    assert_non_null(strstr(f.out.data, "{\"model\":\"a\\\"\\nb\","));
    end(&f);
}

static void test_cache_counts(void **state)
{
    struct fixture f;

    begin(&f, true);
    event(&f, (struct gen_event){.type = GEN_STARTED,
                                 .usage = {.input_tokens = 3, .cache_read = 4,
                                           .cache_creation_5m = 5, .cache_creation_1h = 6}});
    buf_char(&f.out, '\0');
    assert_non_null(strstr(f.out.data,
                           "\"usage\":{\"input_tokens\":3,\"cache_creation_input_tokens\":11,"
                           "\"cache_read_input_tokens\":4,"
                           "\"cache_creation\":{\"ephemeral_5m_input_tokens\":5,"
                           "\"ephemeral_1h_input_tokens\":6}"));
    end(&f);
}

/* ---- thoughts and calls ---- */

#define FRAME(name, rest) "event: " name "\ndata: {\"type\":\"" name "\"," rest "}\n\n"
#define START(index, block) \
    FRAME("content_block_start", "\"index\":" #index ",\"content_block\":" block)
#define MORE(index, delta) FRAME("content_block_delta", "\"index\":" #index ",\"delta\":{" delta "}")
#define STOP(index) FRAME("content_block_stop", "\"index\":" #index)
#define CALL_START(index)                                                                        \
    START(index, "{\"type\":\"tool_use\",\"id\":\"toolu_01\",\"name\":\"a\\\"b\",\"input\":{},"     \
                 "\"caller\":{\"type\":\"direct\"}}")                                            \
    MORE(index, "\"type\":\"input_json_delta\",\"partial_json\":\"\"")

static void open_block(struct fixture *f, enum block_type type)
{
    event(f, (struct gen_event){.type = GEN_BLOCK_START, .block_type = type,
                                .tool_id = STR("toolu_01"), .tool_name = STR("a\"b")});
}

static void close_block(struct fixture *f, const char *signature)
{
    event(f, (struct gen_event){.type = GEN_BLOCK_STOP, .signature = str_of(signature)});
}

static void test_stream_of_a_thought_and_a_call(void **state)
{
    struct fixture f;

    begin(&f, true);
    started(&f);
    buf_reset(&f.out);
    open_block(&f, BLOCK_THINKING);
    wrote(&f, START(0, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}"));
    delta(&f, "Two\n");
    wrote(&f, MORE(0, "\"type\":\"thinking_delta\",\"thinking\":\"Two\\n\""));
    message_writer_keepalive(f.writer, &f.out, true);
    wrote(&f, MORE(0, "\"type\":\"thinking_delta\",\"thinking\":\"\""));
    close_block(&f, "cHY6");
    wrote(&f, MORE(0, "\"type\":\"signature_delta\",\"signature\":\"cHY6\"") STOP(0));
    open_block(&f, BLOCK_TOOL_USE);
    wrote(&f, CALL_START(1));
    delta(&f, "{\"k\":\n");
    wrote(&f, MORE(1, "\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"k\\\":\\n\""));
    message_writer_keepalive(f.writer, &f.out, true);
    wrote(&f, MORE(1, "\"type\":\"input_json_delta\",\"partial_json\":\"\""));
    delta(&f, "1}");
    close_block(&f, "");
    wrote(&f, MORE(1, "\"type\":\"input_json_delta\",\"partial_json\":\"1}\"") STOP(1));
    event(&f, (struct gen_event){.type = GEN_DONE, .stop_reason = STOP_TOOL_USE,
                                 .usage = {.output_tokens = 41, .thinking_tokens = 9}});
    buf_char(&f.out, '\0');
    assert_non_null(strstr(f.out.data, "\"stop_reason\":\"tool_use\""));
    assert_non_null(strstr(f.out.data, "\"output_tokens\":41,\"output_tokens_details\":"
                                       "{\"thinking_tokens\":9}"));
    end(&f);
}

static void test_body_of_a_thought_and_calls(void **state)
{
    struct fixture f;

    begin(&f, false);
    started(&f);
    open_block(&f, BLOCK_THINKING);
    delta(&f, "\"Two\"");
    close_block(&f, "cHY6");
    open_block(&f, BLOCK_TOOL_USE);
    delta(&f, "{\"k\": ");
    delta(&f, "[1.0]}");
    close_block(&f, "");
    open_block(&f, BLOCK_TOOL_USE);
    close_block(&f, "");
    event(&f, (struct gen_event){.type = GEN_DONE, .stop_reason = STOP_TOOL_USE,
                                 .usage = {.output_tokens = 41, .thinking_tokens = 9}});
    buf_char(&f.out, '\0');
#define CALL(input) "{\"type\":\"tool_use\",\"id\":\"toolu_01\",\"name\":\"a\\\"b\",\"input\":" input \
                    ",\"caller\":{\"type\":\"direct\"}}"
    assert_non_null(strstr(f.out.data,
                           "\"content\":[{\"type\":\"thinking\",\"thinking\":\"\\\"Two\\\"\","
                           "\"signature\":\"cHY6\"}," CALL("{\"k\": [1.0]}") "," CALL("{}")
                           "],\"container\":null,\"stop_reason\":\"tool_use\""));
    assert_non_null(strstr(f.out.data, "\"output_tokens_details\":{\"thinking_tokens\":9}"));
    end(&f);
}

/* What another server calls an input may be anything; the body around it stays JSON. */
static void test_body_of_broken_inputs(void **state)
{
    static const char *const inputs[] = {"{\"k\":", "[1]", "\"x\"", "{} {}", "}", "{\"a\":NaN}"};

    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        struct fixture f;

        begin(&f, false);
        started(&f);
        open_block(&f, BLOCK_TOOL_USE);
        delta(&f, inputs[i]);
        if (i % 2)
            close_block(&f, "");
        done(&f, STOP_MAX_TOKENS, "");
        buf_char(&f.out, '\0');
        assert_non_null(strstr(f.out.data, "\"content\":[" CALL("{}") "],"));
        end(&f);
    }
#undef CALL
}

static void test_omitted_thoughts_are_signed(void **state)
{
    struct fixture f;

    begin(&f, true);
    f.request.thinking.omitted = true;
    started(&f);
    open_block(&f, BLOCK_THINKING);
    buf_reset(&f.out);
    delta(&f, "secret");
    assert_int_equal(f.out.n, 0);
    message_writer_keepalive(f.writer, &f.out, true);
    wrote(&f, MORE(0, "\"type\":\"thinking_delta\",\"thinking\":\"\""));
    close_block(&f, "cHY6");
    wrote(&f, MORE(0, "\"type\":\"signature_delta\",\"signature\":\"cHY6\"") STOP(0));
    end(&f);

    begin(&f, false);
    f.request.thinking.omitted = true;
    started(&f);
    open_block(&f, BLOCK_THINKING);
    delta(&f, "secret");
    close_block(&f, "cHY6");
    done(&f, STOP_END_TURN, "");
    buf_char(&f.out, '\0');
    assert_non_null(strstr(f.out.data, "[{\"type\":\"thinking\",\"thinking\":\"\","
                                       "\"signature\":\"cHY6\"}]"));
    end(&f);
}

/* ---- failures ---- */

static void test_failure_in_a_stream(void **state)
{
    struct fixture f;

    begin(&f, true);
    started(&f);
    event(&f, (struct gen_event){.type = GEN_BLOCK_START});
    buf_reset(&f.out);
    event(&f, (struct gen_event){.type = GEN_FAILED, .error = {ERR_OVERLOADED, "Overloaded"}});
    wrote(&f, "event: error\n"
              "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\","
              "\"message\":\"Overloaded\"},\"request_id\":\"req_01AbC\"}\n\n");
    message_writer_keepalive(f.writer, &f.out, true);
    message_writer_keepalive(f.writer, &f.out, false);
    assert_int_equal(f.out.n, 0);
    delta(&f, "late");                          /* the cancelled generation comes to its end too */
    event(&f, (struct gen_event){.type = GEN_BLOCK_STOP});
    event(&f, (struct gen_event){.type = GEN_FAILED, .error = {ERR_CANCELLED, "cancelled"}});
    assert_int_equal(f.out.n, 0);
    end(&f);
}

/* Before the first byte the answer still has a status of its own: nothing is written here. */
static void test_failure_before_the_first_byte(void **state)
{
    struct fixture f;

    for (int stream = 0; stream <= 1; stream++) {
        begin(&f, stream);
        if (!stream)
            started(&f);
        event(&f, (struct gen_event){.type = GEN_FAILED, .error = {ERR_INVALID, "no"}});
        assert_int_equal(f.out.n, 0);
        assert_false(message_writer_started(f.writer));
        end(&f);
    }
}

static void test_overflow_reaches_the_caller(void **state)
{
    struct fixture f;

    begin(&f, true);
    f.out.ceiling = 10;
    started(&f);
    assert_true(f.out.overflow);
    end(&f);
}

/* ---- keepalive ---- */

static void test_keepalive_outside_the_stream(void **state)
{
    struct fixture f;

    begin(&f, true);
    message_writer_keepalive(f.writer, &f.out, false);
    message_writer_keepalive(f.writer, &f.out, true);
    wrote(&f, PING PING);               /* no message to put anything else into */
    started(&f);
    done(&f, STOP_END_TURN, "");
    buf_reset(&f.out);
    message_writer_keepalive(f.writer, &f.out, true);
    assert_int_equal(f.out.n, 0);
    end(&f);
}

/* Once a ping is out there is no status left to tell an error by. */
static void test_failed_after_a_ping(void **state)
{
    struct fixture f;
    struct gen_event failed = {.type = GEN_FAILED};

    begin(&f, true);
    message_writer_keepalive(f.writer, &f.out, false);
    wrote(&f, PING);
    err_set(&failed.error, ERR_OVERLOADED, "full");
    event(&f, failed);
    assert_memory_equal(f.out.data, "event: error\n", 13);
    end(&f);
}

static void test_keepalive_opens_the_block_early(void **state)
{
    struct fixture f;

    begin(&f, true);
    started(&f);
    buf_reset(&f.out);
    message_writer_keepalive(f.writer, &f.out, false);
    wrote(&f, PING);
    message_writer_keepalive(f.writer, &f.out, true);
    wrote(&f, BLOCK_START DELTA(""));
    message_writer_keepalive(f.writer, &f.out, true);
    wrote(&f, DELTA(""));
    event(&f, (struct gen_event){.type = GEN_BLOCK_START});
    wrote(&f, "");
    delta(&f, "a");
    wrote(&f, DELTA("a"));
    message_writer_keepalive(f.writer, &f.out, true);
    wrote(&f, DELTA(""));
    event(&f, (struct gen_event){.type = GEN_BLOCK_STOP});
    wrote(&f, BLOCK_STOP);
    end(&f);
}

/* The block that the keepalive opened is one of text; what comes is not. */
static void test_early_block_gives_way(void **state)
{
    struct fixture f;

    begin(&f, true);
    started(&f);
    message_writer_keepalive(f.writer, &f.out, true);
    buf_reset(&f.out);
    open_block(&f, BLOCK_TOOL_USE);
    wrote(&f, STOP(0) CALL_START(1));
    close_block(&f, "");
    wrote(&f, STOP(1));
    message_writer_keepalive(f.writer, &f.out, true);
    buf_reset(&f.out);
    open_block(&f, BLOCK_THINKING);
    wrote(&f, STOP(2) START(3, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}"));
    end(&f);
}

static void test_early_block_is_closed(void **state)
{
    struct fixture f;

    begin(&f, true);
    started(&f);
    message_writer_keepalive(f.writer, &f.out, true);
    buf_reset(&f.out);
    done(&f, STOP_END_TURN, "");
    assert_memory_equal(f.out.data, BLOCK_STOP, strlen(BLOCK_STOP));
    end(&f);
}

/* ---- a reader of streams ---- */

struct reader {
    enum { BEFORE, BETWEEN, IN_BLOCK, ENDING, OVER } state;
    int64_t index;              /* of the next block */
    struct str type;            /* of the open one */
    bool signed_;               /* ... and its signature came */
    struct buf text;
};

static yyjson_val *at(yyjson_val *object, const char *key)
{
    yyjson_val *value = yyjson_obj_get(object, key);

    assert_non_null(value);
    return value;
}

static void read_block_start(struct reader *r, yyjson_val *block)
{
    static const char *const types[] = {"text", "thinking", "tool_use"};

    r->signed_ = false;
    for (size_t i = 0; i < 3; i++)
        if (yyjson_equals_str(at(block, "type"), types[i]))
            r->type = str_of(types[i]);
    if (str_is(r->type, "tool_use"))
        assert_int_equal(yyjson_obj_size(at(block, "input")), 0);
    else
        assert_int_equal(yyjson_get_len(at(block, r->type.s)), 0);
}

/* The delta's type is the block's; a signature is the last. */
static void read_delta(struct reader *r, yyjson_val *delta)
{
    yyjson_val *type = at(delta, "type");
    const bool text = str_is(r->type, "text"), thought = str_is(r->type, "thinking");

    assert_false(r->signed_);
    if (thought && yyjson_equals_str(type, "signature_delta")) {
        r->signed_ = true;
        return;
    }
    assert_true(yyjson_equals_str(type, text      ? "text_delta"
                                        : thought ? "thinking_delta"
                                                  : "input_json_delta"));
    buf_str(&r->text, json_str(at(delta, text ? "text" : thought ? "thinking" : "partial_json")));
}

static void read_event(struct reader *r, const char *name, yyjson_val *data)
{
    assert_true(yyjson_equals_str(at(data, "type"), name));
    if (strcmp(name, "message_start") == 0) {
        assert_int_equal(r->state, BEFORE);
        assert_int_equal(yyjson_arr_size(at(at(data, "message"), "content")), 0);
        assert_true(yyjson_is_null(at(at(data, "message"), "stop_reason")));
        assert_true(yyjson_is_uint(at(at(at(data, "message"), "usage"), "input_tokens")));
        r->state = BETWEEN;
    } else if (strcmp(name, "ping") == 0) {
        assert_true(r->state > BEFORE && r->state < OVER);
    } else if (strcmp(name, "content_block_start") == 0) {
        assert_int_equal(r->state, BETWEEN);
        assert_int_equal(yyjson_get_sint(at(data, "index")), r->index);
        read_block_start(r, at(data, "content_block"));
        r->state = IN_BLOCK;
    } else if (strcmp(name, "content_block_delta") == 0) {
        assert_int_equal(r->state, IN_BLOCK);
        assert_int_equal(yyjson_get_sint(at(data, "index")), r->index);
        read_delta(r, at(data, "delta"));
    } else if (strcmp(name, "content_block_stop") == 0) {
        assert_int_equal(r->state, IN_BLOCK);
        assert_int_equal(yyjson_get_sint(at(data, "index")), r->index++);
        assert_int_equal(r->signed_, str_is(r->type, "thinking"));
        r->state = BETWEEN;
    } else if (strcmp(name, "message_delta") == 0) {
        assert_int_equal(r->state, BETWEEN);
        assert_true(yyjson_is_str(at(at(data, "delta"), "stop_reason")));
        at(at(data, "delta"), "stop_sequence");
        at(at(data, "delta"), "stop_details");
        assert_true(yyjson_is_uint(at(at(data, "usage"), "output_tokens")));
        r->state = ENDING;
    } else if (strcmp(name, "message_stop") == 0) {
        assert_int_equal(r->state, ENDING);
        r->state = OVER;
    } else {
        assert_string_equal(name, "error");
        assert_true(r->state > BEFORE && r->state < OVER);
        r->state = OVER;
    }
}

/* `event: NAME\ndata: JSON\n\n`, again and again, and not a byte else. */
static void read_stream(struct reader *r, struct str bytes)
{
    struct arena *arena = arena_new(4096);

    while (bytes.n) {
        char name[32];
        yyjson_val *data;
        struct err err;

        assert_true(str_starts(bytes, STR("event: ")));
        const char *line = memchr(bytes.s, '\n', bytes.n);
        assert_non_null(line);
        const size_t n = (size_t)(line - bytes.s) - 7;
        assert_true(n < sizeof name);
        memcpy(name, bytes.s + 7, n);
        name[n] = '\0';
        bytes = (struct str){line + 1, bytes.n - n - 8};
        assert_true(str_starts(bytes, STR("data: ")));
        line = memchr(bytes.s, '\n', bytes.n);
        assert_non_null(line);
        const struct str json = {bytes.s + 6, (size_t)(line - bytes.s) - 6};
        bytes = (struct str){line + 1, bytes.n - json.n - 7};
        assert_true(bytes.n && *bytes.s == '\n');
        bytes = (struct str){bytes.s + 1, bytes.n - 1};
        assert_true(json_parse(arena, json, &data, &err));
        read_event(r, name, data);
        arena_reset(arena);
    }
    arena_free(arena);
}

/* One random generation; what was said is kept in `said`. */
static void generate(struct fixture *f, struct rng *rng, struct buf *said)
{
    static const enum block_type types[] = {BLOCK_TEXT, BLOCK_THINKING, BLOCK_TOOL_USE};
    static const char *const words[] = {"", "a", " the", "\n", "\"", "\\", "\xC3\xA4",
                                        "\xF0\x9F\x98\x80", "data: x\n\n", "\x7F\x1F"};

    started(f);
    for (uint64_t blocks = rng_next(rng) % 4; blocks > 0; blocks--) {
        if (rng_next(rng) % 3 == 0)
            message_writer_keepalive(f->writer, &f->out, rng_next(rng) % 2);
        const enum block_type type = types[rng_next(rng) % 3];
        open_block(f, type);
        for (uint64_t n = rng_next(rng) % 8; n > 0; n--) {
            const char *word = type == BLOCK_TOOL_USE
                                   ? "{"
                                   : words[rng_next(rng) % (sizeof words / sizeof *words)];
            if (rng_next(rng) % 4 == 0)
                message_writer_keepalive(f->writer, &f->out, rng_next(rng) % 2);
            delta(f, word);
            buf_cstr(said, f->request.stream || type != BLOCK_TOOL_USE ? word : "");
        }
        close_block(f, "s");
    }
    if (rng_next(rng) % 3 == 0)
        message_writer_keepalive(f->writer, &f->out, rng_next(rng) % 2);
    if (rng_next(rng) % 5 == 0)
        event(f, (struct gen_event){.type = GEN_FAILED, .error = {ERR_INTERNAL, "a\nb"}});
    else
        done(f, (enum stop_reason)(rng_next(rng) % STOP_REASONS), "\n");
}

static void test_random_streams_are_well_formed(void **state)
{
    struct rng rng;

    rng_seed(&rng, 7777);
    for (int i = 0; i < 3000; i++) {
        struct fixture f;
        struct reader reader = {0};
        struct buf said = {0};

        begin(&f, true);
        generate(&f, &rng, &said);
        read_stream(&reader, buf_view(&f.out));
        assert_int_equal(reader.state, OVER);
        assert_true(str_equal(buf_view(&reader.text), buf_view(&said)));
        buf_release(&reader.text);
        buf_release(&said);
        end(&f);
    }
}

static void test_random_bodies_hold_what_was_said(void **state)
{
    struct rng rng;

    rng_seed(&rng, 7778);
    for (int i = 0; i < 1000; i++) {
        struct fixture f;
        struct buf said = {0}, text = {0};
        yyjson_val *body, *block;
        struct err err;

        begin(&f, false);
        generate(&f, &rng, &said);
        if (f.out.n) {                          /* else it failed */
            assert_true(json_parse(f.arena, buf_view(&f.out), &body, &err));
            yyjson_arr_iter blocks = yyjson_arr_iter_with(at(body, "content"));
            while ((block = yyjson_arr_iter_next(&blocks))) {
                yyjson_val *thought = yyjson_obj_get(block, "thinking");
                yyjson_val *input = yyjson_obj_get(block, "input");
                assert_true(thought || input || yyjson_get_len(at(block, "text")) > 0);
                if (!input)
                    buf_str(&text, json_str(thought ? thought : at(block, "text")));
            }
            assert_true(str_equal(buf_view(&text), buf_view(&said)));
        }
        buf_release(&said);
        buf_release(&text);
        end(&f);
    }
}

static void test_ids_differ(void **state)
{
    struct fixture a, b;

    begin(&a, true);
    begin(&b, true);
    assert_true(str_starts(message_writer_id(a.writer), STR("msg_01")));
    assert_int_equal(message_writer_id(a.writer).n, strlen("msg_01") + 22);
    assert_false(str_equal(message_writer_id(a.writer), message_writer_id(b.writer)));
    end(&a);
    end(&b);
}

static void test_count_tokens(void **state)
{
    struct message_request request = {0};
    struct buf out = {0};

    response_count_tokens(&out, &request, 2095);
    assert_true(str_is(buf_view(&out), "{\"input_tokens\":2095}"));
    request.context_management = true;
    buf_reset(&out);
    response_count_tokens(&out, &request, 7);
    assert_true(str_is(buf_view(&out), "{\"input_tokens\":7,"
                                       "\"context_management\":{\"original_input_tokens\":7}}"));
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream_byte_for_byte),
        cmocka_unit_test(test_body_byte_for_byte),
        cmocka_unit_test(test_body_without_a_word),
        cmocka_unit_test(test_body_of_several_blocks),
        cmocka_unit_test(test_what_was_asked_for_is_answered),
        cmocka_unit_test(test_model_is_echoed_escaped),
        cmocka_unit_test(test_cache_counts),
        cmocka_unit_test(test_stream_of_a_thought_and_a_call),
        cmocka_unit_test(test_body_of_a_thought_and_calls),
        cmocka_unit_test(test_body_of_broken_inputs),
        cmocka_unit_test(test_omitted_thoughts_are_signed),
        cmocka_unit_test(test_failure_in_a_stream),
        cmocka_unit_test(test_failure_before_the_first_byte),
        cmocka_unit_test(test_overflow_reaches_the_caller),
        cmocka_unit_test(test_keepalive_outside_the_stream),
        cmocka_unit_test(test_failed_after_a_ping),
        cmocka_unit_test(test_keepalive_opens_the_block_early),
        cmocka_unit_test(test_early_block_gives_way),
        cmocka_unit_test(test_early_block_is_closed),
        cmocka_unit_test(test_random_streams_are_well_formed),
        cmocka_unit_test(test_random_bodies_hold_what_was_said),
        cmocka_unit_test(test_ids_differ),
        cmocka_unit_test(test_count_tokens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
