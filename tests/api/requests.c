/* requests.c - see requests.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "requests.h"

int requests_open(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    f->arena = arena_new(4096);
    *state = f;
    return 0;
}

int requests_close(void **state)
{
    struct fixture *f = *state;

    arena_free(f->arena);
    buf_release(&f->body);
    free(f);
    return 0;
}

const struct message_request *decode(struct fixture *f)
{
    f->err = (struct err){0};
    const struct message_request *request =
        request_decode(f->arena, buf_view(&f->body), &f->options, &f->err);
    if (request)
        assert_int_equal(f->err.code, ERR_NONE);
    else
        assert_true(utf8_valid(str_of(f->err.text)));
    return request;
}

const struct message_request *decode_text(struct fixture *f, const char *body)
{
    buf_reset(&f->body);
    buf_cstr(&f->body, body);
    return decode(f);
}

void refused(struct fixture *f, const char *text)
{
    assert_null(decode(f));
    assert_int_equal(f->err.code, ERR_INVALID);
    assert_string_equal(f->err.text, text);
}

void repeat(struct buf *buf, const char *piece, size_t times, const char *between)
{
    for (size_t i = 0; i < times; i++) {
        if (i)
            buf_cstr(buf, between);
        buf_cstr(buf, piece);
    }
}

void block_is(const struct content_block *block, const char *text, bool cached)
{
    assert_int_equal(block->type, BLOCK_TEXT);
    assert_int_equal(block->text.n, strlen(text));
    assert_memory_equal(block->text.s, text, block->text.n);
    assert_int_equal(block->cache_seconds, cached ? REQUEST_SECONDS_5M : 0);
}

void str_eq(struct str s, const char *text)
{
    assert_int_equal(s.n, strlen(text));
    assert_memory_equal(s.s, text, s.n);
}
