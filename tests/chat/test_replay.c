/* Exact replay: turn after turn, the tokens of a conversation begin with those of the turn before
 * and of what was sampled, whatever template, stop or client lies between; a text that was not
 * sampled is never taken for one; and the file gives back after a crash what was sound in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/random.h"
#include "chat/prompt.h"
#include "support/folder.h"
#include "tiny.h"

/* Trims, and closes an empty thought before an answer that is to come, as Qwen3 does. */
#define TRIMS                                                                                      \
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content | trim "\
    "+ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}"                                 \
    "{{ '<|im_start|>assistant\n<think>\n\n</think>\n\n' }}{% endif %}"
/* Says of earlier answers what kind they were, and leaves that to the model for one to come. */
#define CHANNELS                                                                                   \
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"                          \
    "{{ '<|im_start|>assistant<|final|>' + m.content + '<|im_end|>' }}{% else %}"                   \
    "{{ '<|im_start|>' + m.role + ':' + m.content + '<|im_end|>' }}{% endif %}{% endfor %}"         \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}"

/* ---- a conversation: each answer is "sampled" in a way that no tokenizer would cut it ---- */

enum { TURNS_MAX = 16, IDS_MAX = 4096 };

struct talk {
    struct arena *arena;
    struct chat_template *tmpl;
    struct replay_store *store;
    struct message_request request;
    struct prompt prompt;
    struct prompt_tokens tokens;
    int32_t so_far[IDS_MAX];            /* the last prompt, and what was sampled behind it */
    size_t so_far_n;
};

static void talk_open(struct talk *talk, const char *source, const char *path)
{
    struct err err = {0};

    *talk = (struct talk){.arena = arena_new(1 << 14)};
    talk->request.system = arena_array(talk->arena, 8, sizeof *talk->request.system);
    talk->request.messages = arena_array(talk->arena, TURNS_MAX, sizeof *talk->request.messages);
    talk->request.caller.space = 7;
    talk->store = replay_new(&(struct replay_options){
        .path = path, .model = 1, .vocab_size = engine_info(engine)->vocab_size});
    assert_non_null(talk->store);
    if (source)
        talk->tmpl = template_new(str_of(source), STR("<s>"), STR("</s>"), &err);
    if (source && !talk->tmpl)
        fail_msg("%s", err.text);
}

static void talk_close(struct talk *talk)
{
    replay_free(talk->store);
    template_free(talk->tmpl);
    arena_free(talk->arena);
}

static struct content_block *say_str(struct talk *talk, enum role role, struct str text)
{
    struct message_request *request = &talk->request;
    struct message *last = request->messages_n ? &request->messages[request->messages_n - 1] : NULL;

    if (!last || last->role != role) {
        assert_true(request->messages_n < TURNS_MAX);
        last = &request->messages[request->messages_n++];
        *last = (struct message){.role = role};
        last->blocks = arena_array(talk->arena, 8, sizeof *last->blocks);
    }
    last->blocks[last->blocks_n] =
        (struct content_block){.type = BLOCK_TEXT, .text = arena_str(talk->arena, text)};
    request->prefill = role == ROLE_ASSISTANT;
    return &last->blocks[last->blocks_n++];
}

static struct content_block *say(struct talk *talk, enum role role, const char *text)
{
    return say_str(talk, role, str_of(text));
}

static void prepare(struct talk *talk)
{
    struct err err = {0};

    if (!prompt_render(talk->arena, &talk->request, talk->tmpl, talk->store, &talk->prompt, &err) ||
        !prompt_tokenize(talk->arena, engine, &talk->prompt, &talk->tokens, &err))
        fail_msg("%s", err.text);
}

static bool begins_with_so_far(const struct talk *talk)
{
    const struct tokens *tokens = &talk->tokens.tokens;

    return tokens->n > talk->so_far_n &&
           memcmp(tokens->ids, talk->so_far, talk->so_far_n * sizeof *talk->so_far) == 0;
}

/* The answer a token a byte: legal, and what no tokenizer would make of words. sent: how much of it
 * the client got. */
