/* fuzz_json_request.c - any bytes as a request's body, in every mode.
 *
 * What decodes must keep the promises of request.h, what doesn't must say why in whole characters;
 * and strictness only takes away: what the hosted rules accept, the default mode accepts too. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "api/request.h"
#include "base/utf8.h"

#define CHECK(condition) \
    do {                 \
        if (!(condition)) \
            abort();     \
    } while (0)

/* What is refused lacks what is behind the refusal. */
static void check_refusal(const struct message_request *r)
{
    CHECK(r->refused->code == ERR_INVALID && r->refused->text[0] &&
          utf8_valid(str_of(r->refused->text)) && r->messages_n > 0);
    CHECK(r->tool_choice.kind != CHOICE_TOOL || r->tool_choice.tool < r->tools_n);
}

static void check_blocks(const struct content_block *blocks, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct content_block *block = &blocks[i];
        const bool named = block->type == BLOCK_TOOL_USE || block->type == BLOCK_TOOL_REFERENCE;
        CHECK(utf8_valid(block->text) && utf8_valid(block->name) && utf8_valid(block->signature));
        CHECK(block->type != BLOCK_REDACTED_THINKING);
        CHECK(block->type != BLOCK_TEXT || block->text.n > 0);
        CHECK(block->type != BLOCK_TOOL_USE || (block->id.n && block->text.s[0] == '{'));
        CHECK(block->type != BLOCK_TOOL_RESULT || block->id.n);
        CHECK(named == (block->name.n > 0));
        CHECK(!block->content_n || block->type == BLOCK_TOOL_RESULT);
        check_blocks(block->content, block->content_n);
    }
}

static void check_tools(const struct message_request *r)
{
    CHECK(r->tools_n <= REQUEST_TOOLS_MAX && r->has_tools == (r->tools_n > 0));
    for (size_t i = 0; i < r->tools_n; i++)
        CHECK(r->tools[i].name.n && r->tools[i].schema.n && r->tools[i].schema.s[0] == '{' &&
              r->tools[i].path && utf8_valid(r->tools[i].description));
    CHECK(r->tools_n || r->tool_choice.kind == CHOICE_NONE);
    CHECK(r->tool_choice.kind != CHOICE_TOOL || r->tool_choice.tool < r->tools_n);
    CHECK(r->thinking.kind != THINKING_ENABLED || r->thinking.budget >= 1024);
}

static void check_request(const struct message_request *r, const struct request_options *options)
{
    CHECK(r->model.n > 0 && r->model.n <= 4 * REQUEST_MODEL_CHARS_MAX && utf8_valid(r->model));
    CHECK(r->max_tokens <= REQUEST_MAX_TOKENS_MAX);
    CHECK(!options->count_tokens || (r->max_tokens == 0 && !r->stream && !r->stop_sequences_n));
    CHECK(r->max_tokens > 0 || !r->stream);
    CHECK(!r->has_temperature || (r->temperature >= 0 && r->temperature <= 1));
    CHECK(!r->has_top_p || (r->top_p >= 0 && r->top_p <= 1));
    CHECK(!r->has_top_k || r->top_k >= 0);
    CHECK(r->stop_sequences_n <= REQUEST_STOP_SEQUENCES_MAX);
    for (size_t i = 0; i < r->stop_sequences_n; i++)
        CHECK(r->stop_sequences[i].n > 0 &&
              r->stop_sequences[i].n <= REQUEST_STOP_SEQUENCE_BYTES_MAX);
    CHECK(utf8_valid(r->user_id));
    check_tools(r);
    check_blocks(r->system, r->system_n);
    CHECK(r->messages_n > 0 && r->messages_n <= REQUEST_MESSAGES_MAX);
    for (size_t m = 0; m < r->messages_n; m++) {
        CHECK(r->messages[m].blocks_n > 0);
        CHECK(m == 0 || r->messages[m].role != r->messages[m - 1].role);
        check_blocks(r->messages[m].blocks, r->messages[m].blocks_n);
    }
    CHECK(r->prefill == (r->messages[r->messages_n - 1].role == ROLE_ASSISTANT));
}

static bool decodes(struct str body, const struct request_options *options)
{
    struct arena *arena = arena_new(4096);
    struct err err = {0};
    const struct message_request *request = request_decode(arena, body, options, &err);

    if (request && request->refused)
        check_refusal(request);
    else if (request)
        check_request(request, options);
    else
        CHECK((err.code == ERR_INVALID || err.code == ERR_THREAD) && err.text[0] &&
              utf8_valid(str_of(err.text)));
    arena_free(arena);
    return request != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct str body = {(const char *)data, size};

    for (int count = 0; count <= 1; count++)
        for (int version = API_V23; version <= API_V26; version++) {
            struct request_options options = {.version = (enum api_version)version,
                                              .count_tokens = count};
            const bool lax = decodes(body, &options);
            options.strict = true;
            CHECK(!decodes(body, &options) || lax);
        }
    return 0;
}
