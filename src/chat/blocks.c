/* blocks.c - texts, thoughts and the marks between them, byte by byte; see blocks.h.
 *
 * The hard thing is what must be kept back, and no more than that: `held` is white space, then
 * bytes that begin a mark. What stands in a call is read by blocks_call.c and blocks_xml.c. */
#include "chat/blocks_parts.h"

enum { HEADER_MAX = 512, MARKS_MAX = 12 };

enum action { OPEN_THOUGHT, CLOSE_THOUGHT, OPEN_CALL, OPEN_BARE, OPEN_FUNCTION, OPEN_HEADER, SKIP };

struct mark {
    struct str spelling;
    enum action action;
};

static void feed_plain(struct blocks *blocks, char c);

void blocks_init(struct blocks *blocks, const struct blocks_options *options)
{
    *blocks = (struct blocks){
        .options = *options,
        .state = options->in_thought ? STATE_THOUGHT : STATE_TEXT,
        .after_mark = options->in_thought,
        .said = options->in_thought,
        .plain = !options->in_thought,
    };
}

void blocks_release(struct blocks *blocks)
{
    buf_release(&blocks->out);
    buf_release(&blocks->held);
    call_release(&blocks->call);
}

/* ---- what goes out ---- */

static void hand_out(struct blocks *blocks)
{
    if (blocks->out.n == 0)
        return;
    blocks->fn(blocks->context, &(struct blocks_event){
        .kind = BLOCKS_DELTA, .type = blocks->type, .text = buf_view(&blocks->out)});
    buf_reset(&blocks->out);
}

void blocks_close(struct blocks *blocks, bool broken)
{
    if (!blocks->open)
        return;
    hand_out(blocks);
    blocks->open = false;
    blocks->fn(blocks->context, &(struct blocks_event){
        .kind = BLOCKS_CLOSE, .type = blocks->type, .broken = broken});
}

static void open_block(struct blocks *blocks, enum block_type type, struct str name)
{
    blocks_close(blocks, false);
    blocks->open = true;
    blocks->type = type;
    blocks->fn(blocks->context, &(struct blocks_event){
        .kind = BLOCKS_OPEN, .type = type, .name = name});
}

void blocks_say(struct blocks *blocks, enum block_type type, struct str text)
{
    if (text.n == 0)
        return;
    if (!blocks->open || blocks->type != type)
        open_block(blocks, type, STR(""));
    blocks->said = blocks->said || type != BLOCK_TOOL_USE;
    buf_str(&blocks->out, text);
}

void blocks_tell_call(struct blocks *blocks)
{
    open_block(blocks, BLOCK_TOOL_USE, buf_view(&blocks->call.name));
    blocks->call.told = true;
}

/* ---- which marks there may be now ---- */

static size_t add(struct mark *marks, size_t n, const char *spelling, enum action action)
{
    if (spelling)
        marks[n++] = (struct mark){str_of(spelling), action};
    return n;
}

static size_t harmony_marks(const struct blocks *blocks, struct mark *marks)
{
    static const char *const ends[] = {
        HARMONY_END, HARMONY_CALL, HARMONY_RETURN, HARMONY_MESSAGE, HARMONY_CONSTRAIN,
    };
    size_t n = add(marks, 0, HARMONY_CHANNEL, OPEN_HEADER);

    n = add(marks, n, HARMONY_START, OPEN_HEADER);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        n = add(marks, n, ends[i], SKIP);
    /* The prompt has begun the header already; its space is white space here. */
    return blocks->said || blocks->after_mark ? n : add(marks, n, HARMONY_TO + 1, OPEN_HEADER);
}

static size_t call_marks(const struct blocks *blocks, struct mark *marks, size_t n)
{
    const struct dialect *dialect = blocks->options.dialect;

    for (size_t i = 0; i < DIALECT_MARKS_MAX && dialect->open[i]; i++)
        n = add(marks, n, dialect->open[i],
                dialect->syntax == SYNTAX_XML && i > 0 ? OPEN_FUNCTION : OPEN_CALL);
    if (dialect->syntax == SYNTAX_BARE && !blocks->said)
        n = add(marks, n, "{", OPEN_BARE);
    if (blocks->after_mark)
        for (size_t i = 0; i < DIALECT_MARKS_MAX && dialect->close[i]; i++)
            n = add(marks, n, dialect->close[i], SKIP);
    return add(marks, n, dialect->before, SKIP);
}

