/* streams.c - both ends of a proxy under load: a server that streams, and many clients that read.
 *
 *   streams serve PORT GAP_US TOKENS
 *   streams ask PORT PATH BODY-FILE STREAMS TOKENS GAP_US
 *
 * Each token's text is the time at which it was written ("~" and 16 hexadecimal digits, nanoseconds
 * of the monotonic clock, which all processes of a machine share). A client finds them in whatever
 * the proxy made of the stream, so it reads every API alike and costs little. `ask` begins its
 * streams spread over one gap, and prints one line of JSON: how late the tokens came. */
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uv.h>

enum { STAMP_BYTES = 17, INPUT_BYTES = 64 << 10, SECONDS_MAX = 120 };

#define CHUNK \
    "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1," \
    "\"model\":\"scripted\",\"choices\":"

static uv_loop_t loop;
static uint64_t gap_us;
static unsigned tokens_max;

static void fail(const char *what, int rc)
{
    fprintf(stderr, "streams: %s: %s\n", what, rc ? uv_strerror(rc) : "no");
    exit(1);
}

static struct sockaddr_in address_of(const char *port)
{
    struct sockaddr_in address;

    uv_ip4_addr("127.0.0.1", atoi(port), &address);
    return address;
}

static void released(uv_write_t *request, int status)
{
    (void)status;
    free(request);
}

/* Copies: a write that the socket can't take at once outlives its caller. */
static void send_text(uv_stream_t *stream, const char *text, size_t n)
{
    uv_write_t *request = malloc(sizeof *request + n);
    uv_buf_t part = {.base = (char *)(request + 1), .len = n};

    if (!request)
        abort();
    memcpy(part.base, text, n);
    if (uv_write(request, stream, &part, 1, released))
        free(request);
}

/* ---- the server ---- */

struct answer {
    uv_tcp_t tcp;
    uv_timer_t timer;
    unsigned told;
    int handles;
    size_t n;
    char input[INPUT_BYTES];
};

static void send_chunk(struct answer *answer, const char *data)
{
    char frame[512];
    const int n = snprintf(frame, sizeof frame, "%zx\r\ndata: %s\n\n\r\n", strlen(data) + 8, data);

    send_text((uv_stream_t *)&answer->tcp, frame, (size_t)n);
}

static void end_answer(struct answer *answer)
{
    char data[400];

    snprintf(data, sizeof data, CHUNK "[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}");
    send_chunk(answer, data);
    snprintf(data, sizeof data, CHUNK "[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":%u,"
             "\"total_tokens\":%u}}", answer->told, answer->told + 10);
    send_chunk(answer, data);
    send_chunk(answer, "[DONE]");
    send_text((uv_stream_t *)&answer->tcp, "0\r\n\r\n", 5);
    uv_timer_stop(&answer->timer);
}

static void on_gap(uv_timer_t *timer)
{
    struct answer *answer = timer->data;
    char data[400];

    snprintf(data, sizeof data, CHUNK "[{\"index\":0,\"delta\":{\"content\":\"~%016" PRIx64 "\"},"
             "\"finish_reason\":null}]}", uv_hrtime());
    send_chunk(answer, data);
    if (++answer->told == tokens_max)
        end_answer(answer);
}

static void begin_answer(struct answer *answer, bool stream)
{
    static const char head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                               "transfer-encoding: chunked\r\n\r\n";
    static const char list[] = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                               "content-length: 61\r\n\r\n"
                               "{\"object\":\"list\",\"data\":"
                               "[{\"id\":\"scripted\",\"object\":\"model\"}]}";

    if (!stream) {                      /* a probe */
        send_text((uv_stream_t *)&answer->tcp, list, sizeof list - 1);
        return;
    }
    answer->told = 0;
    send_text((uv_stream_t *)&answer->tcp, head, sizeof head - 1);
    send_chunk(answer, CHUNK "[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
               "\"finish_reason\":null}]}");
    uv_timer_start(&answer->timer, on_gap, gap_us / 1000, gap_us / 1000);
}

