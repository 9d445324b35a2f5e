/* child.c - see child.h.
 *
 * The hard thing is that a process ends in several steps: it exits and its output ends, in either order,
 * and its handles close. What it wrote last is often why it ended, so its output is read to
 * the end before it counts as down; but not for ever, because a process that it started may hold the pipe. */
#include "backend/child.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/log.h"

enum {
    READ_BYTES = 64 << 10,
    DRY_MS = 500,                       /* between its exit and its output's end, in either order */
    MS = 1000,
};

extern char **environ;

struct child {
    uv_loop_t *loop;
    struct child_options options;
    char **environment;                 /* [..NULL]: ours, without what is ours alone */
    uv_process_t process;
    uv_pipe_t in, out, log;
    uv_timer_t timer;                   /* the next deadline of the state it is in */
    int handles;                        /* of this run, not closed yet */
    enum child_state state;
    bool told;                          /* to end: what it still writes is not heard */
    bool exited, dry;                   /* ENDING: nothing more comes of its output */
    bool down;                          /* on_down was called for this run */
    bool freed;
    uint64_t since;                     /* loop time: when it was started, or got ready */
    uint64_t heard;                     /* of its last line */
    uint64_t due;                       /* RESTING: when it is started again */
    uint32_t pause_ms;                  /* before it is started the next time */
    struct buf lines, says;
    char why[CHILD_WHY_BYTES_MAX];      /* "" while there is no reason to end */
    char bytes[READ_BYTES];
};

struct sending {
    uv_write_t request;
    char bytes[];
};

static void start(struct child *child);
static void on_deadline(uv_timer_t *timer);

/* Names that begin with ours are options of the server, and keys. */
static char **environment_without_ours(void)
{
    size_t n = 0, kept = 0;

    while (environ[n])
        n++;
    char **environment = malloc((n + 1) * sizeof *environment);
    if (!environment)
        abort();
    for (size_t i = 0; i < n; i++)
        if (!str_starts(str_of(environ[i]), STR("PENSIEVE_")))
            environment[kept++] = environ[i];
    environment[kept] = NULL;
    return environment;
}

static void wait_ms(struct child *child, uint64_t ms)
{
    uv_timer_start(&child->timer, on_deadline, ms, 0);
}

static void say_why(struct child *child, const char *format, va_list args)
{
    if (child->why[0] == '\0')
        vsnprintf(child->why, sizeof child->why, format, args);
}

static void say_why_if_unsaid(struct child *child, const char *format, ...)
    __attribute__((format(printf, 2, 3), nonnull(2)));

static void say_why_if_unsaid(struct child *child, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say_why(child, format, args);
    va_end(args);
}

/* ---- the end ---- */

static void release(uv_handle_t *timer)
{
    struct child *child = timer->data;

    buf_release(&child->lines);
    buf_release(&child->says);
    free(child->environment);
    free(child);
}

/* All of the run is gone. */
static void rest(struct child *child)
{
    child->state = CHILD_RESTING;
    if (child->freed) {
        uv_close((uv_handle_t *)&child->timer, release);
        return;
    }
    child->due = uv_now(child->loop) + child->pause_ms;
    wait_ms(child, child->pause_ms);
    child->pause_ms = child->pause_ms < CHILD_PAUSE_MS_MAX / 2 ? 2 * child->pause_ms
                                                               : CHILD_PAUSE_MS_MAX;
}

static void on_closed(uv_handle_t *handle)
{
    struct child *child = handle->data;

    if (--child->handles == 0)
        rest(child);
}

/* The run is over: nothing more is to be heard of it. */
static void over(struct child *child)
{
    if (child->down)
        return;
    child->down = true;
    uv_timer_stop(&child->timer);
    uv_close((uv_handle_t *)&child->process, on_closed);
    uv_close((uv_handle_t *)&child->in, on_closed);
    uv_close((uv_handle_t *)&child->out, on_closed);
    uv_close((uv_handle_t *)&child->log, on_closed);
    if (child->freed)
        return;
    char shown[2 * CHILD_WHY_BYTES_MAX];
    log_event(LOG_WARN, "child_down", "name=%s why=%s again_ms=%u", child->options.name,
              log_quote(shown, sizeof shown, str_of(child->why)), child->pause_ms);
    child->options.on_down(child->options.context, child->why);
}

