/* fuzz_blocks.c - an answer in any family's dialect, cut at will. Blocks never interleave, every
 * call that isn't broken has an object as input, nothing is said twice, and it makes no difference
 * where it was cut. The first byte says which dialect and how it begins; then pieces, each ended by
 * a zero byte: one that begins with \1 is a control token. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <yyjson.h>

#include "base/utf8.h"
#include "chat/blocks.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static const char *const shows[] = {
    "<tool_call>", "<tool_call></think>", "<parameter=", "<｜tool▁call▁begin｜>['name'] + '<｜tool▁sep｜>'",
    "[TOOL_CALLS][ARGS]", "[TOOL_CALLS]", "<|/tool|>", "<|tool_call|>",
    "<|start_header_id|>\"parameters\"", "<|channel|><|start|>",
};

enum { SHOWS = sizeof shows / sizeof *shows };

struct heard {
    struct buf all, input;              /* all: what was said, and where blocks begin and end */
    size_t said;                        /* bytes of texts and thoughts */
    enum block_type type;
    bool open;
};

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_input(const struct buf *input)
{
    yyjson_doc *doc = yyjson_read(input->data, input->n, YYJSON_READ_NOFLAG);

    check(yyjson_is_obj(yyjson_doc_get_root(doc)));
    yyjson_doc_free(doc);
}

static void hear(void *context, const struct blocks_event *event)
{
    struct heard *heard = context;

    check(heard->open == (event->kind != BLOCKS_OPEN));
    check(event->kind == BLOCKS_OPEN || heard->type == event->type);
    heard->open = event->kind != BLOCKS_CLOSE;
    heard->type = event->type;
    switch (event->kind) {
    case BLOCKS_OPEN:
        check((event->name.n > 0) == (event->type == BLOCK_TOOL_USE));
        buf_printf(&heard->all, "\n%d %zu ", (int)event->type, event->name.n);
        buf_str(&heard->all, event->name);
        buf_char(&heard->all, ' ');
        buf_reset(&heard->input);
        break;
    case BLOCKS_DELTA:
        check(event->text.n > 0);
        buf_str(&heard->all, event->text);
        buf_str(&heard->input, event->text);
        heard->said += event->type == BLOCK_TOOL_USE ? 0 : event->text.n;
        break;
    case BLOCKS_CLOSE:
        buf_char(&heard->all, event->broken ? '!' : '.');
        if (event->type == BLOCK_TOOL_USE && !event->broken)
            check_input(&heard->input);
        break;
    }
}

/* step 0: pieces as they are; else in pieces of so many bytes. */
static size_t feed(const struct blocks_options *options, struct str text, size_t step,
                   struct heard *heard)
{
    struct blocks blocks;
    size_t fed = 0;

    blocks_init(&blocks, options);
    while (text.n) {
        const char *end = memchr(text.s, 0, text.n);
        const size_t n = end ? (size_t)(end - text.s) : text.n;
        const bool control = n > 0 && text.s[0] == '\1';
        struct str piece = {text.s + control, n - control};
        fed += control ? 0 : n;
        while (piece.n) {
            const size_t m = control || !step || piece.n < step ? piece.n : step;
            blocks_feed(&blocks, (struct str){piece.s, m}, control, hear, heard);
            blocks_place(&blocks);
            blocks_begun(&blocks);
            piece = (struct str){piece.s + m, piece.n - m};
        }
        text = (struct str){text.s + n + (end != NULL), text.n - n - (end != NULL)};
    }
    blocks_end(&blocks, hear, heard);
    blocks_release(&blocks);
    check(!heard->open);
    return fed;
}

/* Characters come whole from a detokenizer, and as valid UTF-8. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static const size_t steps[] = {1, 3, 7};
    struct heard whole = {0};

    if (n == 0 || !utf8_valid((struct str){(const char *)bytes + 1, n - 1}))
        return 0;
    const struct str text = {(const char *)bytes + 1, n - 1};
    const struct blocks_options options = {
        .dialect = dialect_find(str_of(shows[bytes[0] % SHOWS])),
        .tools = bytes[0] / SHOWS % 4 != 3, .in_thought = bytes[0] / SHOWS % 2 == 1,
    };
    const size_t fed = feed(&options, text, 0, &whole);
    check(whole.said <= fed);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct heard cut = {0};
        feed(&options, text, steps[i], &cut);
        check(str_equal(buf_view(&cut.all), buf_view(&whole.all)));
        buf_release(&cut.all);
        buf_release(&cut.input);
    }
    buf_release(&whole.all);
    buf_release(&whole.input);
    return 0;
}
