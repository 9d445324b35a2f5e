/* request_rules.c - what no single value shows: rules between fields, messages and blocks.
 *
 * Wording here is the contract's wherever it gives one; clients match on some of it. Paths are
 * those of the client's own lists, before anything is merged or dropped. */
#include "api/request_parts.h"

#include "base/names.h"
#include "base/utf8.h"

enum { NAME_SHOWN_BYTES = 64 };

static const double TOP_P_WITH_THINKING = 0.95;

static bool ends_in_space(struct str s)
{
    size_t last = s.n ? s.n - 1 : 0;
    uint32_t c;

    while (last > 0 && (s.s[last] & 0xC0) == 0x80)
        last--;
    return s.n && utf8_decode((struct str){s.s + last, s.n - last}, &c) && utf8_is_space(c);
}

/* ---- messages ---- */

static bool check_text(struct decoder *decoder, const char *list, struct str text)
{
    if (text.n == 0)
        return decode_fail(decoder, NULL, "%s: text content blocks must be non-empty", list);
    return !utf8_is_blank(text) ||
           decode_fail(decoder, NULL, "%s: text content blocks must contain non-whitespace text",
                       list);
}

static bool check_sender(struct decoder *decoder, size_t m, size_t b,
                         const struct raw_block *block, int role)
{
    unsigned senders = block->kind->facts & BY_ALL;

    if (block->kind->facts & USER_UNDER_V26 && decoder->options->version == API_V26)
        senders = BY_USER;
    if (senders & 1u << role)
        return true;
    const char *whose = senders & BY_USER        ? "user"
                        : senders & BY_ASSISTANT ? "assistant"
                                                 : "system";
    return decode_fail(decoder, NULL,
                       "messages.%zu.content.%zu: `%s` blocks can only be in `%s` messages", m, b,
                       block->kind->tag, whose);
}

static bool check_block(struct decoder *decoder, size_t m, size_t b, const struct raw_block *block,
                        int role)
{
    if (!check_sender(decoder, m, b, block, role))
        return false;
    if (block->kind->facts & HOSTED && decoder->options->strict)
        decode_refuse(decoder, NULL,
                      "messages.%zu.content.%zu: `%s` blocks are not available on this server", m,
                      b, block->kind->tag);
    if (block->cited && role == ROLE_USER && decoder->options->version == API_V26)
        return decode_fail(decoder, NULL,
                           "messages.%zu.content.%zu: `citations` must be empty on text in `user` "
                           "messages",
                           m, b);
    /* A keepalive of ours opens a text block early, which may stay empty; it comes back as it
     * was. */
    const bool ours = role == ROLE_ASSISTANT && block->text.n == 0 && !decoder->options->strict;
    return !(block->kind->facts & TEXT) || ours || check_text(decoder, "messages", block->text);
}

/* Mid-conversation system messages: several in a row count as one; they follow the user (or a
 * hosted tool's result) and are last or followed by the assistant. */
static bool check_system_place(struct decoder *decoder, const struct raw_message *messages,
                               size_t n, size_t m)
{
    if (m == 0)
        return decode_fail(decoder, NULL,
                           "messages.0: the first message may not be a `system` message");
    const struct raw_message *before = &messages[m - 1];
    if (before->role == ROLE_ASSISTANT) {
        const struct raw_block *last = before->content.items;
        if (before->content.n == 0 || !(last[before->content.n - 1].kind->facts & HOSTED))
            return decode_fail(decoder, NULL,
                               "messages.%zu: a `system` message must follow a `user` message", m);
    }
    if (m + 1 < n && messages[m + 1].role == ROLE_USER)
        return decode_fail(decoder, NULL,
                           "messages.%zu: a `system` message must be last or followed by an "
                           "`assistant` message",
                           m);
    return true;
}

static bool check_message(struct decoder *decoder, const struct raw_message *messages, size_t n,
                          size_t m)
{
    const struct raw_message *message = &messages[m];
    const struct raw_block *blocks = message->content.items;
    const bool last_assistant = m + 1 == n && message->role == ROLE_ASSISTANT;

    if (message->role == ROLE_SYSTEM && !check_system_place(decoder, messages, n, m))
        return false;
    if (message->content.n == 0 && !last_assistant)
        return decode_fail(decoder, NULL,
                           "messages.%zu: all messages must have non-empty content except for the "
                           "optional final assistant message",
                           m);
    for (size_t b = 0; b < message->content.n; b++)
        if (!check_block(decoder, m, b, &blocks[b], message->role))
            return false;
    return true;
}

