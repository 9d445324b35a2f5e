/* ask.c - see ask.h. That nobody listens is an answer here, and no error. */
#include "app/ask.h"

#include <curl/curl.h>

#include "base/buf.h"

static size_t on_bytes(char *bytes, size_t size, size_t n, void *context)
{
    return buf_append(context, bytes, size * n) ? size * n : 0;
}

static CURLcode get(CURL *curl, const char *url, const char *key, struct buf *body, long *status)
{
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)ASK_S);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
    if (key) {
        curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
        curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, key);
    }
    CURLcode rc = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, status);
    return rc;
}

bool ask(struct arena *arena, const char *base, const char *path, const char *key,
         struct answer *out, struct err *err)
{
    struct buf body;
    CURL *curl = curl_easy_init();
    if (!curl) {
        return err_set(err, ERR_IO, "libcurl does not start");
    }
    buf_init(&body, ASK_BYTES_MAX);
    *out = (struct answer){0};
    CURLcode rc = get(curl, arena_printf(arena, "%s%s", base, path).s, key, &body, &out->status);
    curl_easy_cleanup(curl);
    out->body = arena_str(arena, buf_view(&body));
    buf_release(&body);
    if (rc == CURLE_COULDNT_CONNECT) {
        out->status = 0;
        return true;
    }
    return rc == CURLE_OK || err_set(err, ERR_IO, "%s: %s", base, curl_easy_strerror(rc));
}
