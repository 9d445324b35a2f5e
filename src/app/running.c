/* running.c - see running.h.
 *
 * The server is this program, forked before it has threads: the configuration is the child's
 * already. Its standard output is a pipe to us, on which the first line says that it is ready and
 * where, or why not. The hard thing is that it must never outlive us, however we end: a second
 * pipe, whose other end nobody but us holds, closes by itself when we are gone. */
#include "app/running.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "app/ask.h"
#include "base/clock.h"
#include "base/io.h"

enum {
    SAY_EVERY_MS = 5000,                /* while a model is loaded */
    LINE_BYTES_MAX = 1024,
    STOP_PATIENCE_MS = 5000,            /* then running answers are cut */
    STOP_LOOK_MS = 10,
};

static const char ready_mark[] = " ready on ";

/* ---- in the child ---- */

static void *watch_life(void *context)
{
    int life = (int)(intptr_t)context;
    char byte;
    while (read(life, &byte, 1) < 0 && errno == EINTR) {
    }
    kill(getpid(), SIGTERM);
    return NULL;
}

/* Never returns. */
static void serve_for(const struct config *config, struct arena *arena, int log, int said, int life)
{
    struct err err = {0};
    pthread_t thread;
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    setsid();                           /* Ctrl-C at the terminal is the client's */
    if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0 ||
        dup2(said, STDOUT_FILENO) < 0 ||
        pthread_create(&thread, NULL, watch_life, (void *)(intptr_t)life) != 0) {
        _exit(EXIT_FAILED);
    }
    close(said);                        /* so that its reader sees the end with standard output's */
    bool served = cmd_serve(config, arena, &err);
    if (!served) {
        printf("%s\n", err.text);
        fprintf(stderr, "pensieve: %s\n", err.text);
    }
    fflush(stdout);
    _exit(served ? EXIT_OK : EXIT_FAILED);
}

/* ---- in the parent ---- */

static int open_log(const struct config *config, struct arena *arena, struct err *err)
{
    char *path = arena_cstr(arena, str_of(config->launch_log));
    char *slash = strrchr(path, '/');
    struct str failed;
    if (!*path) {
        err_set(err, ERR_USAGE, "there is no home folder for the server's log: name a file with "
                                "--launch-log");
        return -1;
    }
    if (slash && slash != path) {
        *slash = 0;
        if (!io_make_folders(path, 0700, &failed)) {
            err_set(err, ERR_IO, "--launch-log: %.*s: %s", STR_ARG(failed), strerror(errno));
            return -1;
        }
    }
    int fd = open(config->launch_log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) {
        err_set(err, ERR_IO, "--launch-log: %s: %s", config->launch_log, strerror(errno));
    }
    return fd;
}

/* The first line that the server says; n == 0: it said none. */
static struct str first_line(struct arena *arena, int said)
{
    char *line = arena_alloc(arena, LINE_BYTES_MAX + 1);
    size_t n = 0;
    uint64_t begun = clock_ns();
    while (n < LINE_BYTES_MAX && !memchr(line, '\n', n)) {
        struct pollfd poll_said = {.fd = said, .events = POLLIN};
        int got = poll(&poll_said, 1, SAY_EVERY_MS);
        if (got == 0) {
            fprintf(stderr, "pensieve: still loading, after %.0f s\n", clock_seconds_since(begun));
        }
        if (got <= 0) {
            continue;
        }
        ssize_t bytes = read(said, line + n, LINE_BYTES_MAX - n);
        if (bytes == 0 || (bytes < 0 && errno != EINTR)) {
            break;
        }
        n += bytes > 0 ? (size_t)bytes : 0;
    }
    const char *end = memchr(line, '\n', n);
    return (struct str){line, end ? (size_t)(end - line) : n};
}

/* The address in "... ready on URL - ..."; NULL: that is not what the line says. */
static const char *ready_url(struct arena *arena, struct str line)
{
    const char *mark = strstr(arena_cstr(arena, line), ready_mark);
    if (!mark) {
        return NULL;
    }
    const char *url = mark + sizeof(ready_mark) - 1;
    return arena_cstr(arena, (struct str){url, strcspn(url, " ")});
}

static bool wait_ready(struct running *running, struct arena *arena, int said, struct err *err)
{
    struct str line = first_line(arena, said);
    const char *url = ready_url(arena, line);
    if (url) {
        running->url = url;
        fprintf(stderr, "%.*s\n", STR_ARG(line));
        return true;
    }
    running_stop(running);
    return line.n ? err_set(err, ERR_IO, "%.*s", STR_ARG(line))
                  : err_set(err, ERR_IO, "the server ended before it was ready; its log: %s",
                            running->log);
}

static bool start(struct running *running, const struct config *config, struct arena *arena,
                  struct err *err)
{
    uv_file said[2], life[2];
    int log = open_log(config, arena, err);
    if (log < 0) {
        return false;
    }
    int rc = uv_pipe(said, 0, 0);
    rc = rc ? rc : uv_pipe(life, 0, 0);
    if (rc != 0) {
        return err_set(err, ERR_IO, "pipe: %s", uv_strerror(rc));
    }
    fprintf(stderr, "pensieve: starting a server\n");
    fflush(NULL);                       /* or the child would write it again */
    running->log = config->launch_log;
    running->pid = fork();
    if (running->pid == 0) {
        close(said[0]);
        close(life[1]);
        serve_for(config, arena, log, said[1], life[0]);
    }
    close(log);
    close(said[1]);
    close(life[0]);
    running->life = life[1];
    if (running->pid < 0) {
        running->pid = 0;
        return err_set(err, ERR_IO, "fork: %s", strerror(errno));
    }
    bool ready = wait_ready(running, arena, said[0], err);
    close(said[0]);
    return ready;
}

bool running_find(struct running *running, const struct config *config, struct arena *arena,
                  struct err *err)
{
    struct answer answer = {0};
    *running = (struct running){
        .url = app_url(config, arena, (uint16_t)config->port).s,
        .key = config->keys.items[0].s,
        .life = -1,
    };
    struct err why = {0};
    bool asked = config->port == 0 || ask(arena, running->url, "/health", NULL, &answer, &why);
    if (asked && answer.status == 0) {
        return start(running, config, arena, err);
    }
    if (asked && strstr(answer.body.s, "\"server\":\"pensieve\"")) {
        return true;
    }
    return err_set(err, ERR_IO, "%s is taken by a program that is not Pensieve; choose another "
                   "--port, where a server will be started", running->url);
}

static void nap(unsigned ms)
{
    nanosleep(&(struct timespec){.tv_nsec = (long)ms * 1000000}, NULL);
}

void running_stop(struct running *running)
{
    int status;
    if (running->pid == 0) {
        return;
    }
    close(running->life);               /* a first signal; */
    for (unsigned ms = 0; waitpid(running->pid, &status, WNOHANG) == 0; ms += STOP_LOOK_MS) {
        if (ms == STOP_PATIENCE_MS) {
            kill(running->pid, SIGTERM);        /* the second: at once */
        }
        nap(STOP_LOOK_MS);
    }
    running->pid = 0;
}
