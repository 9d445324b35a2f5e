/* log.c - one write(2) a line, so that lines of several threads never mix. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"

static const char *const names[] = {"debug", "info", "warn", "error", "off"};
static atomic_int threshold = LOG_INFO;

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

bool log_level_parse(struct str name, enum log_level *level)
{
    for (int i = LOG_DEBUG; i <= LOG_OFF; i++)
        if (str_is(name, names[i])) {
            *level = (enum log_level)i;
            return true;
        }
    return false;
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&threshold, memory_order_relaxed);
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    if (!log_enabled(level))
        return;
    char line[2048], now[32];
    clock_rfc3339_now_ms(now);
    int n = snprintf(line, sizeof line, "%s %s %s ", now, names[level], event);
    if (n < 0)
        return;

    va_list args;
    va_start(args, format);
    int rest = vsnprintf(line + n, sizeof line - (size_t)n, format, args);
    va_end(args);
    size_t length = (size_t)n + (rest > 0 ? (size_t)rest : 0);
    length = utf8_cut((struct str){line, length}, sizeof line - 2).n;
    line[length++] = '\n';
    if (write(STDERR_FILENO, line, length) < 0)
        return;                                 /* nobody to tell */
}

/* Shown as they are: whole characters that don't steer a terminal. Returns the length, 0: no. */
static size_t plain_length(struct str s)
{
    uint32_t c;
    const size_t n = utf8_decode(s, &c);

    return n && c >= 0x20 && c != '"' && c != '\\' && !(c >= 0x7F && c <= 0x9F) ? n : 0;
}

const char *log_quote(char *out, size_t size, struct str s)
{
    size_t n = 0;

    if (size < 3) {
        if (size)
            out[0] = '\0';
        return out;
    }
    out[n++] = '"';
    for (size_t i = 0; i < s.n;) {
        const size_t plain = plain_length((struct str){s.s + i, s.n - i});
        if (n + (plain ? plain : 4) + 2 > size)
            break;
        if (plain)
            memcpy(out + n, s.s + i, plain);
        else
            snprintf(out + n, size - n, "\\x%02x", (unsigned char)s.s[i]);
        n += plain ? plain : 4;
        i += plain ? plain : 1;
    }
    out[n++] = '"';
    out[n] = '\0';
    return out;
}

const char *log_quote_word(char *out, size_t size, struct str word)
{
    return word.n <= LOG_WORD_MAX && utf8_valid(word) ? log_quote(out, size, word) : "(no word)";
}
