/* test_telling.c - sayings go over in one piece and come out as they went in; and what is told of them is
 * blocks in order, each opened and closed once, whatever the end cuts off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backend/telling.h"

enum { STORY_MAX = 2048 };

struct listener {
    struct arena *arena;
    struct telling telling;
    bool silent;
    int silent_after;                   /* so many events; 0: never */
    int events;
    char story[STORY_MAX];              /* what was heard, a word an event */
    struct str ids[4];
    size_t ids_n;
};

static void hear(void *context, const struct gen_event *event)
{
    static const char *const types[] = {[BLOCK_TEXT] = "text", [BLOCK_THINKING] = "thinking",
                                        [BLOCK_TOOL_USE] = "tool_use"};
    struct listener *listener = context;
    char *end = listener->story + strlen(listener->story);
    const size_t room = STORY_MAX - (size_t)(end - listener->story);

    assert_false(listener->silent);
    if (event->type == GEN_BLOCK_START)
        snprintf(end, room, "%u:%s(%.*s) ", event->block_index, types[event->block_type],
                 STR_ARG(event->tool_name));
    else if (event->type == GEN_DELTA)
        snprintf(end, room, "%u+%.*s ", event->block_index, STR_ARG(event->text));
    else
        snprintf(end, room, "%u.%s ", event->block_index, event->signature.n ? "signed" : "");
    if (event->tool_id.n)
        listener->ids[listener->ids_n++] = event->tool_id;
    if (++listener->events == listener->silent_after)
        listener->silent = true;
}

static const struct hash_key secret[2] = {{1, 2}, {3, 4}};
static struct signer signer;

static void attend(struct listener *listener, bool omitted)
{
    *listener = (struct listener){.arena = arena_new(1024)};
    signer_init(&signer, secret);
    listener->telling = (struct telling){
        .arena = listener->arena, .signer = &signer, .omitted = omitted,
        .silent = &listener->silent, .on_event = hear, .context = listener,
    };
}

static void finish(struct listener *listener)
{
    telling_release(&listener->telling);
    arena_free(listener->arena);
}

static void put(struct sayings *sayings, int kind, enum block_type type, const char *text)
{
    sayings_put(sayings, &(struct saying){.kind = kind, .type = type, .text = str_of(text)});
}

static void tell(struct listener *listener, struct sayings *sayings)
{
    struct str bytes = buf_view(&sayings->bytes);
    struct saying saying;

    while (sayings_take(&bytes, &saying))
        telling_say(&listener->telling, &saying);
    assert_int_equal(bytes.n, 0);
    sayings_reset(sayings);
}

static void put_turn(struct sayings *sayings)
{
    put(sayings, SAYING_OPEN, BLOCK_THINKING, "");
    put(sayings, SAYING_MORE, BLOCK_TEXT, "Let me ");
    put(sayings, SAYING_MORE, BLOCK_TEXT, "look.");
    put(sayings, SAYING_CLOSE, BLOCK_TEXT, "");
    put(sayings, SAYING_OPEN, BLOCK_TEXT, "");
    put(sayings, SAYING_MORE, BLOCK_TEXT, "Reading.");
    put(sayings, SAYING_CLOSE, BLOCK_TEXT, "");
    put(sayings, SAYING_OPEN, BLOCK_TOOL_USE, "read");
    put(sayings, SAYING_MORE, BLOCK_TEXT, "{\"path\":");
}

static void test_a_turn(void **state)
{
    struct listener listener;
    struct sayings sayings = {0};

    attend(&listener, false);
    put_turn(&sayings);
    tell(&listener, &sayings);                  /* in two pieces */
    put(&sayings, SAYING_MORE, BLOCK_TEXT, "\"a\"");
    put(&sayings, SAYING_MORE, BLOCK_TEXT, "}");
    put(&sayings, SAYING_CLOSE, BLOCK_TEXT, "");
    put(&sayings, SAYING_OPEN, BLOCK_TOOL_USE, "list");
    put(&sayings, SAYING_MORE, BLOCK_TEXT, "{}");
    put(&sayings, SAYING_CLOSE, BLOCK_TEXT, "");
    tell(&listener, &sayings);
    telling_end(&listener.telling);
    assert_string_equal(listener.story,
                        "0:thinking() 0+Let me look. 0.signed 1:text() 1+Reading. 1. "
                        "2:tool_use(read) 2+{\"path\": 2+\"a\"} 2. 3:tool_use(list) 3+{} 3. ");
    assert_true(listener.telling.called);
    assert_int_equal(listener.ids_n, 2);
    assert_false(str_equal(listener.ids[0], listener.ids[1]));
    assert_true(str_starts(listener.ids[0], STR("toolu_01")));
    const struct content_block *blocks = telling_blocks(&listener.telling);
    assert_int_equal(listener.telling.n, 4);
    assert_int_equal(sign_check(&signer, blocks[0].text, blocks[0].signature), SIGNATURE_OURS);
    assert_true(str_is(blocks[1].text, "Reading."));
    assert_true(str_is(blocks[2].text, "{\"path\":\"a\"}"));
    assert_true(str_is(blocks[2].name, "read"));
    assert_true(str_equal(blocks[3].id, listener.ids[1]));
    sayings_release(&sayings);
    finish(&listener);
}

static void test_cut(void **state)
{
    struct listener listener;
    struct sayings sayings = {0};

    attend(&listener, true);
    put_turn(&sayings);
    tell(&listener, &sayings);
    telling_end(&listener.telling);
    assert_string_equal(listener.story, "0:thinking() 0.signed 1:text() 1+Reading. 1. "
                                        "2:tool_use(read) 2+{\"path\": 2+null} 2. ");
    assert_false(listener.telling.called);
    sayings_release(&sayings);
    finish(&listener);
}

/* Broken, but not the end: what comes then is no part of it. */
static void test_a_broken_call(void **state)
{
    struct listener listener;
    struct sayings sayings = {0};

    attend(&listener, false);
    put(&sayings, SAYING_OPEN, BLOCK_TOOL_USE, "read");
    put(&sayings, SAYING_MORE, BLOCK_TEXT, "{\"path\": [1");
    sayings_put(&sayings, &(struct saying){.kind = SAYING_CLOSE, .broken = true});
    put(&sayings, SAYING_OPEN, BLOCK_TEXT, "");
    put(&sayings, SAYING_MORE, BLOCK_TEXT, "Oh.");
    tell(&listener, &sayings);
    telling_end(&listener.telling);
    assert_string_equal(listener.story, "0:tool_use(read) 0+{\"path\": [1 0+]} 0. 1:text() 1+Oh. 1. ");
    assert_false(listener.telling.called);
    sayings_release(&sayings);
    finish(&listener);
}

/* The reader may go at any event: then nothing more is told, nor kept. */
static void test_silent_at_any_event(void **state)
{
    for (int n = 1; n < 9; n++) {
        struct listener listener;
        struct sayings sayings = {0};
        attend(&listener, false);
        listener.silent_after = n;
        put_turn(&sayings);
        tell(&listener, &sayings);
        telling_end(&listener.telling);
        assert_int_equal(listener.events, n);
        sayings_release(&sayings);
        finish(&listener);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_turn),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_a_broken_call),
        cmocka_unit_test(test_silent_at_any_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
