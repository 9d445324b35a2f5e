/* web.c - HTTP for pull.
 *
 * The token is a secret of one host. It is given to libcurl as a bearer token, not as a header:
 * such credentials do not follow a redirect to another host, port or scheme. */
#include "app/web.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

enum { REDIRECTS_MAX = 8, CONNECT_S = 30, STALL_BYTES_S = 100, URL_BYTES_MAX = 4096 };

struct web {
    CURL *curl;
    const struct web_options *options;
    char error[CURL_ERROR_SIZE];
};

/* One try in the making. */
struct try {
    struct web *web;
    const struct web_request *request;
    struct web_head *head;
    struct err *err;
    bool stopped;                       /* by on_body */
};

/* ---- what curl calls ---- */

static bool parse_u64(const char **at, uint64_t *out)
{
    char *end;
    if (**at < '0' || **at > '9') {
        return false;
    }
    *out = strtoull(*at, &end, 10);
    *at = end;
    return true;
}

static void parse_range(const char *text, struct web_head *head)
{
    const char *at = text;
    if (strncasecmp(at, "bytes ", 6) != 0) {
        return;
    }
    at += 6;
    if (!parse_u64(&at, &head->first) || *at++ != '-' || !parse_u64(&at, &head->last) ||
        *at++ != '/') {
        return;
    }
    head->total = UINT64_MAX;
    head->has_range = *at == '*' || parse_u64(&at, &head->total);
}

/* The value of a header line if it has this name, NUL-terminated in out. */
static bool header_is(const char *line, size_t n, const char *name, char *out, size_t size)
{
    size_t name_n = strlen(name);
    if (n <= name_n || strncasecmp(line, name, name_n) != 0 || line[name_n] != ':') {
        return false;
    }
    line += name_n + 1;
    n -= name_n + 1;
    while (n && (*line == ' ' || *line == '\t')) {
        line++;
        n--;
    }
    while (n && strchr(" \t\r\n", line[n - 1])) {
        n--;
    }
    if (n >= size) {
        return false;
    }
    memcpy(out, line, n);
    out[n] = 0;
    return true;
}

static size_t on_header(char *line, size_t size, size_t n, void *context)
{
    struct web_head *head = ((struct try *)context)->head;
    char value[sizeof(head->link)];
    n *= size;
    if (n > 5 && strncmp(line, "HTTP/", 5) == 0) {      /* of the next hop */
        *head = (struct web_head){.length = -1};
    } else if (header_is(line, n, "content-range", value, sizeof(value))) {
        parse_range(value, head);
    } else if (header_is(line, n, "link", value, sizeof(value))) {
        strcpy(head->link, value);
    }
    return n;
}

static size_t on_bytes(char *bytes, size_t size, size_t n, void *context)
{
    struct try *try = context;
    struct web_head *head = try->head;
    curl_off_t length = -1;
    n *= size;
    curl_easy_getinfo(try->web->curl, CURLINFO_RESPONSE_CODE, &head->status);
    curl_easy_getinfo(try->web->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    head->length = length;
    if (head->status != 200 && head->status != 206) {
        return n;
    }
    try->stopped = !try->request->on_body(try->request->context, head, bytes, n, try->err);
    head->begun = true;
    return try->stopped ? 0 : n;
}

/* ---- a try ---- */

/* What a status means to a person. The URL is the hub's page of the model. */
static enum web_outcome judge(struct web *web, const struct web_head *head, uint64_t *wait_ms,
                              struct err *err)
{
    curl_off_t retry_after = 0;
    const char *host = web->options->endpoint;
    bool token = web->options->token != NULL;
    switch (head->status) {
    case 200:
    case 206:
        return WEB_DONE;
    case 401:
        err_set(err, ERR_AUTH, token ? "%s does not accept the token, or has no such model"
                                     : "%s asks for a token: there is no such model, or it is "
                                       "private or gated; set HF_TOKEN", host);
        return WEB_REFUSED;
    case 403:
        err_set(err, ERR_FORBIDDEN,
                token ? "%s: this model is gated, and the token's owner has not been let in: ask "
                        "for access on its page there"
                      : "%s: this model is gated: ask for access on its page there, and set "
                        "HF_TOKEN", host);
        return WEB_REFUSED;
    case 404:
        err_set(err, ERR_NOT_FOUND, "%s has no such model, file or revision", host);
        return WEB_REFUSED;
    case 416:
        err_set(err, ERR_INVALID, "%s has fewer bytes than we have already", host);
        return WEB_REFUSED;
    default:
        break;
    }
    curl_easy_getinfo(web->curl, CURLINFO_RETRY_AFTER, &retry_after);
    *wait_ms = retry_after > 0 ? (uint64_t)retry_after * 1000 : 0;
    err_set(err, ERR_IO, "%s answered %ld", host, head->status);
    return head->status == 429 || head->status == 408 || head->status >= 500 ? WEB_AGAIN
                                                                              : WEB_REFUSED;
}

static bool is_passing(CURLcode code)
{
    static const CURLcode codes[] = {
        CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_CONNECT, CURLE_PARTIAL_FILE, CURLE_GOT_NOTHING,
        CURLE_OPERATION_TIMEDOUT, CURLE_RECV_ERROR, CURLE_SEND_ERROR, CURLE_HTTP2,
        CURLE_HTTP2_STREAM, CURLE_SSL_CONNECT_ERROR, CURLE_WEIRD_SERVER_REPLY,
    };
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (code == codes[i]) {
            return true;
        }
    }
    return false;
}

