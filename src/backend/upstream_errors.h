/* upstream_errors.h - what an upstream says went wrong, as one of our errors. */
#ifndef PENSIEVE_BACKEND_UPSTREAM_ERRORS_H
#define PENSIEVE_BACKEND_UPSTREAM_ERRORS_H

#include "base/err.h"
#include "base/json.h"

enum {
    UPSTREAM_ERROR_BYTES_MAX = 64 << 10,        /* of an error's body that are looked at */
    UPSTREAM_SECRET_BYTES_MIN = 8,      /* a shorter key is a word like others */
};

/* By its status; 0: by what the body says, in the middle of a stream. Texts that say the prompt is
 * longer than the context, with both numbers, become "prompt is too long: A tokens > B maximum".
 * key: ours for it, which some servers repeat, and which is hidden; NULL: there is none. Return
 * false. */
bool upstream_error_told(yyjson_val *body, long status, const char *key, struct err *err);
/* The same of a body that need not be JSON; scratch is reset. */
bool upstream_error_status(struct arena *scratch, struct str body, long status, const char *key,
                           struct err *err);

#endif
