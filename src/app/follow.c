/* follow.c - see follow.h.
 *
 * Program and follower are one process group: Ctrl-C at the terminal is sent to both by the kernel,
 * and passing it on would make two of one. Such a signal has no sending process. That a terminal is
 * gone, though, the kernel tells the session's leader alone, and that may be we. */
#include "app/follow.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const int passed_on[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};
enum { PASSED_ON_N = sizeof(passed_on) / sizeof(passed_on[0]), SIGNALLED = 128 };

static volatile sig_atomic_t followed;  /* its pid; 0: there is none */

static void pass_on(int number, siginfo_t *info, void *context)
{
    bool typed = (number == SIGINT || number == SIGQUIT) && info->si_pid == 0;
    if (!typed && followed != 0) {
        kill((pid_t)followed, number);
    }
}

static bool is_program(const char *path)
{
    struct stat info;
    return access(path, X_OK) == 0 && stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

const char *follow_find(struct arena *arena, const char *name)
{
    const char *rest = getenv("PATH");
    if (strchr(name, '/')) {
        return is_program(name) ? name : NULL;
    }
    while (rest && *rest) {
        size_t n = strcspn(rest, ":");
        const char *path = arena_printf(arena, "%.*s/%s", n ? (int)n : 1, n ? rest : ".", name).s;
        if (is_program(path)) {
            return path;
        }
        rest += n + (rest[n] == ':');
    }
    return NULL;
}

bool follow_exec(const char *path, char *const *argv, struct err *err)
{
    signal(SIGPIPE, SIG_DFL);           /* what is ignored stays so across exec */
    execvp(path, argv);                 /* a script that names no interpreter, too: as a shell */
    return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
}

static void exec_or_end(const char *path, char *const *argv, const sigset_t *mask)
{
    struct err err = {0};
    sigprocmask(SIG_SETMASK, mask, NULL);
    follow_exec(path, argv, &err);
    fprintf(stderr, "pensieve: %s\n", err.text);
    _exit(SIGNALLED - 1);               /* as a shell says it of a program that does not start */
}

/* Waits for its end, and stops whenever it stops, so that a shell gets its terminal back. */
static void wait_end(pid_t pid, int *status)
{
    for (;;) {
        pid_t got = waitpid(pid, status, WUNTRACED);
        if (got == pid && WIFSTOPPED(*status)) {
            raise(SIGSTOP);
            kill(pid, SIGCONT);
        } else if (got == pid || errno != EINTR) {
            return;
        }
    }
}

bool follow_run(const char *path, char *const *argv, int *status, struct err *err)
{
    struct sigaction passing = {.sa_sigaction = pass_on, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigset_t all, before;
    sigfillset(&all);
    sigemptyset(&passing.sa_mask);
    sigprocmask(SIG_BLOCK, &all, &before);      /* until it is known to whom they are passed on */
    for (size_t i = 0; i < PASSED_ON_N; i++) {
        struct sigaction was;
        if (sigaction(passed_on[i], NULL, &was) == 0 && was.sa_handler != SIG_IGN) {
            sigaction(passed_on[i], &passing, NULL);    /* exec takes it back in the program */
        }
    }
    pid_t pid = fork();
    if (pid == 0) {
        exec_or_end(path, argv, &before);
    }
    followed = (sig_atomic_t)(pid > 0 ? pid : 0);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0) {
        return err_set(err, ERR_IO, "fork: %s", strerror(errno));
    }
    wait_end(pid, status);
    followed = 0;
    return true;
}

void follow_end(int status)
{
    if (WIFSIGNALED(status)) {
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
    }
    exit(WIFEXITED(status) ? WEXITSTATUS(status) : SIGNALLED + WTERMSIG(status));
}