/* What the answer goes on from: the last block of the last turn, if that is the assistant's. */
static const struct raw_block *prefill_of(const struct raw_request *raw)
{
    const struct raw_message *messages = raw->messages.items;

    for (size_t m = raw->messages.n; m-- > 0 && messages[m].role == ROLE_ASSISTANT;) {
        const struct raw_block *blocks = messages[m].content.items;
        for (size_t b = messages[m].content.n; b-- > 0;)
            if (!(blocks[b].kind->facts & (DROPPED | HOSTED | THOUGHT)))
                return &blocks[b];
    }
    return NULL;
}

/* An answer to go on with that breaks a rule; one that a hosted tool's doing ends is gone on with
 * by who has that tool, as it is. */
static bool fail_prefill(struct decoder *decoder, const struct raw_request *raw, const char *text)
{
    const struct raw_message *messages = raw->messages.items;
    const struct raw_message *last = &messages[raw->messages.n - 1];
    const struct raw_block *blocks = last->content.items;
    const bool hosted = last->content.n && blocks[last->content.n - 1].kind->facts & HOSTED;

    return (hosted ? decode_refuse : decode_fail)(decoder, NULL, "%s", text);
}

bool request_check_messages(struct decoder *decoder, const struct raw_request *raw)
{
    const struct raw_block *system = raw->system.items;
    const struct raw_message *messages = raw->messages.items;

    for (size_t i = 0; i < raw->system.n; i++)
        if (!check_text(decoder, "system", system[i].text))
            return false;
    if (raw->messages.n == 0)
        return decode_fail(decoder, NULL, "messages: at least one message is required");
    for (size_t m = 0; m < raw->messages.n; m++)
        if (!check_message(decoder, messages, raw->messages.n, m))
            return false;
    const struct raw_block *prefill = prefill_of(raw);
    return !prefill || !(prefill->kind->facts & TEXT) || !ends_in_space(prefill->text) ||
           fail_prefill(decoder, raw,
                        "messages: final assistant content cannot end with trailing whitespace");
}

/* ---- cache_control ---- */

struct raw_block *request_last_cacheable(const struct raw_request *raw)
{
    const struct raw_message *messages = raw->messages.items;
    struct raw_block *system = raw->system.items;

    for (size_t m = raw->messages.n; m-- > 0;) {
        struct raw_block *blocks = messages[m].content.items;
        for (size_t b = messages[m].content.n; b-- > 0;)
            if (blocks[b].kind->facts & CACHEABLE)
                return &blocks[b];
    }
    return raw->system.n ? &system[raw->system.n - 1] : NULL;
}

bool request_check_cache(struct decoder *decoder, const struct raw_request *raw)
{
    const struct raw_block *last = raw->mark.given ? request_last_cacheable(raw) : NULL;
    size_t marks_n = decoder->marks_n;

    if (last && last->mark.given && last->mark.ttl != raw->mark.ttl)
        return decode_fail(decoder, NULL,
                           "cache_control: the last cacheable block already has a cache_control "
                           "with a different ttl");
    const bool one_more = last && !last->mark.given;
    marks_n += one_more;
    if (marks_n > REQUEST_MARKS_MAX)
        return decode_fail(decoder, NULL,
                           "A maximum of %d blocks with cache_control may be provided. Found %zu.",
                           REQUEST_MARKS_MAX, marks_n);
    bool short_seen = false;
    for (size_t i = 0; i < marks_n; i++) {
        const bool automatic = one_more && i + 1 == marks_n;
        const struct decode_mark mark =
            automatic ? (struct decode_mark){STR("cache_control"), raw->mark.ttl == 1}
                      : decoder->marks[i];
        if (mark.hour && short_seen)
            return decode_fail(decoder, NULL,
                               "%.*s.ttl: a ttl='1h' cache_control block must not come after a "
                               "ttl='5m' cache_control block. Blocks are taken in the order "
                               "`tools`, `system`, `messages`.",
                               STR_ARG(mark.path));
        short_seen |= !mark.hour;
    }
    return true;
}

