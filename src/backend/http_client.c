/* http_client.c - see http_client.h. libcurl says which sockets it waits for (watch) and when it
 * wants to be called (timer); the loop calls it, and what has come goes to the fetches.
 *
 * The hard thing is who may call whom. libcurl's callbacks may not take a transfer out of it, and
 * our callers cancel from within on_body. So a cancel there only marks the fetch, and it is taken
 * out as soon as libcurl has returned; and each end is told by the fetch's own timer, from the
 * loop. */
#include "backend/http_client.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <strings.h>

struct http_client {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer;                   /* libcurl's */
    struct http_client_options options;
    struct http_fetch *first;           /* all that have not ended */
    struct http_fetch *leaving;         /* to be taken out once libcurl has returned */
    bool inside;                        /* libcurl is on the stack */
    bool freed;
};

/* A socket that libcurl waits for. */
struct watch {
    uv_poll_t poll;                     /* first */
    struct http_client *client;
    curl_socket_t socket;
};

enum stage { STAGE_WAITING, STAGE_SENT, STAGE_LEAVING, STAGE_OVER };

struct http_fetch {
    struct http_client *client;
    struct http_fetch *next, **link;    /* the client's */
    struct http_fetch *next_leaving;
    bool added;                         /* libcurl has it */
    CURL *easy;
    uv_timer_t timer;                   /* the delay, then the silence, then the end */
    struct http_request request;
    struct http_answer answer;
    struct err error;                   /* ERR_NONE: it is whole */
    enum stage stage;
    bool paused;                        /* by the caller */
    bool held;                          /* libcurl was told so */
    uint64_t heard_at;                  /* loop time */
    size_t head_bytes;
    char why[CURL_ERROR_SIZE];
};

/* ---- the end of a fetch ---- */

static void on_fetch_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void tell_end(struct http_fetch *fetch)
{
    const struct http_events *events = fetch->request.events;

    *fetch->link = fetch->next;
    if (fetch->next)
        fetch->next->link = fetch->link;
    uv_close((uv_handle_t *)&fetch->timer, on_fetch_closed);
    events->on_end(fetch->request.context, &fetch->answer,
                   fetch->error.code ? &fetch->error : NULL);
}

static void on_fetch_timer(uv_timer_t *timer);

/* Out of libcurl, which closes a connection that was not read to its end. */
static void fetch_leave(struct http_fetch *fetch)
{
    if (fetch->added)
        curl_multi_remove_handle(fetch->client->multi, fetch->easy);
    fetch->added = false;
    if (fetch->easy)
        curl_easy_cleanup(fetch->easy);
    fetch->easy = NULL;
    fetch->stage = STAGE_OVER;
    uv_timer_start(&fetch->timer, on_fetch_timer, 0, 0);
}

/* Those that ended or were cancelled while libcurl was on the stack. */
static void sweep(struct http_client *client)
{
    struct http_fetch *fetch;

    while ((fetch = client->leaving)) {
        client->leaving = fetch->next_leaving;
        fetch_leave(fetch);
    }
}

/* As soon as libcurl lets it. */
static void fetch_end(struct http_fetch *fetch)
{
    struct http_client *client = fetch->client;

    fetch->stage = STAGE_LEAVING;
    fetch->next_leaving = client->leaving;
    client->leaving = fetch;
    if (!client->inside)
        sweep(client);
}

void http_fetch_cancel(struct http_fetch *fetch, const struct err *error)
{
    if (fetch->stage >= STAGE_LEAVING)
        return;
    if (error)
        fetch->error = *error;
    else
        err_set(&fetch->error, ERR_CANCELLED, "cancelled");
    fetch_end(fetch);
}

/* ---- libcurl and the loop ---- */

