/* request_blocks.c - from the client's blocks to the model's: merged, rendered, some left out.
 *
 * The hard thing is what leaves no trace: a dropped block, and a turn of which nothing is left,
 * must not keep its neighbours of one role apart; but a cache mark on it still counts for what is
 * before it. */
#include "api/request_parts.h"

/* Claude Code's first system block: not meant for the model, and different for every conversation,
 * so that no two would share a prefix. */
static bool is_billing_line(struct str text)
{
    return str_starts(text, STR("x-anthropic-billing-header:"));
}

uint32_t request_mark_seconds(struct raw_mark mark)
{
    return !mark.given ? 0 : mark.ttl == 1 ? REQUEST_SECONDS_1H : REQUEST_SECONDS_5M;
}

void request_keep_seconds(uint32_t *kept, uint32_t seconds)
{
    *kept = seconds > *kept ? seconds : *kept;
}

static unsigned facts_of(const struct raw_block *raw)
{
    return raw->kind ? raw->kind->facts : TEXT;
}

/* ---- one block ---- */

/* A mark inside counts for the whole block: a prompt is kept up to the end of one. */
static uint32_t seconds_of(const struct raw_block *raw)
{
    const struct raw_block *inside = raw->source.content.blocks.items;
    uint32_t seconds = request_mark_seconds(raw->mark);

    for (size_t i = 0; i < raw->source.content.blocks.n; i++)
        request_keep_seconds(&seconds, seconds_of(&inside[i]));
    return seconds;
}

static void put_line(struct buf *out, const char *name, struct str text)
{
    if (text.n == 0)
        return;
    buf_printf(out, "<%s>", name);
    buf_str(out, text);
    buf_printf(out, "</%s>\n", name);
}

/* A document or a search result as text: what it is and where it is from, then what it says. */
static struct str source_text(struct arena *arena, const struct raw_block *raw)
{
    const struct raw_content *content = &raw->source.content;
    const struct raw_block *chunks = content->blocks.items;
    struct buf out = {0};

    buf_printf(&out, "<%s>\n", raw->kind->tag);
    put_line(&out, "title", raw->name);
    put_line(&out, raw->source.kind ? "context" : "source", raw->note);
    buf_str(&out, content->text);
    for (size_t i = 0; i < content->blocks.n; i++) {
        buf_cstr(&out, i ? "\n\n" : "");
        buf_str(&out, chunks[i].text);
    }
    buf_printf(&out, "\n</%s>", raw->kind->tag);
    const struct str text = arena_str(arena, buf_view(&out));
    buf_release(&out);
    return text;
}

static struct content_block block_of(struct arena *arena, const struct raw_block *raw);

static void build_result(struct arena *arena, const struct raw_content *content,
                         struct content_block *result)
{
    const struct raw_block *inside = content->blocks.items;

    if (content->text.n) {
        result->content = arena_alloc(arena, sizeof *result->content);
        result->content[result->content_n++] = (struct content_block){.text = content->text};
        return;
    }
    result->content = arena_array(arena, content->blocks.n, sizeof *result->content);
    for (size_t i = 0; i < content->blocks.n; i++) {
        struct content_block *block = &result->content[result->content_n++];
        *block = block_of(arena, &inside[i]);
        block->cache_seconds = 0;
    }
}

/* Lists in lists end here: a result has no results in it, by its table. */
static struct content_block block_of(struct arena *arena, const struct raw_block *raw)
{
    const unsigned facts = facts_of(raw);
    struct content_block block = {
        .text = raw->text, .id = raw->id, .name = raw->name, .is_error = raw->is_error,
        .cache_seconds = seconds_of(raw),
    };

    block.type = facts & THOUGHT     ? BLOCK_THINKING
                 : facts & CALL      ? BLOCK_TOOL_USE
                 : facts & RESULT    ? BLOCK_TOOL_RESULT
                 : facts & REFERENCE ? BLOCK_TOOL_REFERENCE
                 : facts & IMAGE     ? BLOCK_IMAGE
                                     : BLOCK_TEXT;
    if (facts & THOUGHT)
        block.signature = raw->note;
    if (facts & IMAGE) {
        block.text = raw->source.content.text;
        block.name = raw->source.media;
    }
    if (facts & RESULT)
        build_result(arena, &raw->source.content, &block);
    if (facts & SOURCE) {
        block.text = source_text(arena, raw);
        block.name = (struct str){0};
    }
    return block;
}

/* ---- lists of them ---- */

void request_build_system(struct arena *arena, const struct raw_request *raw,
                          struct message_request *request)
{
    const struct raw_block *blocks = raw->system.items;
    const bool billed = raw->system.n && !blocks[0].kind && is_billing_line(blocks[0].text);

    request->system = arena_array(arena, raw->system.n, sizeof *request->system);
    for (size_t i = billed; i < raw->system.n; i++)
        request->system[request->system_n++] = block_of(arena, &blocks[i]);
}

/* Also an empty text: a keepalive of ours opened it, and nothing came. */
static bool is_nothing(const struct raw_block *raw)
{
    return raw->kind->facts & (DROPPED | HOSTED) ||
           (raw->kind->facts & TEXT && raw->text.n == 0);
}

static bool only_thoughts(const struct message *message)
{
    for (size_t i = 0; i < message->blocks_n; i++)
        if (message->blocks[i].type != BLOCK_THINKING)
            return false;
    return true;
}

static struct message *last_message(const struct message_request *request)
{
    return request->messages_n ? &request->messages[request->messages_n - 1] : NULL;
}

/* The message that a block of this role goes into. Thoughts that led to nothing go with their turn:
 * there is no answer to go on from, nor to show. */
static struct message *message_for(struct message_request *request, enum role role,
                                   struct content_block **next)
{
    struct message *last = last_message(request);

    if (last && last->role != role && only_thoughts(last)) {
        *next = last->blocks;
        request->messages_n--;
        last = last_message(request);
    }
    if (!last || last->role != role) {
        last = &request->messages[request->messages_n++];
        *last = (struct message){.role = role, .blocks = *next};
    }
    return last;
}

void request_build_messages(struct arena *arena, const struct raw_request *raw,
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
            if (is_nothing(&blocks[b])) {
                struct message *last = last_message(request);
                if (last)                               /* nearest what is left */
                    request_keep_seconds(&last->blocks[last->blocks_n - 1].cache_seconds,
                                         seconds_of(&blocks[b]));
                continue;
            }
            struct message *message = message_for(request, (enum role)messages[m].role, &next);
            *next = block_of(arena, &blocks[b]);
            next++->place = (struct block_place){(uint32_t)m, (uint32_t)b};
            message->blocks_n++;
        }
    }
    if (request->messages_n && only_thoughts(last_message(request)))
        request->messages_n--;
}