/* ---- tools, thinking, output ---- */

/* Whether it is the server's own, which the model doesn't call. */
static bool is_search(const struct raw_request *raw, struct str name)
{
    const struct raw_tool *tools = raw->tools.items;

    for (size_t i = 0; i < raw->tools.n; i++)
        if (raw_tool_is(&tools[i], SEARCHES) && str_equal(tools[i].name, name))
            return true;
    return false;
}

/* A toolset has no name. */
static struct names names_of(struct arena *arena, const struct raw_request *raw)
{
    const struct raw_tool *tools = raw->tools.items;
    struct names names = names_new(arena, raw->tools.n);

    for (size_t i = 0; i < raw->tools.n; i++)
        if (tools[i].name.n)
            names_add(&names, tools[i].name);
    names_sort(&names);
    return names;
}

static bool check_choice(struct decoder *decoder, const struct raw_request *raw,
                         const struct names *names)
{
    const struct raw_choice *choice = &raw->tool_choice;
    const struct str shown = utf8_cut(choice->name, NAME_SHOWN_BYTES);

    if (!choice->kind)
        return true;
    if (raw->tools.n == 0)
        return decode_fail(decoder, NULL,
                           "tool_choice may only be specified while providing tools");
    if (choice->kind->facts == CHOICE_TOOL && is_search(raw, choice->name))
        decode_refuse(decoder, NULL, "tool_choice.tool.name: the search for tools can't be forced "
                                     "on this server");
    return choice->kind->facts != CHOICE_TOOL || names_have(names, choice->name) ||
           decode_fail(decoder, NULL, "Tool '%.*s' not found in provided tools", STR_ARG(shown));
}

static bool check_references_in(struct decoder *decoder, const struct raw_block *result, size_t m,
                                size_t b, const struct names *names)
{
    const struct raw_block *inside = result->source.content.blocks.items;

    for (size_t i = 0; i < result->source.content.blocks.n; i++) {
        const struct str shown = utf8_cut(inside[i].name, NAME_SHOWN_BYTES);
        if (inside[i].kind->facts & REFERENCE && !names_have(names, inside[i].name))
            return decode_fail(decoder, NULL,
                               "messages.%zu.content.%zu.content.%zu: Tool reference '%.*s' has no "
                               "corresponding tool definition",
                               m, b, i, STR_ARG(shown));
    }
    return true;
}

/* A hosted rule; here the tool may be gone: its server was closed since. */
static bool check_references(struct decoder *decoder, const struct raw_request *raw,
                             const struct names *names)
{
    const struct raw_message *messages = raw->messages.items;

    for (size_t m = 0; m < raw->messages.n; m++) {
        const struct raw_block *blocks = messages[m].content.items;
        for (size_t b = 0; b < messages[m].content.n; b++)
            if (blocks[b].kind->facts & RESULT &&
                !check_references_in(decoder, &blocks[b], m, b, names))
                return false;
    }
    return true;
}

static bool check_tools(struct decoder *decoder, const struct raw_request *raw)
{
    const struct raw_tool *tools = raw->tools.items;
    const struct names names = names_of(decoder->arena, raw);
    size_t deferred = 0;

    if (!names_are_unique(&names))
        return decode_fail(decoder, NULL, "tools: Tool names must be unique.");
    for (size_t i = 0; i < raw->tools.n; i++)
        deferred += tools[i].deferred;
    if (deferred && deferred == raw->tools.n)
        return decode_fail(decoder, NULL, "All tools have defer_loading set. At least one tool "
                                          "must be non-deferred.");
    return check_choice(decoder, raw, &names) &&
           (!decoder->options->strict || check_references(decoder, raw, &names));
}

static bool forces_tool(const struct raw_request *raw)
{
    return raw->tool_choice.kind && (raw->tool_choice.kind->facts == CHOICE_ANY ||
                                     raw->tool_choice.kind->facts == CHOICE_TOOL);
}

static bool thinks(const struct raw_request *raw, enum thinking_kind kind)
{
    return raw->thinking.kind && raw->thinking.kind->facts == kind;
}