static void fetch_done(struct http_fetch *fetch, CURLcode code)
{
    curl_off_t seconds = 0;

    if (fetch->stage == STAGE_LEAVING)
        return;
    curl_easy_getinfo(fetch->easy, CURLINFO_RETRY_AFTER, &seconds);
    if (seconds > HTTP_CLIENT_RETRY_AFTER_S_MAX)
        seconds = HTTP_CLIENT_RETRY_AFTER_S_MAX;
    fetch->answer.retry_after_s = seconds > 0 ? (uint32_t)seconds : 0;
    if (code != CURLE_OK && fetch->error.code == ERR_NONE)
        err_set(&fetch->error, code == CURLE_OPERATION_TIMEDOUT ? ERR_TIMEOUT : ERR_IO, "%s",
                fetch->why[0] ? fetch->why : curl_easy_strerror(code));
    fetch_end(fetch);
}

static void client_act(struct http_client *client, curl_socket_t socket, int events)
{
    struct http_fetch *fetch = NULL;
    CURLMsg *message;
    int running, left;

    client->inside = true;
    curl_multi_socket_action(client->multi, socket, events, &running);
    while ((message = curl_multi_info_read(client->multi, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&fetch);
        fetch_done(fetch, message->data.result);
    }
    client->inside = false;
    sweep(client);
}

static void on_curl_timer(uv_timer_t *timer)
{
    client_act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static int set_timer(CURLM *multi, long ms, void *context)
{
    struct http_client *client = context;

    (void)multi;
    if (client->freed || ms < 0)
        uv_timer_stop(&client->timer);
    else
        uv_timer_start(&client->timer, on_curl_timer, (uint64_t)ms, 0);
    return 0;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = (struct watch *)poll;
    int what = status < 0 ? CURL_CSELECT_ERR : 0;

    what |= events & UV_READABLE ? CURL_CSELECT_IN : 0;
    what |= events & UV_WRITABLE ? CURL_CSELECT_OUT : 0;
    client_act(watch->client, watch->socket, what);
}

static void on_watch_closed(uv_handle_t *handle)
{
    free((struct watch *)(void *)handle);
}

static struct watch *watch_new(struct http_client *client, curl_socket_t socket)
{
    struct watch *watch = calloc(1, sizeof *watch);

    if (!watch || uv_poll_init_socket(client->loop, &watch->poll, socket) != 0) {
        free(watch);
        return NULL;
    }
    watch->client = client;
    watch->socket = socket;
    /* What keeps a loop from returning is a fetch, by its timer. */
    uv_unref((uv_handle_t *)&watch->poll);
    curl_multi_assign(client->multi, socket, watch);
    return watch;
}

static int set_watch(CURL *easy, curl_socket_t socket, int what, void *context, void *of_socket)
{
    struct http_client *client = context;
    struct watch *watch = of_socket;
    int events = 0;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (watch) {
            curl_multi_assign(client->multi, socket, NULL);
            uv_poll_stop(&watch->poll);
            uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
        }
        return 0;
    }
    if (!watch && !(watch = watch_new(client, socket)))
        return -1;
    events |= what & CURL_POLL_IN ? UV_READABLE : 0;
    events |= what & CURL_POLL_OUT ? UV_WRITABLE : 0;
    return uv_poll_start(&watch->poll, events, on_ready) == 0 ? 0 : -1;
}

/* ---- what a fetch hears ---- */

/* What libcurl has read of the head so far; also of a 100 that came before. */
static void take_head(struct http_fetch *fetch)
{
    struct http_answer *answer = &fetch->answer;
    const char *type = NULL;

    curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &answer->status);
    curl_easy_getinfo(fetch->easy, CURLINFO_CONTENT_TYPE, &type);
    answer->content_type[0] = 0;
    if (type && strlen(type) < sizeof answer->content_type)
        strcpy(answer->content_type, type);
}

