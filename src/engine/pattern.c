/* pattern.c - an expression written for Oniguruma, in PCRE2's words.
 *
 * The hard thing is that most of a pattern means the same to both, and the rest is silent: \h is a
 * hexadecimal digit to one and a blank to the other, [a&&b] an intersection or three characters. So
 * what is known to be the same passes, \s \w and \d are spelled out, all else is refused by name. */
#include "engine/pattern.h"

#include "base/utf8.h"

/* Oniguruma's \w: Alphabetic, marks, decimal digits, connectors. */
#define WORD "\\p{L}\\p{M}\\p{Nl}\\p{Nd}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}" \
             "\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"

struct reader {
    struct str pattern;
    size_t at;
    struct buf *out;
    struct err *err;
};

static bool refuse(const struct reader *reader, size_t n)
{
    const struct str rest = {reader->pattern.s + reader->at, reader->pattern.n - reader->at};

    return err_set(reader->err, ERR_FORMAT, "\"%.*s\" at byte %zu of the pattern is not supported",
                   STR_ARG(utf8_cut(rest, n)), reader->at);
}

static char peek(const struct reader *reader, size_t ahead)
{
    return reader->at + ahead < reader->pattern.n ? reader->pattern.s[reader->at + ahead] : '\0';
}

static bool starts(const struct reader *reader, const char *text)
{
    return str_starts((struct str){reader->pattern.s + reader->at, reader->pattern.n - reader->at},
                      str_of(text));
}

static void copy(struct reader *reader, size_t n)
{
    buf_append(reader->out, reader->pattern.s + reader->at, n);
    reader->at += n;
}

static bool is_punctuation(char c)
{
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~') || c == ' ';
}

/* \p{Name}, \p{^Name}, \P{Name}: names of general categories and scripts are common to both. */
static bool read_property(struct reader *reader)
{
    size_t n = 3;

    if (peek(reader, 2) != '{')
        return refuse(reader, 3);
    while (peek(reader, n) && peek(reader, n) != '}') {
        const char c = peek(reader, n);
        if ((c | 0x20) < 'a' || (c | 0x20) > 'z')
            if (c != '_' && (c != '^' || n != 3))
                return refuse(reader, n + 1);
        n++;
    }
    if (peek(reader, n) != '}')
        return refuse(reader, n);
    copy(reader, n + 1);
    return true;
}

/* \xHH or \x{H...} */
static bool read_hex(struct reader *reader)
{
    const bool braces = peek(reader, 2) == '{';
    size_t n = braces ? 3 : 2, digits = 0;

    for (; digits < (braces ? 8u : 2u); digits++, n++) {
        const char c = peek(reader, n);
        if ((c < '0' || c > '9') && ((c | 0x20) < 'a' || (c | 0x20) > 'f'))
            break;
    }
    if ((braces && (digits == 0 || peek(reader, n) != '}')) || (!braces && digits != 2))
        return refuse(reader, n + 1);
    copy(reader, n + braces);
    return true;
}

/* \uHHHH */
static bool read_unicode(struct reader *reader)
{
    for (size_t n = 2; n < 6; n++) {
        const char c = peek(reader, n);
        if ((c < '0' || c > '9') && ((c | 0x20) < 'a' || (c | 0x20) > 'f'))
            return refuse(reader, n + 1);
    }
    buf_printf(reader->out, "\\x{%.4s}", reader->pattern.s + reader->at + 2);
    reader->at += 6;
    return true;
}

static bool read_escape(struct reader *reader, bool in_class)
{
    static const struct {
        char letter;
        const char *inside, *outside;   /* NULL: not to be said inside a class */
    } classes[] = {
        {'s', PATTERN_SPACE, "[" PATTERN_SPACE "]"},    {'S', NULL, "[^" PATTERN_SPACE "]"},
        {'w', WORD, "[" WORD "]"},                      {'W', NULL, "[^" WORD "]"},
        {'d', "\\p{Nd}", "\\p{Nd}"},                    {'D', "\\P{Nd}", "\\P{Nd}"},
    };
    const char c = peek(reader, 1);

    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        const char *said = in_class ? classes[i].inside : classes[i].outside;
        if (c != classes[i].letter)
            continue;
        if (!said)
            return refuse(reader, 2);
        buf_cstr(reader->out, said);
        reader->at += 2;
        return true;
    }
    if (c == 'p' || c == 'P')
        return read_property(reader);
    if (c == 'x')
        return read_hex(reader);
    if (c == 'u')
        return read_unicode(reader);
    if (c != 'r' && c != 'n' && c != 't' && !is_punctuation(c))
        return refuse(reader, 2);
    copy(reader, 2);
    return true;
}

static bool read_class(struct reader *reader)
{
    copy(reader, 1);
    if (peek(reader, 0) == '^')
        copy(reader, 1);
    if (peek(reader, 0) == ']')                 /* Oniguruma warns, PCRE2 takes it as a character */
        return refuse(reader, 1);
    while (reader->at < reader->pattern.n && peek(reader, 0) != ']') {
        if (peek(reader, 0) == '[' || starts(reader, "&&"))
            return refuse(reader, 2);
        if (peek(reader, 0) == '\\') {
            if (!read_escape(reader, true))
                return false;
        } else {
            copy(reader, 1);
        }
    }
    if (reader->at == reader->pattern.n)
        return err_set(reader->err, ERR_FORMAT, "a [ of the pattern is not closed");
    copy(reader, 1);
    return true;
}

static bool read_group(struct reader *reader)
{
    static const char *const known[] = {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};

    if (peek(reader, 1) == '*')
        return refuse(reader, 4);
    if (peek(reader, 1) != '?') {
        copy(reader, 1);
        return true;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (starts(reader, known[i])) {
            copy(reader, strlen(known[i]));
            return true;
        }
    }
    return refuse(reader, 4);
}

/* {n,m} is the same to both; a + after it repeats it to the one and is possessive to the other. */
static bool read_counts(struct reader *reader)
{
    size_t n = 1;

    while ((peek(reader, n) >= '0' && peek(reader, n) <= '9') || peek(reader, n) == ',')
        n++;
    if (peek(reader, n) != '}' || n == 1 || peek(reader, 1) == ',' || peek(reader, n + 1) == '+')
        return refuse(reader, n + 2);
    copy(reader, n + 1);
    return true;
}

bool pattern_translate(struct str pattern, struct buf *out, struct err *err)
{
    struct reader reader = {pattern, 0, out, err};

    while (reader.at < pattern.n) {
        bool ok = true;
        switch (pattern.s[reader.at]) {
        case '\\': ok = read_escape(&reader, false); break;
        case '[': ok = read_class(&reader); break;
        case '(': ok = read_group(&reader); break;
        case '{': ok = read_counts(&reader); break;
        case '\0': ok = refuse(&reader, 1); break;
        default: copy(&reader, 1);
        }
        if (!ok)
            return false;
    }
    return true;
}

void pattern_quote(struct str text, struct buf *out)
{
    for (size_t i = 0; i < text.n; i++) {
        if (is_punctuation(text.s[i]))
            buf_char(out, '\\');
        if (text.s[i] == '\0')
            buf_cstr(out, "\\x00");
        else
            buf_char(out, text.s[i]);
    }
}
