/* upstream_errors.c - see upstream_errors.h.
 *
 * The hard thing is the context: clients shorten their conversation when they read the API's own
 * words for it, and each server has words of its own. */
#include "backend/upstream_errors.h"

#include <ctype.h>
#include <stdlib.h>

#include "base/utf8.h"

enum { TEXT_BYTES_MAX = 4096, SHOWN_BYTES_MAX = 200 };

/* ---- whose fault ---- */

struct fault {
    long status;
    const char *type;                   /* Anthropic's; OpenAI's words differ by server */
    enum err_code code;
};

/* A key or a path that it does not accept is our configuration's fault, not the client's. */
static const struct fault faults[] = {
    {400, "invalid_request_error", ERR_INVALID},
    {401, "authentication_error", ERR_USAGE},
    {402, "billing_error", ERR_USAGE},
    {403, "permission_error", ERR_USAGE},
    {404, "not_found_error", ERR_USAGE},
    {405, NULL, ERR_USAGE},
    {408, NULL, ERR_TIMEOUT},
    {413, "request_too_large", ERR_TOO_LARGE},
    {422, NULL, ERR_INVALID},
    {429, "rate_limit_error", ERR_RATE},
    {501, NULL, ERR_UNSUPPORTED},
    {503, NULL, ERR_OVERLOADED},
    {504, "timeout_error", ERR_TIMEOUT},
    {529, "overloaded_error", ERR_OVERLOADED},
};

static enum err_code code_of(long status, struct str type)
{
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        if (status ? faults[i].status == status
                   : faults[i].type && str_is(type, faults[i].type))
            return faults[i].code;
    }
    if (status >= 300 && status < 400)
        return ERR_USAGE;
    return status >= 400 && status < 500 ? ERR_INVALID : ERR_INTERNAL;
}

/* ---- a prompt that is too long ---- */

/* Where the number stands: "phrase N" or "N phrase". */
struct wording {
    const char *phrase;
    bool before;                        /* the number comes before the phrase */
};

static const struct wording maximum[] = {
    {"maximum context length is ", false},      /* OpenAI, vLLM, llama-cpp-python */
    {"maximum context length of ", false},      /* TGI-like servers */
    {"model's context length (", false},        /* SGLang */
    {"available context size (", false},        /* llama-server */
    {" maximum", true},                         /* Anthropic */
};
static const struct wording prompt[] = {
    {"messages resulted in ", false},           /* OpenAI */
    {" in the messages", true},                 /* vLLM, llama-cpp-python */
    {" input tokens", true},                    /* vLLM */
    {"the input (", false},                     /* SGLang */
    {"request (", false},                       /* llama-server */
    {"prompt contains ", false},
    {"you requested ", false},
};

static bool number_by(const char *text, const struct wording *words, size_t n, uint64_t *out)
{
    for (size_t i = 0; i < n; i++) {
        const char *at = strcasestr(text, words[i].phrase);
        if (!at)
            continue;
        if (words[i].before) {
            while (at > text && isdigit((unsigned char)at[-1]))
                at--;
        } else {
            at += strlen(words[i].phrase);
        }
        if (isdigit((unsigned char)*at)) {
            *out = strtoull(at, NULL, 10);
            return true;
        }
    }
    return false;
}

static bool uint_of(yyjson_val *error, const char *key, uint64_t *out)
{
    yyjson_val *value = yyjson_obj_get(error, key);

    *out = yyjson_get_uint(value);
    return yyjson_is_uint(value);
}

#define WORDS(table) (table), sizeof(table) / sizeof *(table)

static bool is_too_long(yyjson_val *error, const char *text, uint64_t *tokens, uint64_t *most)
{
    if (uint_of(error, "n_prompt_tokens", tokens) && uint_of(error, "n_ctx", most))
        return *tokens >= *most;
    return number_by(text, WORDS(maximum), most) && number_by(text, WORDS(prompt), tokens) &&
           *tokens > *most;
}

/* ---- what it says ---- */

/* OpenAI and Anthropic: {"error":{"message":..}}; others leave out the error, or the message. */
static struct str message_of(yyjson_val *body, yyjson_val *error)
{
    const char *const keys[] = {"message", "detail", "error"};
    struct str text = json_str(yyjson_obj_get(error, "message"));

    for (size_t i = 0; i < 3 && text.n == 0; i++)
        text = json_str(yyjson_obj_get(body, keys[i]));
    return text;
}

/* What a line of the log can hold. */
static void flatten(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = ' ';
}

static void hide(char *text, const char *key)
{
    const size_t n = key ? strlen(key) : 0;

    if (n < UPSTREAM_SECRET_BYTES_MIN)
        return;
    for (char *at = text; (at = strstr(at, key)); at += n)
        memset(at, '*', n);
}

static bool told(yyjson_val *error, struct str message, enum err_code code, long status,
                 const char *key, struct err *err)
{
    uint64_t tokens, most;
    char text[TEXT_BYTES_MAX];

    snprintf(text, sizeof text, "%.*s", (int)(message.n < sizeof text ? message.n : sizeof text),
             message.n ? message.s : "");
    flatten(text);
    hide(text, key);
    if (is_too_long(error, text, &tokens, &most))
        return err_set(err, ERR_INVALID, "prompt is too long: %llu tokens > %llu maximum",
                       (unsigned long long)tokens, (unsigned long long)most);
    if (text[0])
        return err_set(err, code, "%.*s", STR_ARG(utf8_cut(str_of(text), SHOWN_BYTES_MAX)));
    return status ? err_set(err, code, "it answered with status %ld", status)
                  : err_set(err, code, "it broke its answer off with an error");
}

bool upstream_error_told(yyjson_val *body, long status, const char *key, struct err *err)
{
    yyjson_val *error = yyjson_obj_get(body, "error");
    yyjson_val *number = yyjson_obj_get(error, "code");

    if (!yyjson_is_obj(error))
        error = body;
    if (status == 0 && yyjson_is_int(number) && yyjson_get_int(number) >= 400)
        status = yyjson_get_int(number);
    return told(error, message_of(body, error),
                code_of(status, json_str(yyjson_obj_get(error, "type"))), status, key, err);
}

bool upstream_error_status(struct arena *scratch, struct str body, long status, const char *key,
                           struct err *err)
{
    yyjson_val *root = NULL;

    arena_reset(scratch);
    if (json_parse(scratch, body, &root, NULL) && yyjson_is_obj(root))
        return upstream_error_told(root, status, key, err);
    return told(NULL, utf8_valid(body) && body.n < SHOWN_BYTES_MAX ? body : STR(""),
                code_of(status, STR("")), status, key, err);
}
