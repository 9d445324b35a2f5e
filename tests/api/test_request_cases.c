/* test_request_cases.c - every case of request_cases.txt: a body and its exact answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/request.h"
#include "base/buf.h"
#include "cases.h"

static const char *cases_path;

struct mode {
    int wrapper;
    struct request_options options;
};

static struct mode mode_parse(char *words)
{
    struct mode mode = {0};
    char *state;

    for (char *word = strtok_r(words, " \n", &state); word; word = strtok_r(NULL, " \n", &state)) {
        if (strcmp(word, "strict") == 0)
            mode.options.strict = true;
        else if (strcmp(word, "v26") == 0)
            mode.options.version = API_V26;
        else if (strcmp(word, "count") == 0)
            mode.options.count_tokens = true;
        else if ((mode.wrapper = cases_wrapper(word)) == CASES_NO_WRAPPER)
            fail_msg("%s: unknown word on an @ line: %s", cases_path, word);
    }
    return mode;
}

/* Returns 1 if the answer is not the expected one. */
static int check(const struct mode *mode, struct str json, const char *expected, int line)
{
    struct arena *arena = arena_new(4096);
    struct buf body;
    struct err err = {0};

    buf_init(&body, 0);
    cases_body(&body, mode->wrapper, json);
    const struct message_request *request =
        request_decode(arena, buf_view(&body), &mode->options, &err);
    const char *answer = !request ? err.text : request->refused ? request->refused->text : "ok";
    const int wrong = strcmp(answer, expected) != 0;
    if (wrong)
        print_error("%s:%d\n    %.*s\n    expected %s\n    but got  %s\n", cases_path, line,
                    STR_ARG(json), expected, answer);
    buf_release(&body);
    arena_free(arena);
    return wrong;
}

static void test_cases(void **state)
{
    FILE *file = fopen(cases_path, "r");
    struct mode mode = {0};
    char *line = NULL, *json = NULL;
    size_t capacity = 0;
    int number = 0, cases = 0, wrong = 0;

    assert_non_null(file);
    for (ssize_t n; (n = getline(&line, &capacity, file)) >= 0;) {
        number++;
        if (n && line[n - 1] == '\n')
            line[--n] = '\0';
        if (n == 0 || line[0] == '#')
            continue;
        if (line[0] == '@') {
            mode = mode_parse(line + 1);
        } else if (strncmp(line, "=> ", 3) == 0) {
            assert_non_null(json);
            wrong += check(&mode, str_of(json), line + 3, number);
            cases++;
            free(json);
            json = NULL;
        } else {
            assert_null(json);
            json = strdup(line);
        }
    }
    free(line);
    fclose(file);
    assert_null(json);
    assert_int_equal(wrong, 0);
    assert_true(cases > 300);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};

    cases_path = argc > 1 ? argv[1] : "tests/api/request_cases.txt";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