static void answer_cut(struct talk *talk, const char *text, size_t sent)
{
    const struct message_request *request = &talk->request;
    struct replay replay = talk->prompt.begun;
    struct tokens ids = {arena_array(talk->arena, strlen(text), sizeof *ids.ids), 0};
    uint32_t ends[256];
    struct content_block blocks[9];
    size_t blocks_n = 0;

    memcpy(talk->so_far, talk->tokens.tokens.ids,
           talk->tokens.tokens.n * sizeof *talk->so_far);
    talk->so_far_n = talk->tokens.tokens.n;
    for (const char *c = text; *c; c++) {
        struct tokens one;
        assert_true(engine_tokenize(engine, talk->arena, (struct str){c, 1}, NULL, 0, false, &one,
                                    NULL));
        assert_int_equal(one.n, 1);
        ends[ids.n] = (uint32_t)(c + 1 - text);
        ids.ids[ids.n++] = one.ids[0];
    }
    const size_t whole = replay_whole(ends, ids.n, sent);
    const size_t whole_bytes = whole ? ends[whole - 1] : 0;
    memcpy(talk->so_far + talk->so_far_n, ids.ids, whole * sizeof *ids.ids);
    talk->so_far_n += whole;
    replay.parts[replay.parts_n++] = (struct replay_part){whole_bytes, ids.ids, whole};
    if (whole_bytes < sent)
        replay.parts[replay.parts_n++] = (struct replay_part){sent - whole_bytes, NULL, 0};
    if (request->prefill) {
        const struct message *last = &request->messages[request->messages_n - 1];
        for (; blocks_n < last->blocks_n; blocks_n++)
            blocks[blocks_n] = last->blocks[blocks_n];
    }
    blocks[blocks_n++] = (struct content_block){.type = BLOCK_TEXT, .text = {text, sent}};
    replay_put(talk->store, replay_key_of(talk->store, request->caller.space, blocks, blocks_n),
               &replay);
    say_str(talk, ROLE_ASSISTANT, (struct str){text, sent});
}

static void answer(struct talk *talk, const char *text)
{
    answer_cut(talk, text, strlen(text));
}

/* A conversation of one question and its answer, "Hello there". */
static void talk_once(struct talk *talk)
{
    talk_open(talk, CHATML, NULL);
    say(talk, ROLE_USER, "Q");
    prepare(talk);
    answer(talk, "Hello there");
}

static void a_turns_tokens_begin_with_the_last_ones(void **state)
{
    static const char *const sources[] = {CHATML, TRIMS, CHANNELS, NULL};
    static const char *const answers[] = {
        "Hello there", " with space around \n", "<think>no</think> <|im_end|>", "Hello there", ".",
    };

    for (size_t s = 0; s < sizeof sources / sizeof *sources; s++) {
        struct talk talk;
        talk_open(&talk, sources[s], NULL);
        talk.request.system[talk.request.system_n++] =
            (struct content_block){.type = BLOCK_TEXT, .text = STR("Be brief.")};
        for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
            say(&talk, ROLE_USER, i % 2 ? "And then?" : "  Well\n");
            prepare(&talk);
            assert_true(i == 0 || begins_with_so_far(&talk));
            answer(&talk, answers[i]);
        }
        assert_int_equal(replay_counts(talk.store).entries, 4);         /* one was given twice */
        talk_close(&talk);
    }
    (void)state;
}

static void the_lead_is_what_was_there_when_it_was_sampled(void **state)
{
    struct talk talk;

    talk_open(&talk, TRIMS, NULL);
    assert_true(str_is(template_lead(talk.tmpl, (struct template_place){0}).add, "<think>\n\n</think>\n\n"));
    assert_int_equal(template_lead(talk.tmpl, (struct template_place){0}).drop.n, 0);
    say(&talk, ROLE_USER, "Q");
    prepare(&talk);
    answer(&talk, " A ");
    say(&talk, ROLE_USER, "R");
    prepare(&talk);
    assert_string_equal(arena_cstr(talk.arena, talk.prompt.text),
                        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>"
                        "\n\n A <|im_end|>\n<|im_start|>user\nR<|im_end|>\n"
                        "<|im_start|>assistant\n<think>\n\n</think>\n\n");
    talk_close(&talk);
    talk_open(&talk, CHANNELS, NULL);
    assert_true(str_is(template_lead(talk.tmpl, (struct template_place){0}).drop, "<|final|>"));
    assert_int_equal(template_lead(talk.tmpl, (struct template_place){0}).add.n, 0);
    talk_close(&talk);
    (void)state;
}

/* One letter, a shorter or a longer text, another caller: tokenised as any text, and what the
 * client wrote is what the model sees. */
