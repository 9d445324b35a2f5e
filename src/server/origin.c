/* origin.c - parses what comes in Host and Origin strictly: what isn't understood isn't allowed. */
#include "server/origin.h"

#include <arpa/inet.h>
#include <strings.h>

static bool equal_fold(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || strncasecmp(a.s, b.s, a.n) == 0);
}

static bool ends_fold(struct str a, struct str suffix)
{
    return a.n > suffix.n &&
           equal_fold((struct str){a.s + a.n - suffix.n, suffix.n}, suffix);
}

static struct str without_brackets(struct str name)
{
    if (name.n >= 2 && name.s[0] == '[' && name.s[name.n - 1] == ']')
        return (struct str){name.s + 1, name.n - 2};
    return name;
}

/* inet_pton is strict: no octal, no short forms, no zone. */
static bool parse_address(struct str name, int family, void *address)
{
    char text[INET6_ADDRSTRLEN];

    if (name.n == 0 || name.n >= sizeof text || memchr(name.s, '\0', name.n))
        return false;
    memcpy(text, name.s, name.n);
    text[name.n] = '\0';
    return inet_pton(family, text, address) == 1;
}

static bool is_address(struct str name)
{
    struct in6_addr address;

    return parse_address(name, AF_INET, &address) ||
           parse_address(without_brackets(name), AF_INET6, &address);
}

bool host_is_loopback(struct str name)
{
    struct in_addr v4;
    struct in6_addr v6;

    if (equal_fold(name, STR("localhost")) || ends_fold(name, STR(".localhost")))
        return true;
    if (parse_address(name, AF_INET, &v4))
        return ntohl(v4.s_addr) >> 24 == 127;
    return parse_address(without_brackets(name), AF_INET6, &v6) && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* Splits "name", "name:port" or "[v6]:port". false: not of that form. */
static bool split_port(struct str host, struct str *name)
{
    const char *colon = NULL;
    size_t digits;

    if (host.n && host.s[0] == '[') {
        const char *close = memchr(host.s, ']', host.n);
        if (!close)
            return false;
        name->s = host.s;
        name->n = (size_t)(close - host.s) + 1;
        if (name->n == host.n)
            return true;
        colon = close + 1;
    } else {
        colon = host.n ? memchr(host.s, ':', host.n) : NULL;
        name->s = host.s;
        name->n = colon ? (size_t)(colon - host.s) : host.n;
        if (!colon)
            return name->n > 0;
    }
    if (*colon != ':' || name->n == 0)
        return false;
    digits = host.n - (size_t)(colon - host.s) - 1;
    for (size_t i = 1; i <= digits; i++)
        if (colon[i] < '0' || colon[i] > '9')
            return false;
    return digits <= 5;
}

/* Literal IPv6 bound addresses need no rule of their own: bound beyond loopback, all pass. */
bool host_allowed(const struct origin_rules *rules, struct str host)
{
    const struct str bound = str_of(rules->bound_host);
    struct str name;

    if (!split_port(host, &name))
        return false;
    if (host_is_loopback(name) || equal_fold(name, bound))
        return true;
    for (size_t i = 0; i < rules->hosts_n; i++)
        if (equal_fold(rules->hosts[i], name) || equal_fold(rules->hosts[i], host))
            return true;
    return !host_is_loopback(bound) && is_address(name);
}

bool origin_allowed(const struct origin_rules *rules, struct str origin)
{
    static const struct str schemes[] = {{"http://", 7}, {"https://", 8}};
    struct str name;

    for (size_t i = 0; i < rules->origins_n; i++)
        if (equal_fold(rules->origins[i], origin))
            return true;
    for (size_t i = 0; i < 2; i++) {
        if (!str_starts(origin, schemes[i]))
            continue;
        const struct str host = {origin.s + schemes[i].n, origin.n - schemes[i].n};
        return split_port(host, &name) && host_is_loopback(name);
    }
    return false;
}