static size_t on_header(char *bytes, size_t size, size_t n, void *context)
{
    struct http_fetch *fetch = context;

    (void)bytes;
    n *= size;
    fetch->heard_at = uv_now(fetch->client->loop);
    fetch->head_bytes += n;
    if (fetch->head_bytes > HTTP_CLIENT_HEAD_BYTES_MAX) {
        err_set(&fetch->error, ERR_FORMAT, "its answer's head is longer than %d bytes",
                HTTP_CLIENT_HEAD_BYTES_MAX);
        return 0;
    }
    take_head(fetch);
    return n;
}

static size_t on_bytes(char *bytes, size_t size, size_t n, void *context)
{
    struct http_fetch *fetch = context;

    if (fetch->stage != STAGE_SENT)
        return CURL_WRITEFUNC_ERROR;
    fetch->heard_at = uv_now(fetch->client->loop);
    if (fetch->paused) {
        fetch->held = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    fetch->request.events->on_body(fetch->request.context, &fetch->answer,
                                   (struct str){bytes, n * size});
    return fetch->stage == STAGE_SENT ? n * size : CURL_WRITEFUNC_ERROR;
}

/* ---- its way ---- */

static void start_silence(struct http_fetch *fetch, uint64_t ms)
{
    uv_timer_start(&fetch->timer, on_fetch_timer, ms ? ms : 1, 0);
}

static void fetch_send(struct http_fetch *fetch)
{
    struct http_client *client = fetch->client;

    fetch->stage = STAGE_SENT;
    fetch->heard_at = uv_now(client->loop);
    if (curl_multi_add_handle(client->multi, fetch->easy) != CURLM_OK) {
        err_set(&fetch->error, ERR_IO, "no memory for a connection");
        fetch_leave(fetch);
        return;
    }
    fetch->added = true;
    start_silence(fetch, fetch->request.silence_ms);
}

static void check_silence(struct http_fetch *fetch)
{
    const uint64_t limit = fetch->request.silence_ms;
    const uint64_t silent = uv_now(fetch->client->loop) - fetch->heard_at;
    struct err error;

    if (fetch->paused || silent < limit) {
        start_silence(fetch, fetch->paused ? limit : limit - silent);
        return;
    }
    err_set(&error, ERR_TIMEOUT, "nothing came for %llu ms", (unsigned long long)silent);
    http_fetch_cancel(fetch, &error);
}

static void on_fetch_timer(uv_timer_t *timer)
{
    struct http_fetch *fetch = timer->data;

    switch (fetch->stage) {
    case STAGE_WAITING:
        fetch_send(fetch);
        break;
    case STAGE_SENT:
        check_silence(fetch);
        break;
    case STAGE_LEAVING:
        break;
    case STAGE_OVER:
        tell_end(fetch);
        break;
    }
}

void http_fetch_pause(struct http_fetch *fetch)
{
    fetch->paused = true;
}

void http_fetch_resume(struct http_fetch *fetch)
{
    struct http_client *client = fetch->client;
    const bool inside = client->inside;

    if (!fetch->paused)
        return;
    fetch->paused = false;
    fetch->heard_at = uv_now(client->loop);
    if (!fetch->held || fetch->stage != STAGE_SENT)
        return;
    fetch->held = false;
    client->inside = true;              /* it may hand over what it holds at once */
    curl_easy_pause(fetch->easy, CURLPAUSE_CONT);
    client->inside = inside;
    if (!inside)
        sweep(client);
}

void http_fetch_silence(struct http_fetch *fetch, uint64_t silence_ms)
{
    const uint64_t before = fetch->request.silence_ms;

    fetch->request.silence_ms = silence_ms;
    if (fetch->stage == STAGE_SENT && silence_ms < before)
        start_silence(fetch, silence_ms);
}

static void set_options(struct http_fetch *fetch)
{
    const struct http_client_options *options = &fetch->client->options;
    const struct http_request *request = &fetch->request;
    CURL *easy = fetch->easy;

    curl_easy_setopt(easy, CURLOPT_URL, request->url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, options->tls ? "https" : "http");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    if (!options->tls)                  /* a proxy would read the key */
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
    if (options->any_certificate) {
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (request->body.n) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body.s);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.n);
    }
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->headers);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "pensieve/" PENSIEVE_VERSION);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)options->connect_ms);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, fetch->why);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, fetch);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, fetch);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, fetch);
}

