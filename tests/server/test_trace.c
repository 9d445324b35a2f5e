/* The trace's file: what is in it, what must not be, and whose it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rig.h"

/* The text of the only file in dir, which is deleted. Good until the next call. */
static const char *only_file(const char *dir)
{
    static char text[64 << 10];
    char path[512] = "";
    DIR *open_dir = opendir(dir);
    struct dirent *entry;
    struct stat info;

    assert_non_null(open_dir);
    while ((entry = readdir(open_dir))) {
        if (entry->d_name[0] == '.')
            continue;
        assert_string_equal(path, "");
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
    }
    closedir(open_dir);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    const size_t n = fread(text, 1, sizeof text - 1, file);
    assert_true(n > 0);
    text[n] = '\0';
    fclose(file);
    unlink(path);
    return text;
}

static void expect_in(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("the trace lacks \"%s\"", part);
}

static void test_trace(void **state)
{
    struct rig *rig = malloc(sizeof *rig);
    struct client client;
    char parent[] = "/tmp/pensieve-trace-XXXXXX", dir[64];

    assert_non_null(mkdtemp(parent));
    snprintf(dir, sizeof dir, "%s/made", parent);
    rig_init(rig);
    rig->options.trace_dir = dir;
    rig_start(rig);
    client_open(&client, rig);
    client_post(&client, rig_stream_body);
    generation_start(rig_generation(rig, 0), 3);
    generation_delta(rig_generation(rig, 0), STR("answer"));
    generation_done(rig_generation(rig, 0), 1);
    client_expect(&client, "message_stop");
    client_close(&client);
    const char *text = only_file(dir);
    expect_in(text, "POST /v1/messages HTTP/1.1\n");
    expect_in(text, "host: localhost\n");
    expect_in(text, "x-api-key: (18 bytes, not shown)\n");
    expect_in(text, rig_stream_body);
    expect_in(text, "<prompt>");
    expect_in(text, "HTTP/1.1 200 OK\r\n");
    expect_in(text, "\"text\":\"answer\"");
    expect_in(text, "# sent, at +0.");
    assert_null(strstr(text, RIG_KEY));

    client_open(&client, rig);                  /* what can't be read is traced too */
    client_say(&client, "BAD\r\n\r\n");
    client_expect_end(&client);
    client_close(&client);
    text = only_file(dir);
    expect_in(text, "could not be read");
    expect_in(text, "HTTP/1.1 400 Bad Request");

    rmdir(dir);                                 /* no place to make it: served all the same */
    rmdir(parent);
    client_open(&client, rig);
    client_say(&client, "GET / HTTP/1.1\r\n" RIG_HEADERS "\r\n");
    client_expect(&client, "Pensieve");
    client_close(&client);
    rig_stop(rig);
    free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_trace)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
