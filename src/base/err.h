/* err.h - how a call says what went wrong: a code for the program, a sentence for the person.
 *
 * A fallible call takes `struct err *err` as its last parameter and returns false or NULL after
 * filling it; on success the struct is untouched. api/errors.c maps each code to an HTTP status
 * and an API error type. Assertions are for programmers' errors; input never reaches one. */
#ifndef PENSIEVE_BASE_ERR_H
#define PENSIEVE_BASE_ERR_H

#include <stdbool.h>

enum err_code {
    ERR_NONE,
    ERR_INVALID,        /* the request breaks a rule: 400 */
    ERR_THREAD,         /* server-held history is not offered: 400 with its own code */
    ERR_ENCODING,       /* the body is compressed: 400 with its own code */
    ERR_AUTH,           /* no key or a wrong one: 401 */
    ERR_FORBIDDEN,      /* host, origin or key not allowed here: 403 */
    ERR_NOT_FOUND,      /* path, model or id unknown: 404 */
    ERR_METHOD,         /* path known, method not: 405 */
    ERR_TIMEOUT_CLIENT, /* the client took too long to send its request: 408 */
    ERR_TOO_LARGE,      /* body over its limit: 413 */
    ERR_HEAD_TOO_LARGE, /* head over its limit: 431 */
    ERR_RATE,           /* limiter: 429 */
    ERR_INTERNAL,       /* our fault: 500 */
    ERR_UNSUPPORTED,    /* a protocol feature we refuse: 501 */
    ERR_TIMEOUT,        /* gave up while processing: 504 */
    ERR_OVERLOADED,     /* queue full or shutting down: 529 */
    ERR_CANCELLED,      /* the client went away; nobody reads this one */
    ERR_FORMAT,         /* a model file is malformed or not supported */
    ERR_IO,             /* the operating system said no */
    ERR_USAGE,          /* a flag, environment variable or config line is wrong */
    ERR_CODES
};

struct err {
    enum err_code code;
    char text[248];             /* one sentence, UTF-8, NUL-terminated, cut at a character */
};

/* Fills err and returns false, so that a caller can `return err_set(...)`. err may be NULL. */
bool err_set(struct err *err, enum err_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4), nonnull(3)));

/* Puts "prefix: " before the text that is already there. Returns false. */
bool err_prefix(struct err *err, const char *format, ...)
    __attribute__((format(printf, 2, 3), nonnull(2)));

#endif
