/* trace.h - `--trace DIR`: one readable file per exchange, the one place that holds prompt text.
 *
 * Files are for their owner alone (mode 0600) and credentials are masked. Every call takes NULL
 * and then does nothing, so that the callers need not ask whether tracing is on. Writing blocks
 * the loop: this is for looking at one client, not for production. */
#ifndef PENSIEVE_SERVER_TRACE_H
#define PENSIEVE_SERVER_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "server/http.h"

struct trace;

/* DIR/TIME-REQUEST_ID.txt. NULL if dir is NULL or the file can't be made (which is logged). */
struct trace *trace_open(const char *dir, struct str request_id);
/* The request as far as it was understood; head may be NULL (malformed). */
void trace_request(struct trace *trace, const struct http_reader *head);
void trace_prompt(struct trace *trace, struct str prompt);      /* the text the model sees */
/* Where the prompt left what was cached; text: around there. */
void trace_divergence(struct trace *trace, uint32_t at, struct str text);
void trace_response(struct trace *trace, const struct str *parts, size_t n);
void trace_close(struct trace *trace, const char *outcome);

#endif
