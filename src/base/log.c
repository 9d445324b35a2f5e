/* log.c - one write(2) a line, so that lines of several threads never mix. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

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
    if (length > sizeof line - 2)
        length = sizeof line - 2;
    line[length++] = '\n';
    if (write(STDERR_FILENO, line, length) < 0)
        return;                                 /* nobody to tell */
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
    for (size_t i = 0; i < s.n; i++) {
        const unsigned char c = (unsigned char)s.s[i];
        const bool plain = c >= 0x20 && c != '"' && c != '\\' && c != 0x7F;
        if (n + (plain ? 1 : 4) + 2 > size)
            break;
        if (plain)
            out[n++] = (char)c;
        else
            n += (size_t)snprintf(out + n, size - n, "\\x%02x", c);
    }
    out[n++] = '"';
    out[n] = '\0';
    return out;
}
