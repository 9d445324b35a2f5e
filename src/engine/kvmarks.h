/* kvmarks.h - the beginnings that clients have declared worth keeping, and until when.
 *
 * A mark is a prompt's first `tokens` tokens: exactly those, so it is known by the name of its last
 * full page and the few tokens after that. It lives for `seconds` from its last use. A bounded table:
 * when it is full, the mark that would end soonest makes room. */
#ifndef PENSIEVE_ENGINE_KVMARKS_H
#define PENSIEVE_ENGINE_KVMARKS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/kvname.h"
#include "kernels/kernels.h"

enum { KV_MARKS_MAX = 1024 };

struct kv_mark {
    struct kv_name name;                /* after the full pages */
    int32_t tail[KV_PAGE];              /* tokens % KV_PAGE of them */
    uint32_t tokens, seconds;
    uint64_t until_ns;                  /* live while now is less */
};

struct kv_marks {
    uint32_t n;
    struct kv_mark list[KV_MARKS_MAX];
};

/* The beginning of `length` of these tokens, where `name` is that of its full pages. A live mark of
 * it ends no sooner than before. Returns when it ends. */
uint64_t kv_marks_declare(struct kv_marks *marks, struct kv_name name, const int32_t *tokens,
                          uint32_t length, uint32_t seconds, uint64_t now_ns);
/* Whether it is live and these tokens, at least mark->tokens of them, begin with it. */
bool kv_mark_begins(const struct kv_mark *mark, struct kv_name name, const int32_t *tokens,
                    uint64_t now_ns);
/* It was used: it lives for its seconds from now. */
void kv_mark_refresh(struct kv_mark *mark, uint64_t now_ns);

#endif
