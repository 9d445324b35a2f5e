/* test_sse.c - the same events whatever pieces the bytes come in, and no memory beyond the limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backend/sse.h"

static bool note(void *context, struct str name, struct str data)
{
    struct buf *story = context;

    buf_printf(story, "[%.*s|%.*s]", STR_ARG(name), STR_ARG(data));
    return !str_is(data, "stop");
}

/* Fed in pieces of n bytes, each in memory of its own. */
static void expect_pieces(const char *text, size_t n, const char *story)
{
    struct buf heard = {0};
    struct sse sse;
    struct err err = {0};
    bool go_on = true;

    sse_init(&sse);
    for (struct str rest = str_of(text); rest.n && go_on;) {
        const size_t taken = rest.n < n ? rest.n : n;
        char *piece = malloc(taken);
        memcpy(piece, rest.s, taken);
        go_on = sse_feed(&sse, (struct str){piece, taken}, note, &heard, &err);
        free(piece);
        rest = (struct str){rest.s + taken, rest.n - taken};
    }
    buf_char(&heard, 0);
    assert_string_equal(heard.data, story);
    assert_int_equal(err.code, ERR_NONE);
    buf_release(&heard);
    sse_release(&sse);
}

static void test_grammar(void **state)
{
    static const struct { const char *text, *story; } cases[] = {
        {"data: a\n\n", "[|a]"},
        {"event: x\ndata:a\ndata: b\n\n", "[x|a\nb]"},
        {"event: x\r\ndata: a\r\n\r\ndata: b\r\n\r\n", "[x|a][|b]"},
        {"data: a\r\rdata: b\r\r", "[|a][|b]"},
        {"\xef\xbb\xbf" "data: a\n\n", "[|a]"},
        {": a comment\n\nevent: x\n\ndata: b\n\n", "[|b]"},
        {"data\n\nid: 7\nretry: 9\ndata:  two\n\n", "[|][| two]"},
        {"data: a\n\ndata: half", "[|a]"},
        {"data: stop\n\ndata: a\n\n", "[|stop]"},
        {"datax: a\n\n\n\ndata: \xf0\x9f\x98\x80\n\n", "[|\xf0\x9f\x98\x80]"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t n = 1; n <= strlen(cases[i].text); n++)
            expect_pieces(cases[i].text, n, cases[i].story);
}

static void test_too_long(void **state)
{
    const char *const lines[] = {"data: ", "data: x\ndata: "};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct buf heard = {0}, piece = {0};
        struct sse sse;
        struct err err = {0};
        bool fine = true;
        buf_cstr(&piece, lines[i]);
        for (size_t k = 0; k < 1 << 20; k++)
            buf_char(&piece, 'a');
        if (i)                          /* many lines of one event, none too long */
            buf_char(&piece, '\n');
        sse_init(&sse);
        for (size_t k = 0; k < 17 && fine; k++)
            fine = sse_feed(&sse, buf_view(&piece), note, &heard, &err);
        assert_false(fine);
        assert_int_equal(err.code, ERR_FORMAT);
        assert_true(sse.line.n <= SSE_EVENT_BYTES_MAX && sse.data.n <= SSE_EVENT_BYTES_MAX);
        sse_release(&sse);
        buf_release(&piece);
        buf_release(&heard);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grammar),
        cmocka_unit_test(test_too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
