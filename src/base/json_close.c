/* json_close.c - walks over the text by what may come next, with a stack of the brackets that are
 * open.
 *
 * It follows the text's outline alone: whether the whole is JSON after all is left to the parser,
 * which is asked at the end. */
#include "base/json_close.h"

#include <yyjson.h>

enum place { VALUE, KEY, COLON, DONE, STRING, WORD };

struct outline {
    struct buf open;                    /* '{' or '[', the innermost last */
    enum place place;
    bool key;                           /* STRING: it is one of an object's names */
    bool filled;                        /* KEY, VALUE: after a comma or a colon: it must come */
    size_t word;                        /* WORD: where it begins */
    size_t escape;                      /* STRING: characters of \uXXXX or \x so far; 0: in none */
    char hex[4];
    bool high;                          /* ... and the one before it is half of a pair */
};

static char innermost(const struct outline *outline)
{
    return outline->open.n ? outline->open.data[outline->open.n - 1] : '\0';
}

/* The digits are those of the first half of a surrogate pair. */
static bool begins_pair(const struct outline *outline)
{
    return (outline->hex[0] == 'd' || outline->hex[0] == 'D') && outline->hex[1] &&
           strchr("89abAB", outline->hex[1]);
}

/* In an escape of which some is there; c is its next character. */
static void escaped(struct outline *outline, char c)
{
    if (outline->escape == 1 && c != 'u') {
        outline->escape = 0;
        outline->high = false;
        return;
    }
    if (outline->escape >= 2)
        outline->hex[outline->escape - 2] = c;
    if (++outline->escape < 6)
        return;
    outline->high = !outline->high && begins_pair(outline);
    outline->escape = 0;
}

static void in_string(struct outline *outline, char c)
{
    if (outline->escape) {
        escaped(outline, c);
    } else if (c == '\\') {
        outline->escape = 1;
    } else {
        outline->high = false;
        if (c == '"')
            outline->place = outline->key ? COLON : DONE;
    }
}

static void punctuation(struct outline *outline, char c)
{
    if (c == '{' || c == '[') {
        buf_char(&outline->open, c);
        outline->place = c == '{' ? KEY : VALUE;
        outline->filled = false;
    } else if ((c == '}' || c == ']') && outline->open.n) {
        outline->open.n--;
        outline->place = DONE;
    } else if (c == ':') {
        outline->place = VALUE;
        outline->filled = true;
    } else if (c == ',') {
        outline->place = innermost(outline) == '{' ? KEY : VALUE;
        outline->filled = true;
    }
}

static void step(struct outline *outline, struct str text, size_t i)
{
    const char c = text.s[i];

    if (outline->place == STRING) {
        in_string(outline, c);
    } else if (c == '"') {
        outline->key = outline->place == KEY;
        outline->place = STRING;
        outline->escape = 0;
        outline->high = false;
    } else if (strchr("{}[]:,", c)) {
        punctuation(outline, c);
    } else if (strchr(" \t\r\n", c)) {
        outline->place = outline->place == WORD ? DONE : outline->place;
    } else if (outline->place != WORD) {
        outline->place = WORD;
        outline->word = i;
    }
}

/* The rest of an escape, for one half of a pair the other, and the quote. */
static void close_string(struct buf *out, const struct outline *outline)
{
    static const char low[] = "\\udc00", zero[] = "\\u0000";

    if (outline->high)
        buf_cstr(out, low + outline->escape);
    else if (outline->escape == 1)
        buf_char(out, '\\');
    else if (outline->escape)
        buf_cstr(out, zero + outline->escape);
    if (!outline->high && outline->escape >= 4 && begins_pair(outline))
        buf_cstr(out, low);
    buf_char(out, '"');
}

static void close_word(struct buf *out, struct str word)
{
    static const char *const literals[] = {"true", "false", "null"};

    for (size_t i = 0; i < sizeof literals / sizeof *literals; i++)
        if (str_starts(str_of(literals[i]), word)) {
            buf_cstr(out, literals[i] + word.n);
            return;
        }
    if (strchr("-+.eE", word.s[word.n - 1]))
        buf_char(out, '0');
}

static void close_place(struct buf *out, const struct outline *outline, struct str text)
{
    switch (outline->place) {
    case STRING:
        close_string(out, outline);
        buf_cstr(out, outline->key ? ":null" : "");
        break;
    case WORD:
        close_word(out, (struct str){text.s + outline->word, text.n - outline->word});
        break;
    case COLON:
        buf_cstr(out, ":null");
        break;
    case KEY:
        buf_cstr(out, outline->filled ? "\"\":null" : "");
        break;
    case VALUE:
        buf_cstr(out, !outline->open.n ? "{}" : outline->filled ? "null" : "");
        break;
    case DONE:
        break;
    }
}

static bool is_json(struct str text, struct str rest)
{
    struct buf whole = {0};

    buf_str(&whole, text);
    buf_str(&whole, rest);
    yyjson_doc *doc = NULL;
    if (whole.n && !whole.overflow)
        doc = yyjson_read(whole.data, whole.n, YYJSON_READ_NUMBER_AS_RAW);  /* however large */
    buf_release(&whole);
    yyjson_doc_free(doc);
    return doc != NULL;
}

bool json_close(struct buf *out, struct str text)
{
    struct outline outline = {.place = VALUE};
    const size_t before = out->n;

    for (size_t i = 0; i < text.n; i++)
        if (text.s[i])
            step(&outline, text, i);
    close_place(out, &outline, text);
    for (size_t i = outline.open.n; i > 0; i--)
        buf_char(out, outline.open.data[i - 1] == '{' ? '}' : ']');
    buf_release(&outline.open);
    const size_t n = out->n - before;
    if (is_json(text, (struct str){n ? out->data + before : "", n}))
        return true;
    out->n = before;
    return false;
}
