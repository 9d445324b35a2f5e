/* A child process on a real loop: its lines, its end, its being started again, and that nothing of it is
 * left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <signal.h>
#include <cmocka.h>

#include "backend/child.h"
#include "base/buf.h"

enum { LINE_MAX_HERE = 1000 };

/* A shell script, and what was heard of it. */
struct world {
    uv_loop_t loop;
    uv_timer_t limit;
    struct child *child;
    struct buf heard;                   /* "line;line;" */
    char why[CHILD_WHY_BYTES_MAX];
    int downs;
    int downs_wanted, lines_wanted, lines;
    int pid;
    bool ready_at_line;                 /* its first line says that it is ready */
};

static void on_line(void *context, struct str line)
{
    struct world *world = context;

    if (world->lines++ == 0 && world->ready_at_line)
        child_ready(world->child);
    if (str_starts(line, STR("pid ")))
        world->pid = atoi(line.s + 4);
    buf_str(&world->heard, line);
    buf_char(&world->heard, ';');
    if (world->lines == world->lines_wanted)
        uv_stop(&world->loop);
}

static void on_down(void *context, const char *why)
{
    struct world *world = context;

    snprintf(world->why, sizeof world->why, "%s", why);
    if (++world->downs == world->downs_wanted)
        uv_stop(&world->loop);
}

static void too_slow(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("the child did not do in a minute what was expected");
}

/* argv: lives as long as the world. */
static void world_open_argv(struct world *world, const char *const *argv, uint32_t start_ms,
                            uint32_t stall_ms)
{
    const struct child_options options = {
        .name = "test", .argv = argv, .line_bytes_max = LINE_MAX_HERE, .start_ms = start_ms,
        .stall_ms = stall_ms, .on_line = on_line, .on_down = on_down, .context = world,
    };
    *world = (struct world){0};
    uv_loop_init(&world->loop);
    uv_timer_init(&world->loop, &world->limit);
    uv_timer_start(&world->limit, too_slow, 60000, 0);
    world->child = child_new(&world->loop, &options);
}

static void world_open(struct world *world, const char *script, uint32_t start_ms,
                       uint32_t stall_ms)
{
    static const char *argv[4] = {"/bin/sh", "-c"};

    argv[2] = script;
    world_open_argv(world, argv, start_ms, stall_ms);
}

static void run_until(struct world *world, int lines, int downs)
{
    world->lines_wanted = lines;
    world->downs_wanted = downs;
    uv_run(&world->loop, UV_RUN_DEFAULT);
}

static void world_close(struct world *world)
{
    child_free(world->child);
    uv_close((uv_handle_t *)&world->limit, NULL);
    uv_run(&world->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    buf_release(&world->heard);
}

static void assert_heard(const struct world *world, const char *expected)
{
    assert_true(str_is(buf_view(&world->heard), expected));
}

/* A whole world for one script, which ends by itself or is ended for what it does. */
static void assert_ends(const char *script, const char *heard, const char *why)
{
    struct world world;

    world_open(&world, script, 60000, 60000);
    run_until(&world, 0, 1);
    assert_heard(&world, heard);
    assert_string_equal(world.why, why);
    world_close(&world);
}

static void lines_are_whole_however_they_are_written(void **state)
{
    (void)state;
    assert_ends("printf 'one\\ntw'; sleep 0.02; printf 'o\\n\\n'; printf half",
                "one;two;;",                    /* the half one is none */
                "ended with status 0");
}

static void it_is_started_again_after_a_pause(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, "echo here; exit 3", 60000, 60000);
    run_until(&world, 0, 1);
    assert_string_equal(world.why, "ended with status 3");
    assert_false(child_send(world.child, STR("x\n")));
    uv_run(&world.loop, UV_RUN_NOWAIT);
    assert_int_equal(child_state(world.child), CHILD_RESTING);
    assert_in_range(child_rests_ms(world.child), 1, CHILD_PAUSE_MS);
    run_until(&world, 0, 2);
    uv_run(&world.loop, UV_RUN_NOWAIT);
    assert_in_range(child_rests_ms(world.child), CHILD_PAUSE_MS, 2 * CHILD_PAUSE_MS);
    assert_heard(&world, "here;here;");
    world_close(&world);
}

