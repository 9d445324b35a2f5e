/* upstream.c - see upstream.h: one server, its address and its key. */
#include "backend/upstream_parts.h"

#include <curl/curl.h>
#include <stdlib.h>


const char *upstream_url(const struct upstream *upstream, struct arena *arena, const char *path)
{
    return arena_printf(arena, "%s%s", upstream->options.base_url, path).s;
}

bool upstream_header(struct curl_slist **headers, const char *name, struct str value)
{
    struct buf line = {0};
    struct curl_slist *more = NULL;

    if (buf_cstr(&line, name) && buf_str(&line, value) && buf_char(&line, 0))
        more = curl_slist_append(*headers, line.data);
    buf_release(&line);
    if (more)
        *headers = more;
    return more != NULL;
}

struct curl_slist *upstream_headers(const struct upstream *upstream,
                                    const struct message_request *request)
{
    struct curl_slist *headers = NULL;
    const char *key = upstream->options.key;
    const bool fine = upstream_header(&headers, "content-type: application/json", STR("")) &&
                      upstream_header(&headers, "expect:", STR("")) &&
                      (!key || upstream_header(&headers, upstream->api->key_header, str_of(key))) &&
                      (!upstream->api->headers || upstream->api->headers(&headers, request));

    if (fine)
        return headers;
    curl_slist_free_all(headers);
    return NULL;
}

bool upstream_blame(const struct upstream *upstream, struct err *err)
{
    /* Clients look for these words, and they say whose fault it is. */
    if (strncmp(err->text, "prompt is too long", 18) == 0)
        return false;
    return err_prefix(err, "upstream %s", upstream->options.name);
}

void upstream_rests(struct upstream *upstream, const struct http_answer *answer,
                    const struct err *error)
{
    if ((error->code == ERR_RATE || error->code == ERR_OVERLOADED) && answer->retry_after_s)
        upstream->rest_until = uv_now(upstream->loop) + 1000ull * answer->retry_after_s;
}

static void upstream_status(struct backend *backend, struct backend_status *status)
{
    const struct upstream *upstream = upstream_of(backend);
    const uint64_t now = uv_now(upstream->loop);
    const struct usage *total = &upstream->total;

    *status = (struct backend_status){
        .ready = true, .state = "ready", .kind = backend->ops->kind, .cpu = "",
        .running = upstream->running, .sequences_max = UINT32_MAX,
        .prompt_tokens = (uint64_t)total->input_tokens + total->cache_read,
        .cached_tokens = total->cache_read, .output_tokens = total->output_tokens,
    };
    if (upstream->rest_until > now)
        status->retry_after_s = (uint32_t)((upstream->rest_until - now + 999) / 1000);
}

static bool upstream_count(struct backend *backend, struct arena *arena,
                           const struct message_request *request, count_fn *on_count,
                           void *context, struct err *err)
{
    struct upstream *upstream = upstream_of(backend);

    return upstream->api->count(upstream, arena, request, on_count, context, err) ||
           upstream_blame(upstream, err);
}

static void upstream_free(struct backend *backend)
{
    struct upstream *upstream = upstream_of(backend);

    upstream->freed = true;
    http_client_free(upstream->client);
    arena_free(upstream->arena);
    free(upstream);
}

static const struct backend_ops ops = {
    .kind = "upstream", .generate = upstream_generate, .count = upstream_count,
    .pause = upstream_pause, .resume = upstream_resume, .cancel = upstream_cancel,
    .status = upstream_status, .probe = upstream_probe, .free = upstream_free,
};

/* ---- options ---- */

static const char *copy(struct arena *arena, const char *text)
{
    return text && text[0] ? arena_cstr(arena, str_of(text)) : NULL;
}

/* The members between an object's braces. */
static bool take_extra(struct upstream *upstream, struct err *err)
{
    yyjson_val *root;
    struct err why;
    size_t n;

    if (!upstream->options.extra)
        return true;
    if (upstream->api != &upstream_openai)
        return err_set(err, ERR_USAGE, "extra: only requests of the OpenAI API get more members");
    if (!json_parse(upstream->arena, str_of(upstream->options.extra), &root, &why) ||
        !yyjson_is_obj(root))
        return err_set(err, ERR_USAGE, "extra is no JSON object");
    char *text = yyjson_val_write(root, 0, &n);
    if (!text)
        return err_set(err, ERR_USAGE, "extra can't be written");
    upstream->extra = arena_str(upstream->arena, (struct str){text + 1, n - 2});
    free(text);
    return true;
}

static bool take_address(struct upstream *upstream, struct err *err)
{
    struct upstream_options *options = &upstream->options;
    struct http_client_options client = {
        .connect_ms = options->connect_ms, .any_certificate = options->insecure,
    };
    struct str url = str_of(options->base_url ? options->base_url : "");
    bool loopback;

    while (url.n && url.s[url.n - 1] == '/')
        url.n--;
    options->base_url = arena_cstr(upstream->arena, url);
    if (url.n > UPSTREAM_URL_BYTES_MAX)
        return err_set(err, ERR_USAGE, "the address is longer than %d bytes",
                       UPSTREAM_URL_BYTES_MAX);
    if (!http_url_check(options->base_url, &client.tls, &loopback, err))
        return false;
    if (!client.tls && !loopback && !options->insecure)
        return err_set(err, ERR_USAGE, "without TLS what is asked and answered could be read on "
                       "its way to another machine: use https, or allow it with `insecure`");
    upstream->client = http_client_new(upstream->loop, &client, err);
    return upstream->client != NULL;
}

static void take_options(struct upstream *upstream, const struct upstream_options *options)
{
    struct arena *arena = upstream->arena;
    struct upstream_options *own = &upstream->options;
    struct model_card *card = &upstream->backend.card;

    *own = *options;
    own->name = arena_cstr(arena, str_of(options->name));
    own->key = copy(arena, options->key);
    own->extra = copy(arena, options->extra);
    own->connect_ms = options->connect_ms ? options->connect_ms : UPSTREAM_CONNECT_MS;
    own->first_byte_ms = options->first_byte_ms ? options->first_byte_ms : UPSTREAM_FIRST_BYTE_MS;
    own->stall_ms = options->stall_ms ? options->stall_ms : UPSTREAM_STALL_MS;
    *card = options->card;
    card->id = arena_str(arena, options->card.id);
    card->display_name = arena_str(arena, options->card.display_name);
    own->model = copy(arena, options->model);
    upstream->model = own->model ? str_of(own->model) : card->id;
    upstream->api = options->kind == UPSTREAM_ANTHROPIC ? &upstream_anthropic : &upstream_openai;
}

struct backend *upstream_new(uv_loop_t *loop, const struct upstream_options *options,
                             struct err *err)
{
    struct upstream *upstream = calloc(1, sizeof *upstream);

    if (!upstream) {
        err_set(err, ERR_IO, "no memory for an upstream");
        return NULL;
    }
    upstream->loop = loop;
    upstream->arena = arena_new(4096);
    upstream->backend.ops = &ops;
    upstream->backend.passes = options->kind == UPSTREAM_ANTHROPIC;
    upstream->backend.sees = true;      /* if its model does; else it says so */
    take_options(upstream, options);
    signer_init(&upstream->signer, NULL);
    if (!take_extra(upstream, err) || !take_address(upstream, err)) {
        upstream_free(&upstream->backend);
        return NULL;
    }
    return &upstream->backend;
}
