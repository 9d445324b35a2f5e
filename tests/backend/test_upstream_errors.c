/* test_upstream_errors.c - statuses and the words of several servers, as our errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backend/upstream_errors.h"

static const struct {
    long status;
    const char *body;
    enum err_code code;
    const char *text;
} cases[] = {
    /* the context, in the words of OpenAI, vLLM twice, SGLang, llama-server, Anthropic */
    {400, "{\"error\":{\"message\":\"This model's maximum context length is 8192 tokens. However, your messages "
          "resulted in 10000 tokens. Please reduce the length of the messages.\"}}",
     ERR_INVALID, "prompt is too long: 10000 tokens > 8192 maximum"},
    {400, "{\"object\":\"error\",\"message\":\"This model's maximum context length is 4096 tokens. However, you "
          "requested 5100 tokens (5000 in the messages, 100 in the completion).\"}",
     ERR_INVALID, "prompt is too long: 5000 tokens > 4096 maximum"},
    {400, "{\"error\":{\"message\":\"This model's maximum context length is 4096 tokens. However, your request has "
          "5001 input tokens. Please reduce the length of the input messages.\"}}",
     ERR_INVALID, "prompt is too long: 5001 tokens > 4096 maximum"},
    {400, "{\"error\":{\"message\":\"The input (5000 tokens) is longer than the model's context length (4096 tokens).\"}}",
     ERR_INVALID, "prompt is too long: 5000 tokens > 4096 maximum"},
    {400, "{\"error\":{\"code\":400,\"message\":\"request (3031 tokens) exceeds the available context size (2048 tokens), "
          "try increasing it\",\"type\":\"exceed_context_size_error\",\"n_prompt_tokens\":3031,\"n_ctx\":2048}}",
     ERR_INVALID, "prompt is too long: 3031 tokens > 2048 maximum"},
    {400, "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"prompt is too long: 21 tokens > "
          "20 maximum\"}}", ERR_INVALID, "prompt is too long: 21 tokens > 20 maximum"},
    /* the prompt alone would fit: it is not too long */
    {400, "{\"error\":{\"message\":\"This model's maximum context length is 4096 tokens. However, you requested 5100 "
          "tokens (4000 in the messages, 1100 in the completion).\"}}",
     ERR_INVALID, "This model's maximum context length is 4096 tokens. However, you requested 5100 tokens (4000 in "
                  "the messages, 1100 in the completion)."},
    {401, "{\"error\":{\"message\":\"bad key\"}}", ERR_USAGE, "bad key"},
    {403, "", ERR_USAGE, "it answered with status 403"},
    {404, "{\"detail\":\"Not Found\"}", ERR_USAGE, "Not Found"},
    {301, "<html>", ERR_USAGE, "<html>"},
    {413, "", ERR_TOO_LARGE, "it answered with status 413"},
    {418, "teapot", ERR_INVALID, "teapot"},
    {429, "{\"error\":\"slow\\ndown\\u0000\"}", ERR_RATE, "slow down"},       /* one line of the log */
    {500, "\xff\xfe", ERR_INTERNAL, "it answered with status 500"},
    {501, "{}", ERR_UNSUPPORTED, "it answered with status 501"},
    {503, "[1]", ERR_OVERLOADED, "[1]"},
    {504, "", ERR_TIMEOUT, "it answered with status 504"},
    {529, "{\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}", ERR_OVERLOADED, "busy"},
    /* in the middle of a stream the body alone says it */
    {0, "{\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}", ERR_OVERLOADED, "busy"},
    {0, "{\"error\":{\"code\":429,\"message\":\"later\"}}", ERR_RATE, "later"},
    {0, "{\"error\":{\"type\":\"server_error\",\"message\":\"oh\"}}", ERR_INTERNAL, "oh"},
    {0, "{\"error\":{}}", ERR_INTERNAL, "it broke its answer off with an error"},
};

static void test_words(void **state)
{
    struct arena *arena = arena_new(4096);

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {0};
        assert_false(upstream_error_status(arena, str_of(cases[i].body), cases[i].status, NULL, &err));
        assert_string_equal(err.text, cases[i].text);
        assert_int_equal(err.code, cases[i].code);
    }
    arena_free(arena);
}

/* Wherever it stands, also where the text is cut; but a key that is a word hides no words. */
static void test_keys_are_hidden(void **state)
{
    static const struct { const char *body, *key, *text; } keys[] = {
        {"{\"error\":{\"message\":\"no key-12345, no key-12345\"}}", "key-12345", "no *********, no *********"},
        {"bad key-12345", "key-12345", "bad *********"},
        {"{\"error\":{\"message\":\"\\u006bey-12345\"}}", "key-12345", "*********"},
        {"bad key", "key", "bad key"}, {"bad key", "", "bad key"},
    };
    struct arena *arena = arena_new(4096);
    struct buf body = {0};
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        upstream_error_status(arena, str_of(keys[i].body), 401, keys[i].key, &err);
        assert_string_equal(err.text, keys[i].text);
    }
    for (size_t before = 180; before < 200; before++) {
        buf_reset(&body);
        buf_printf(&body, "{\"message\":\"%0*dkey-12345\"}", (int)before, 0);
        upstream_error_status(arena, buf_view(&body), 401, "key-12345", &err);
        assert_null(strchr(err.text, 'k'));
    }
    buf_release(&body);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words), cmocka_unit_test(test_keys_are_hidden),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
