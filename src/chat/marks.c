/* marks.c - see marks.h. The hard thing is that the client may write the marks themselves: those
 * are escaped with a mark of their own. */
#include "chat/marks.h"

#include "base/utf8.h"

/* U+FDD0 to U+FDD7: EF B7 90 to EF B7 97. */
enum {
    MARK_BYTES = 3,
    MARK_OPEN = 0x90, MARK_CLOSE,       /* around the client's text */
    MARK_BREAK,                         /* nothing; sets apart */
    MARK_ESCAPE,                        /* the letter behind it stands for a mark in the text */
    MARK_POINT,                         /* the digit behind it is the point's number */
    MARK_REPLAY,                        /* opens a sampled answer; its number and a BREAK follow */
    MARK_GIVEN, MARK_GIVEN_END,         /* in it: around what was sampled */
    MARK_LAST = MARK_GIVEN_END,
};

static void put_mark(struct buf *out, int mark)
{
    const char bytes[MARK_BYTES] = {'\xef', '\xb7', (char)mark};

    buf_append(out, bytes, sizeof bytes);
}

/* Which mark stands at `at`, or 0. */
static int mark_at(struct str s, size_t at)
{
    if (s.n - at < MARK_BYTES || (unsigned char)s.s[at] != 0xef ||
        (unsigned char)s.s[at + 1] != 0xb7)
        return 0;
    const int last = (unsigned char)s.s[at + 2];
    return last >= MARK_OPEN && last <= MARK_LAST ? last : 0;
}

static size_t leading_space(struct str text)
{
    size_t at = 0;

    while (at < text.n) {
        uint32_t c;
        const size_t n = utf8_decode((struct str){text.s + at, text.n - at}, &c);
        if (n == 0 || !utf8_is_space(c))
            break;
        at += n;
    }
    return at;
}

/* Where the white space at the end begins. */
static size_t trailing_space(struct str text)
{
    size_t end = text.n;

    while (end > 0) {
        uint32_t c;
        size_t first = end - 1;
        while (first > 0 && ((unsigned char)text.s[first] & 0xc0) == 0x80)
            first--;
        if (utf8_decode((struct str){text.s + first, end - first}, &c) != end - first ||
            !utf8_is_space(c))
            break;
        end = first;
    }
    return end;
}

/* A mark to go before the text's byte `at`, and the digit behind it, if it has one. */
struct insert {
    size_t at;
    int mark;
    char digit;
};

enum { INSERTS_MAX = MARKS_POINTS_MAX + 2 * REPLAY_PARTS_MAX };

struct inserts {
    struct insert list[INSERTS_MAX];    /* by place */
    size_t n;
};

static void insert(struct inserts *inserts, struct insert what)
{
    size_t i = inserts->n++;

    for (; i > 0 && inserts->list[i - 1].at > what.at; i--)
        inserts->list[i] = inserts->list[i - 1];
    inserts->list[i] = what;
}

static void insert_points(struct inserts *inserts, const struct marks_point *points, size_t n,
                          size_t begin, size_t end)
{
    for (size_t i = 0; i < n && i < MARKS_POINTS_MAX; i++) {
        const size_t at = points[i].at < begin ? begin : points[i].at < end ? points[i].at : end;
        insert(inserts, (struct insert){at, MARK_POINT, (char)('0' + points[i].number)});
    }
}

/* The bytes from begin to end, brackets set off, the client's own marks escaped. */
static void put_text(struct buf *out, struct str text, size_t begin, size_t end,
                     const struct inserts *inserts)
{
    size_t copied = begin, next = 0;

    for (size_t at = begin; at <= end; at++) {
        for (; next < inserts->n && inserts->list[next].at <= at; next++) {
            buf_append(out, text.s + copied, at - copied);
            copied = at;
            put_mark(out, inserts->list[next].mark);
            if (inserts->list[next].digit)
                buf_char(out, inserts->list[next].digit);
        }
        const char c = at < end ? text.s[at] : '\0';
        const int mark = c == '\xef' ? mark_at(text, at) : 0;
        if (mark) {                             /* the client's own: as a letter after the escape */
            buf_append(out, text.s + copied, at - copied);
            put_mark(out, MARK_ESCAPE);
            buf_char(out, (char)('a' + mark - MARK_OPEN));
            at += MARK_BYTES - 1;
            copied = at + 1;
        } else if (c == '<' || c == '[') {
            buf_append(out, text.s + copied, at + 1 - copied);
            put_mark(out, MARK_BREAK);
            copied = at + 1;
        }
    }
    buf_append(out, text.s + copied, end - copied);
}