static void what_was_not_sampled_is_not_found(void **state)
{
    static const char *const edited[] = {"Hello thera", "Hello ther", "Hello there ", "hello there"};

    for (size_t i = 0; i <= sizeof edited / sizeof *edited; i++) {
        const bool other_caller = i == sizeof edited / sizeof *edited;
        struct talk talk;
        talk_once(&talk);
        if (!other_caller)
            talk.request.messages[1].blocks[0].text = str_of(edited[i]);
        talk.request.caller.space += other_caller;
        say(&talk, ROLE_USER, "R");
        prepare(&talk);
        assert_int_equal(talk.prompt.given_n, 0);
        assert_non_null(strstr(arena_cstr(talk.arena, talk.prompt.text),
                               other_caller ? "Hello there" : edited[i]));
        talk_close(&talk);
    }
    (void)state;
}

/* However the client cuts the text into blocks. */
static void blocks_of_one_answer_are_one_text(void **state)
{
    struct talk talk;

    talk_once(&talk);
    talk.request.messages[1].blocks_n = 0;
    say(&talk, ROLE_ASSISTANT, "Hel");
    say(&talk, ROLE_ASSISTANT, "lo");
    say(&talk, ROLE_ASSISTANT, " there");
    say(&talk, ROLE_USER, "R");
    prepare(&talk);
    assert_true(begins_with_so_far(&talk));
    talk_close(&talk);
    (void)state;
}

/* A call by what its input is, not by how a client spells it again; a thought by its signature
 * too. */
static void calls_are_found_by_their_value(void **state)
{
    static const struct content_block sent = {
        .type = BLOCK_TOOL_USE, .id = {"toolu_1", 7}, .name = {"add", 3},
        .text = {"{\"a\":1.0,\"b\":[true,null,\"\\u00e9/\",12345678901234567890,-0],\"c\":{}}", 66},
    };
    static const struct { const char *id, *name, *input; bool same; } rows[] = {
        {"toolu_1", "add", "{ \"a\": 1, \"b\": [true, null, \"\xc3\xa9\\/\", 12345678901234567000, 0], \"c\": {} }", true},
        {"toolu_2", "add", "{\"a\":1,\"b\":[true,null,\"\xc3\xa9/\",12345678901234567890,0],\"c\":{}}", false},
        {"toolu_1", "adb", "{\"a\":1,\"b\":[true,null,\"\xc3\xa9/\",12345678901234567890,0],\"c\":{}}", false},
        {"toolu_1", "add", "{\"a\":\"1\",\"b\":[true,null,\"\xc3\xa9/\",12345678901234567890,0],\"c\":{}}", false},
        {"toolu_1", "add", "{\"a\":1,\"b\":[true,null,\"\xc3\xa9/\",12345678901234567890],\"c\":{}}", false},
        {"toolu_1", "add", "{\"a\":1,\"b\":[true,null,\"\xc3\xa9/\",12345678901234567890,0],\"c\":[]}", false},
    };
    struct replay_store *store = replay_new(&(struct replay_options){.model = 1, .vocab_size = 9});
    const struct replay_key key = replay_key_of(store, 0, &sent, 1);
    struct content_block thought = {.type = BLOCK_THINKING, .text = STR("x"), .signature = STR("s")};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct content_block back = {
            .type = BLOCK_TOOL_USE, .id = str_of(rows[i].id), .name = str_of(rows[i].name),
            .text = str_of(rows[i].input),
        };
        const struct replay_key other = replay_key_of(store, 0, &back, 1);
        assert_int_equal(other.a == key.a && other.b == key.b, rows[i].same);
    }
    const struct replay_key signed_so = replay_key_of(store, 0, &thought, 1);
    thought.signature = STR("t");
    assert_false(replay_key_of(store, 0, &thought, 1).a == signed_so.a);
    replay_free(store);
    (void)state;
}

/* The client begins the answer, the model goes on, is cut, goes on again, and is told as one
 * text. */
static void a_begun_answer_is_continued_and_told_again(void **state)
{
    static const char *const sources[] = {CHATML, TRIMS, CHANNELS, NULL};

    for (size_t s = 0; s < sizeof sources / sizeof *sources; s++) {
        struct talk talk;
        talk_open(&talk, sources[s], NULL);
        say(&talk, ROLE_USER, "Q");
        say(&talk, ROLE_ASSISTANT, " The answer");
        prepare(&talk);
        answer(&talk, " is f");
        prepare(&talk);                 /* the last message is the assistant's, two blocks */
        assert_int_equal(talk.tokens.tokens.n, talk.so_far_n);
        assert_memory_equal(talk.tokens.tokens.ids, talk.so_far,
                            talk.so_far_n * sizeof *talk.so_far);
        answer(&talk, "ive.");
        talk.request.messages[1].blocks_n = 0;
        say(&talk, ROLE_ASSISTANT, " The answer is five.");
        say(&talk, ROLE_USER, "R");
        prepare(&talk);
        assert_true(begins_with_so_far(&talk));
        talk_close(&talk);
    }
    (void)state;
}

