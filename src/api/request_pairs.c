/* request_pairs.c - calls of tools and their results: each call has one result, in the next turn,
 * in front of everything else there; and each result has its call.
 *
 * A turn is all neighbouring messages of one role. The hard thing is size: a body can hold some
 * hundred thousand ids, so they are sorted and searched, never compared pair by pair. */
#include "api/request_parts.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"

enum { ID_SHOWN_BYTES = 48, IDS_SHOWN_BYTES = 72 };

/* One tool_use block, and where it stands. */
struct call {
    struct str id;
    size_t m, b;
    bool answered;
};

/* The calls of a turn, sorted by their ids. */
struct calls {
    struct call *calls;
    size_t n;
};

static int compare_calls(const void *a, const void *b)
{
    const struct call *x = a, *y = b;
    const int order = str_compare(x->id, y->id);

    if (order)
        return order;
    return x->m != y->m ? (x->m > y->m) - (x->m < y->m) : (x->b > y->b) - (x->b < y->b);
}

static int compare_id(const void *id, const void *call)
{
    return str_compare(*(const struct str *)id, ((const struct call *)call)->id);
}

static void calls_sort(struct calls *calls)
{
    if (calls->n)
        qsort(calls->calls, calls->n, sizeof *calls->calls, compare_calls);
}

static struct call *calls_find(const struct calls *calls, struct str id)
{
    return calls->n ? bsearch(&id, calls->calls, calls->n, sizeof *calls->calls, compare_id) : NULL;
}

static size_t calls_count(const struct raw_message *messages, size_t messages_n)
{
    size_t n = 0;

    for (size_t m = 0; m < messages_n; m++) {
        const struct raw_block *blocks = messages[m].content.items;
        for (size_t b = 0; b < messages[m].content.n; b++)
            n += (blocks[b].kind->facts & CALL) != 0;
    }
    return n;
}

/* Appends the calls in messages [begin, end). The caller has room for them. */
static void calls_collect(const struct raw_message *messages, size_t begin, size_t end,
                          struct calls *calls)
{
    for (size_t m = begin; m < end; m++) {
        const struct raw_block *blocks = messages[m].content.items;
        for (size_t b = 0; b < messages[m].content.n; b++)
            if (blocks[b].kind->facts & CALL)
                calls->calls[calls->n++] = (struct call){.id = blocks[b].id, .m = m, .b = b};
    }
}

/* Of several that come again, the first one. */
static bool check_unique(struct decoder *decoder, const struct calls *all)
{
    const struct call *again = NULL;

    for (size_t i = 1; i < all->n; i++) {
        const struct call *call = &all->calls[i];
        if (str_equal(call[-1].id, call->id) &&
            (!again || call->m < again->m || (call->m == again->m && call->b < again->b)))
            again = call;
    }
    return !again || decode_fail(decoder, NULL,
                                 "messages.%zu.content.%zu: `tool_use` ids must be unique",
                                 again->m, again->b);
}

/* Names the calls without an answer, as many as fit. */
static bool check_answered(struct decoder *decoder, const struct calls *calls)
{
    char ids[IDS_SHOWN_BYTES + ID_SHOWN_BYTES + 8];
    const struct call *first = NULL;
    size_t n = 0;

    for (size_t i = 0; i < calls->n; i++) {
        const struct call *call = &calls->calls[i];
        if (call->answered)
            continue;
        if (!first || call->m < first->m)
            first = call;
        if (n < IDS_SHOWN_BYTES) {
            const struct str shown = utf8_cut(call->id, ID_SHOWN_BYTES);
            n += (size_t)snprintf(ids + n, sizeof ids - n, "%s%.*s", n ? ", " : "", STR_ARG(shown));
        }
    }
    return !first ||
           decode_fail(decoder, NULL,
                       "messages.%zu: `tool_use` ids were found without `tool_result` blocks "
                       "immediately after: %s. Each `tool_use` block must have a corresponding "
                       "`tool_result` block in the next message.",
                       first->m, ids);
}

/* A result behind something else is no answer, but may not answer another turn's call either. */
static bool check_result(struct decoder *decoder, size_t m, size_t b, struct str id, bool in_front,
                         const struct calls *calls)
{
    struct call *call = calls_find(calls, id);
    const struct str shown = utf8_cut(id, ID_SHOWN_BYTES);

    if (!call)
        return decode_fail(decoder, NULL,
                           "messages.%zu.content.%zu: unexpected `tool_use_id` found in "
                           "`tool_result` blocks: %.*s. Each `tool_result` block must have a "
                           "corresponding `tool_use` block in the previous message.",
                           m, b, STR_ARG(shown));
    if (call->answered)
        return decode_fail(decoder, NULL,
                           "messages.%zu.content.%zu: each tool_use must have a single result. "
                           "Found multiple `tool_result` blocks with id: %.*s",
                           m, b, STR_ARG(shown));
    call->answered = in_front;
    return true;
}

static bool check_results(struct decoder *decoder, const struct raw_message *messages, size_t begin,
                          size_t end, const struct calls *calls)
{
    bool in_front = true;

    for (size_t m = begin; m < end; m++) {
        const struct raw_block *blocks = messages[m].content.items;
        for (size_t b = 0; b < messages[m].content.n; b++) {
            if (!(blocks[b].kind->facts & RESULT))
                in_front = false;
            else if (!check_result(decoder, m, b, blocks[b].id, in_front, calls))
                return false;
        }
    }
    return true;
}

static size_t turn_end(const struct raw_message *messages, size_t n, size_t begin)
{
    size_t end = begin + 1;

    while (end < n && messages[end].role == messages[begin].role)
        end++;
    return end;
}

bool request_check_pairs(struct decoder *decoder, const struct raw_request *raw)
{
    const struct raw_message *messages = raw->messages.items;
    const size_t n = raw->messages.n;
    struct calls all = {0}, turn = {0};
    const size_t calls_n = calls_count(messages, n);

    all.calls = arena_array(decoder->arena, calls_n, sizeof *all.calls);
    turn.calls = arena_array(decoder->arena, calls_n, sizeof *turn.calls);
    calls_collect(messages, 0, n, &all);
    calls_sort(&all);
    if (!check_unique(decoder, &all))
        return false;

    for (size_t begin = 0, end; begin < n; begin = end) {
        end = turn_end(messages, n, begin);
        if (!check_results(decoder, messages, begin, end, &turn) || !check_answered(decoder, &turn))
            return false;
        turn.n = 0;
        calls_collect(messages, begin, end, &turn);
        calls_sort(&turn);
    }
    return check_answered(decoder, &turn);
}

bool request_has_results(const struct raw_request *raw)
{
    const struct raw_message *messages = raw->messages.items;

    for (size_t m = raw->messages.n; m-- > 0 && messages[m].role != ROLE_ASSISTANT;) {
        const struct raw_block *blocks = messages[m].content.items;
        for (size_t b = 0; b < messages[m].content.n; b++)
            if (blocks[b].kind->facts & RESULT)
                return true;
    }
    return false;
}