struct http_fetch *http_fetch_new(struct http_client *client, const struct http_request *request,
                                  struct err *err)
{
    struct http_fetch *fetch = calloc(1, sizeof *fetch);

    if (!fetch || !(fetch->easy = curl_easy_init())) {
        free(fetch);
        err_set(err, ERR_OVERLOADED, "no memory for a request");
        return NULL;
    }
    fetch->client = client;
    fetch->request = *request;
    set_options(fetch);
    uv_timer_init(client->loop, &fetch->timer);
    fetch->timer.data = fetch;
    uv_timer_start(&fetch->timer, on_fetch_timer, request->delay_ms, 0);
    if (request->background)
        uv_unref((uv_handle_t *)&fetch->timer);
    fetch->next = client->first;
    fetch->link = &client->first;
    if (fetch->next)
        fetch->next->link = &fetch->next;
    client->first = fetch;
    return fetch;
}

/* ---- the client ---- */

struct http_client *http_client_new(uv_loop_t *loop, const struct http_client_options *options,
                                    struct err *err)
{
    struct http_client *client = calloc(1, sizeof *client);

    if (client && curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
        client->multi = curl_multi_init();
    if (!client || !client->multi) {
        free(client);
        err_set(err, ERR_IO, "no memory for connections");
        return NULL;
    }
    client->loop = loop;
    client->options = *options;
    uv_timer_init(loop, &client->timer);
    uv_unref((uv_handle_t *)&client->timer);
    client->timer.data = client;
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, set_watch);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    return client;
}

static void on_client_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void http_client_free(struct http_client *client)
{
    if (!client)
        return;
    while (client->first) {
        http_fetch_cancel(client->first, NULL);
        tell_end(client->first);
    }
    client->freed = true;
    curl_multi_cleanup(client->multi);
    curl_global_cleanup();
    uv_close((uv_handle_t *)&client->timer, on_client_closed);
}

/* ---- addresses ---- */

/* The host as libcurl writes it: 127.1 is 127.0.0.1; 127.example.org and 127.0.0.1.5 are names. */
static bool is_loopback(const char *host)
{
    struct in_addr number;

    if (inet_pton(AF_INET, host, &number) == 1)
        return ntohl(number.s_addr) >> 24 == 127;
    return strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0;
}

static bool has_part(CURLU *parts, CURLUPart part)
{
    char *text = NULL;
    const bool has = curl_url_get(parts, part, &text, 0) == CURLUE_OK;

    curl_free(text);
    return has;
}

bool http_url_check(const char *url, bool *tls, bool *loopback, struct err *err)
{
    CURLU *parts = curl_url();
    char *scheme = NULL, *host = NULL;
    bool fine = false;

    if (!parts || curl_url_set(parts, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(parts, CURLUPART_HOST, &host, 0) != CURLUE_OK) {
        err_set(err, ERR_USAGE, "not an address: it should be http://HOST:PORT or https://HOST");
    } else if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0) {
        err_set(err, ERR_USAGE, "not an address: neither http:// nor https://");
    } else if (has_part(parts, CURLUPART_USER) || has_part(parts, CURLUPART_PASSWORD) ||
               has_part(parts, CURLUPART_QUERY) || has_part(parts, CURLUPART_FRAGMENT)) {
        err_set(err, ERR_USAGE, "an address here has no user, no `?` and no `#`");
    } else {
        *tls = strcmp(scheme, "https") == 0;
        *loopback = is_loopback(host);
        fine = true;
    }
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(parts);
    return fine;
}
