/* request.c - from the body to struct message_request: shape, rules, then the conversation.
 *
 * The order is the contract's: the JSON, the shape of every field, the rules between them, and last
 * what this server doesn't offer; only then is anything merged or left out. */
#include "api/request.h"

#include <math.h>

#include "api/client_tools.h"
#include "api/request_parts.h"

/* The top-level cache_control stands for one on the last block. */
static void place_automatic(const struct raw_request *raw)
{
    struct raw_block *last = raw->mark.given ? request_last_cacheable(raw) : NULL;

    if (last && !last->mark.given)
        last->mark = raw->mark;
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

/* The schema is the client's, or what the contract says of a tool that is named by its type. */
static void build_tools(struct arena *arena, const struct raw_request *raw,
                        struct message_request *request)
{
    const struct raw_tool *tools = raw->tools.items;

    request->tools = arena_array(arena, raw->tools.n, sizeof *request->tools);
    for (size_t i = 0; i < raw->tools.n; i++) {
        const struct raw_tool *tool = &tools[i];
        const bool typed = tool->kind && tool->kind->facts & TYPED;
        const struct client_tool *known = typed ? client_tool_find(tool->kind->tag) : NULL;
        request->tools[i] = (struct tool){
            .name = tool->name,
            .description = known ? known->description : tool->description,
            .schema = known ? known->schema : tool->schema,
            .path = known ? arena_printf(arena, "tools.%zu.%s", i, known->type).s
                          : arena_printf(arena, "tools.%zu.custom.input_schema", i).s,
            .strict = tool->strict,
            .deferred = tool->deferred,
            .cache_seconds = request_mark_seconds(tool->mark),
        };
    }
    request->tools_n = raw->tools.n;
}

static struct tool_choice choice_of(const struct raw_request *raw)
{
    const struct raw_tool *tools = raw->tools.items;
    const struct raw_choice *raw_choice = &raw->tool_choice;
    struct tool_choice choice = {.kind = raw->tools.n ? CHOICE_AUTO : CHOICE_NONE};

    if (!raw_choice->kind)
        return choice;
    choice.kind = (enum choice_kind)raw_choice->kind->facts;
    choice.one = raw_choice->one;
    if (choice.kind == CHOICE_TOOL)
        while (!str_equal(tools[choice.tool].name, raw_choice->name))   /* it is there */
            choice.tool++;
    return choice;
}

static struct thinking thinking_of(const struct raw_request *raw)
{
    const struct raw_thinking *thinking = &raw->thinking;

    if (!thinking->kind)
        return (struct thinking){.kind = THINKING_OFF};
    return (struct thinking){
        .kind = (enum thinking_kind)thinking->kind->facts,
        .budget = (uint32_t)(thinking->budget < UINT32_MAX ? thinking->budget : UINT32_MAX),
        .omitted = thinking->display == OMITTED,
    };
}

static const struct message_request *request_build(struct decoder *decoder, struct str body,
                                                   const struct raw_request *raw)
{
    struct message_request *request = arena_alloc(decoder->arena, sizeof *request);

    *request = (struct message_request){
        .body = body,
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
        .tool_choice = choice_of(raw),
        .thinking = thinking_of(raw),
        .user_id = raw->metadata.user_id,
        .caller = decoder->options->caller,
        .has_tools = raw->tools.n > 0,
        .diagnostics = raw->diagnostics,
        .context_management = raw->context_management,
    };
    place_automatic(raw);
    build_tools(decoder->arena, raw, request);
    request_build_system(decoder->arena, raw, request);
    request_build_messages(decoder->arena, raw, request);
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
    if (!request_check_messages(&decoder, &raw) || !request_check_pairs(&decoder, &raw) ||
        !request_check_options(&decoder, &raw) || !request_check_cache(&decoder, &raw) ||
        !request_check_offered(&decoder, &raw))
        return NULL;
    return request_build(&decoder, body, &raw);
}