static void ending(struct child *child)
{
    if (child->state == CHILD_READY && uv_now(child->loop) - child->since >= CHILD_LASTED_MS)
        child->pause_ms = CHILD_PAUSE_MS;
    child->state = CHILD_ENDING;
}

static void on_exited(uv_process_t *process, int64_t status, int signal_number)
{
    struct child *child = process->data;

    if (signal_number)
        say_why_if_unsaid(child, "was ended by signal %d", signal_number);
    else
        say_why_if_unsaid(child, "ended with status %d", (int)status);
    ending(child);
    child->exited = true;
    if (child->dry || child->freed)
        over(child);
    else
        wait_ms(child, DRY_MS);
}

void child_end(struct child *child, const char *format, ...)
{
    va_list args;

    if (child->state != CHILD_STARTING && child->state != CHILD_READY)
        return;
    va_start(args, format);
    say_why(child, format, args);
    va_end(args);
    child->told = true;
    ending(child);
    uv_process_kill(&child->process, SIGKILL);
}

static void on_deadline(uv_timer_t *timer)
{
    struct child *child = timer->data;
    const uint64_t now = uv_now(child->loop);
    const bool ready = child->state == CHILD_READY;
    const uint64_t limit = ready ? child->options.stall_ms : child->options.start_ms;
    const uint64_t from = ready ? child->heard : child->since;

    if (child->state == CHILD_RESTING)
        start(child);
    else if (child->state == CHILD_ENDING && child->exited)
        over(child);
    else if (child->state == CHILD_ENDING)
        return;
    else if (child->dry)
        child_end(child, "closed its output");
    else if (now - from < limit)
        wait_ms(child, limit - (now - from));
    else if (ready)
        child_end(child, "was silent for %u s", child->options.stall_ms / MS);
    else
        child_end(child, "was not ready after %u s", child->options.start_ms / MS);
}

/* ---- what it writes ---- */

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct child *child = handle->data;

    (void)suggested;
    *buf = uv_buf_init(child->bytes, sizeof child->bytes);
}

static bool hears(const struct child *child)
{
    return !child->freed && !child->down && !child->told;
}

static void end_for_long_line(struct child *child)
{
    child_end(child, "wrote a line of more than %zu bytes", child->options.line_bytes_max);
}

static void take_lines(struct child *child)
{
    size_t begin = 0;
    const char *end;

    child->heard = uv_now(child->loop);
    while (hears(child) && (end = memchr(child->lines.data + begin, '\n', child->lines.n - begin))) {
        const struct str line = {child->lines.data + begin,
                                 (size_t)(end - child->lines.data) - begin};
        begin += line.n + 1;
        if (line.n > child->options.line_bytes_max)
            end_for_long_line(child);
        else
            child->options.on_line(child->options.context, line);
    }
    buf_consume(&child->lines, begin);
    if (child->lines.n > child->options.line_bytes_max)
        end_for_long_line(child);
}

static void on_out(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct child *child = stream->data;

    if (n < 0) {
        uv_read_stop(stream);
        child->dry = true;
        if (child->exited)
            over(child);
        else if (!child->told)
            wait_ms(child, DRY_MS);     /* most often it is about to exit */
    } else if (n > 0 && hears(child)) {
        /* Only what is new can hold a line's end; so a long line in small pieces is not searched anew. */
        buf_append(&child->lines, buf->base, (size_t)n);
        if (memchr(buf->base, '\n', (size_t)n) || child->lines.n > child->options.line_bytes_max)
            take_lines(child);
    }
}

static void log_line(const struct child *child, struct str line)
{
    char shown[2 * CHILD_LOG_LINE_BYTES_MAX];

    if (line.n)
        log_event(LOG_INFO, "child_says", "name=%s text=%s", child->options.name,
                  log_quote(shown, sizeof shown, line));
}

/* Progress bars end their lines with a carriage return. */
static void on_log(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct child *child = stream->data;

    for (ssize_t i = 0; i < n; i++) {
        const bool end = buf->base[i] == '\n' || buf->base[i] == '\r';
        if (!end)
            buf_char(&child->says, buf->base[i]);
        if (end || child->says.n == CHILD_LOG_LINE_BYTES_MAX) {
            log_line(child, buf_view(&child->says));
            buf_reset(&child->says);
        }
    }
    if (n < 0)
        uv_read_stop(stream);
}

