/* Usage is a partition of the prompt whatever the marks are; conversations and ranks are what clients say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "backend/caller.h"
#include "backend/usage.h"
#include "base/random.h"

static struct usage of(uint32_t prompt, uint32_t marked, const struct cache_mark *marks, size_t n)
{
    return usage_of(marks, n, &(struct sequence_start){.prompt_tokens = prompt,
                                                       .memory_tokens = marked,
                                                       .marked_tokens = marked});
}

static void expect(struct usage usage, uint32_t input, uint32_t read, uint32_t short_, uint32_t long_)
{
    assert_int_equal(usage.input_tokens, input);
    assert_int_equal(usage.cache_read, read);
    assert_int_equal(usage.cache_creation_5m, short_);
    assert_int_equal(usage.cache_creation_1h, long_);
}

static void a_prompt_is_read_written_or_input(void **state)
{
    const struct cache_mark marks[] = {{1000, 3600}, {1500, 300}, {2000, 300}};

    expect(of(2100, 0, NULL, 0), 2100, 0, 0, 0);
    expect(of(2100, 1500, NULL, 0), 2100, 0, 0, 0);             /* reused, but nobody asked */
    expect(of(2100, 0, marks, 3), 100, 0, 1000, 1000);
    expect(of(2100, 1000, marks, 3), 100, 1000, 1000, 0);
    expect(of(2100, 700, marks, 3), 100, 700, 1000, 300);       /* declared by another request */
    expect(of(2100, 2000, marks, 3), 100, 2000, 0, 0);
    expect(of(2100, 2050, marks, 3), 100, 2000, 0, 0);          /* beyond the last mark is input */
    expect(of(2000, 2000, marks, 3), 0, 2000, 0, 0);
    (void)state;
}

static void any_marks_make_a_partition(void **state)
{
    struct rng rng;

    rng_seed(&rng, 3);
    for (int round = 0; round < 2000; round++) {
        struct cache_mark marks[CACHE_MARKS_MAX];
        uint32_t at = 0;
        size_t n = rng_next(&rng) % (CACHE_MARKS_MAX + 1);
        for (size_t i = 0; i < n; i++)
            marks[i] = (struct cache_mark){at += 1 + rng_next(&rng) % 900,
                                           rng_next(&rng) % 2 ? 300 : 3600};
        const uint32_t prompt = at + 1 + (uint32_t)(rng_next(&rng) % 900);
        n = usage_marks(marks, n);
        for (size_t i = 0; i < n; i++)
            assert_true(marks[i].tokens >= CACHE_MARK_TOKENS_MIN);
        const struct usage usage = of(prompt, (uint32_t)(rng_next(&rng) % prompt), marks, n);
        assert_int_equal(usage.input_tokens + usage.cache_read + usage.cache_creation_5m +
                         usage.cache_creation_1h, prompt);
        assert_true(n || usage.input_tokens == prompt);
    }
    (void)state;
}

static struct message_request request_of(const char *first, const char *session, const char *agent)
{
    static struct content_block block;
    static struct message message = {.role = ROLE_USER, .blocks = &block, .blocks_n = 1};

    block.text = str_of(first);
    return (struct message_request){.messages = &message, .messages_n = 1, .max_tokens = 100,
                                    .caller = {.session = str_of(session), .agent = str_of(agent)}};
}

static uint64_t flow_of(const char *first, const char *session, const char *agent)
{
    const struct message_request request = request_of(first, session, agent);

    return caller_flow(&request);
}

static uint64_t flow_by_user(const char *user_id)
{
    struct message_request request = request_of("Hi", "", "");

    request.user_id = str_of(user_id);
    return caller_flow(&request);
}

static void a_conversation_is_a_session_or_its_beginning(void **state)
{
    assert_true(flow_of("Hi", "", "") == flow_of("Hi", "", ""));
    assert_true(flow_of("Hi", "", "") != flow_of("Ho", "", ""));
    assert_true(flow_of("Hi", "s1", "") == flow_of("Ho", "s1", ""));
    assert_true(flow_of("Hi", "s1", "") != flow_of("Hi", "s2", ""));
    assert_true(flow_of("Hi", "s1", "a") != flow_of("Hi", "s1", ""));
    assert_true(flow_of("Hi", "s1", "a") != flow_of("Hi", "s1", "b"));
    assert_true(flow_by_user("{\"device_id\":\"0\",\"session_id\":\"s1\"}") == flow_of("Hi", "s1", ""));
    assert_true(flow_by_user("user_1_account__session_s1") == flow_of("Hi", "s1", ""));
    assert_true(flow_by_user("u1") == flow_of("Hi", "", ""));
    (void)state;
}

static void ranks(void **state)
{
    struct message_request request = request_of("Hi", "s1", "");

    assert_int_equal(caller_rank(&request), RANK_MAIN);         /* --tools "" */
    request.format.schema = STR("{}");
    assert_int_equal(caller_rank(&request), RANK_SIDE);         /* a title */
    request.has_tools = true;
    assert_int_equal(caller_rank(&request), RANK_MAIN);
    request.caller.agent = STR("a1");
    assert_int_equal(caller_rank(&request), RANK_AGENT);
    request.max_tokens = 0;
    assert_int_equal(caller_rank(&request), RANK_SIDE);
    request = request_of("Hi", "", "");
    request.format.schema = STR("{}");
    assert_int_equal(caller_rank(&request), RANK_MAIN);         /* a person's program waits for it */
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prompt_is_read_written_or_input),
        cmocka_unit_test(any_marks_make_a_partition),
        cmocka_unit_test(a_conversation_is_a_session_or_its_beginning),
        cmocka_unit_test(ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