/* The hosted rules; here a model thinks at any temperature. */
static bool check_thinking_sampling(struct decoder *decoder, const struct raw_request *raw)
{
    if (raw->temperature < 1)
        return decode_fail(decoder, NULL,
                           "`temperature` may only be set to 1 when thinking is enabled");
    if (raw->top_k >= 0)
        return decode_fail(decoder, NULL, "`top_k` must be unset when thinking is enabled");
    return !(raw->top_p < TOP_P_WITH_THINKING) ||
           decode_fail(decoder, NULL, "`top_p` must be greater than or equal to 0.95 or unset when "
                                      "thinking is enabled");
}

/* Hosted too: between a call and its result a thinking model goes on with its thought, so it must
 * be there. Here not every model thinks, nor before every call. */
static bool check_thinking_loop(struct decoder *decoder, const struct raw_request *raw)
{
    const struct raw_message *messages = raw->messages.items;
    size_t m = raw->messages.n;

    while (m > 0 && messages[m - 1].role != ROLE_ASSISTANT)
        m--;
    while (m > 1 && messages[m - 2].role == ROLE_ASSISTANT)
        m--;
    if (m == 0 || messages[m - 1].content.n == 0 || !request_has_results(raw))
        return true;
    const struct raw_block *first = messages[m - 1].content.items;
    return first->kind->facts & THOUGHT || str_is(str_of(first->kind->tag), "redacted_thinking") ||
           decode_fail(decoder, NULL,
                       "messages.%zu.content.0.type: Expected `thinking` or `redacted_thinking`, "
                       "but found `%s`. When `thinking` is enabled, a final `assistant` message "
                       "must start with a thinking block.",
                       m - 1, first->kind->tag);
}

static bool check_thinking(struct decoder *decoder, const struct raw_request *raw)
{
    const struct request_options *options = decoder->options;
    const bool enabled = thinks(raw, THINKING_ENABLED);

    if (options->strict && (enabled || thinks(raw, THINKING_ADAPTIVE)) &&
        !check_thinking_sampling(decoder, raw))
        return false;
    if (!enabled)
        return true;
    if (!options->count_tokens && raw->thinking.budget >= raw->max_tokens &&
        !request_beta(options, "interleaved-thinking-"))
        return decode_fail(decoder, NULL,
                           "`max_tokens` must be greater than `thinking.budget_tokens`");
    if (prefill_of(raw) &&
        !fail_prefill(decoder, raw,
                      "messages: an assistant message to continue (prefill) cannot be combined "
                      "with thinking.type \"enabled\""))
        return false;
    if (forces_tool(raw))
        return decode_fail(decoder, NULL,
                           "Thinking may not be enabled when tool_choice forces tool use.");
    return !options->strict || check_thinking_loop(decoder, raw);
}

static bool has_format(const struct raw_request *raw)
{
    return raw->output_config.format.schema.n || raw->output_format.schema.n;
}

/* max_tokens 0 fills the prompt cache and answers nothing. */
static bool check_nothing_wanted(struct decoder *decoder, const struct raw_request *raw)
{
    const char *with = raw->stream                                     ? "`stream`"
                       : thinks(raw, THINKING_ENABLED)                 ? "`thinking`"
                       : thinks(raw, THINKING_ADAPTIVE)                ? "`thinking`"
                       : has_format(raw)                               ? "`output_config.format`"
                       : forces_tool(raw)                              ? "a forced `tool_choice`"
                                                                       : NULL;

    if (decoder->options->count_tokens || raw->max_tokens > 0 || !with)
        return true;
    return decode_fail(decoder, NULL, "max_tokens: 0 cannot be combined with %s", with);
}

static bool check_stop_sequences(struct decoder *decoder, const struct raw_request *raw)
{
    const struct str *stops = raw->stop_sequences.items;
    const struct path list = path_key(NULL, STR("stop_sequences"));

    for (size_t i = 0; i < raw->stop_sequences.n; i++) {
        const struct path here = path_index(&list, i);
        if (stops[i].n > REQUEST_STOP_SEQUENCE_BYTES_MAX)
            return decode_fail(decoder, &here, "String should have at most %d bytes",
                               REQUEST_STOP_SEQUENCE_BYTES_MAX);
        if (utf8_is_blank(stops[i]))
            return decode_fail(decoder, &list,
                               "each stop sequence must contain non-whitespace");
    }
    return true;
}

