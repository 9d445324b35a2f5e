/* trace.c - stdio into a file of its own; each piece of an answer with its time since the start. */
#include "server/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

struct trace {
    FILE *file;
    uint64_t start_ns;
};

struct trace *trace_open(const char *dir, struct str request_id)
{
    char path[4096], now[32], shown[256];

    if (!dir)
        return NULL;
    clock_rfc3339_now_ms(now);
    const int n = snprintf(path, sizeof path, "%s/%s-%.*s.txt", dir, now, STR_ARG(request_id));
    if (n < 0 || (size_t)n >= sizeof path)
        return NULL;
    mkdir(dir, 0700);                           /* where it exists already: fine */
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    struct trace *trace = file ? malloc(sizeof *trace) : NULL;
    if (!trace) {
        log_event(LOG_WARN, "trace_failed", "path=%s reason=\"%s\"",
                  log_quote(shown, sizeof shown, str_of(path)), strerror(errno));
        if (file)
            fclose(file);
        else if (fd >= 0)
            close(fd);
        return NULL;
    }
    *trace = (struct trace){.file = file, .start_ns = clock_ns()};
    fprintf(file, "# exchange %.*s at %s\n", STR_ARG(request_id), now);
    return trace;
}

static bool is_secret(struct str name)
{
    return str_is(name, "x-api-key") || str_is(name, "authorization") ||
           str_is(name, "proxy-authorization") || str_is(name, "cookie");
}

static void put(struct trace *trace, struct str s)
{
    if (s.n)
        fwrite(s.s, 1, s.n, trace->file);
}

static void title(struct trace *trace, const char *text)
{
    fprintf(trace->file, "\n# %s, at +%.3f s\n", text, clock_seconds_since(trace->start_ns));
}

void trace_request(struct trace *trace, const struct http_reader *head)
{
    if (!trace)
        return;
    if (!head) {
        title(trace, "a request that could not be read");
        return;
    }
    title(trace, "request");
    const struct str query = http_query(head);
    fprintf(trace->file, "%s ", head->method_name);
    put(trace, http_path(head));
    if (query.n) {
        fputc('?', trace->file);
        put(trace, query);
    }
    fprintf(trace->file, " HTTP/1.%d\n", head->minor_0 ? 0 : 1);
    for (size_t i = 0; i < head->headers_n; i++) {
        const struct str name = http_header_name(head, i), value = http_header_value(head, i);
        put(trace, name);
        if (is_secret(name))
            fprintf(trace->file, ": (%zu bytes, not shown)\n", value.n);
        else {
            fputs(": ", trace->file);
            put(trace, value);
            fputc('\n', trace->file);
        }
    }
    fputc('\n', trace->file);
    put(trace, buf_view(&head->body));
    fputc('\n', trace->file);
    fflush(trace->file);
}

void trace_prompt(struct trace *trace, struct str prompt)
{
    if (!trace || !prompt.n)
        return;
    title(trace, "the prompt as the model sees it");
    put(trace, prompt);
    fputc('\n', trace->file);
    fflush(trace->file);
}

void trace_divergence(struct trace *trace, uint32_t at, struct str text)
{
    if (!trace || !text.n)
        return;
    title(trace, "where the prompt left what was cached");
    fprintf(trace->file, "token %u: ", at);
    put(trace, text);
    fputc('\n', trace->file);
    fflush(trace->file);
}

void trace_response(struct trace *trace, const struct str *parts, size_t n)
{
    if (!trace)
        return;
    title(trace, "sent");
    for (size_t i = 0; i < n; i++)
        put(trace, parts[i]);
    fflush(trace->file);
}

void trace_close(struct trace *trace, const char *outcome)
{
    if (!trace)
        return;
    title(trace, outcome);
    fclose(trace->file);
    free(trace);
}
