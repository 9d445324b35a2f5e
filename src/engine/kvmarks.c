/* kvmarks.c - a small table, searched from end to end: once a request, against a prefill. */
#include "engine/kvmarks.h"

#include <string.h>

bool kv_mark_begins(const struct kv_mark *mark, struct kv_name name, const int32_t *tokens,
                    uint64_t now_ns)
{
    const uint32_t tail_n = mark->tokens % KV_PAGE;

    return now_ns < mark->until_ns && kv_name_same(mark->name, name) &&
           memcmp(mark->tail, tokens + (mark->tokens - tail_n), tail_n * sizeof *tokens) == 0;
}

void kv_mark_refresh(struct kv_mark *mark, uint64_t now_ns)
{
    const uint64_t until_ns = now_ns + (uint64_t)mark->seconds * 1000000000u;

    if (mark->until_ns < until_ns)
        mark->until_ns = until_ns;
}

/* The same beginning's place, or else a new one, or else that of the mark that ends soonest. */
static struct kv_mark *place_of(struct kv_marks *marks, struct kv_name name, const int32_t *tokens,
                                uint32_t length, uint64_t now_ns)
{
    struct kv_mark *soonest = &marks->list[0];

    for (uint32_t i = 0; i < marks->n; i++) {
        struct kv_mark *mark = &marks->list[i];
        if (mark->tokens == length && kv_mark_begins(mark, name, tokens, now_ns))
            return mark;
        if (mark->until_ns < soonest->until_ns)
            soonest = mark;
    }
    if (marks->n < KV_MARKS_MAX && (marks->n == 0 || now_ns < soonest->until_ns))
        soonest = &marks->list[marks->n++];
    soonest->until_ns = 0;
    return soonest;
}

uint64_t kv_marks_declare(struct kv_marks *marks, struct kv_name name, const int32_t *tokens,
                          uint32_t length, uint32_t seconds, uint64_t now_ns)
{
    const uint32_t tail_n = length % KV_PAGE;
    struct kv_mark *mark = place_of(marks, name, tokens, length, now_ns);

    mark->name = name;
    mark->tokens = length;
    mark->seconds = seconds;
    memcpy(mark->tail, tokens + (length - tail_n), tail_n * sizeof *tokens);
    kv_mark_refresh(mark, now_ns);
    return mark->until_ns;
}
