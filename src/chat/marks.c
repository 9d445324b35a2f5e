/* marks.c - see marks.h. The hard thing is that the client may write the marks themselves: those
 * are escaped with a mark of their own. */
#include "chat/marks.h"

#include "base/utf8.h"

/* U+FDD0 to U+FDD3: EF B7 90 to EF B7 93. */
enum { MARK_BYTES = 3, MARK_OPEN = 0x90, MARK_CLOSE = 0x91, MARK_BREAK = 0x92, MARK_ESCAPE = 0x93 };

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
    return last >= MARK_OPEN && last <= MARK_ESCAPE ? last : 0;
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

void marks_put(struct buf *out, struct str text)
{
    const size_t begin = leading_space(text);

    if (begin == text.n) {
        buf_str(out, text);
        return;
    }
    const size_t end = trailing_space(text);
    buf_append(out, text.s, begin);
    put_mark(out, MARK_OPEN);
    size_t copied = begin;
    for (size_t at = begin; at < end; at++) {
        const char c = text.s[at];
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
    put_mark(out, MARK_CLOSE);
    buf_append(out, text.s + end, text.n - end);
}

bool marks_take(struct arena *arena, struct str rendered, struct prompt *out, struct err *err)
{
    char *text = arena_alloc(arena, rendered.n + 1);
    size_t n = 0, plain_n = 0, plain_max = 0;
    bool open = false, balanced = true;

    for (size_t at = 0; at + MARK_BYTES <= rendered.n; at++)
        plain_max += mark_at(rendered, at) == MARK_OPEN;
    struct plain_range *plain = arena_array(arena, plain_max, sizeof *plain);
    for (size_t at = 0; at < rendered.n; at++) {
        const int mark = rendered.s[at] == '\xef' ? mark_at(rendered, at) : 0;
        if (!mark) {
            text[n++] = rendered.s[at];
            continue;
        }
        at += MARK_BYTES - 1;
        if (mark == MARK_OPEN) {
            balanced &= !open;
            open = true;
            plain[plain_n].begin = n;
        } else if (mark == MARK_CLOSE) {
            balanced &= open;
            if (open)
                plain[plain_n++].end = n;
            open = false;
        } else if (mark == MARK_ESCAPE) {
            const int letter = at + 1 < rendered.n ? rendered.s[++at] - 'a' : -1;
            balanced &= letter >= 0 && letter < 4;
            text[n++] = '\xef';
            text[n++] = '\xb7';
            text[n++] = (char)(MARK_OPEN + (letter & 3));
        }
    }
    if (!balanced || open)
        return err_set(err, ERR_INVALID,
                       "the model's chat template cuts the text of messages, so that it can't be "
                       "kept apart from control tokens");
    *out = (struct prompt){.text = {text, n}, .plain = plain, .plain_n = plain_n};
    return true;
}
