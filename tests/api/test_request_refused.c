/* test_request_refused.c - what this server does not offer, and another may be able to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "requests.h"

static void test_refused_is_whole_all_the_same(void **state)
{
    struct fixture *f = *state;
    const char *body =
        "{" MODEL ",\"tools\":[{\"type\":\"web_search_20250305\",\"name\":\"web_search\",\"a\":[1]}],"
        "\"tool_choice\":{\"type\":\"tool\",\"name\":\"web_search\"},\"container\":\"c\","
        "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\","
        "\"source\":{\"type\":\"url\",\"url\":\"u\"}}]}]}";
    const struct message_request *r = decode_text(f, body);

    assert_non_null(r);
    assert_non_null(r->refused);
    assert_int_equal(r->refused->code, ERR_INVALID);
    assert_string_equal(r->refused->text,
                        "tools.0: tool type 'web_search_20250305' is not available on this server");
    str_eq(r->body, body);
    assert_int_equal(r->messages_n, 1);
    assert_int_equal(r->tool_choice.kind, CHOICE_TOOL);
    assert_null(decode_text(f, "{" MODEL "," HI "}")->refused);
}

static void test_only_images(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *block;
        bool only;
    } rows[] = {
        {"{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"u\"}}", true},
        {"{\"type\":\"image\",\"source\":{\"type\":\"file\",\"file_id\":\"u\"}}", false},
        {"{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"u\"}},"
         "{\"type\":\"document\",\"source\":{\"type\":\"url\",\"url\":\"u\"}}", false},
        {"{\"type\":\"document\",\"source\":{\"type\":\"content\",\"content\":["
         "{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"u\"}}]}}", false},
        {"{\"type\":\"text\",\"text\":\"a\"}", false},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buf_reset(&f->body);
        buf_printf(&f->body, "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":[%s]}]}",
                   rows[i].block);
        const struct message_request *r = decode(f);
        assert_non_null(r);
        assert_true(r->only_images == rows[i].only);
        if (rows[i].only) {
            assert_int_equal(r->messages[0].blocks[0].type, BLOCK_IMAGE);
            str_eq(r->messages[0].blocks[0].text, "u");
        }
    }
}

static void test_refused_breaks_no_rule(void **state)
{
    struct fixture *f = *state;

    assert_null(decode_text(f, "{" MODEL "," HI ",\"temperature\":2,\"tools\":"
                               "[{\"type\":\"web_search_20250305\",\"name\":\"web_search\"}]}"));
    assert_string_equal(f->err.text, "temperature: Input should be less than or equal to 1");
}

/* What a hosted tool was at in the middle of is its server's to go on with, thoughts and all. */
static void test_refused_is_an_answer_that_a_hosted_tool_ends(void **state)
{
    struct fixture *f = *state;
    const char *const answers[] = {
        "{\"type\":\"text\",\"text\":\"so \"},{\"type\":\"server_tool_use\",\"id\":\"s\"}",
        "{\"type\":\"server_tool_use\",\"id\":\"s\"},{\"type\":\"text\",\"text\":\"so \"}",
    };

    for (size_t i = 0; i < 2; i++) {
        buf_reset(&f->body);
        buf_printf(&f->body,
                   "{\"model\":\"m\",\"max_tokens\":2000,\"thinking\":{\"type\":\"enabled\","
                   "\"budget_tokens\":1024},\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},"
                   "{\"role\":\"assistant\",\"content\":[%s]}]}",
                   answers[i]);
        const struct message_request *r = decode(f);
        assert_true(i == 0 ? r && r->refused : !r);
        assert_string_equal(i == 0 ? r->refused->text : f->err.text,
                            "messages: final assistant content cannot end with trailing "
                            "whitespace");
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, requests_open, requests_close)
    const struct CMUnitTest tests[] = {
        T(test_refused_is_whole_all_the_same),
        T(test_only_images),
        T(test_refused_breaks_no_rule),
        T(test_refused_is_an_answer_that_a_hosted_tool_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
