/* models.c - GET /v1/models and /v1/models/{id}. */
#include "server/routes/routes.h"

#include "api/model_card.h"
#include "backend/backends.h"
#include "server/percent.h"
#include "server/state.h"

struct page_query {
    size_t limit;
    struct str after, before;           /* ids; n == 0: none */
};

static bool parse_limit(struct str value, size_t *limit)
{
    size_t n = 0;

    if (value.n == 0 || value.n > 4)
        return false;
    for (size_t i = 0; i < value.n; i++) {
        if (value.s[i] < '0' || value.s[i] > '9')
            return false;
        n = n * 10 + (size_t)(value.s[i] - '0');
    }
    *limit = n;
    return n >= 1 && n <= MODELS_PAGE_MAX;
}

/* limit, after_id, before_id; whatever else is asked for is ignored. Ids are compared as they are
 * written in the query, decoded. */
static bool parse_query(struct exchange *ex, struct page_query *query, struct err *err)
{
    struct str rest = http_query(ex->head);

    *query = (struct page_query){.limit = MODELS_PAGE_DEFAULT};
    while (rest.n) {
        const char *end = memchr(rest.s, '&', rest.n);
        const struct str pair = {rest.s, end ? (size_t)(end - rest.s) : rest.n};
        const char *equals = pair.n ? memchr(pair.s, '=', pair.n) : NULL;
        const size_t key_n = equals ? (size_t)(equals - pair.s) : pair.n;
        const struct str key = {pair.s, key_n};
        struct str value = {pair.s + key_n + (equals != NULL), pair.n - key_n - (equals != NULL)};

        rest = end ? (struct str){end + 1, rest.n - pair.n - 1} : STR("");
        if (str_is(key, "limit") && !parse_limit(value, &query->limit))
            return err_set(err, ERR_INVALID, "limit: Input should be from 1 to %d",
                           MODELS_PAGE_MAX);
        if (!str_is(key, "after_id") && !str_is(key, "before_id"))
            continue;
        if (!percent_decode(ex->arena, value, &value))
            return err_set(err, ERR_INVALID, "%s: not a model's id",
                           str_is(key, "after_id") ? "after_id" : "before_id");
        *(str_is(key, "after_id") ? &query->after : &query->before) = value;
    }
    if (query->after.n && query->before.n)
        return err_set(err, ERR_INVALID, "after_id and before_id exclude each other");
    return true;
}

/* The position of the id among n cards, or n. */
static size_t find_card(const struct model_card *cards, size_t n, struct str id)
{
    size_t i = 0;

    while (i < n && !str_equal(cards[i].id, id))
        i++;
    return i;
}

/* Claude Code's picker keeps Anthropic's names only: it gets each model under one that it keeps. */
static struct str listed_id(struct exchange *ex, struct str id)
{
    struct str agent;

    if (picker_keeps(id) || !http_header_one(ex->head, "user-agent", &agent) ||
        !str_starts(agent, STR("claude-code/")))
        return id;
    return arena_printf(ex->arena, PICKER_PREFIX "%.*s", STR_ARG(id));
}

bool models_get(struct exchange *ex, struct err *err)
{
    struct page_query query;
    struct model_card card;
    size_t n = 0, first = 0, end;

    if (!parse_query(ex, &query, err))
        return false;
    while (backends_card(ex->server->backends, n, &card))
        n++;
    struct model_card *cards = arena_array(ex->arena, n, sizeof *cards);
    for (size_t i = 0; i < n; i++) {
        backends_card(ex->server->backends, i, &cards[i]);
        cards[i].id = listed_id(ex, cards[i].id);
    }

    const struct str cursor = query.after.n ? query.after : query.before;
    const size_t at = cursor.n ? find_card(cards, n, cursor) : 0;
    if (cursor.n && at == n)
        return err_set(err, ERR_INVALID, "%s: no such model",
                       query.after.n ? "after_id" : "before_id");
    if (query.before.n) {
        end = at;
        first = end > query.limit ? end - query.limit : 0;
    } else {
        first = query.after.n ? at + 1 : 0;
        end = n - first > query.limit ? first + query.limit : n;
    }
    model_page_json(&ex->out, cards + first, end - first, query.before.n ? first > 0 : end < n);
    exchange_reply(ex, 200, "application/json", buf_view(&ex->out));
    return true;
}

bool model_get(struct exchange *ex, struct err *err)
{
    struct backend *backend = backends_find(ex->server->backends, ex->path_id, err);

    if (!backend)
        return false;
    struct model_card card = backend->card;
    card.id = ex->path_id;              /* an alias is answered by the name it was asked by */
    model_card_json(&ex->out, &card);
    exchange_reply(ex, 200, "application/json", buf_view(&ex->out));
    return true;
}
