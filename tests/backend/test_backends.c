/* Which backend a model's name means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "backend/backends.h"

static int freed;

static void fake_free(struct backend *backend) { freed++; }

static const struct backend_ops fake_ops = {.kind = "fake", .free = fake_free};

static struct backend fake(const char *id)
{
    return (struct backend){.ops = &fake_ops, .card = {.id = str_of(id)}};
}

static void test_names(void **state)
{
    struct backend first = fake("smol"), second = fake("claude-local");
    struct backends *backends = backends_new();
    struct err err;
    static const char *const defaults[] = {
        "smol", "claude-3-sonnet-20240229", "claude-opus-4-1", "claude-", "Claude-3", "CLAUDE-X",
        "anthropic-anything", "Anthropic-1",
    };
    static const char *const unknown[] = {
        "", "claude", "SMOL", "smo", "smoll", "gpt-4", "xclaude-3", "anthropic", "claude.local",
    };

    backends_add(backends, &first);
    backends_add(backends, &second);
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        assert_ptr_equal(backends_find(backends, str_of(defaults[i]), &err), &first);
    assert_ptr_equal(backends_find(backends, STR("claude-local"), &err), &second);
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        char expected[64] = "model: ";
        assert_null(backends_find(backends, str_of(unknown[i]), &err));
        assert_int_equal(err.code, ERR_NOT_FOUND);
        assert_string_equal(err.text, strcat(expected, unknown[i]));
    }
    assert_string_equal(backends_card(backends, 0)->id.s, "smol");
    assert_string_equal(backends_card(backends, 1)->id.s, "claude-local");
    assert_null(backends_card(backends, 2));
    assert_ptr_equal(backends_nth(backends, 1), &second);
    assert_null(backends_nth(backends, 2));
    freed = 0;
    backends_free(backends);
    assert_int_equal(freed, 2);
}

static void test_none_and_long_names(void **state)
{
    struct backends *backends = backends_new();
    struct err err;
    char name[1000];

    assert_null(backends_find(backends, STR("claude-3"), &err));
    assert_string_equal(err.text, "model: claude-3");
    for (size_t i = 0; i < sizeof name; i += 2)         /* cut between characters */
        memcpy(name + i, "\xc3\xa9", 2);
    assert_null(backends_find(backends, (struct str){name, sizeof name}, &err));
    assert_int_equal(strlen(err.text), strlen("model: ") + 128);
    backends_free(backends);
    backends_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_none_and_long_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
