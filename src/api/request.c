/* request.c - from the body to struct message_request: shape, rules, then the conversation.
 *
 * The order is the contract's: the JSON, the shape of every field, the rules between them, and last
 * what this server doesn't offer; only then is anything merged or left out. */
#include "api/request.h"

#include <math.h>

#include "api/request_parts.h"

/* Claude Code's first system block: not meant for the model, and different for every conversation,
 * so that no two would share a prefix. */
static bool is_billing_line(struct str text)
{
    return str_starts(text, STR("x-anthropic-billing-header:"));
}

static uint32_t seconds_of(struct raw_mark mark)
{
    return !mark.given ? 0 : mark.ttl == 1 ? REQUEST_SECONDS_1H : REQUEST_SECONDS_5M;
}

static struct content_block block_of(const struct raw_block *raw)
{
    return (struct content_block){
        .type = BLOCK_TEXT, .text = raw->text, .cache_seconds = seconds_of(raw->mark)};
}

/* The top-level cache_control stands for one on the last block. */
static void place_automatic(const struct raw_request *raw)
{
    struct raw_block *last = raw->mark.given ? request_last_cacheable(raw) : NULL;

    if (last && !last->mark.given)
        last->mark = raw->mark;
}

static void build_system(struct arena *arena, const struct raw_request *raw,
                         struct message_request *request)
{
    const struct raw_block *blocks = raw->system.items;
    const bool billed = raw->system.n && !blocks[0].kind && is_billing_line(blocks[0].text);

    request->system = arena_array(arena, raw->system.n, sizeof *request->system);
    for (size_t i = billed; i < raw->system.n; i++)
        request->system[request->system_n++] = block_of(&blocks[i]);
}

/* One message for each run of the same role; what is dropped from a history leaves no trace. */
static void build_messages(struct arena *arena, const struct raw_request *raw,
                           struct message_request *request)
{
    const struct raw_message *messages = raw->messages.items;
    size_t blocks_n = 0;

    for (size_t m = 0; m < raw->messages.n; m++)
        blocks_n += messages[m].content.n;
    struct content_block *next = arena_array(arena, blocks_n, sizeof *next);
    request->messages = arena_array(arena, raw->messages.n, sizeof *request->messages);

    for (size_t m = 0; m < raw->messages.n; m++) {
        const struct raw_block *blocks = messages[m].content.items;
        for (size_t b = 0; b < messages[m].content.n; b++) {
            const enum role role = (enum role)messages[m].role;
            struct message *last = request->messages + request->messages_n - 1;
            if (blocks[b].kind->facts & (DROPPED | HOSTED)) {
                if (blocks[b].mark.given && request->messages_n)    /* nearest what is left */
                    last->blocks[last->blocks_n - 1].cache_seconds = seconds_of(blocks[b].mark);
                continue;
            }
            if (request->messages_n == 0 || last->role != role) {
                last = &request->messages[request->messages_n++];
                *last = (struct message){.role = role, .blocks = next};
            }
            *next++ = block_of(&blocks[b]);
            last->blocks_n++;
        }
    }
}

bool request_beta(const struct request_options *options, const char *beginning)
{
    for (size_t i = 0; i < options->betas_n; i++)
        if (str_starts(options->betas[i], str_of(beginning)))
            return true;
    return false;
}

static struct answer_format format_of(const struct decoder *decoder, const struct raw_request *raw)
{
    const bool old = raw->output_format.schema.n > 0;

    return (struct answer_format){
        .schema = old ? raw->output_format.schema : raw->output_config.format.schema,
        .path = old ? "output_format.schema" : "output_config.format.schema",
        .strict = decoder->options->strict,
    };
}

static const struct message_request *request_build(struct decoder *decoder,
                                                   const struct raw_request *raw)
{
    struct message_request *request = arena_alloc(decoder->arena, sizeof *request);

    *request = (struct message_request){
        .model = raw->model,
        .max_tokens = (uint32_t)raw->max_tokens,
        .stream = raw->stream,
        .stop_sequences = raw->stop_sequences.items,
        .stop_sequences_n = raw->stop_sequences.n,
        .has_temperature = !isnan(raw->temperature),
        .has_top_p = !isnan(raw->top_p),
        .has_top_k = raw->top_k >= 0,
        .temperature = raw->temperature,
        .top_p = raw->top_p,
        .top_k = raw->top_k,
        .format = format_of(decoder, raw),
        .user_id = raw->metadata.user_id,
        .caller = decoder->options->caller,
        .has_tools = raw->tools.n > 0,
        .diagnostics = raw->diagnostics,
        .context_management = raw->context_management,
    };
    place_automatic(raw);
    build_system(decoder->arena, raw, request);
    build_messages(decoder->arena, raw, request);
    if (request->messages_n == 0) {
        decode_fail(decoder, NULL, "messages: at least one message with content is required");
        return NULL;
    }
    request->prefill = request->messages[request->messages_n - 1].role == ROLE_ASSISTANT;
    return request;
}

const struct message_request *request_decode(struct arena *arena, struct str body,
                                             const struct request_options *options,
                                             struct err *err)
{
    struct decoder decoder = {.arena = arena, .options = options, .err = err};
    struct raw_request raw = {.temperature = NAN, .top_p = NAN, .top_k = -1};
    yyjson_val *root;

    if (!json_parse(arena, body, &root, err) ||
        !take_object(&decoder, NULL, root, &request_shape, &raw))
        return NULL;
    if (raw.thread) {
        err_set(err, ERR_THREAD, "thread: message threads are not available on this server");
        return NULL;
    }
    if (!request_check_messages(&decoder, &raw) || !request_check_options(&decoder, &raw) ||
        !request_check_cache(&decoder, &raw) || !request_check_offered(&decoder, &raw))
        return NULL;
    return request_build(&decoder, &raw);
}