/* ---- the beginning ---- */

static void add_handle(struct child *child, uv_handle_t *handle)
{
    handle->data = child;
    uv_unref(handle);
    child->handles++;
}

static void start(struct child *child)
{
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&child->in},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&child->out},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&child->log},
    };
    const uv_process_options_t options = {
        .file = child->options.argv[0], .args = (char **)(uintptr_t)child->options.argv,
        .env = child->environment, .exit_cb = on_exited, .stdio = stdio, .stdio_count = 3,
    };

    child->state = CHILD_STARTING;
    child->told = child->exited = child->dry = child->down = false;
    child->why[0] = '\0';
    child->since = uv_now(child->loop);
    buf_reset(&child->lines);
    buf_reset(&child->says);
    uv_pipe_init(child->loop, &child->in, 0);
    uv_pipe_init(child->loop, &child->out, 0);
    uv_pipe_init(child->loop, &child->log, 0);
    const int rc = uv_spawn(child->loop, &child->process, &options);
    add_handle(child, (uv_handle_t *)&child->process);
    add_handle(child, (uv_handle_t *)&child->in);
    add_handle(child, (uv_handle_t *)&child->out);
    add_handle(child, (uv_handle_t *)&child->log);
    if (rc) {
        say_why_if_unsaid(child, "%s can't be started: %s", child->options.argv[0],
                          uv_strerror(rc));
        ending(child);
        child->exited = true;
        wait_ms(child, 0);              /* not from within child_new */
        return;
    }
    uv_read_start((uv_stream_t *)&child->out, allocate, on_out);
    uv_read_start((uv_stream_t *)&child->log, allocate, on_log);
    wait_ms(child, child->options.start_ms);
    log_event(LOG_INFO, "child_started", "name=%s pid=%d", child->options.name,
              uv_process_get_pid(&child->process));
}

struct child *child_new(uv_loop_t *loop, const struct child_options *options)
{
    struct child *child = calloc(1, sizeof *child);

    if (!child)
        abort();                        /* as arenas do: the machine is out of memory */
    child->loop = loop;
    child->options = *options;
    child->environment = environment_without_ours();
    child->pause_ms = CHILD_PAUSE_MS;
    buf_init(&child->lines, options->line_bytes_max + READ_BYTES);
    uv_timer_init(loop, &child->timer);
    child->timer.data = child;
    uv_unref((uv_handle_t *)&child->timer);
    start(child);
    return child;
}

void child_free(struct child *child)
{
    if (!child)
        return;
    child->freed = true;
    if (child->state == CHILD_RESTING) {
        uv_close((uv_handle_t *)&child->timer, release);
    } else if (!child->down && child->exited) {
        over(child);
    } else if (!child->down) {
        uv_ref((uv_handle_t *)&child->process);         /* until it is gone */
        ending(child);
        uv_process_kill(&child->process, SIGKILL);
    }
}

/* ---- while it lives ---- */

enum child_state child_state(const struct child *child)
{
    return child->state;
}

void child_ready(struct child *child)
{
    if (child->state != CHILD_STARTING)
        return;
    child->state = CHILD_READY;
    child->since = child->heard = uv_now(child->loop);
    wait_ms(child, child->options.stall_ms);
}

static void on_sent(uv_write_t *request, int status)
{
    (void)status;                       /* a child that can't be written to is seen to end */
    free(request);
}

bool child_send(struct child *child, struct str bytes)
{
    if (child->state != CHILD_STARTING && child->state != CHILD_READY)
        return false;
    uv_stream_t *in = (uv_stream_t *)&child->in;
    if (uv_stream_get_write_queue_size(in) + bytes.n > CHILD_UNSENT_BYTES_MAX) {
        child_end(child, "does not read what it is sent");
        return false;
    }
    struct sending *sending = malloc(sizeof *sending + bytes.n);
    if (!sending)
        abort();
    memcpy(sending->bytes, bytes.s, bytes.n);
    uv_buf_t buf = uv_buf_init(sending->bytes, (unsigned)bytes.n);
    const int rc = uv_write(&sending->request, in, &buf, 1, on_sent);
    if (rc)
        free(sending);
    return rc == 0;
}

uint64_t child_rests_ms(const struct child *child)
{
    const uint64_t now = uv_now(child->loop);

    return child->state == CHILD_RESTING && child->due > now ? child->due - now : 0;
}
