/* normalizer.c - runs a tokenizer's steps over text, between two buffers in turn.
 *
 * The hard thing is Unicode's forms in linear time: most text is composed already, and marks on one
 * letter are put in order by a sort that is quadratic in their number. So text goes by clusters of
 * one character and what joins it; those that are plainly composed are copied, and a run of more
 * marks than any language has is cut. */
#include "engine/normalizer.h"

#include <stdint.h>
#include <utf8proc.h>

#include "base/utf8.h"

/* Unicode's Stream-Safe Text Format allows 30 marks in a row; no character becomes more than 18. */
enum { CLUSTER_CHARS_MAX = 128, CLUSTER_SPACE = CLUSTER_CHARS_MAX * 18 };

bool normalizer_add(struct normalizer_steps *steps, struct normalizer_step step, struct err *err)
{
    if (steps->n == NORMALIZER_STEPS_MAX)
        return err_set(err, ERR_FORMAT, "there are more than %d steps", NORMALIZER_STEPS_MAX);
    if (step.from.n > NORMALIZER_TEXT_MAX || step.to.n > NORMALIZER_TEXT_MAX)
        return err_set(err, ERR_FORMAT, "its text is longer than %d bytes", NORMALIZER_TEXT_MAX);
    if (step.kind == NORMALIZE_REPLACE && step.from.n == 0)
        return err_set(err, ERR_FORMAT, "it replaces nothing");
    steps->list[steps->n++] = step;
    return true;
}

/* ---- Unicode's forms ---- */

static bool composes(enum normalizer_kind kind)
{
    return kind == NORMALIZE_NFC || kind == NORMALIZE_NFKC;
}

static utf8proc_option_t form_options(enum normalizer_kind kind)
{
    const unsigned form = composes(kind) ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
    const bool compatible = kind == NORMALIZE_NFKC || kind == NORMALIZE_NFKD;

    return (utf8proc_option_t)(UTF8PROC_STABLE | form | (compatible ? UTF8PROC_COMPAT : 0u));
}

/* Common characters that never join the one before them, and are composed. */
static bool is_plain(uint32_t c)
{
    return c < 0x300 || (c >= 0x400 && c < 0x483) || (c >= 0x3400 && c < 0xa000) ||
           (c >= 0xac00 && c < 0xd7a4) || (c >= 0x1f300 && c < 0x1fb00);
}

/* All that may join the character before it extends its grapheme. */
static bool joins(const utf8proc_property_t *property)
{
    switch (property->boundclass) {
    case UTF8PROC_BOUNDCLASS_EXTEND:
    case UTF8PROC_BOUNDCLASS_SPACINGMARK:
    case UTF8PROC_BOUNDCLASS_V:
    case UTF8PROC_BOUNDCLASS_T:
        return true;
    default:
        return property->combining_class != 0;
    }
}

/* One character and what may join it; *chars: how many they are. */
static size_t cluster_length(struct str text, uint32_t *first, size_t *chars)
{
    size_t at = utf8_decode(text, first);

    for (*chars = 1; at < text.n && *chars < CLUSTER_CHARS_MAX; ++*chars) {
        uint32_t c;
        const size_t n = utf8_decode((struct str){text.s + at, text.n - at}, &c);
        if (is_plain(c) || !joins(utf8proc_get_property((utf8proc_int32_t)c)))
            break;
        at += n;
    }
    return at;
}

static bool cluster_append(enum normalizer_kind kind, struct str cluster, struct buf *out)
{
    utf8proc_int32_t points[CLUSTER_SPACE];
    const utf8proc_option_t options = form_options(kind);
    utf8proc_ssize_t n = utf8proc_decompose((const utf8proc_uint8_t *)cluster.s,
                                            (utf8proc_ssize_t)cluster.n, points, CLUSTER_SPACE,
                                            options);

    if (n >= 0 && n <= CLUSTER_SPACE)
        n = utf8proc_normalize_utf32(points, n, options);
    if (n < 0 || n > CLUSTER_SPACE)             /* can't be */
        return buf_str(out, cluster);
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        char bytes[4];
        buf_append(out, bytes, utf8_encode(bytes, (uint32_t)points[i]));
    }
    return !out->overflow;
}