bool request_check_options(struct decoder *decoder, const struct raw_request *raw)
{
    if (raw->output_config.format.schema.n && raw->output_format.schema.n)
        return decode_fail(decoder, NULL,
                           "output_format: cannot be set together with output_config.format");
    if (has_format(raw) && prefill_of(raw) &&
        !fail_prefill(decoder, raw,
                      "output_config.format: cannot be combined with an assistant message to "
                      "continue (prefill)"))
        return false;
    return check_stop_sequences(decoder, raw) && check_tools(decoder, raw) &&
           check_thinking(decoder, raw) && check_nothing_wanted(decoder, raw);
}

/* ---- what is not offered ---- */

/* What a block is, and what it is made of. An image is one for whoever sees, but not in a document,
 * which is text, nor as a file, which is elsewhere. */
static void refuse_block(struct decoder *decoder, const struct path *at,
                         const struct raw_block *block, bool in_document)
{
    const struct raw_source *source = &block->source;
    const struct raw_block *inside = source->content.blocks.items;
    const unsigned facts = block->kind ? block->kind->facts : 0;
    const bool more = decoder->refused_more;

    if (facts & REFUSED)
        decode_refuse(decoder, at, "`%s` blocks are not supported by this server yet",
                      block->kind->tag);
    if (facts & IMAGE && !in_document)
        decoder->refused_more = more;
    const struct path there = path_key(at, STR("source"));
    if (source->kind && source->kind->facts & REFUSED)
        decode_refuse(decoder, &there, "a document's source can be 'text' or 'content'; '%s' is "
                                       "not supported by this server yet",
                      source->kind->tag);
    const struct path list = path_key(source->kind ? &there : at, STR("content"));
    for (size_t i = 0; i < source->content.blocks.n; i++) {
        const struct path here = path_index(&list, i);
        refuse_block(decoder, &here, &inside[i], source->kind != NULL);
    }
}

static void refuse_tools(struct decoder *decoder, const struct raw_request *raw)
{
    const struct raw_tool *tools = raw->tools.items;

    for (size_t i = 0; i < raw->tools.n; i++)
        if (raw_tool_is(&tools[i], SEES))
            decode_refuse(decoder, NULL, "tools.%zu: tool type '%s' is not available on this "
                                         "server: it needs a model that sees images",
                          i, tools[i].kind->tag);
}

static void refuse_messages(struct decoder *decoder, const struct raw_request *raw)
{
    const struct raw_message *messages = raw->messages.items;
    const struct path list = path_key(NULL, STR("messages"));

    for (size_t m = 0; m < raw->messages.n; m++) {
        const struct raw_block *blocks = messages[m].content.items;
        const struct path message = path_index(&list, m);
        const struct path content = path_key(&message, STR("content"));
        for (size_t b = 0; b < messages[m].content.n; b++) {
            const struct path here = path_index(&content, b);
            refuse_block(decoder, &here, &blocks[b], false);
        }
        if (messages[m].clear_at || messages[m].output_config)
            decode_refuse(decoder, NULL, "messages.%zu.%s: not supported by this server yet", m,
                          messages[m].clear_at ? "clear_at" : "output_config");
    }
}

void request_refuse(struct decoder *decoder, const struct raw_request *raw)
{
    const struct {
        bool asked;
        const char *text;
    } refusals[] = {
        {raw->container, "container: containers are not available on this server"},
        {raw->mcp_servers, "mcp_servers: MCP servers are not available on this server"},
        {raw->fallbacks, "fallbacks: other models are not available on this server"},
        {raw->fallback_credit_token, "fallback_credit_token: not available on this server"},
        {raw->billing_policy, "billing_policy: not available on this server"},
        {raw->compaction, "compaction: not supported by this server yet"},
    };

    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        if (refusals[i].asked)
            decode_refuse(decoder, NULL, "%s", refusals[i].text);
    refuse_tools(decoder, raw);
    refuse_messages(decoder, raw);
}
