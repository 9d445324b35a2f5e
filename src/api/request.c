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
static struct tool tool_of(struct arena *arena, const struct raw_tool *raw, size_t number)
{
    const struct client_tool *known =
        raw_tool_is(raw, TYPED) ? client_tool_find(raw->kind->tag) : NULL;

    return (struct tool){
        .name = raw->name,
        .description = known ? known->description : raw->description,
        .schema = known ? known->schema : raw->schema,
        .path = known ? arena_printf(arena, "tools.%zu.%s", number, known->type).s
                      : arena_printf(arena, "tools.%zu.custom.input_schema", number).s,
        .strict = raw->strict,
        .deferred = raw->deferred,
        .cache_seconds = request_mark_seconds(raw->mark),
    };
}

/* Where the client asks for the server's own search among deferred tools, there is nothing to look
 * for: all are shown. The search itself is no tool of the model's then. */
static void build_tools(struct arena *arena, const struct raw_request *raw,
                        struct message_request *request)
{
    const struct raw_tool *tools = raw->tools.items;
    bool all = false;

    for (size_t i = 0; i < raw->tools.n; i++)
        all |= raw_tool_is(&tools[i], SEARCHES);
    request->tools = arena_array(arena, raw->tools.n, sizeof *request->tools);
    for (size_t i = 0; i < raw->tools.n; i++) {
        if (!raw_tool_is(&tools[i], SEARCHES)) {
            struct tool *tool = &request->tools[request->tools_n++];
            *tool = tool_of(arena, &tools[i], i);
            tool->deferred &= !all;
        } else if (request->tools_n) {                          /* nearest what is left */
            request_keep_seconds(&request->tools[request->tools_n - 1].cache_seconds,
                                 request_mark_seconds(tools[i].mark));
        }
    }
    request->has_tools = request->tools_n > 0;
}

static struct tool_choice choice_of(const struct raw_request *raw,
                                    const struct message_request *request)
{
    const struct raw_choice *given = &raw->tool_choice;
    struct tool_choice choice = {.kind = CHOICE_AUTO, .one = given->one};

    if (request->tools_n == 0)
        return (struct tool_choice){.kind = CHOICE_NONE};
    if (given->kind)
        choice.kind = (enum choice_kind)given->kind->facts;
    while (choice.kind == CHOICE_TOOL && choice.tool < request->tools_n &&
           !str_equal(request->tools[choice.tool].name, given->name))
        choice.tool++;
    if (choice.tool == request->tools_n)        /* a search, which was refused */
        choice = (struct tool_choice){.kind = CHOICE_AUTO};
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
        .refused = decoder->refused,
        .only_images = decoder->refused && !decoder->refused_more,
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
        .thinking = thinking_of(raw),
        .effort = (enum effort)raw->output_config.effort,
        .user_id = raw->metadata.user_id,
        .caller = decoder->options->caller,
        .version = decoder->options->version,
        .betas = decoder->options->betas,
        .betas_n = decoder->options->betas_n,
        .diagnostics = raw->diagnostics,
        .context_management = raw->context_management,
    };
    place_automatic(raw);
    build_tools(decoder->arena, raw, request);
    request->tool_choice = choice_of(raw, request);
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
        !request_check_options(&decoder, &raw) || !request_check_cache(&decoder, &raw))
        return NULL;
    request_refuse(&decoder, &raw);
    return request_build(&decoder, body, &raw);
}