void marks_put(struct buf *out, struct str text, const struct marks_point *points, size_t points_n)
{
    const size_t begin = leading_space(text);
    struct inserts inserts = {0};

    if (begin == text.n) {
        buf_str(out, text);
        return;
    }
    const size_t end = trailing_space(text);
    insert_points(&inserts, points, points_n, begin, end);
    buf_append(out, text.s, begin);
    put_mark(out, MARK_OPEN);
    put_text(out, text, begin, end, &inserts);
    put_mark(out, MARK_CLOSE);
    buf_append(out, text.s + end, text.n - end);
}

void marks_put_replay(struct buf *out, struct str text, const struct marks_point *points,
                      size_t points_n, const struct replay *replay, size_t number)
{
    struct inserts inserts = {0};
    size_t at = 0;

    insert_points(&inserts, points, points_n, 0, text.n);
    for (size_t i = 0; i < replay->parts_n; at += replay->parts[i++].bytes) {
        if (replay->parts[i].ids_n == 0)
            continue;
        insert(&inserts, (struct insert){at, MARK_GIVEN, '\0'});
        insert(&inserts, (struct insert){at + replay->parts[i].bytes, MARK_GIVEN_END, '\0'});
    }
    put_mark(out, MARK_REPLAY);
    buf_printf(out, "%zu", number);
    put_mark(out, MARK_BREAK);
    put_text(out, text, 0, text.n, &inserts);
    put_mark(out, MARK_CLOSE);
}

/* ---- in JSON ---- */

bool marks_needless(struct str text)
{
    static const char harmless[] = " !#$%&()*+,-./:;=?@^_~'";

    for (size_t i = 0; i < text.n; i++) {
        const char c = text.s[i];
        const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                          (c >= '0' && c <= '9');
        if (!word && (c == '\0' || !strchr(harmless, c)))
            return false;
    }
    return true;
}

void marks_put_string(struct buf *out, struct str text, const struct marks_point *point)
{
    struct buf marked = {0};

    if (!point && marks_needless(text)) {
        json_quote(out, text);
        return;
    }
    marks_put(&marked, text, point, point != NULL);
    json_quote(out, buf_view(&marked));
    buf_release(&marked);
}

static void put_json_string(struct buf *out, struct str text)
{
    marks_put_string(out, text, NULL);
}

void marks_put_json(struct buf *out, yyjson_val *value)
{
    static const struct json_style style = {.comma = ",", .colon = ":", .string = put_json_string};

    json_put(out, value, &style);
}

/* ---- taking them out ---- */

struct taking {
    struct str in;
    size_t at;
    struct buf out;
    const struct replay *const *replays;
    size_t replays_n;
    const struct replay *replay;        /* the open one */
    size_t part;                        /* of it, the next */
    bool open, given, balanced;
    struct prompt *prompt;
};

/* The number that stands here, up to its end. */
static size_t take_number(struct taking *taking)
{
    size_t number = 0;

    for (; taking->at < taking->in.n && taking->in.s[taking->at] >= '0' &&
           taking->in.s[taking->at] <= '9' && number < SIZE_MAX / 16; taking->at++)
        number = number * 10 + (size_t)(taking->in.s[taking->at] - '0');
    return number;
}

/* How the answer began when it was sampled, unless it stands there already. */
static void take_lead(struct taking *taking, const struct replay_lead *lead)
{
    const struct prompt *prompt = taking->prompt;
    const size_t border = prompt->plain_n ? prompt->plain[prompt->plain_n - 1].end : 0;
    const struct str before = {taking->out.data + border, taking->out.n - border};

    if (!str_ends(before, lead->drop) || (lead->drop.n == 0 && str_ends(before, lead->add)))
        return;
    taking->out.n -= lead->drop.n;
    buf_str(&taking->out, lead->add);
}

static void take_open(struct taking *taking, const struct replay *replay)
{
    taking->balanced &= !taking->open;
    if (replay)
        take_lead(taking, &replay->lead);
    taking->open = true;
    taking->replay = replay;
    taking->part = 0;
    taking->prompt->plain[taking->prompt->plain_n].begin = taking->out.n;
}

