/* requests.h - what the tests of requests share: a body, how it is decoded, what came of it. */
#ifndef PENSIEVE_TESTS_API_REQUESTS_H
#define PENSIEVE_TESTS_API_REQUESTS_H

#include "api/request.h"
#include "base/buf.h"

/* Parts of a minimal body. */
#define MODEL "\"model\":\"m\",\"max_tokens\":5"
#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

struct fixture {
    struct arena *arena;
    struct buf body;
    struct request_options options;
    struct err err;
};

int requests_open(void **state);
int requests_close(void **state);

/* The body, or this one; NULL: err says why not, in UTF-8. */
const struct message_request *decode(struct fixture *f);
const struct message_request *decode_text(struct fixture *f, const char *body);
/* The body is, with exactly this text. */
void refused(struct fixture *f, const char *text);

void repeat(struct buf *buf, const char *piece, size_t times, const char *between);
/* A text block with this text; cached: for five minutes. */
void block_is(const struct content_block *block, const char *text, bool cached);
void str_eq(struct str s, const char *text);

#endif