static size_t marks_now(const struct blocks *blocks, struct mark *marks)
{
    const struct dialect *dialect = blocks->options.dialect;
    size_t n = 0;

    if (dialect->syntax == SYNTAX_HARMONY)
        return harmony_marks(blocks, marks);
    if (blocks->state == STATE_THOUGHT)
        return add(marks, 0, dialect->think_close, CLOSE_THOUGHT);
    if (!blocks->said)
        n = add(marks, 0, dialect->think_open, OPEN_THOUGHT);
    return blocks->options.tools ? call_marks(blocks, marks, n) : n;
}

static void drop_held(struct blocks *blocks)
{
    buf_reset(&blocks->held);
    blocks->space = 0;
}

/* ---- headers: <|channel|>commentary to=functions.x <|constrain|>json<|message|> ---- */

static struct str behind(struct str text, const char *part)
{
    const size_t n = strlen(part);
    const char *at = text.n ? memmem(text.s, text.n, part, n) : NULL;

    return at ? (struct str){at + n, (size_t)(text.s + text.n - at) - n} : (struct str){0};
}

static struct str word(struct str text)
{
    size_t n = 0;

    while (n < text.n && !is_space(text.s[n]) && text.s[n] != '<')
        n++;
    return (struct str){text.s, n};
}

static bool header_names_a_tool(const struct blocks *blocks)
{
    return blocks->options.tools && behind(buf_view(&blocks->held), HARMONY_TO + 1).s;
}

/* The mark that closes a thought goes so far. */
static bool header_is_ours(const struct blocks *blocks)
{
    return behind(buf_view(&blocks->held), HARMONY_START "assistant").s;
}

static void header_ends(struct blocks *blocks)
{
    const struct str header = buf_view(&blocks->held);
    const bool analysis = str_is(word(behind(header, HARMONY_CHANNEL)), "analysis");
    const struct str name = word(behind(header, HARMONY_TO + 1));

    blocks->after_mark = true;
    blocks->thought_ends = false;
    if (name.n && name.n <= BLOCKS_NAME_MAX && blocks->options.tools) {
        buf_reset(&blocks->call.raw);
        call_begin(blocks, CALL_INPUT_BEGIN);
        buf_str(&blocks->call.name, name);
        blocks->call.named = true;
    } else {
        blocks->state = analysis ? STATE_THOUGHT : STATE_TEXT;
    }
    drop_held(blocks);
}

/* A header without an end is taken for one: what follows is text. */
static void in_header(struct blocks *blocks, struct str text)
{
    for (size_t i = 0; i < text.n && blocks->state == STATE_HEADER; i++) {
        buf_char(&blocks->held, text.s[i]);
        if (blocks->held.n >= HEADER_MAX || str_ends(buf_view(&blocks->held), STR(HARMONY_MESSAGE)))
            header_ends(blocks);
    }
}

/* ---- marks ---- */

/* held: white space, and the mark unless it is a control token. */
static void open_call(struct blocks *blocks, enum action action)
{
    const size_t skipped = blocks->after_mark ? blocks->space : 0;
    const size_t n = action == OPEN_BARE ? blocks->space : blocks->held.n;

    buf_reset(&blocks->call.raw);
    if (n > skipped)
        buf_append(&blocks->call.raw, blocks->held.data + skipped, n - skipped);
    blocks->call.begun = blocks->call.raw.n;
    if (action == OPEN_FUNCTION)                /* it is a part of the call, too */
        blocks->call.begun = blocks->space > skipped ? blocks->space - skipped : 0;
    drop_held(blocks);
    call_begin(blocks, action == OPEN_FUNCTION ? CALL_FUNCTION_NAME : CALL_BEGIN);
    blocks->call.bare = action == OPEN_BARE;
    if (action == OPEN_BARE)
        feed_plain(blocks, '{');
}

