/* test_thoughts.c - what is signed is known again, and nothing else is: neither a changed text nor a changed
 * signature nor another key; and what of a request stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backend/thoughts.h"

static const struct hash_key secret[2] = {{1, 2}, {3, 4}}, other[2] = {{1, 2}, {3, 5}};
static const struct hash_key elsewhere[2] = {{5, 6}, {7, 8}};

static void test_signatures(void **state)
{
    struct arena *arena = arena_new(1024);
    struct signer signer, stranger, forger;

    signer_init(&signer, secret);
    signer_init(&stranger, elsewhere);
    signer_init(&forger, other);                /* names the key, and has half of it */
    const struct str text = STR("Two parts.");
    const struct str told = sign_thought(arena, &signer, text, false);
    const struct str again = sign_thought(arena, &signer, text, false);
    const struct str hidden = sign_thought(arena, &signer, text, true);

    assert_int_equal(sign_check(&signer, text, told), SIGNATURE_OURS);
    assert_int_equal(sign_check(&signer, text, again), SIGNATURE_OURS);
    assert_false(str_equal(told, again));
    assert_int_equal(sign_check(&signer, STR("Two parts,"), told), SIGNATURE_BROKEN);
    assert_int_equal(sign_check(&signer, STR(""), told), SIGNATURE_BROKEN);
    assert_int_equal(sign_check(&signer, STR(""), hidden), SIGNATURE_UNTOLD);
    assert_int_equal(sign_check(&signer, STR("anything"), hidden), SIGNATURE_UNTOLD);
    assert_int_equal(sign_check(&stranger, text, told), SIGNATURE_FOREIGN);
    assert_int_equal(sign_check(&forger, text, told), SIGNATURE_BROKEN);
    assert_int_equal(sign_check(&signer, text, STR("")), SIGNATURE_FOREIGN);
    assert_int_equal(sign_check(&signer, text, STR("cHY6MTIz")), SIGNATURE_FOREIGN);
    arena_free(arena);
}

/* Whatever is changed of it, it is never ours. */
static void test_every_character_counts(void **state)
{
    struct arena *arena = arena_new(1024);
    struct signer signer;

    signer_init(&signer, secret);
    const struct str told = sign_thought(arena, &signer, STR("x"), false);
    char *changed = arena_cstr(arena, told);
    for (size_t i = 0; i < told.n; i++) {
        changed[i] = told.s[i] == 'A' ? 'B' : 'A';
        assert_int_not_equal(sign_check(&signer, STR("x"), (struct str){changed, told.n}),
                             SIGNATURE_OURS);
        changed[i] = told.s[i];
    }
    arena_free(arena);
}

static void test_sift(void **state)
{
    struct arena *arena = arena_new(1024);
    struct signer signer, stranger;
    struct err err = {0};

    signer_init(&signer, secret);
    signer_init(&stranger, elsewhere);
    struct content_block blocks[] = {
        {.type = BLOCK_THINKING, .text = STR("mine"), .place = {3, 2},
         .signature = sign_thought(arena, &signer, STR("mine"), false)},
        {.type = BLOCK_TEXT, .text = STR("said")},
        {.type = BLOCK_THINKING, .text = STR("theirs"),
         .signature = sign_thought(arena, &stranger, STR("theirs"), false)},
        {.type = BLOCK_REDACTED_THINKING, .text = STR("opaque")},
        {.type = BLOCK_THINKING, .text = STR("made up"),
         .signature = sign_thought(arena, &signer, STR("mine too"), true)},
    };
    struct content_block question = {.type = BLOCK_TEXT, .text = STR("?")};
    struct message messages[] = {{ROLE_USER, &question, 1}, {ROLE_ASSISTANT, blocks, 2}};
    struct message_request request = {.messages = messages, .messages_n = 2};

    assert_ptr_equal(thoughts_sift(arena, &signer, &request, &err), &request);
    messages[1].blocks_n = 5;
    const struct message_request *sifted = thoughts_sift(arena, &signer, &request, &err);
    assert_non_null(sifted);
    assert_int_equal(sifted->messages[0].blocks_n, 1);
    assert_int_equal(sifted->messages[1].blocks_n, 3);
    assert_int_equal(sifted->messages[1].blocks[2].text.n, 0);
    assert_true(str_is(sifted->messages[1].blocks[0].text, "mine"));
    assert_true(str_is(sifted->messages[1].blocks[1].text, "said"));
    assert_int_equal(request.messages[1].blocks_n, 5);
    blocks[0].text = STR("Mine");
    assert_null(thoughts_sift(arena, &signer, &request, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_string_equal(err.text, "messages.3.content.2: Invalid `signature` in `thinking` block");
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_every_character_counts),
        cmocka_unit_test(test_sift),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
