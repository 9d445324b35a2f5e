/* identity.c - see identity.h. */
#include "server/identity.h"

#include "base/hash.h"

enum { SESSION_BYTES_MAX = 256 };

/* Names pages on disk, so it must stay as it is; it is no secret's guard: who can read those, reads
 * what they hold. */
static const struct hash_key key_hash = {0x70656e7369657665, 0x6b657973};

static uint64_t owner_of(struct str key)
{
    const uint64_t hash = hash_bytes(key_hash, key.s, key.n);

    return hash ? hash : 1;
}

/* A client's word for something, if it sent one of sane length. */
static struct str word(const struct http_reader *head, const char *name)
{
    struct str value;

    return http_header_one(head, name, &value) && value.n <= SESSION_BYTES_MAX ? value
                                                                               : (struct str){0};
}

struct request_caller identity_of(const struct server_options *options,
                                  const struct http_reader *head, struct str key)
{
    const uint64_t owner = options->keys_configured && key.n ? owner_of(key) : 0;

    return (struct request_caller){
        .owner = owner, .space = options->cache_shared ? 0 : owner,
        .session = word(head, "x-claude-code-session-id"),
        .agent = word(head, "x-claude-code-agent-id"),
    };
}

/* The next value of a comma-separated list, without the spaces around it. */
static struct str next_value(struct str *list)
{
    const char *comma = memchr(list->s, ',', list->n);
    struct str value = {list->s, comma ? (size_t)(comma - list->s) : list->n};

    *list = comma ? (struct str){comma + 1, list->n - value.n - 1} : (struct str){0};
    while (value.n && (value.s[0] == ' ' || value.s[0] == '\t'))
        value = (struct str){value.s + 1, value.n - 1};
    while (value.n && (value.s[value.n - 1] == ' ' || value.s[value.n - 1] == '\t'))
        value.n--;
    return value;
}

const struct str *identity_betas(struct arena *arena, const struct http_reader *head, size_t *n)
{
    struct str *betas = arena_array(arena, BETAS_MAX, sizeof *betas);

    *n = 0;
    for (size_t i = 0; i < head->headers_n; i++) {
        struct str list = http_header_value(head, i);
        if (!str_is(http_header_name(head, i), "anthropic-beta"))
            continue;
        while (list.n && *n < BETAS_MAX) {
            const struct str value = next_value(&list);
            if (value.n)
                betas[(*n)++] = value;
        }
    }
    return betas;
}