/* The bytes of a whole request, or 0: there is more to come. */
static size_t request_bytes(const char *input, size_t n)
{
    const char *end = memmem(input, n, "\r\n\r\n", 4), *line = input;
    size_t body = 0;

    if (!end)
        return 0;
    while ((line = memchr(line, '\n', (size_t)(end - line))))
        if (strncasecmp(++line, "content-length:", 15) == 0)
            body = strtoul(line + 15, NULL, 10);
    const size_t all = (size_t)(end + 4 - input) + body;
    return all <= n ? all : 0;
}

static void answer_closed(uv_handle_t *handle)
{
    struct answer *answer = handle->data;

    if (--answer->handles == 0)
        free(answer);
}

static void alloc_answer(uv_handle_t *handle, size_t size, uv_buf_t *out)
{
    struct answer *answer = handle->data;

    (void)size;
    *out = uv_buf_init(answer->input + answer->n, (unsigned)(sizeof answer->input - answer->n));
}

static void on_request(uv_stream_t *stream, ssize_t n, const uv_buf_t *part)
{
    struct answer *answer = stream->data;
    size_t used;

    (void)part;
    if (n < 0) {
        uv_close((uv_handle_t *)&answer->tcp, answer_closed);
        uv_close((uv_handle_t *)&answer->timer, answer_closed);
        return;
    }
    answer->n += (size_t)n;
    while ((used = request_bytes(answer->input, answer->n))) {
        begin_answer(answer, answer->input[0] == 'P');
        answer->n -= used;
        memmove(answer->input, answer->input + used, answer->n);
    }
    if (answer->n == sizeof answer->input)
        fail("a request is too long", 0);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct answer *answer = calloc(1, sizeof *answer);

    if (status || !answer)
        abort();
    uv_tcp_init(&loop, &answer->tcp);
    uv_timer_init(&loop, &answer->timer);
    answer->handles = 2;
    answer->tcp.data = answer->timer.data = answer;
    uv_accept(listener, (uv_stream_t *)&answer->tcp);
    uv_tcp_nodelay(&answer->tcp, 1);
    uv_read_start((uv_stream_t *)&answer->tcp, alloc_answer, on_request);
}

static int serve(char **argv)
{
    const struct sockaddr_in address = address_of(argv[0]);
    uv_tcp_t listener;
    int rc;

    gap_us = strtoull(argv[1], NULL, 10);
    tokens_max = (unsigned)atoi(argv[2]);
    uv_tcp_init(&loop, &listener);
    if ((rc = uv_tcp_bind(&listener, (const struct sockaddr *)&address, 0)) ||
        (rc = uv_listen((uv_stream_t *)&listener, 1024, on_connection)))
        fail("listen", rc);
    puts("ready");
    fflush(stdout);
    return uv_run(&loop, UV_RUN_DEFAULT);
}

/* ---- the clients ---- */

struct reader {
    uv_tcp_t tcp;
    uv_connect_t connect;
    unsigned read;                      /* tokens */
    bool over;
    size_t n;
    char input[INPUT_BYTES];
};

static struct reader *readers;
static unsigned streams, begun, over;
static char *request;
static size_t request_n;
static struct sockaddr_in target;
static uint64_t *late_ns, started_ns;
static size_t late_n;
static uv_timer_t starter, deadline;

static void finish_reader(struct reader *reader)
{
    if (reader->over)
        return;
    reader->over = true;
    uv_close((uv_handle_t *)&reader->tcp, NULL);
    if (++over == streams)
        uv_close((uv_handle_t *)&deadline, NULL);
}

static void alloc_reader(uv_handle_t *handle, size_t size, uv_buf_t *out)
{
    struct reader *reader = handle->data;

    (void)size;
    *out = uv_buf_init(reader->input + reader->n, (unsigned)(sizeof reader->input - reader->n));
}

static void on_tokens(uv_stream_t *stream, ssize_t n, const uv_buf_t *part)
{
    struct reader *reader = stream->data;
    const uint64_t now = uv_hrtime();

    (void)part;
    if (n < 0) {
        if (reader->read == 0)
            fprintf(stderr, "streams: no token: %.*s\n", (int)reader->n, reader->input);
        finish_reader(reader);
        return;
    }
    const char *at = reader->input, *end = reader->input + reader->n + n;
    while ((at = memchr(at, '~', (size_t)(end - at))) && end - at >= STAMP_BYTES) {
        char digits[STAMP_BYTES];
        memcpy(digits, at + 1, STAMP_BYTES - 1);
        digits[STAMP_BYTES - 1] = 0;
        if (reader->read++ < tokens_max && late_n < (size_t)streams * tokens_max)
            late_ns[late_n++] = now - strtoull(digits, NULL, 16);
        at += STAMP_BYTES;
    }
    /* A stamp that is cut goes on in the next piece. */
    const size_t rest = at ? (size_t)(end - at) : 0;
    if (at)
        memmove(reader->input, at, rest);
    reader->n = rest;
    if (reader->read >= tokens_max)
        finish_reader(reader);
}

