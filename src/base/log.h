/* log.h - one line an event on standard error: `time level event key=value ...`.
 *
 * Any thread may log; a line is written whole. Values with spaces, quotes or control bytes are put
 * in quotes and escaped by the caller, through log_quote. Prompt text and keys never go here. */
#ifndef PENSIEVE_BASE_LOG_H
#define PENSIEVE_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };

void log_set_level(enum log_level level);
bool log_level_parse(struct str name, enum log_level *level);   /* debug info warn error off */
bool log_enabled(enum log_level level);

/* event: one_word_with_underscores; the format gives `key=value` pairs. */
void log_event(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4), nonnull(3)));

/* Writes s, escaped and double-quoted, into out (size bytes, NUL-terminated, cut if too long). */
const char *log_quote(char *out, size_t size, struct str s);
/* The same of a word out of a file, for an error text: "(no word)" if it is too long or not UTF-8. */
const char *log_quote_word(char *out, size_t size, struct str word);
enum { LOG_WORD_MAX = 64 };

#endif