static void a_stop_inside_a_token_leaves_its_beginning_as_text(void **state)
{
    static const uint32_t ends[] = {2, REPLAY_WITHIN, 5, 9};
    struct talk talk;

    assert_int_equal(replay_whole(ends, 4, 9), 4);
    assert_int_equal(replay_whole(ends, 4, 8), 3);
    assert_int_equal(replay_whole(ends, 4, 4), 1);
    assert_int_equal(replay_whole(ends, 2, 3), 1);
    assert_int_equal(replay_whole(ends, 4, 1), 0);

    talk_open(&talk, CHATML, NULL);
    say(&talk, ROLE_USER, "Q");
    prepare(&talk);
    /* "ab" and "cd" sampled whole, the client got "abc" */
    struct tokens ids;
    assert_true(engine_tokenize(engine, talk.arena, STR("ab"), NULL, 0, false, &ids, NULL));
    const struct replay replay = {.parts = {{2, ids.ids, ids.n}, {1, NULL, 0}}, .parts_n = 2};
    const struct content_block block = {.type = BLOCK_TEXT, .text = STR("abc")};
    replay_put(talk.store, replay_key_of(talk.store, 7, &block, 1), &replay);
    say(&talk, ROLE_ASSISTANT, "abc");
    say(&talk, ROLE_USER, "R");
    prepare(&talk);
    assert_int_equal(talk.prompt.given_n, 1);
    assert_int_equal(talk.prompt.given[0].end - talk.prompt.given[0].begin, 2);
    assert_non_null(strstr(arena_cstr(talk.arena, talk.prompt.text), "\nabc<|im_end|>"));
    talk_close(&talk);
    (void)state;
}

/* ---- where blocks with cache_control end ---- */

static void expect_mark(struct talk *talk, size_t i, const char *before, uint32_t seconds)
{
    struct buf text = {0};

    assert_true(i < talk->tokens.marks_n);
    for (uint32_t k = 0; k < talk->tokens.marks[i].tokens; k++)
        buf_str(&text, engine_token_text(engine, talk->tokens.tokens.ids[k], true));
    buf_char(&text, '\0');
    assert_string_equal(text.data, before);
    assert_int_equal(talk->tokens.marks[i].seconds, seconds);
    buf_release(&text);
}

static void marks_lie_where_blocks_end(void **state)
{
    struct talk talk;

    talk_open(&talk, TRIMS, NULL);
    talk.request.system[0] = (struct content_block){.text = STR("One."), .cache_seconds = 3600};
    talk.request.system[1] = (struct content_block){.text = STR("Two. \n"), .cache_seconds = 300};
    talk.request.system_n = 2;
    say(&talk, ROLE_USER, "Q");
    say(&talk, ROLE_ASSISTANT, "A")->cache_seconds = 300;
    say(&talk, ROLE_USER, "R")->cache_seconds = 300;
    say(&talk, ROLE_USER, "S");
    prepare(&talk);
    assert_int_equal(talk.tokens.marks_n, 4);
    expect_mark(&talk, 0, "<|im_start|>system\nOne.", 3600);
    expect_mark(&talk, 1, "<|im_start|>system\nOne.\n\nTwo.", 300);     /* trimmed behind it */
    expect_mark(&talk, 2, "<|im_start|>system\nOne.\n\nTwo.<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n"
                          "<|im_start|>assistant\nA", 300);
    expect_mark(&talk, 3, "<|im_start|>system\nOne.\n\nTwo.<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n"
                          "<|im_start|>assistant\nA<|im_end|>\n<|im_start|>user\nR", 300);
    talk_close(&talk);
    (void)state;
}

