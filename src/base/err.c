/* err.c - fills struct err; cuts a long sentence at a whole character. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

static void cut_at_character(char *text, size_t size)
{
    const size_t n = strnlen(text, size);

    if (n == size - 1)
        text[n - utf8_incomplete_tail((struct str){text, n})] = '\0';
}

bool err_set(struct err *err, enum err_code code, const char *format, ...)
{
    if (!err)
        return false;
    err->code = code;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    cut_at_character(err->text, sizeof err->text);
    return false;
}

bool err_prefix(struct err *err, const char *format, ...)
{
    if (!err)
        return false;
    char rest[sizeof err->text];
    memcpy(rest, err->text, sizeof rest);

    va_list args;
    va_start(args, format);
    const int n = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof err->text)
        snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s", rest);
    cut_at_character(err->text, sizeof err->text);
    return false;
}