static void take_mark(struct blocks *blocks, const struct mark *mark)
{
    blocks->plain = false;
    switch (mark->action) {
    case OPEN_CALL:
    case OPEN_BARE:
    case OPEN_FUNCTION:
        open_call(blocks, mark->action);
        return;
    case OPEN_HEADER:
        blocks_close(blocks, false);
        drop_held(blocks);
        blocks->state = STATE_HEADER;
        in_header(blocks, mark->spelling);
        return;
    case OPEN_THOUGHT:
    case CLOSE_THOUGHT:
        blocks_close(blocks, false);
        blocks->said = true;
        blocks->state = mark->action == OPEN_THOUGHT ? STATE_THOUGHT : STATE_TEXT;
        break;
    case SKIP:
        if (blocks->options.dialect->syntax == SYNTAX_HARMONY) {
            blocks_close(blocks, false);
            blocks->thought_ends = blocks->state == STATE_THOUGHT;
            blocks->state = STATE_TEXT;
        }
        break;
    }
    drop_held(blocks);
    blocks->after_mark = true;
}

/* ---- text ---- */

static enum block_type spoken(const struct blocks *blocks)
{
    return blocks->state == STATE_THOUGHT ? BLOCK_THINKING : BLOCK_TEXT;
}

/* n bytes of held are no mark. */
static void say_held(struct blocks *blocks, size_t n)
{
    const struct str text = buf_view(&blocks->held);
    const size_t skipped = blocks->after_mark ? blocks->space : 0;

    if (n > skipped) {
        blocks_say(blocks, spoken(blocks), (struct str){text.s + skipped, n - skipped});
        blocks->after_mark = false;
    }
    buf_consume(&blocks->held, n);
    blocks->space = 0;
    while (blocks->space < blocks->held.n && is_space(blocks->held.data[blocks->space]))
        blocks->space++;
}

/* Says of held what can be no mark; takes the mark that is there. */
static void settle(struct blocks *blocks)
{
    struct mark marks[MARKS_MAX];
    const size_t n = marks_now(blocks, marks);

    while (blocks->held.n > blocks->space) {
        const struct str rest = {blocks->held.data + blocks->space,
                                 blocks->held.n - blocks->space};
        bool begins = false;
        for (size_t i = 0; i < n; i++) {
            if (str_equal(rest, marks[i].spelling)) {
                take_mark(blocks, &marks[i]);
                return;
            }
            begins = begins || str_starts(marks[i].spelling, rest);
        }
        if (begins)
            return;
        say_held(blocks, blocks->space + 1);
    }
    if (n == 0 && blocks->held.n)
        say_held(blocks, blocks->held.n);
}

static void feed_text(struct blocks *blocks, char c)
{
    blocks->space += is_space(c) && blocks->held.n == blocks->space;
    buf_char(&blocks->held, c);
    settle(blocks);
}

/* ---- calls ---- */

/* It is none, or no whole one. */
static void call_fails(struct blocks *blocks)
{
    const struct str raw = buf_view(&blocks->call.raw);
    const bool told = blocks->call.told;

    blocks->state = STATE_TEXT;
    if (told && !blocks->call.done)
        blocks_close(blocks, true);
    if (!told)
        blocks_say(blocks, BLOCK_TEXT, raw);
    blocks->after_mark = told || raw.n == 0;
    blocks->said = blocks->said || !told;
    buf_reset(&blocks->call.raw);
}

static void feed_call(struct blocks *blocks, char c)
{
    const bool taken = call_take(blocks, c);

    if (taken && (!blocks->call.told || blocks->call.fresh))
        buf_char(&blocks->call.raw, c);
    if (taken && (blocks->call.told || blocks->call.raw.n <= BLOCKS_HELD_MAX))
        return;
    call_fails(blocks);
    if (!taken)
        feed_plain(blocks, c);
}

static void feed_plain(struct blocks *blocks, char c)
{
    if (blocks->state == STATE_CALL)
        feed_call(blocks, c);
    else if (blocks->state == STATE_HEADER)
        in_header(blocks, (struct str){&c, 1});
    else
        feed_text(blocks, c);
}

/* ---- control tokens ---- */