static void form_append(enum normalizer_kind kind, struct str text, struct buf *out)
{
    size_t plain = 0, at = 0;                   /* [plain, at) is to be copied */

    while (at < text.n) {
        uint32_t first;
        size_t chars;
        const size_t n = cluster_length((struct str){text.s + at, text.n - at}, &first, &chars);
        if (chars > 1 || !(first < 0x80 || (kind == NORMALIZE_NFC && is_plain(first)))) {
            buf_append(out, text.s + plain, at - plain);
            cluster_append(kind, (struct str){text.s + at, n}, out);
            plain = at + n;
        }
        at += n;
    }
    buf_append(out, text.s + plain, at - plain);
}

/* ---- the other steps ---- */

static void replace_append(const struct normalizer_step *step, struct str text, struct buf *out)
{
    while (text.n) {
        const char *found = memmem(text.s, text.n, step->from.s, step->from.n);
        const size_t n = found ? (size_t)(found - text.s) : text.n;
        buf_append(out, text.s, n);
        if (!found)
            return;
        buf_str(out, step->to);
        text = (struct str){found + step->from.n, text.n - n - step->from.n};
    }
}

static struct str strip_left(struct str text)
{
    uint32_t c;

    for (size_t n; text.n && (n = utf8_decode(text, &c)) && utf8_is_white(c);)
        text = (struct str){text.s + n, text.n - n};
    return text;
}

static struct str strip_right(struct str text)
{
    while (text.n) {
        size_t n = 1;
        uint32_t c = 0;
        while (n < 4 && n < text.n && ((unsigned char)text.s[text.n - n] & 0xc0) == 0x80)
            n++;
        if (!utf8_decode((struct str){text.s + text.n - n, n}, &c) || !utf8_is_white(c))
            break;
        text.n -= n;
    }
    return text;
}

static bool prepends(const struct normalizer_step *step, struct str text, enum text_place place)
{
    if (text.n == 0 || place == PLACE_WITHIN)
        return false;
    if (step->kind == NORMALIZE_PREPEND)
        return true;
    return !str_starts(text, step->to) && (place == PLACE_FIRST || step->kind == NORMALIZE_PREPEND_MISSING);
}

/* Whether out was written; otherwise *text alone has changed. */
static bool step_run(const struct normalizer_step *step, struct str *text, enum text_place place,
                     struct buf *out)
{
    switch (step->kind) {
    case NORMALIZE_NFC:
    case NORMALIZE_NFD:
    case NORMALIZE_NFKC:
    case NORMALIZE_NFKD:
        form_append(step->kind, *text, out);
        return true;
    case NORMALIZE_REPLACE:
        if (!memmem(text->s, text->n, step->from.s, step->from.n))
            return false;
        replace_append(step, *text, out);
        return true;
    case NORMALIZE_PREPEND:
    case NORMALIZE_PREPEND_MISSING:
    case NORMALIZE_PREPEND_FIRST:
        if (!prepends(step, *text, place))
            return false;
        buf_str(out, step->to);
        buf_str(out, *text);
        return true;
    case NORMALIZE_STRIP_LEFT:
        *text = strip_left(*text);
        return false;
    case NORMALIZE_STRIP_RIGHT:
        *text = strip_right(*text);
        return false;
    }
    return false;
}

bool normalizer_run(const struct normalizer_steps *steps, struct str text,
                    enum text_place place, struct buf buffers[2], struct str *out,
                    struct err *err)
{
    size_t next = 0;

    for (size_t i = 0; i < steps->n; i++) {
        struct buf *buf = &buffers[next];
        buf_reset(buf);
        buf->ceiling = NORMALIZER_BYTES_MAX;
        if (!step_run(&steps->list[i], &text, place, buf))
            continue;
        if (buf->overflow)
            return err_set(err, ERR_TOO_LARGE, "the prompt grows above %d bytes when it is "
                           "normalised", NORMALIZER_BYTES_MAX);
        text = buf_view(buf);
        next = !next;
    }
    *out = text;
    return true;
}
