/* auth.c - every key is compared with every byte, whatever is found on the way. */
#include "server/auth.h"

#include <strings.h>

/* 0 if equal. Reads all of key whatever given holds, and no branch depends on a byte of either. */
static unsigned char difference(struct str key, struct str given)
{
    unsigned char diff = key.n != given.n;

    for (size_t i = 0; i < key.n; i++)
        diff |= (unsigned char)(key.s[i] ^ given.s[i % given.n]);
    return diff;
}

bool auth_key_known(const struct str *keys, size_t n, struct str given)
{
    unsigned char known = 0;

    if (given.n == 0)
        return false;
    for (size_t i = 0; i < n; i++)
        known |= (unsigned char)(difference(keys[i], given) == 0);
    return known != 0;
}

/* "Bearer TOKEN", the scheme in any case. */
static bool bearer_token(struct str value, struct str *token)
{
    static const struct str scheme = {"bearer ", 7};

    if (value.n < scheme.n || strncasecmp(value.s, scheme.s, scheme.n) != 0)
        return false;
    *token = (struct str){value.s + scheme.n, value.n - scheme.n};
    while (token->n && token->s[0] == ' ')
        *token = (struct str){token->s + 1, token->n - 1};
    return true;
}

bool auth_check(const struct http_reader *head, const struct str *keys, size_t keys_n,
                struct str *key, struct err *err)
{
    struct str authorization;

    *key = (struct str){0};
    if (keys_n == 0)
        return true;
    if (!http_header_one(head, "x-api-key", key) ||
        !http_header_one(head, "authorization", &authorization))
        return err_set(err, ERR_AUTH, "a credential header was sent more than once");
    if (http_header_count(head, "x-api-key"))
        return auth_key_known(keys, keys_n, *key) ||
               err_set(err, ERR_AUTH, "invalid x-api-key");
    if (http_header_count(head, "authorization"))
        return (bearer_token(authorization, key) && auth_key_known(keys, keys_n, *key)) ||
               err_set(err, ERR_AUTH, "Invalid bearer token");
    return err_set(err, ERR_AUTH, "x-api-key header is required (or authorization: Bearer KEY)");
}