enum web_outcome web_try(struct web *web, const struct web_request *request, struct web_head *head,
                         uint64_t *wait_ms, struct err *err)
{
    struct try try = {.web = web, .request = request, .head = head, .err = err};
    char url[URL_BYTES_MAX], range[32];
    int n = snprintf(url, sizeof(url), "%s%s", web->options->endpoint, request->path);
    *head = (struct web_head){.length = -1};
    *wait_ms = 0;
    if (n < 0 || (size_t)n >= sizeof(url)) {
        err_set(err, ERR_INVALID, "the address is longer than %d bytes", URL_BYTES_MAX);
        return WEB_REFUSED;
    }
    snprintf(range, sizeof(range), "%llu-", (unsigned long long)request->from);
    curl_easy_setopt(web->curl, CURLOPT_URL, url);
    curl_easy_setopt(web->curl, CURLOPT_RANGE, request->from ? range : NULL);
    curl_easy_setopt(web->curl, CURLOPT_HEADERDATA, &try);
    curl_easy_setopt(web->curl, CURLOPT_WRITEDATA, &try);
    web->error[0] = 0;
    CURLcode code = curl_easy_perform(web->curl);
    if (try.stopped) {
        return WEB_REFUSED;
    }
    if (code != CURLE_OK) {
        err_set(err, ERR_IO, "%s: %s", web->options->endpoint,
                web->error[0] ? web->error : curl_easy_strerror(code));
        return is_passing(code) ? WEB_AGAIN : WEB_REFUSED;
    }
    curl_easy_getinfo(web->curl, CURLINFO_RESPONSE_CODE, &head->status);
    return judge(web, head, wait_ms, err);
}

bool web_wait(int failures, uint64_t wait_ms, struct err *err)
{
    uint64_t ms = 250ull << (failures < 10 ? failures : 10);
    ms = ms > WEB_WAIT_MS_MAX ? WEB_WAIT_MS_MAX : ms;
    if (wait_ms > WEB_RETRY_AFTER_S_MAX * 1000ull) {
        char text[sizeof(err->text)];
        snprintf(text, sizeof(text), "%s", err->text);
        return err_set(err, ERR_RATE, "%.150s and asks to wait %llu s: try again then", text,
                       (unsigned long long)(wait_ms / 1000));
    }
    if (failures >= WEB_TRIES) {
        return err_prefix(err, "after %d tries", failures);
    }
    ms = wait_ms > ms ? wait_ms : ms;
    nanosleep(&(struct timespec){(time_t)(ms / 1000), (long)(ms % 1000) * 1000000}, NULL);
    return true;
}

static bool keep(void *context, const struct web_head *head, const char *bytes, size_t n,
                 struct err *err)
{
    struct buf *body = context;
    if (!head->begun) {
        buf_reset(body);
    }
    return buf_append(body, bytes, n) ||
           err_set(err, ERR_FORMAT, "the hub's answer is longer than %d bytes", WEB_TEXT_BYTES_MAX);
}

bool web_text(struct web *web, const char *path, struct buf *body, struct web_head *head,
              struct err *err)
{
    struct web_request request = {.path = path, .on_body = keep, .context = body};
    body->ceiling = WEB_TEXT_BYTES_MAX;
    for (int failures = 1;; failures++) {
        uint64_t wait_ms;
        buf_reset(body);
        enum web_outcome outcome = web_try(web, &request, head, &wait_ms, err);
        if (outcome != WEB_AGAIN) {
            return outcome == WEB_DONE;
        }
        if (!web_wait(failures, wait_ms, err)) {
            return false;
        }
    }
}

/* ---- its life ---- */

struct web *web_new(const struct web_options *options, struct err *err)
{
    bool tls = strncmp(options->endpoint, "https://", 8) == 0;
    struct web *web = calloc(1, sizeof(*web));
    CURL *curl = NULL;
    if (web && curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK) {
        curl = web->curl = curl_easy_init();
    }
    if (!curl) {
        free(web);
        err_set(err, ERR_IO, "no memory for a connection");
        return NULL;
    }
    web->options = options;
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, tls ? "https" : "http,https");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, tls ? "https" : "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long)STALL_BYTES_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)((options->stall_ms + 999) / 1000));
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "pensieve/" PENSIEVE_VERSION);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, web->error);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    if (options->token) {
        curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, options->token);
    }
    return web;
}

void web_free(struct web *web)
{
    if (web) {
        curl_easy_cleanup(web->curl);
        curl_global_cleanup();
        free(web);
    }
}
