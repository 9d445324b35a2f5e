/* usage.c - see usage.h. */
#include "backend/usage.h"

size_t usage_marks(struct cache_mark *marks, size_t n)
{
    size_t kept = 0;

    for (size_t i = 0; i < n; i++)
        if (marks[i].tokens >= CACHE_MARK_TOKENS_MIN)
            marks[kept++] = marks[i];
    return kept;
}

struct usage usage_of(const struct cache_mark *marks, size_t n, const struct sequence_start *start)
{
    const uint32_t last = n ? marks[n - 1].tokens : 0;
    const uint32_t read = start->marked_tokens < last ? start->marked_tokens : last;
    struct usage usage = {.input_tokens = start->prompt_tokens - last, .cache_read = read};

    for (size_t i = 0, done = read; i < n; i++) {
        if (marks[i].tokens <= done)
            continue;
        *(marks[i].seconds > REQUEST_SECONDS_5M ? &usage.cache_creation_1h
                                                : &usage.cache_creation_5m) +=
            marks[i].tokens - (uint32_t)done;
        done = marks[i].tokens;
    }
    return usage;
}
