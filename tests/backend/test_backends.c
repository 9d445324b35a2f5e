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

/* NULL: there is no such card. */
static const char *card_id(const struct backends *backends, size_t i)
{
    struct model_card card;

    return backends_card(backends, i, &card) ? card.id.s : NULL;
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
    assert_string_equal(card_id(backends, 0), "smol");
    assert_string_equal(card_id(backends, 1), "claude-local");
    assert_null(card_id(backends, 2));
    assert_ptr_equal(backends_nth(backends, 1), &second);
    assert_null(backends_nth(backends, 2));
    freed = 0;
    backends_free(backends);
    assert_int_equal(freed, 2);
}

static void test_pickers_and_broken_ones(void **state)
{
    struct backend first = fake("smol"), second = fake("org/big");
    struct backends *backends = backends_new();
    struct err err;

    backends_add(backends, &first);
    backends_add(backends, &second);
    backends_add_broken(backends, STR("org/bad"), "bad.gguf: byte 4: cut off");
    assert_ptr_equal(backends_find(backends, STR("claude-local-org/big"), &err), &second);
    assert_ptr_equal(backends_find(backends, STR("claude-local-smol"), &err), &first);
    assert_ptr_equal(backends_find(backends, STR("claude-local-none"), &err), &first);
    assert_null(backends_find(backends, STR("org/bad"), &err));
    assert_string_equal(err.text, "model: org/bad: bad.gguf: byte 4: cut off");
    assert_null(backends_find(backends, STR("claude-local-org/bad"), &err));
    assert_true(picker_keeps(STR("claude-x")) && picker_keeps(STR("Anthropic/x")));
    assert_false(picker_keeps(STR("my-claude")) || picker_keeps(STR("")));
    assert_null(card_id(backends, 2));            /* broken ones are not listed */
    backends_free(backends);
}

static void test_aliases(void **state)
{
    struct backend first = fake("smol"), second = fake("big"), third = fake("claude-haiku-9");
    struct backends *backends = backends_new();
    struct err err;
    static const struct {
        const char *name;
        int found;
    } cases[] = {
        {"claude-haiku-4-5", 1}, {"CLAUDE-HAIKU-X", 1}, {"claude-haiku-", 1}, {"claude-haiku", 0},
        {"claude-haiku-9", 2},          /* an id is stronger */
        {"claude-opus-4", 0}, {"fast", 1}, {"FAST", 1}, {"a-gpt-b", 1}, {"gpt-", -1}, {"big", 1},
        {"claude-local-big", 1},
    };

    backends_add(backends, &first);
    backends_add(backends, &second);
    backends_add(backends, &third);
    struct backend *const all[] = {&first, &second, &third};
    assert_true(backends_alias(backends, STR("claude-haiku-*"), STR("big")));
    assert_true(backends_alias(backends, STR("claude-haiku-4*"), STR("smol")));     /* too late */
    assert_true(backends_alias(backends, STR("fast"), STR("big")));
    assert_true(backends_alias(backends, STR("*-gpt-*"), STR("big")));
    assert_false(backends_alias(backends, STR("x"), STR("none")));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct backend *found = backends_find(backends, str_of(cases[i].name), &err);
        assert_ptr_equal(found, cases[i].found < 0 ? NULL : all[cases[i].found]);
    }
    assert_string_equal(card_id(backends, 3), "fast");
    assert_null(card_id(backends, 4));            /* patterns are not names */
    backends_free(backends);
}

static void test_patterns(void **state)
{
    static const struct {
        const char *pattern, *name;
        bool fits;
    } cases[] = {
        {"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "anything/at:all", true},
        {"a", "A", true}, {"a", "ab", false}, {"ab", "a", false}, {"a*", "a", true},
        {"a*c", "abc", true}, {"a*c", "ac", true}, {"a*c", "abcd", false}, {"a*c", "acbc", true},
        {"*a*b*", "xxaxxbxx", true}, {"*a*b*", "ba", false}, {"**", "x", true},
        {"*ab*ab", "abab", true}, {"*ab*ab", "ab", false}, {"a?c", "abc", false},
        {"*aab", "aaaaab", true},
    };
    char many[4001], stars[401];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(alias_matches(str_of(cases[i].pattern), str_of(cases[i].name)),
                         cases[i].fits);
    memset(many, 'a', sizeof many);             /* takes no longer than length times length */
    for (size_t i = 0; i < sizeof stars; i++)
        stars[i] = i % 2 ? 'a' : '*';
    stars[sizeof stars - 1] = 'b';
    assert_false(alias_matches((struct str){stars, sizeof stars}, (struct str){many, sizeof many}));
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
        cmocka_unit_test(test_pickers_and_broken_ones),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_none_and_long_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
