/* backends.c - the list of backends, and the rule that any Anthropic model name means the first. */
#include "backend/backends.h"

#include <stdlib.h>

#include "base/utf8.h"

enum { NAME_SHOWN_MAX = 128 };

struct backends {
    struct backend **items;
    size_t n;
};

struct backends *backends_new(void)
{
    struct backends *backends = calloc(1, sizeof *backends);

    if (!backends)
        abort();                        /* at start: there is nothing to go on with */
    return backends;
}

void backends_add(struct backends *backends, struct backend *backend)
{
    struct backend **items = realloc(backends->items, (backends->n + 1) * sizeof *items);

    if (!items)
        abort();
    backends->items = items;
    items[backends->n++] = backend;
}

void backends_free(struct backends *backends)
{
    if (!backends)
        return;
    for (size_t i = 0; i < backends->n; i++)
        backends->items[i]->ops->free(backends->items[i]);
    free(backends->items);
    free(backends);
}

static bool starts_ignoring_case(struct str s, struct str lower)
{
    if (s.n < lower.n)
        return false;
    for (size_t i = 0; i < lower.n; i++)
        if ((s.s[i] >= 'A' && s.s[i] <= 'Z' ? s.s[i] + 32 : s.s[i]) != lower.s[i])
            return false;
    return true;
}

struct backend *backends_find(struct backends *backends, struct str name, struct err *err)
{
    for (size_t i = 0; i < backends->n; i++)
        if (str_equal(backends->items[i]->card.id, name))
            return backends->items[i];
    if (backends->n && (starts_ignoring_case(name, STR("claude-")) ||
                        starts_ignoring_case(name, STR("anthropic-"))))
        return backends->items[0];
    const struct str shown = utf8_cut(name, NAME_SHOWN_MAX);
    err_set(err, ERR_NOT_FOUND, "model: %.*s", STR_ARG(shown));
    return NULL;
}

const struct model_card *backends_card(const struct backends *backends, size_t i)
{
    return i < backends->n ? &backends->items[i]->card : NULL;
}

struct backend *backends_nth(struct backends *backends, size_t i)
{
    return i < backends->n ? backends->items[i] : NULL;
}
