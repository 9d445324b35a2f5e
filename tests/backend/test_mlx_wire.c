/* The lines between server and bridge: what is written of a prompt, and that nothing wrong is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "backend/mlx_wire.h"

static bool read_line(struct arena *arena, const char *text, struct mlx_line *line, struct err *err)
{
    return mlx_line_read(arena, str_of(text), line, err);
}

static void every_type_is_read(void **state)
{
    struct arena *arena = arena_new(4096);
    struct mlx_line line;
    struct err err;

    (void)state;
    assert_true(read_line(arena, "{\"type\":\"ready\",\"protocol\":1,\"context\":4096,\"chat_template\":"
                          "\"{{x}}\",\"bos\":\"<s>\",\"eos\":\"\",\"other\":[1]}", &line, &err));
    assert_int_equal(line.type, MLX_READY);
    assert_int_equal(line.context, 4096);
    assert_true(str_is(line.chat_template, "{{x}}"));
    assert_true(str_is(line.bos, "<s>"));
    assert_true(read_line(arena, "{\"type\":\"started\",\"id\":18446744073709551615,"
                          "\"prompt_tokens\":9,\"cached_tokens\":5,\"marked_tokens\":4,"
                          "\"marks\":[4,9]}", &line, &err));
    assert_true(line.id == UINT64_MAX);
    assert_int_equal(line.cached_tokens, 5);
    assert_int_equal(line.marked_tokens, 4);
    assert_int_equal(line.marks_n, 2);
    assert_int_equal(line.marks[1], 9);
    assert_true(read_line(arena, "{\"type\":\"token\",\"id\":1,\"text\":\"\\u20ac\",\"tokens\":3,"
                          "\"control\":true}", &line, &err));
    assert_true(str_is(line.text, "\u20ac") && line.control && line.tokens == 3);
    assert_true(read_line(arena, "{\"type\":\"done\",\"id\":1,\"reason\":\"context\",\"tokens\":3}",
                          &line, &err));
    assert_int_equal(line.reason, MLX_CONTEXT);
    assert_true(read_line(arena, "{\"type\":\"error\",\"id\":1,\"code\":\"too_long\",\"tokens\":9,"
                          "\"maximum\":8}", &line, &err));
    assert_true(line.too_long && line.tokens == 9 && line.maximum == 8);
    assert_true(read_line(arena, "{\"type\":\"error\",\"id\":1,\"code\":\"new\",\"message\":\"m\"}",
                          &line, &err));
    assert_true(!line.too_long && !line.invalid && str_is(line.message, "m"));
    assert_true(read_line(arena, "{\"type\":\"alive\"}", &line, &err));
    arena_free(arena);
}

static void what_is_wrong_is_named(void **state)
{
    static const char *const wrong[][2] = {
        {"", "the line is not valid JSON"},
        {"[]", "type is none that is known"},
        {"\"alive\"", "type is none that is known"},
        {"{\"type\":\"other\"}", "type is none that is known"},
        {"{\"type\":7}", "type is none that is known"},
        {"{\"type\":\"alive\"} x", "the line is not valid JSON"},
        {"{\"type\":\"alive\",\"x\":\"\xff\"}", "the line is not valid JSON"},
        {"{\"type\":\"token\",\"text\":\"\",\"tokens\":1}", "id is not a number"},
        {"{\"type\":\"token\",\"id\":-1,\"text\":\"\",\"tokens\":1}", "id is not a number"},
        {"{\"type\":\"token\",\"id\":1,\"text\":null,\"tokens\":1}", "token: text is not a text"},
        {"{\"type\":\"token\",\"id\":1,\"text\":\"\",\"tokens\":4294967296}",
         "token: tokens is not a number of 32 bits"},
        {"{\"type\":\"done\",\"id\":1,\"reason\":\"tired\",\"tokens\":1}",
         "done: reason is none that is known"},
        {"{\"type\":\"started\",\"id\":1,\"prompt_tokens\":1,\"cached_tokens\":2,"
         "\"marked_tokens\":0,\"marks\":[]}", "started: more tokens are cached than there are"},
        {"{\"type\":\"started\",\"id\":1,\"prompt_tokens\":1,\"cached_tokens\":0,"
         "\"marked_tokens\":0,\"marks\":[2]}", "started: a mark is not in the prompt"},
        {"{\"type\":\"started\",\"id\":1,\"prompt_tokens\":1,\"cached_tokens\":0,"
         "\"marked_tokens\":0,\"marks\":[1,1,1,1,1]}",
         "started: marks is not a list of at most 4"},
        {"{\"type\":\"started\",\"id\":1,\"prompt_tokens\":1,\"cached_tokens\":0,"
         "\"marked_tokens\":0}", "started: marks is not a list of at most 4"},
        {"{\"type\":\"ready\",\"protocol\":1,\"context\":1,\"bos\":\"\",\"eos\":\"\"}",
         "ready: chat_template is not a text"},
    };
    struct arena *arena = arena_new(4096);

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct mlx_line line;
        struct err err;
        assert_false(read_line(arena, wrong[i][0], &line, &err));
        assert_int_equal(err.code, ERR_FORMAT);
        if (strncmp(err.text, wrong[i][1], strlen(wrong[i][1])) != 0)
            fail_msg("%s: %s", wrong[i][0], err.text);
    }
    arena_free(arena);
}

static void too_many_values_are_refused(void **state)
{
    struct arena *arena = arena_new(4096);
    struct buf text = {0};
    struct mlx_line line;
    struct err err;

    (void)state;
    buf_cstr(&text, "{\"type\":\"alive\",\"x\":[0");
    for (int i = 0; i < MLX_LINE_VALUES_MAX; i++)
        buf_cstr(&text, ",0");
    buf_cstr(&text, "]}");
    assert_false(mlx_line_read(arena, buf_view(&text), &line, &err));
    assert_int_equal(err.code, ERR_FORMAT);
    buf_release(&text);
    arena_free(arena);
}

static void assert_pieces(const struct prompt *prompt, const char *pieces)
{
    struct buf line = {0};
    char expected[512];

    mlx_write_count(&line, 7, prompt);
    snprintf(expected, sizeof expected, "{\"type\":\"count\",\"id\":7,\"prompt\":[%s]}\n", pieces);
    if (!str_is(buf_view(&line), expected))
        fail_msg("%.*s", STR_ARG(buf_view(&line)));
    buf_release(&line);
}

static void a_prompt_is_cut_at_its_borders(void **state)
{
    struct plain_range plain[] = {{2, 4}, {4, 6}, {8, 9}};
    struct prompt prompt = {.text = STR("abcdefghi"), .seconds = {300, 3600}};

    (void)state;
    assert_pieces(&prompt, "{\"text\":\"abcdefghi\"}");
    prompt.plain = plain;
    prompt.plain_n = 3;
    assert_pieces(&prompt, "{\"text\":\"ab\"},{\"text\":\"cd\",\"plain\":true},"
                  "{\"text\":\"ef\",\"plain\":true},{\"text\":\"gh\"},{\"text\":\"i\",\"plain\":true}");
    prompt.points[0] = (struct prompt_point){.at = 3, .number = 1};
    prompt.points[1] = (struct prompt_point){.at = 9, .number = 0};
    prompt.points_n = 2;
    assert_pieces(&prompt, "{\"text\":\"ab\"},{\"text\":\"c\",\"plain\":true,\"mark\":3600},"
                  "{\"text\":\"d\",\"plain\":true},{\"text\":\"ef\",\"plain\":true},"
                  "{\"text\":\"gh\"},{\"text\":\"i\",\"plain\":true,\"mark\":300}");
    prompt.points[0].at = 0;
    prompt.points[2] = (struct prompt_point){.at = 9, .number = 1};
    prompt.points_n = 3;
    prompt.plain_n = 0;
    assert_pieces(&prompt, "{\"text\":\"\",\"mark\":3600},{\"text\":\"abcdefghi\",\"mark\":300},"
                  "{\"text\":\"\",\"mark\":3600}");
    prompt = (struct prompt){.text = STR("\"\n"), .plain = plain};
    assert_pieces(&prompt, "{\"text\":\"\\\"\\n\"}");
    prompt.text = STR("");
    assert_pieces(&prompt, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_read),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(too_many_values_are_refused),
        cmocka_unit_test(a_prompt_is_cut_at_its_borders),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
