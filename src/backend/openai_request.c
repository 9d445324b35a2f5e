/* openai_request.c - see openai_request.h.
 *
 * The hard thing is a user's message that holds results of calls: OpenAI has a message of its own
 * for each, so one of ours becomes several. Those messages are text: a result's images come behind
 * the results, with what else the user says. */
#include "backend/openai_request.h"

#include "base/json.h"

/* A member's comma and name. */
static void member(struct buf *out, const char *name)
{
    buf_printf(out, ",\"%s\":", name);
}

/* ---- messages ---- */

struct list {
    struct buf *out;
    bool any;
};

static void message_begin(struct list *list, const char *role)
{
    buf_printf(list->out, "%s{\"role\":\"%s\",\"content\":", list->any ? "," : "", role);
    list->any = true;
}

/* Paragraphs of one text. */
static void paragraph(struct buf *text, struct str more)
{
    if (text->n)
        buf_cstr(text, "\n\n");
    buf_str(text, more);
}

/* What a message says: one text, or parts, once there is an image. */
struct said {
    struct buf text;                    /* not a part yet */
    struct buf parts;                   /* a list's, without its end */
};

static void part_begin(struct said *said, const char *type)
{
    buf_printf(&said->parts, "%s{\"type\":\"%s\",\"%s\":", said->parts.n ? "," : "[", type, type);
}

static void text_part(struct said *said)
{
    if (said->text.n == 0)
        return;
    part_begin(said, "text");
    json_quote(&said->parts, buf_view(&said->text));
    buf_char(&said->parts, '}');
    buf_reset(&said->text);
}

static void image_part(struct said *said, const struct content_block *image)
{
    text_part(said);
    part_begin(said, "image_url");
    buf_cstr(&said->parts, "{\"url\":\"");
    if (image->name.n)
        buf_printf(&said->parts, "data:%.*s;base64,", STR_ARG(image->name));
    json_escape(&said->parts, image->text);
    buf_cstr(&said->parts, "\"}}");
}

static void said_message(struct list *list, const char *role, struct said *said)
{
    if (said->parts.n)
        text_part(said);
    if (said->parts.n || said->text.n) {
        message_begin(list, role);
        if (said->parts.n) {
            buf_str(list->out, buf_view(&said->parts));
            buf_char(list->out, ']');
        } else {
            json_quote(list->out, buf_view(&said->text));
        }
        buf_char(list->out, '}');
    }
    list->out->overflow |= said->text.overflow || said->parts.overflow;
    buf_release(&said->text);
    buf_release(&said->parts);
}

static void result_message(struct list *list, const struct content_block *result,
                           struct said *behind)
{
    struct buf text = {0};

    if (result->is_error)
        buf_cstr(&text, "Error:");
    for (size_t i = 0; i < result->content_n; i++) {
        const struct content_block *block = &result->content[i];
        if (block->type == BLOCK_TEXT) {
            paragraph(&text, block->text);
        } else if (block->type == BLOCK_TOOL_REFERENCE) {
            paragraph(&text, STR("This tool can be called now: "));
            buf_str(&text, block->name);
        } else if (block->type == BLOCK_IMAGE) {
            paragraph(&text, STR("(an image: see below)"));
            image_part(behind, block);
        }
    }
    message_begin(list, "tool");
    json_quote(list->out, buf_view(&text));
    member(list->out, "tool_call_id");
    json_quote(list->out, result->id);
    buf_char(list->out, '}');
    buf_release(&text);
}

static void user_messages(struct list *list, const struct message *message, const char *role)
{
    struct said said = {0};

    for (size_t i = 0; i < message->blocks_n; i++) {
        const struct content_block *block = &message->blocks[i];
        if (block->type == BLOCK_TEXT)
            paragraph(&said.text, block->text);
        else if (block->type == BLOCK_IMAGE)
            image_part(&said, block);
        else if (block->type == BLOCK_TOOL_RESULT)      /* they are in front: request_pairs.c */
            result_message(list, block, &said);
    }
    said_message(list, role, &said);
}

static size_t count_type(const struct message *message, enum block_type type)
{
    size_t n = 0;

    for (size_t i = 0; i < message->blocks_n; i++)
        n += message->blocks[i].type == type;
    return n;
}

/* All the texts of a type, one behind the other, as they were sampled. */
static void quote_joined(struct buf *out, const struct message *message, enum block_type type)
{
    buf_char(out, '"');
    for (size_t i = 0; i < message->blocks_n; i++)
        if (message->blocks[i].type == type)
            json_escape(out, message->blocks[i].text);
    buf_char(out, '"');
}

static void write_calls(struct buf *out, const struct message *message)
{
    const char *comma = "";

    member(out, "tool_calls");
    buf_char(out, '[');
    for (size_t i = 0; i < message->blocks_n; i++) {
        const struct content_block *block = &message->blocks[i];
        if (block->type != BLOCK_TOOL_USE)
            continue;
        buf_printf(out, "%s{\"type\":\"function\",\"id\":", comma);
        json_quote(out, block->id);
        member(out, "function");
        buf_cstr(out, "{\"name\":");
        json_quote(out, block->name);
        member(out, "arguments");
        json_quote(out, block->text);
        buf_cstr(out, "}}");
        comma = ",";
    }
    buf_char(out, ']');
}

