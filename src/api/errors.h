/* errors.h - one table: err_code -> HTTP status and API error type; and the error body. */
#ifndef PENSIEVE_API_ERRORS_H
#define PENSIEVE_API_ERRORS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct api_error {
    int status;
    const char *type;           /* "invalid_request_error" */
    const char *details;        /* the JSON of error.details for a stable code; else NULL */
    bool final;                 /* the status invites to try again, and it would be the same */
};

struct api_error api_error_of(enum err_code code);

/* {"type":"error","error":{"type":...,"message":...[,"details":...]},"request_id":...} */
void api_error_body(struct buf *out, const struct err *error, struct str request_id);

#endif