static void on_connect(uv_connect_t *connect, int status)
{
    struct reader *reader = connect->data;

    if (status)
        fail("connect", status);
    uv_tcp_nodelay(&reader->tcp, 1);
    send_text((uv_stream_t *)&reader->tcp, request, request_n);
    uv_read_start((uv_stream_t *)&reader->tcp, alloc_reader, on_tokens);
}

/* As many as should have begun by now. */
static void on_start(uv_timer_t *timer)
{
    const uint64_t due = (uv_hrtime() - started_ns) / 1000 * streams / gap_us + 1;

    for (; begun < streams && begun < due; begun++) {
        struct reader *reader = &readers[begun];
        uv_tcp_init(&loop, &reader->tcp);
        reader->tcp.data = reader->connect.data = reader;
        uv_tcp_connect(&reader->connect, &reader->tcp, (const struct sockaddr *)&target,
                       on_connect);
    }
    if (begun == streams)
        uv_close((uv_handle_t *)timer, NULL);
}

static void on_deadline(uv_timer_t *timer)
{
    (void)timer;
    fail("the streams did not end in time", 0);
}

static void read_body(const char *port, const char *path, const char *file)
{
    char body[INPUT_BYTES];
    FILE *in = fopen(file, "r");
    const size_t n = in ? fread(body, 1, sizeof body, in) : 0;

    if (n == 0 || n == sizeof body)
        fail("the body's file", 0);
    fclose(in);
    request = malloc(n + 1024);
    if (!request)
        abort();
    const int head = snprintf(request, 1024, "POST %s HTTP/1.1\r\nhost: localhost:%s\r\n"
                              "authorization: Bearer pensieve-local-token\r\n"
                              "anthropic-version: 2023-06-01\r\ncontent-type: application/json\r\n"
                              "content-length: %zu\r\n\r\n", path, port, n);
    memcpy(request + head, body, n);
    request_n = (size_t)head + n;
}

static int ascending(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static double percentile_us(double share)
{
    return late_n ? (double)late_ns[(size_t)(share * (double)(late_n - 1))] / 1e3 : 0;
}

static int ask(char **argv)
{
    read_body(argv[0], argv[1], argv[2]);
    target = address_of(argv[0]);
    streams = (unsigned)atoi(argv[3]);
    tokens_max = (unsigned)atoi(argv[4]);
    gap_us = strtoull(argv[5], NULL, 10);
    readers = calloc(streams, sizeof *readers);
    late_ns = calloc((size_t)streams * tokens_max, sizeof *late_ns);
    if (!readers || !late_ns || !streams || !tokens_max || !gap_us)
        fail("the arguments", 0);
    started_ns = uv_hrtime();
    uv_timer_init(&loop, &starter);
    uv_timer_init(&loop, &deadline);
    uv_timer_start(&starter, on_start, 0, 1);
    uv_timer_start(&deadline, on_deadline, SECONDS_MAX * 1000, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    qsort(late_ns, late_n, sizeof *late_ns, ascending);
    printf("{\"tokens\":%zu,\"seconds\":%.3f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}\n",
           late_n, (double)(uv_hrtime() - started_ns) / 1e9, percentile_us(0.5),
           percentile_us(0.99), percentile_us(1));
    return late_n == (size_t)streams * tokens_max ? 0 : 1;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);           /* a reader that has its last token goes */
    uv_loop_init(&loop);
    if (argc == 5 && strcmp(argv[1], "serve") == 0)
        return serve(argv + 2);
    if (argc == 8 && strcmp(argv[1], "ask") == 0)
        return ask(argv + 2);
    fputs("usage: streams serve PORT GAP_US TOKENS | "
          "ask PORT PATH BODY-FILE STREAMS TOKENS GAP_US\n", stderr);
    return 2;
}