static void assistant_message(struct list *list, const struct message *message)
{
    const size_t calls = count_type(message, BLOCK_TOOL_USE);

    message_begin(list, "assistant");
    if (calls && count_type(message, BLOCK_TEXT) == 0)
        buf_cstr(list->out, "null");
    else
        quote_joined(list->out, message, BLOCK_TEXT);
    if (count_type(message, BLOCK_THINKING)) {
        member(list->out, "reasoning_content");
        quote_joined(list->out, message, BLOCK_THINKING);
    }
    if (calls)
        write_calls(list->out, message);
    buf_char(list->out, '}');
}

static void write_messages(struct buf *out, const struct message_request *request)
{
    struct list list = {.out = out};
    const struct message system = {.blocks = request->system, .blocks_n = request->system_n};

    member(out, "messages");
    buf_char(out, '[');
    user_messages(&list, &system, "system");
    for (size_t i = 0; i < request->messages_n; i++) {
        const struct message *message = &request->messages[i];
        if (message->role == ROLE_ASSISTANT)
            assistant_message(&list, message);
        else
            user_messages(&list, message, message->role == ROLE_SYSTEM ? "system" : "user");
    }
    buf_char(out, ']');
    if (request->prefill)
        buf_cstr(out, ",\"add_generation_prompt\":false,\"continue_final_message\":true");
}

/* ---- tools ---- */

static bool refers(const struct content_block *blocks, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++) {
        if (blocks[i].type == BLOCK_TOOL_REFERENCE && str_equal(blocks[i].name, name))
            return true;
        if (refers(blocks[i].content, blocks[i].content_n, name))
            return true;
    }
    return false;
}

static bool is_shown(const struct message_request *request, const struct tool *tool)
{
    bool shown = !tool->deferred;

    for (size_t i = 0; i < request->messages_n && !shown; i++)
        shown = refers(request->messages[i].blocks, request->messages[i].blocks_n, tool->name);
    return shown;
}

static void write_tool(struct buf *out, const struct tool *tool)
{
    buf_cstr(out, "{\"type\":\"function\",\"function\":{\"name\":");
    json_quote(out, tool->name);
    if (tool->description.n) {
        member(out, "description");
        json_quote(out, tool->description);
    }
    member(out, "parameters");
    buf_str(out, tool->schema.n ? tool->schema : STR("{\"type\":\"object\"}"));
    if (tool->strict)
        buf_cstr(out, ",\"strict\":true");
    buf_cstr(out, "}}");
}

/* How many. */
static size_t write_tools(struct buf *out, const struct message_request *request)
{
    size_t n = 0;

    for (size_t i = 0; i < request->tools_n; i++) {
        if (!is_shown(request, &request->tools[i]))
            continue;
        if (n == 0)
            buf_cstr(out, ",\"tools\":[");
        else
            buf_char(out, ',');
        write_tool(out, &request->tools[i]);
        n++;
    }
    if (n)
        buf_char(out, ']');
    return n;
}

static void write_choice(struct buf *out, const struct message_request *request)
{
    static const char *const words[] = {
        [CHOICE_AUTO] = "\"auto\"", [CHOICE_ANY] = "\"required\"", [CHOICE_NONE] = "\"none\"",
    };
    const struct tool_choice *choice = &request->tool_choice;

    member(out, "tool_choice");
    if (choice->kind == CHOICE_TOOL) {
        buf_cstr(out, "{\"type\":\"function\",\"function\":{\"name\":");
        json_quote(out, request->tools[choice->tool].name);
        buf_cstr(out, "}}");
    } else {
        buf_cstr(out, words[choice->kind]);
    }
    if (choice->one)
        buf_cstr(out, ",\"parallel_tool_calls\":false");
}

/* ---- the rest ---- */

static void write_stops(struct buf *out, const struct message_request *request)
{
    if (request->stop_sequences_n == 0)
        return;
    member(out, "stop");
    for (size_t i = 0; i < request->stop_sequences_n; i++) {
        buf_char(out, i ? ',' : '[');
        json_quote(out, request->stop_sequences[i]);
    }
    buf_char(out, ']');
}

static void write_sampling(struct buf *out, const struct message_request *request)
{
    if (request->has_temperature)
        buf_printf(out, ",\"temperature\":%.17g", request->temperature);
    if (request->has_top_p)
        buf_printf(out, ",\"top_p\":%.17g", request->top_p);
    if (request->has_top_k)
        buf_printf(out, ",\"top_k\":%lld", (long long)request->top_k);
}

static void write_format(struct buf *out, const struct message_request *request)
{
    if (request->format.schema.n == 0)
        return;
    buf_cstr(out, ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":"
                  "{\"name\":\"answer\",\"strict\":true,\"schema\":");
    buf_str(out, request->format.schema);
    buf_cstr(out, "}}");
}

static void write_model(struct buf *out, const struct openai_target *target)
{
    buf_cstr(out, "{\"model\":");
    json_quote(out, target->model);
}

static void write_extra(struct buf *out, const struct openai_target *target)
{
    if (target->extra.n) {
        buf_char(out, ',');
        buf_str(out, target->extra);
    }
    buf_char(out, '}');
}

void openai_write_request(struct buf *out, const struct openai_target *target,
                          const struct message_request *request)
{
    write_model(out, target);
    buf_printf(out, ",\"max_tokens\":%u,\"stream\":true", request->max_tokens);
    buf_cstr(out, ",\"stream_options\":{\"include_usage\":true}");
    write_messages(out, request);
    if (write_tools(out, request))
        write_choice(out, request);
    write_sampling(out, request);
    write_stops(out, request);
    write_format(out, request);
    write_extra(out, target);
}

void openai_write_prompt(struct buf *out, const struct openai_target *target,
                         const struct message_request *request)
{
    write_model(out, target);
    write_messages(out, request);
    write_tools(out, request);
    write_extra(out, target);
}
