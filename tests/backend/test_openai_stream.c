/* test_openai_stream.c - what OpenAI-compatible servers send, through the reader of events, cut at each byte:
 * the same blocks always, in order, whatever dialect of calls and reasons it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backend/openai_stream.h"
#include "backend/sse.h"

struct listener {
    struct buf story;
    struct openai_stream stream;
    struct err err;
    bool silent;
};

static void hear(void *context, const struct gen_event *event)
{
    static const char *const types[] = {[BLOCK_TEXT] = "text", [BLOCK_THINKING] = "thinking",
                                        [BLOCK_TOOL_USE] = "call"};
    struct listener *listener = context;

    switch (event->type) {
    case GEN_STARTED:
        buf_cstr(&listener->story, "start ");
        break;
    case GEN_BLOCK_START:
        assert_true((event->tool_id.n > 0) == (event->block_type == BLOCK_TOOL_USE));
        buf_printf(&listener->story, "%u:%s(%.*s)<", event->block_index, types[event->block_type],
                   STR_ARG(event->tool_name));
        break;
    case GEN_DELTA:
        for (size_t i = 0; i < event->text.n; i++)
            buf_char(&listener->story, event->text.s[i] ? event->text.s[i] : '~');
        break;
    case GEN_BLOCK_STOP:
        buf_printf(&listener->story, ">%s ", event->signature.n ? "signed" : "");
        break;
    default:
        fail();
    }
}

static bool chunk(void *context, struct str name, struct str data)
{
    struct listener *listener = context;

    (void)name;
    return openai_stream_chunk(&listener->stream, data, &listener->err);
}

#define C(delta) "data: {\"choices\":[{\"index\":0,\"delta\":" delta "}]}\n\n"
#define TEXT(text) C("{\"content\":\"" text "\"}")
#define CALLS(calls) C("{\"tool_calls\":[" calls "]}")
#define END(reason) "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"" reason "\"}]}\n\n"
#define DONE "data: [DONE]\n\n"
#define ROLE C("{\"role\":\"assistant\",\"content\":null}")

static const struct {
    const char *bytes, *story;
} cases[] = {
    {ROLE TEXT("Hel") TEXT("lo") END("stop") DONE, "start 0:text()<Hello> end_turn"},
    {TEXT("a") END("length"), "start 0:text()<a> max_tokens"},
    {TEXT("a") "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\",\"stop_reason\":\"END\"}]}\n\n"
     DONE, "start 0:text()<a> stop_sequence END"},
    {TEXT("a") "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\",\"stop_reason\":151645}]}\n\n"
     DONE, "start 0:text()<a> end_turn"},
    {TEXT("a") END("stop") "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":3,"
     "\"prompt_tokens_details\":{\"cached_tokens\":4},\"completion_tokens_details\":{\"reasoning_tokens\":2}}}\n\n" DONE,
     "start 0:text()<a> end_turn 6+4>3(2)"},
    /* reasoning, by both names */
    {C("{\"reasoning_content\":\"hm\"}") C("{\"reasoning_content\":\"m\"}") TEXT("a") END("stop") DONE,
     "start 0:thinking()<hmm>signed 1:text()<a> end_turn"},
    {C("{\"reasoning\":\"hm\"}") TEXT("\\n\\n") TEXT("a") END("stop") DONE,
     "start 0:thinking()<hm>signed 1:text()<\n\na> end_turn"},
    /* a call in pieces; white space alone is no block */
    {TEXT("\\n\\n") CALLS("{\"index\":0,\"id\":\"x\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}")
     CALLS("{\"index\":0,\"function\":{\"arguments\":\"{\\\"a\\\"\"}}")
     CALLS("{\"index\":0,\"function\":{\"arguments\":\":1}\"}}") TEXT(" ") END("tool_calls") DONE,
     "start 0:call(f)<{\"a\":1}> tool_use"},
    /* two, mixed; the second waits */
    {CALLS("{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\"\"}},"
           "{\"index\":1,\"function\":{\"name\":\"g\",\"arguments\":\"{\"}}")
     CALLS("{\"index\":1,\"function\":{\"arguments\":\"}\"}},{\"index\":0,\"function\":{\"arguments\":\":1}\"}}")
     END("tool_calls") DONE, "start 0:call(f)<{\"a\":1}> 1:call(g)<{}> tool_use"},
    /* whole at once, without indices, and an end that says stop */
    {TEXT("so") CALLS("{\"id\":\"x\",\"function\":{\"name\":\"f\",\"arguments\":{\"a\":[1,2]}}},"
                      "{\"id\":\"y\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}") END("stop") DONE,
     "start 0:text()<so> 1:call(f)<{\"a\":[1,2]}> 2:call(f)<{}> tool_use"},
    /* the name again in each piece */
    {CALLS("{\"index\":0,\"id\":\"x\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}")
     CALLS("{\"index\":0,\"id\":\"x\",\"function\":{\"name\":\"f\",\"arguments\":\"}\"}}") END("tool_calls") DONE,
     "start 0:call(f)<{}> tool_use"},
    /* as the only call that there can be; both ways at once */
    {C("{\"function_call\":{\"name\":\"f\",\"arguments\":\"{\"}}") C("{\"function_call\":{\"name\":\"f\",\"arguments\":\"}\"}}")
     END("function_call") DONE, "start 0:call(f)<{}> tool_use"},
    {C("{\"function_call\":{\"name\":\"f\",\"arguments\":\"{}\"},"
       "\"tool_calls\":[{\"index\":0,\"id\":\"x\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}")
     END("tool_calls") DONE, "start 0:call(f)<{}> tool_use"},
    /* all of them numbered 0; an id that is another in each piece */
    {CALLS("{\"index\":0,\"id\":\"x\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}")
     CALLS("{\"index\":0,\"id\":\"y\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}")
     CALLS("{\"index\":0,\"id\":\"z\",\"function\":{\"name\":\"f\",\"arguments\":\"}\"}}") END("tool_calls") DONE,
     "start 0:call(f)<{}> 1:call(f)<{}> tool_use"},
    /* the end before the call */
    {END("tool_calls") CALLS("{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}") DONE,
     "start 0:call(f)<{}> tool_use"},
    /* cut off in the middle of a call: closed, as ours are */
    {CALLS("{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":\\\"b\"}}") END("length") DONE,
     "start 0:call(f)<{\"a\":\"b\"}> max_tokens"},
    {ROLE ": a comment\n\n" END("stop") DONE, "start end_turn"},
    /* what is wrong */
    {ROLE END("tool_calls") DONE, "start !its answer ends with a call, and there is none in it"},
    {CALLS("{\"index\":0,\"id\":\"x\",\"function\":{\"arguments\":\"{}\"}}") END("tool_calls") DONE,
     "start !a call of its answer has no name"},
    {ROLE TEXT("a"), "start 0:text()<a !it broke off in the middle of its answer"},
    {"", "!it broke off in the middle of its answer"},
    {ROLE "data: {\n\n", "start !a chunk of its answer is no JSON object"},
    {ROLE "data: {\"error\":{\"message\":\"out of memory\",\"code\":503}}\n\n" DONE, "start !out of memory"},
    {CALLS("{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"nonsense\"}}") END("tool_calls") DONE,
     "start 0:call(f)<nonsense !the input of its call of f is no JSON object"},
    {CALLS("{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{}\\u0000\"}}") END("tool_calls") DONE,
     "start 0:call(f)<{}~ !the input of its call of f is no JSON object"},
    {CALLS("{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}")
     CALLS("{\"index\":1,\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}")
     CALLS("{\"index\":0,\"function\":{\"arguments\":\"{}\"}}"),
     "start 0:call(f)<{}> 1:call(g)<{} !it goes on with a call that was over"},
};

