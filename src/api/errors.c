/* errors.c - the table of what each error is to a client. */
#include "api/errors.h"

#include "base/json.h"

/* On exactly this code the SDKs' tool runner sends its request again without `thread`. */
#define THREAD_DETAILS "{\"error_code\":\"thread_unsupported_request\",\"unsupported\":null}"

static const struct api_error errors[ERR_CODES] = {
    [ERR_NONE] = {500, "api_error", NULL},
    [ERR_INVALID] = {400, "invalid_request_error", NULL},
    [ERR_THREAD] = {400, "invalid_request_error", THREAD_DETAILS},
    [ERR_ENCODING] = {400, "invalid_request_error",
                      "{\"error_code\":\"request_body_encoding_unsupported\"}"},
    [ERR_AUTH] = {401, "authentication_error", NULL, true},
    [ERR_FORBIDDEN] = {403, "permission_error", NULL},
    [ERR_NOT_FOUND] = {404, "not_found_error", NULL},
    [ERR_METHOD] = {405, "invalid_request_error", NULL},
    [ERR_TIMEOUT_CLIENT] = {408, "invalid_request_error", NULL},
    [ERR_TOO_LARGE] = {413, "request_too_large", NULL},
    [ERR_HEAD_TOO_LARGE] = {431, "invalid_request_error", NULL},
    [ERR_RATE] = {429, "rate_limit_error", NULL},
    [ERR_INTERNAL] = {500, "api_error", NULL},
    [ERR_UNSUPPORTED] = {501, "api_error", NULL},
    [ERR_TIMEOUT] = {504, "timeout_error", NULL},
    [ERR_OVERLOADED] = {529, "overloaded_error", NULL},
    [ERR_CANCELLED] = {499, "api_error", NULL},
    [ERR_FORMAT] = {500, "api_error", NULL, true},
    [ERR_IO] = {500, "api_error", NULL},
    [ERR_USAGE] = {500, "api_error", NULL, true},
};

struct api_error api_error_of(enum err_code code)
{
    return errors[(unsigned)code < ERR_CODES ? code : ERR_INTERNAL];
}

void api_error_body(struct buf *out, const struct err *error, struct str request_id)
{
    const struct api_error api = api_error_of(error->code);

    buf_printf(out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", api.type);
    json_quote(out, str_of(error->text));
    if (api.details)
        buf_printf(out, ",\"details\":%s", api.details);
    buf_cstr(out, "},\"request_id\":");
    json_quote(out, request_id);
    buf_char(out, '}');
}
