/* auth.h - is the credential one of ours? Compared in constant time, never logged or echoed. */
#ifndef PENSIEVE_SERVER_AUTH_H
#define PENSIEVE_SERVER_AUTH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"
#include "server/http.h"

/* True if given is one of the keys. The time depends on the lengths alone. */
bool auth_key_known(const struct str *keys, size_t n, struct str given);

/* Reads x-api-key and Authorization: Bearer. With both, x-api-key decides, as in the hosted API.
 * keys_n == 0: everyone may. *key: the one that was accepted, the head's bytes; n == 0: none was asked
 * for. false: ERR_AUTH with the contract's words. */
bool auth_check(const struct http_reader *head, const struct str *keys, size_t keys_n,
                struct str *key, struct err *err);

#endif