static void take_close(struct taking *taking)
{
    taking->balanced &= taking->open && !taking->given;
    if (taking->open)
        taking->prompt->plain[taking->prompt->plain_n++].end = taking->out.n;
    taking->open = false;
    taking->replay = NULL;
}

/* The next part that was sampled. */
static void take_given(struct taking *taking)
{
    const struct replay *replay = taking->replay;

    while (replay && taking->part < replay->parts_n && replay->parts[taking->part].ids_n == 0)
        taking->part++;
    if (!replay || taking->given || taking->part == replay->parts_n) {
        taking->balanced = false;
        return;
    }
    const struct replay_part *part = &replay->parts[taking->part++];
    taking->given = true;
    taking->prompt->given[taking->prompt->given_n] = (struct given_range){
        .begin = taking->out.n, .ids = part->ids, .ids_n = part->ids_n};
}

static void take_given_end(struct taking *taking)
{
    taking->balanced &= taking->given;
    if (taking->given)
        taking->prompt->given[taking->prompt->given_n++].end = taking->out.n;
    taking->given = false;
}

static void take_point(struct taking *taking)
{
    struct prompt *prompt = taking->prompt;
    const size_t number = taking->at < taking->in.n
                              ? (unsigned char)taking->in.s[taking->at++] - (size_t)'0' : SIZE_MAX;

    if (number >= PROMPT_POINTS_MAX) {
        taking->balanced = false;
        return;
    }
    for (size_t i = 0; i < prompt->points_n; i++)
        if (prompt->points[i].number == number)
            return;
    prompt->points[prompt->points_n++] = (struct prompt_point){taking->out.n, (unsigned)number};
}

static void take_escape(struct taking *taking)
{
    const int letter = taking->at < taking->in.n ? taking->in.s[taking->at++] - 'a' : -1;

    taking->balanced &= letter >= 0 && letter <= MARK_LAST - MARK_OPEN;
    put_mark(&taking->out, MARK_OPEN + (letter & 7));
}

static void take_mark(struct taking *taking, int mark)
{
    size_t number;

    switch (mark) {
    case MARK_OPEN:
        take_open(taking, NULL);
        break;
    case MARK_REPLAY:
        number = take_number(taking);
        taking->balanced &= number < taking->replays_n;
        take_open(taking, number < taking->replays_n ? taking->replays[number] : NULL);
        break;
    case MARK_CLOSE:
        take_close(taking);
        break;
    case MARK_GIVEN:
        take_given(taking);
        break;
    case MARK_GIVEN_END:
        take_given_end(taking);
        break;
    case MARK_POINT:
        take_point(taking);
        break;
    case MARK_ESCAPE:
        take_escape(taking);
        break;
    default:
        break;
    }
}

bool marks_take(struct arena *arena, struct str rendered, const struct replay *const *replays,
                size_t replays_n, struct prompt *out, struct err *err)
{
    size_t opens = 0, givens = 0;

    for (size_t at = 0; at + MARK_BYTES <= rendered.n; at++) {
        const int mark = mark_at(rendered, at);
        opens += mark == MARK_OPEN || mark == MARK_REPLAY;
        givens += mark == MARK_GIVEN;
    }
    *out = (struct prompt){.plain = arena_array(arena, opens, sizeof *out->plain),
                           .given = arena_array(arena, givens, sizeof *out->given)};
    struct taking taking = {.in = rendered, .replays = replays, .replays_n = replays_n,
                            .balanced = true, .prompt = out};
    buf_reserve(&taking.out, rendered.n);
    while (taking.at < rendered.n) {
        const char *from = rendered.s + taking.at;
        const char *next = memchr(from, '\xef', rendered.n - taking.at);
        buf_append(&taking.out, from, next ? (size_t)(next - from) : rendered.n - taking.at);
        taking.at = next ? (size_t)(next - rendered.s) : rendered.n;
        const int mark = next ? mark_at(rendered, taking.at) : 0;
        if (next && !mark)
            buf_char(&taking.out, rendered.s[taking.at++]);
        taking.at += mark ? MARK_BYTES : 0;
        take_mark(&taking, mark);
    }
    out->text = arena_str(arena, buf_view(&taking.out));
    buf_release(&taking.out);
    return (taking.balanced && !taking.open && !taking.given) ||
           err_set(err, ERR_INVALID,
                   "the model's chat template cuts the text of messages, so that it can't be "
                   "kept apart from control tokens");
}