/* A mark changes no token, and a template that leaves a block out leaves its mark out. */
static void marks_change_nothing(void **state)
{
    struct talk plain, marked;

    talk_open(&plain, CHATML, NULL);
    talk_open(&marked, CHATML, NULL);
    for (int i = 0; i < 2; i++) {
        struct talk *talk = i ? &marked : &plain;
        say(talk, ROLE_USER, "Hel");
        talk->request.messages[0].blocks[0].cache_seconds = i ? 300 : 0;
        say(talk, ROLE_USER, "lo <|im_end|>")->cache_seconds = i ? 300 : 0;
        prepare(talk);
    }
    assert_int_equal(marked.tokens.marks_n, 2);
    assert_int_equal(plain.tokens.marks_n, 0);
    assert_int_equal(plain.tokens.tokens.n, marked.tokens.tokens.n);
    assert_memory_equal(plain.tokens.tokens.ids, marked.tokens.tokens.ids,
                        plain.tokens.tokens.n * sizeof(int32_t));
    talk_close(&plain);
    talk_close(&marked);
    talk_open(&marked, "{{ messages[-1].content }}", NULL);
    say(&marked, ROLE_USER, "a")->cache_seconds = 300;
    say(&marked, ROLE_ASSISTANT, "b");
    say(&marked, ROLE_USER, "c");
    prepare(&marked);
    assert_int_equal(marked.tokens.marks_n, 0);
    talk_close(&marked);
    (void)state;
}

/* An answer with a mark: at its end, and inside it at its begin, for it is taken whole. */
static void marks_in_a_sampled_answer(void **state)
{
    struct talk talk;

    talk_once(&talk);
    talk.request.messages[1].blocks_n = 0;
    say(&talk, ROLE_ASSISTANT, "Hello")->cache_seconds = 3600;
    say(&talk, ROLE_ASSISTANT, " there")->cache_seconds = 300;
    say(&talk, ROLE_USER, "R");
    prepare(&talk);
    assert_int_equal(talk.tokens.marks_n, 2);
    expect_mark(&talk, 0, "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n", 3600);
    assert_int_equal(talk.tokens.marks[1].tokens, talk.so_far_n);
    talk_close(&talk);
    (void)state;
}

/* ---- the store and its file ---- */

static struct replay_store *store_open(const char *path, uint64_t model)
{
    struct replay_store *store =
        replay_new(&(struct replay_options){.path = path, .model = model, .vocab_size = 1000});

    assert_non_null(store);
    return store;
}

static struct replay_key key_of(const struct replay_store *store, unsigned i)
{
    char text[16];
    snprintf(text, sizeof text, "answer %u", i);
    const struct content_block block = {.type = BLOCK_TEXT, .text = str_of(text)};

    return replay_key_of(store, 0, &block, 1);
}

static void put(struct replay_store *store, unsigned i, size_t ids_n)
{
    int32_t *ids = calloc(ids_n, sizeof *ids);

    for (size_t k = 0; k < ids_n; k++)
        ids[k] = (int32_t)((i + k) % 1000);
    const struct replay replay = {.lead = {STR("d"), STR("a")}, .parts = {{8, ids, ids_n}},
                                  .parts_n = 1};
    replay_put(store, key_of(store, i), &replay);
    free(ids);
}

/* Whether answer i is there; if so it must be right. */
static bool has(struct replay_store *store, unsigned i, size_t ids_n)
{
    struct arena *arena = arena_new(4096);
    const struct replay *replay = replay_find(store, arena, key_of(store, i));

    if (replay) {
        assert_int_equal(replay->parts_n, 1);
        assert_int_equal(replay->parts[0].bytes, 8);
        assert_int_equal(replay->parts[0].ids_n, ids_n);
        for (size_t k = 0; k < ids_n; k++)
            assert_int_equal(replay->parts[0].ids[k], (i + k) % 1000);
        assert_true(str_is(replay->lead.drop, "d") && str_is(replay->lead.add, "a"));
    }
    arena_free(arena);
    return replay;
}

static void the_least_recently_used_go_first(void **state)
{
    struct replay_store *store = store_open(NULL, 1);
    enum { IDS = REPLAY_BYTES_MAX / 4 / 16 };       /* so that 15 fit */

    for (unsigned i = 0; i < 15; i++)
        put(store, i, IDS);
    assert_true(has(store, 0, IDS));    /* used: now 1 is the oldest */
    put(store, 15, IDS);
    assert_true(has(store, 0, IDS) && !has(store, 1, IDS) && has(store, 15, IDS));
    assert_true(replay_counts(store).bytes <= REPLAY_BYTES_MAX);
    put(store, 99, REPLAY_TOKENS_MAX + 1);
    assert_false(has(store, 99, REPLAY_TOKENS_MAX + 1));
    replay_free(store);
    (void)state;
}