static void a_signal_is_told_apart(void **state)
{
    (void)state;
    assert_ends("kill -9 $$", "", "was ended by signal 9");
}

static void what_is_sent_arrives(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, "echo ready; exec cat", 60000, 60000);
    world.ready_at_line = true;
    run_until(&world, 1, 0);
    assert_int_equal(child_state(world.child), CHILD_READY);
    assert_true(child_send(world.child, STR("a\nb\n")));
    assert_true(child_send(world.child, STR("c\n")));
    run_until(&world, 4, 0);
    assert_heard(&world, "ready;a;b;c;");
    world_close(&world);
}

static void who_is_not_ready_in_time_is_ended(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, "echo loading; exec sleep 100", 100, 60000);
    run_until(&world, 0, 1);
    assert_true(str_starts(str_of(world.why), STR("was not ready after")));
    world_close(&world);
}

static void who_is_silent_is_ended(void **state)
{
    struct world world;

    (void)state;
    /* Three beats within the limit each, longer than it together. */
    world_open(&world, "for i in 1 2 3; do echo $i; sleep 0.2; done; exec sleep 100", 60000, 500);
    world.ready_at_line = true;
    run_until(&world, 0, 1);
    assert_heard(&world, "1;2;3;");
    assert_true(str_starts(str_of(world.why), STR("was silent for")));
    world_close(&world);
}

static void an_endless_line_is_the_end(void **state)
{
    (void)state;
    assert_ends("echo good; while :; do printf xxxxxxxxxxxxxxxx; done", "good;",
                "wrote a line of more than 1000 bytes");
}

static void who_closes_its_output_is_ended(void **state)
{
    (void)state;
    assert_ends("exec >&-; exec sleep 100", "", "closed its output");
}

static void a_grandchild_that_holds_the_pipe_is_not_waited_for(void **state)
{
    (void)state;
    assert_ends("sleep 5 & echo last; exit 1", "last;", "ended with status 1");
}

static void who_was_told_to_end_is_not_heard(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, "echo one; echo two; exec sleep 100", 60000, 60000);
    run_until(&world, 2, 0);
    child_end(world.child, "is %s", "useless");
    child_end(world.child, "the first reason counts");
    assert_false(child_send(world.child, STR("x\n")));
    run_until(&world, 0, 1);
    assert_string_equal(world.why, "is useless");
    world_close(&world);
}

static void nothing_is_left_of_it(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, "echo pid $$; exec sleep 100", 60000, 60000);
    run_until(&world, 1, 0);
    assert_int_equal(kill(world.pid, 0), 0);
    world_close(&world);
    assert_int_equal(kill(world.pid, 0), -1);
    assert_int_equal(errno, ESRCH);
}

static void our_own_variables_stay_here(void **state)
{
    struct world world;

    (void)state;
    setenv("PENSIEVE_KEY", "secret", 1);
    setenv("OTHER_VARIABLE", "kept", 1);
    world_open(&world, "echo \"<$PENSIEVE_KEY$OTHER_VARIABLE>\"", 60000, 60000);
    run_until(&world, 0, 1);
    assert_heard(&world, "<kept>;");
    world_close(&world);
}

static void a_program_that_is_not_there(void **state)
{
    static const char *const argv[] = {"/nonexistent/python", NULL};
    struct world world;

    (void)state;
    world_open_argv(&world, argv, 1, 1);
    assert_int_equal(world.downs, 0);
    run_until(&world, 0, 1);
    assert_string_equal(world.why,
                        "/nonexistent/python can't be started: no such file or directory");
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_whole_however_they_are_written),
        cmocka_unit_test(it_is_started_again_after_a_pause),
        cmocka_unit_test(a_signal_is_told_apart),
        cmocka_unit_test(what_is_sent_arrives),
        cmocka_unit_test(who_is_not_ready_in_time_is_ended),
        cmocka_unit_test(who_is_silent_is_ended),
        cmocka_unit_test(an_endless_line_is_the_end),
        cmocka_unit_test(who_closes_its_output_is_ended),
        cmocka_unit_test(a_grandchild_that_holds_the_pipe_is_not_waited_for),
        cmocka_unit_test(who_was_told_to_end_is_not_heard),
        cmocka_unit_test(nothing_is_left_of_it),
        cmocka_unit_test(our_own_variables_stay_here),
        cmocka_unit_test(a_program_that_is_not_there),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