static const char *const reasons[] = {
    [STOP_END_TURN] = "end_turn", [STOP_MAX_TOKENS] = "max_tokens",
    [STOP_STOP_SEQUENCE] = "stop_sequence", [STOP_TOOL_USE] = "tool_use",
};

/* The bytes in two pieces, cut at `cut`. */
static void tell(struct listener *listener, struct arena *arena, struct arena *scratch,
                 const struct message_request *request, struct str bytes, size_t cut)
{
    static const struct hash_key secret[2] = {{1, 2}, {3, 4}};
    static struct signer signer;
    struct gen_event done;
    struct sse sse;
    bool fine = true;

    signer_init(&signer, secret);
    *listener = (struct listener){
        .stream = {.request = request, .scratch = scratch,
                   .told = {.arena = arena, .signer = &signer, .silent = &listener->silent,
                            .on_event = hear, .context = listener}}};
    sse_init(&sse);
    fine = sse_feed(&sse, (struct str){bytes.s, cut}, chunk, listener, &listener->err) &&
           sse_feed(&sse, (struct str){bytes.s + cut, bytes.n - cut}, chunk, listener, &listener->err);
    if (fine && openai_stream_end(&listener->stream, &done, &listener->err)) {
        buf_printf(&listener->story, "%s", reasons[done.stop_reason]);
        if (done.stop_reason == STOP_STOP_SEQUENCE)
            buf_printf(&listener->story, " %.*s", STR_ARG(done.stop_sequence));
        if (done.usage.output_tokens)
            buf_printf(&listener->story, " %u+%u>%u(%u)", done.usage.input_tokens,
                       done.usage.cache_read, done.usage.output_tokens, done.usage.thinking_tokens);
    } else {
        const char *space = listener->stream.open == OPENAI_NONE ? "" : " ";
        buf_printf(&listener->story, "%s!%s", space, listener->err.text);
    }
    buf_char(&listener->story, 0);
    openai_stream_release(&listener->stream);
    sse_release(&sse);
}

static void test_streams(void **state)
{
    struct str stops[] = {STR("STOP"), STR("END")};
    const struct message_request request = {.stop_sequences = stops, .stop_sequences_n = 2,
                                            .thinking = {.kind = THINKING_ADAPTIVE}};
    struct arena *arena = arena_new(4096), *scratch = arena_new(4096);

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct str bytes = str_of(cases[i].bytes);
        for (size_t cut = 0; cut <= bytes.n; cut++) {
            struct listener listener;
            tell(&listener, arena, scratch, &request, bytes, cut);
            assert_string_equal(listener.story.data, cases[i].story);
            buf_release(&listener.story);
            arena_reset(arena);
        }
    }
    arena_free(arena);
    arena_free(scratch);
}

/* Who did not ask for thoughts gets none. */
static void test_thinking_asked_for(void **state)
{
    const struct str bytes = STR(C("{\"reasoning\":\"hm\"}") TEXT("a") END("stop") DONE);
    const struct message_request request = {0};
    struct arena *arena = arena_new(4096), *scratch = arena_new(4096);
    struct listener listener;

    (void)state;
    tell(&listener, arena, scratch, &request, bytes, 0);
    assert_string_equal(listener.story.data, "start 0:text()<a> end_turn");
    buf_release(&listener.story);
    arena_free(arena);
    arena_free(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_thinking_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
