/* telling.c - see telling.h.
 *
 * The hard thing is a call that was cut off: its input is closed behind what was sent of it, so that it
 * is JSON for a client that reads it whole as for one that gathers it from a stream. */
#include "backend/telling.h"

#include "base/json_close.h"
#include "base/random.h"

enum { BLOCKS_FIRST = 4, ID_BYTES = 40 };

struct told_block {
    enum block_type type;
    size_t at;                          /* its text's beginning */
    struct str id, name, signature;
};

void telling_release(struct telling *telling)
{
    buf_release(&telling->text);
}

static void emit(struct telling *telling, struct gen_event event)
{
    event.block_index = (uint32_t)(telling->n - 1);
    if (!*telling->silent)
        telling->on_event(telling->context, &event);
}

static struct told_block *last(const struct telling *telling)
{
    return &telling->blocks[telling->n - 1];
}

static struct str text_of(const struct telling *telling, size_t i)
{
    const size_t at = telling->blocks[i].at;
    const size_t end = i + 1 < telling->n ? telling->blocks[i + 1].at : telling->text.n;

    return (struct str){telling->text.data + at, end - at};
}

static void open_block(struct telling *telling, enum block_type type, struct str name)
{
    char id[ID_BYTES];

    if (telling->n == telling->capacity) {
        struct told_block *before = telling->blocks;
        telling->capacity = telling->capacity ? 2 * telling->capacity : BLOCKS_FIRST;
        telling->blocks = arena_array(telling->arena, telling->capacity, sizeof *before);
        if (telling->n)
            memcpy(telling->blocks, before, telling->n * sizeof *before);
    }
    struct told_block *block = &telling->blocks[telling->n++];
    *block = (struct told_block){.type = type, .at = telling->text.n};
    if (type == BLOCK_TOOL_USE) {
        random_id(id, sizeof id, "toolu_");
        block->id = arena_str(telling->arena, str_of(id));
        block->name = arena_str(telling->arena, name);
    }
    telling->open = true;
    emit(telling, (struct gen_event){.type = GEN_BLOCK_START, .block_type = type,
                                     .tool_id = block->id, .tool_name = block->name});
}

static void more(struct telling *telling, struct str text)
{
    const bool hidden = last(telling)->type == BLOCK_THINKING && telling->omitted;

    if (*telling->silent || text.n == 0 || hidden)
        return;
    buf_str(&telling->text, text);
    emit(telling, (struct gen_event){.type = GEN_DELTA, .text = text});
}

/* broken: a call's input is not whole. */
static void close_block(struct telling *telling, bool broken)
{
    struct told_block *block = last(telling);
    const struct str text = text_of(telling, telling->n - 1);
    struct buf rest = {0};

    telling->broken |= broken;
    if (broken && json_close(&rest, text))
        more(telling, buf_view(&rest));
    buf_release(&rest);
    telling->open = false;
    if (block->type == BLOCK_THINKING)
        block->signature = sign_thought(telling->arena, telling->signer, text, telling->omitted);
    emit(telling, (struct gen_event){.type = GEN_BLOCK_STOP, .signature = block->signature});
}

void telling_say(struct telling *telling, const struct saying *saying)
{
    if (*telling->silent)
        return;
    switch (saying->kind) {
    case SAYING_OPEN:
        open_block(telling, saying->type, saying->text);
        break;
    case SAYING_MORE:
        more(telling, saying->text);
        break;
    case SAYING_CLOSE:
        telling->called |= last(telling)->type == BLOCK_TOOL_USE && !saying->broken;
        close_block(telling, saying->broken);
        break;
    }
}

void telling_end(struct telling *telling)
{
    if (telling->open && !*telling->silent)
        close_block(telling, last(telling)->type == BLOCK_TOOL_USE);
}

struct content_block *telling_blocks(const struct telling *telling)
{
    struct content_block *blocks = arena_array(telling->arena, telling->n, sizeof *blocks);

    for (size_t i = 0; i < telling->n; i++)
        blocks[i] = (struct content_block){
            .type = telling->blocks[i].type, .text = text_of(telling, i),
            .id = telling->blocks[i].id, .name = telling->blocks[i].name,
            .signature = telling->blocks[i].signature,
        };
    return blocks;
}