static const char *file_path(struct arena *arena, const char *folder)
{
    return arena_cstr(arena, arena_printf(arena, "%s/replay", folder));
}

static void the_file_outlives_the_store(void **state)
{
    struct arena *arena = arena_new(256);
    const char *folder = folder_new(arena);
    const char *path = file_path(arena, folder);
    struct replay_store *store = store_open(path, 1);

    for (unsigned i = 0; i < 50; i++)
        put(store, i, 10);
    struct replay_store *second = store_open(path, 1);          /* another server: without a file */
    assert_false(has(second, 3, 10));
    put(second, 60, 10);
    replay_free(second);
    replay_free(store);
    store = store_open(path, 1);
    for (unsigned i = 0; i < 50; i++)
        assert_true(has(store, i, 10));
    assert_false(has(store, 60, 10));
    replay_free(store);
    store = store_open(path, 2);        /* another model: begun anew */
    assert_int_equal(replay_counts(store).entries, 0);
    replay_free(store);
    folder_remove(folder);
    arena_free(arena);
    (void)state;
}

/* The file cut at any byte, or with any byte changed: what is found is right, and the store
 * works. */
static void a_broken_file_gives_nothing_wrong(void **state)
{
    struct arena *arena = arena_new(256);
    const char *folder = folder_new(arena);
    const char *path = file_path(arena, folder);
    struct replay_store *store = store_open(path, 1);
    static char bytes[8192];
    struct rng rng;

    rng_seed(&rng, 5);
    for (unsigned i = 0; i < 20; i++)
        put(store, i, 10);
    replay_free(store);
    FILE *file = fopen(path, "rb");
    const size_t n = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    assert_in_range(n, 1000, sizeof bytes - 1);
    for (int round = 0; round < 200; round++) {
        const bool cut = round % 2;
        const size_t at = rng_next(&rng) % n;
        file = fopen(path, "wb");
        const char right = bytes[at];
        bytes[at] = (char)(bytes[at] ^ (cut ? 0 : 1 << rng_next(&rng) % 8));
        fwrite(bytes, 1, cut ? at : n, file);
        fclose(file);
        bytes[at] = right;
        store = store_open(path, 1);
        unsigned found = 0;
        for (unsigned i = 0; i < 20; i++)
            found += has(store, i, 10);
        assert_true(found < 20);
        put(store, 99, 10);
        replay_free(store);
        store = store_open(path, 1);
        assert_true(has(store, 99, 10));
        unsigned again = 0;
        for (unsigned i = 0; i < 20; i++)
            again += has(store, i, 10);
        assert_int_equal(again, found);
        replay_free(store);
    }
    folder_remove(folder);
    arena_free(arena);
    (void)state;
}

static void the_file_is_compacted(void **state)
{
    struct arena *arena = arena_new(256);
    const char *folder = folder_new(arena);
    const char *path = file_path(arena, folder);
    struct replay_store *store = store_open(path, 1);

    for (unsigned i = 0; i < 300; i++) {        /* 12 MB written, 400 kB alive */
        put(store, i % 10, 10000);
        usleep(i % 16 == 15 ? 1000 : 0);
    }
    replay_free(store);
    store = store_open(path, 1);
    for (unsigned i = 0; i < 10; i++)
        assert_true(has(store, i, 10000));
    assert_true(replay_counts(store).file_bytes < 4 << 20);
    replay_free(store);
    folder_remove(folder);
    arena_free(arena);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_turns_tokens_begin_with_the_last_ones),
        cmocka_unit_test(the_lead_is_what_was_there_when_it_was_sampled),
        cmocka_unit_test(what_was_not_sampled_is_not_found),
        cmocka_unit_test(blocks_of_one_answer_are_one_text),
        cmocka_unit_test(calls_are_found_by_their_value),
        cmocka_unit_test(a_begun_answer_is_continued_and_told_again),
        cmocka_unit_test(a_stop_inside_a_token_leaves_its_beginning_as_text),
        cmocka_unit_test(marks_lie_where_blocks_end),
        cmocka_unit_test(marks_change_nothing),
        cmocka_unit_test(marks_in_a_sampled_answer),
        cmocka_unit_test(the_least_recently_used_go_first),
        cmocka_unit_test(the_file_outlives_the_store),
        cmocka_unit_test(a_broken_file_gives_nothing_wrong),
        cmocka_unit_test(the_file_is_compacted),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
