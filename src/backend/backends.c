/* backends.c - the list of backends, and what the names of models mean. */
#include "backend/backends.h"

#include <stdlib.h>

#include "base/utf8.h"

enum { NAME_SHOWN_MAX = 128 };

struct alias {
    struct str pattern;
    struct backend *backend;
    bool listed;                        /* it has no * */
};

struct broken {
    struct str id, why;
};

struct backends {
    struct arena *arena;                /* texts, and arrays that were outgrown */
    struct backend **items;
    struct alias *aliases;
    struct broken *broken;
    size_t n, aliases_n, broken_n;
};

struct backends *backends_new(void)
{
    struct arena *arena = arena_new(1024);
    struct backends *backends = arena_alloc(arena, sizeof *backends);

    backends->arena = arena;
    return backends;
}

/* Room for one more in an array of n, which grows at powers of two. */
static void *grown(struct arena *arena, void *items, size_t n, size_t size)
{
    if (n & (n - 1))
        return items;
    void *larger = arena_array(arena, n ? n * 2 : 1, size);
    if (n)
        memcpy(larger, items, n * size);
    return larger;
}

void backends_add(struct backends *backends, struct backend *backend)
{
    backends->items = grown(backends->arena, backends->items, backends->n, sizeof *backends->items);
    backends->items[backends->n++] = backend;
}

void backends_add_broken(struct backends *backends, struct str id, const char *why)
{
    struct arena *arena = backends->arena;

    backends->broken = grown(arena, backends->broken, backends->broken_n, sizeof *backends->broken);
    backends->broken[backends->broken_n++] =
        (struct broken){arena_str(arena, id), arena_str(arena, str_of(why))};
}

static struct backend *find_id(const struct backends *backends, struct str id)
{
    for (size_t i = 0; i < backends->n; i++)
        if (str_equal(backends->items[i]->card.id, id))
            return backends->items[i];
    return NULL;
}

bool backends_alias(struct backends *backends, struct str pattern, struct str id)
{
    struct backend *backend = find_id(backends, id);
    struct arena *arena = backends->arena;

    if (!backend)
        return false;
    backends->aliases =
        grown(arena, backends->aliases, backends->aliases_n, sizeof *backends->aliases);
    struct alias *alias = &backends->aliases[backends->aliases_n++];
    *alias = (struct alias){arena_str(arena, pattern), backend,
                            !memchr(pattern.s, '*', pattern.n)};
    return true;
}

void backends_free(struct backends *backends)
{
    if (!backends)
        return;
    for (size_t i = 0; i < backends->n; i++)
        backends->items[i]->ops->free(backends->items[i]);
    arena_free(backends->arena);
}

bool backend_takes(const struct backend *backend, const struct message_request *request,
                   struct err *err)
{
    if (!request->refused || backend->passes || (backend->sees && request->only_images))
        return true;
    if (err)
        *err = *request->refused;
    return false;
}

/* ---- names ---- */

static char small(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool starts_ignoring_case(struct str s, struct str lower)
{
    if (s.n < lower.n)
        return false;
    for (size_t i = 0; i < lower.n; i++)
        if (small(s.s[i]) != lower.s[i])
            return false;
    return true;
}

bool picker_keeps(struct str id)
{
    return starts_ignoring_case(id, STR("claude")) || starts_ignoring_case(id, STR("anthropic"));
}

/* Each * first takes nothing; where the rest doesn't fit, the last one takes a character more. No
 * earlier one needs to: what it skipped, the last one can skip as well. */
bool alias_matches(struct str pattern, struct str name)
{
    size_t p = 0, i = 0, star = pattern.n, star_i = 0;

    while (i < name.n) {
        if (p < pattern.n && pattern.s[p] == '*') {
            star = p++;
            star_i = i;
        } else if (p < pattern.n && small(pattern.s[p]) == small(name.s[i])) {
            p++;
            i++;
        } else if (star < pattern.n) {
            p = star + 1;
            i = ++star_i;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.s[p] == '*')
        p++;
    return p == pattern.n;
}

static struct backend *find_alias(const struct backends *backends, struct str name)
{
    for (size_t i = 0; i < backends->aliases_n; i++)
        if (alias_matches(backends->aliases[i].pattern, name))
            return backends->aliases[i].backend;
    return NULL;
}

static const struct broken *find_broken(const struct backends *backends, struct str id)
{
    for (size_t i = 0; i < backends->broken_n; i++)
        if (str_equal(backends->broken[i].id, id))
            return &backends->broken[i];
    return NULL;
}

/* What a picker was shown goes by the name behind the prefix. */
static struct str without_prefix(struct str name)
{
    const size_t n = sizeof PICKER_PREFIX - 1;

    return str_starts(name, STR(PICKER_PREFIX)) ? (struct str){name.s + n, name.n - n} : name;
}

struct backend *backends_find(struct backends *backends, struct str name, struct err *err)
{
    const struct str inner = without_prefix(name), shown = utf8_cut(name, NAME_SHOWN_MAX);
    const struct broken *broken;
    struct backend *found = find_id(backends, name);

    if (!found)
        found = find_id(backends, inner);
    if (!found && (broken = find_broken(backends, inner))) {
        err_set(err, ERR_NOT_FOUND, "model: %.*s: %.*s", STR_ARG(shown), STR_ARG(broken->why));
        return NULL;
    }
    if (!found)
        found = find_alias(backends, inner);
    if (!found)
        found = find_alias(backends, name);
    if (!found && backends->n && (starts_ignoring_case(name, STR("claude-")) ||
                                  starts_ignoring_case(name, STR("anthropic-"))))
        found = backends->items[0];
    if (!found)
        err_set(err, ERR_NOT_FOUND, "model: %.*s", STR_ARG(shown));
    return found;
}

bool backends_card(const struct backends *backends, size_t i, struct model_card *out)
{
    if (i < backends->n) {
        *out = backends->items[i]->card;
        return true;
    }
    i -= backends->n;
    for (size_t a = 0; a < backends->aliases_n; a++) {
        const struct alias *alias = &backends->aliases[a];
        if (!alias->listed || i-- > 0)
            continue;
        *out = alias->backend->card;
        out->id = alias->pattern;
        return true;
    }
    return false;
}

struct backend *backends_nth(struct backends *backends, size_t i)
{
    return i < backends->n ? backends->items[i] : NULL;
}