static void control_in_text(struct blocks *blocks, struct str spelling)
{
    struct mark marks[MARKS_MAX];

    if (blocks->held.n > blocks->space)
        say_held(blocks, blocks->held.n);
    const size_t n = marks_now(blocks, marks);
    for (size_t i = 0; i < n; i++)
        if (str_equal(spelling, marks[i].spelling)) {
            take_mark(blocks, &marks[i]);
            return;
        }
}

static bool is_one_of(struct str spelling, const char *const marks[DIALECT_MARKS_MAX])
{
    for (size_t i = 0; i < DIALECT_MARKS_MAX && marks[i]; i++)
        if (str_is(spelling, marks[i]))
            return true;
    return false;
}

static bool stands_in_name(const struct blocks *blocks, struct str spelling)
{
    const struct dialect *dialect = blocks->options.dialect;

    return (blocks->call.step == CALL_NAME || blocks->call.step == CALL_ID) &&
           (str_is(spelling, dialect->input) || (dialect->id && str_is(spelling, dialect->id)));
}

/* Inside a call one that opens or closes something is its end; the others are nothing. */
static void control_in_call(struct blocks *blocks, struct str spelling)
{
    const struct dialect *dialect = blocks->options.dialect;

    if (stands_in_name(blocks, spelling)) {
        for (size_t i = 0; i < spelling.n && blocks->state == STATE_CALL; i++)
            if (!call_take(blocks, spelling.s[i]))
                call_fails(blocks);
        return;
    }
    if (dialect->syntax != SYNTAX_HARMONY && !is_one_of(spelling, dialect->open) &&
        !is_one_of(spelling, dialect->close))
        return;
    call_fails(blocks);
    control_in_text(blocks, spelling);
}

void blocks_feed(struct blocks *blocks, struct str characters, bool control, blocks_fn *fn,
                 void *context)
{
    blocks->fn = fn;
    blocks->context = context;
    blocks->plain = blocks->plain && !control;
    blocks->call.fresh = !blocks->call.told;
    if (!blocks->call.fresh)
        buf_reset(&blocks->call.raw);
    if (!control)
        for (size_t i = 0; i < characters.n; i++)
            feed_plain(blocks, characters.s[i]);
    else if (blocks->state == STATE_CALL)
        control_in_call(blocks, characters);
    else if (blocks->state == STATE_HEADER)
        in_header(blocks, characters);
    else
        control_in_text(blocks, characters);
    hand_out(blocks);
}

void blocks_end(struct blocks *blocks, blocks_fn *fn, void *context)
{
    blocks->fn = fn;
    blocks->context = context;
    if (blocks->state == STATE_CALL)
        call_fails(blocks);
    else if (blocks->state != STATE_HEADER && blocks->held.n)
        say_held(blocks, blocks->held.n);
    drop_held(blocks);
    blocks_close(blocks, false);
}

enum blocks_place blocks_place(const struct blocks *blocks)
{
    switch (blocks->state) {
    case STATE_THOUGHT:
        return BLOCKS_IN_THOUGHT;
    case STATE_HEADER:
        return header_names_a_tool(blocks) ? BLOCKS_IN_CALL
               : blocks->thought_ends && !header_is_ours(blocks) ? BLOCKS_IN_THOUGHT
                                                                 : BLOCKS_IN_TEXT;
    case STATE_CALL:
        return blocks->call.bare && !blocks->call.sure ? BLOCKS_IN_TEXT : BLOCKS_IN_CALL;
    default:
        return blocks->thought_ends ? BLOCKS_IN_THOUGHT : BLOCKS_IN_TEXT;
    }
}

bool blocks_plain(const struct blocks *blocks)
{
    return blocks->plain;
}

struct str blocks_begun(const struct blocks *blocks)
{
    const struct str raw = buf_view(&blocks->call.raw);
    const size_t begun = blocks->call.begun;

    if (blocks->state == STATE_HEADER)
        return behind(buf_view(&blocks->held), HARMONY_TO + 1);
    if (blocks->state != STATE_CALL || begun >= raw.n)
        return STR("");
    return (struct str){raw.s + begun, raw.n - begun};
}
