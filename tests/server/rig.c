/* rig.c - see rig.h. A cancel is answered in the loop's next turn, as the engine does it. */
#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/backends.h"
#include "base/log.h"

const char rig_body[] = "{\"model\":\"" RIG_MODEL "\",\"max_tokens\":9,"
                        "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
const char rig_stream_body[] = "{\"model\":\"" RIG_MODEL "\",\"max_tokens\":9,\"stream\":true,"
                               "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";

static const struct str keys[] = {{RIG_KEY, sizeof RIG_KEY - 1}};

static struct generation *generate(struct backend *backend, struct arena *arena,
                                   const struct message_request *request, gen_event_fn *on_event,
                                   void *context, struct err *err)
{
    struct rig *rig = (struct rig *)backend;

    if (rig->refuse.code != ERR_NONE) {
        *err = rig->refuse;
        return NULL;
    }
    assert_true(rig->generations_n < RIG_GENERATIONS_MAX);
    struct generation *generation = &rig->generations[rig->generations_n++];
    *generation = (struct generation){.rig = rig, .on_event = on_event, .context = context,
                                      .request = request, .alive = true};
    return generation;
}

static bool count(struct backend *backend, struct arena *arena,
                  const struct message_request *request, count_fn *on_count, void *context,
                  struct err *err)
{
    struct rig *rig = (struct rig *)backend;

    if (rig->refuse.code != ERR_NONE) {
        *err = rig->refuse;
        return false;
    }
    rig->count = (struct count){on_count, context};
    return true;
}

static void pause_generation(struct generation *generation)
{
    assert_true(generation->alive);
    generation->paused = true;
    generation->pauses++;
}

static void resume_generation(struct generation *generation)
{
    assert_true(generation->alive);
    generation->paused = false;
    generation->resumes++;
}

static void cancel_generation(struct generation *generation)
{
    assert_true(generation->alive);
    generation->cancelled = true;
}

static void status(struct backend *backend, struct backend_status *out)
{
    const struct rig *rig = (const struct rig *)backend;

    *out = (struct backend_status){.ready = rig->ready, .kind = "rig", .cpu = "none",
                                   .running = (uint32_t)rig_alive(rig), .sequences_max = 8,
                                   .queue_max = 16, .prefill_tps = 1.5, .retry_after_s = 17};
}

static void free_backend(struct backend *backend)
{
    assert_int_equal(rig_alive((struct rig *)backend), 0);
}

static const struct backend_ops ops = {
    .kind = "rig", .generate = generate, .count = count, .pause = pause_generation,
    .resume = resume_generation, .cancel = cancel_generation, .status = status,
    .free = free_backend,
};

void rig_init(struct rig *rig)
{
    log_set_level(LOG_OFF);
    *rig = (struct rig){
        .backend = {.ops = &ops, .card = {.id = STR(RIG_MODEL), .display_name = STR("Test"),
                                          .max_input_tokens = 100, .max_tokens = 50}},
        .ready = true,
        .options = {.host = "127.0.0.1", .keys = keys, .keys_n = 1, .keys_configured = true,
                    .head_bytes_max = 16 << 10, .connections_max = 64, .body_bytes_max = 256 << 10,
                    .head_timeout_ms = 5000, .body_timeout_ms = 5000, .idle_timeout_ms = 5000,
                    .ping_ms = 60000, .keepalive_content_ms = 60000, .drain_ms = 5000,
                    .version = "0.0.test"},
    };
}

void rig_start(struct rig *rig)
{
    struct err err = {0};

    assert_int_equal(uv_loop_init(&rig->loop), 0);
    rig->backends = backends_new();
    backends_add(rig->backends, &rig->backend);
    rig->server = server_new(&rig->loop, rig->backends, &rig->options, &err);
    if (!rig->server)
        fail_msg("%s", err.text);
}

size_t rig_alive(const struct rig *rig)
{
    size_t n = 0;

    for (size_t i = 0; i < rig->generations_n; i++)
        n += rig->generations[i].alive;
    return n;
}

void rig_turn(struct rig *rig)
{
    for (size_t i = 0; i < rig->generations_n; i++)
        if (rig->generations[i].alive && rig->generations[i].cancelled)
            generation_fail(&rig->generations[i], ERR_CANCELLED, "cancelled");
    uv_run(&rig->loop, UV_RUN_NOWAIT);
    usleep(200);
}

void rig_turn_ms(struct rig *rig, unsigned ms)
{
    const uint64_t begin = uv_hrtime();

    while (uv_hrtime() - begin < ms * 1000000ull)
        rig_turn(rig);
}

void rig_stop(struct rig *rig)
{
    server_drain(rig->server);
    server_drain(rig->server);
    if (rig->count.on_count)
        rig_count_done(rig, 1);
    rig_until(rig, !uv_loop_alive(&rig->loop) && rig_alive(rig) == 0);
    server_free(rig->server);
    backends_free(rig->backends);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
}

int rig_setup(void **state)
{
    struct rig *rig = malloc(sizeof *rig);

    rig_init(rig);
    *state = rig;
    return 0;
}

int rig_teardown(void **state)
{
    rig_stop(*state);
    free(*state);
    return 0;
}

struct generation *rig_generation(struct rig *rig, size_t i)
{
    rig_until(rig, rig->generations_n > i);
    return &rig->generations[i];
}

static void report(struct generation *generation, const struct gen_event *event)
{
    assert_true(generation->alive);
    if (event->type == GEN_DONE || event->type == GEN_FAILED)
        generation->alive = false;
    generation->on_event(generation->context, event);
}

void generation_start(struct generation *generation, uint32_t input_tokens)
{
    report(generation, &(struct gen_event){.type = GEN_STARTED, .prompt = STR("<prompt>"),
                                           .usage = {.input_tokens = input_tokens}});
    report(generation, &(struct gen_event){.type = GEN_BLOCK_START, .block_type = BLOCK_TEXT});
}

void generation_delta(struct generation *generation, struct str text)
{
    report(generation, &(struct gen_event){.type = GEN_DELTA, .text = text});
}

void generation_done(struct generation *generation, uint32_t output_tokens)
{
    report(generation, &(struct gen_event){.type = GEN_BLOCK_STOP});
    report(generation, &(struct gen_event){.type = GEN_DONE, .stop_reason = STOP_END_TURN,
                                           .usage = {.input_tokens = 3,
                                                     .output_tokens = output_tokens}});
}

void generation_fail(struct generation *generation, enum err_code code, const char *text)
{
    struct gen_event event = {.type = GEN_FAILED};

    err_set(&event.error, code, "%s", text);
    report(generation, &event);
}

void rig_count_done(struct rig *rig, uint32_t input_tokens)
{
    const struct count open = rig->count;

    rig->count = (struct count){0};
    open.on_count(open.context, input_tokens, NULL);
}

/* --- clients --- */

void client_open(struct client *client, struct rig *rig)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(server_port(rig->server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    *client = (struct client){.rig = rig, .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_true(client->fd >= 0);
    assert_int_equal(connect(client->fd, (struct sockaddr *)&address, sizeof address), 0);
}

void client_send(struct client *client, struct str bytes)
{
    while (bytes.n) {
        const ssize_t n = send(client->fd, bytes.s, bytes.n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return;                     /* the server has closed: what it said is what counts */
        if (n > 0)
            bytes = (struct str){bytes.s + n, bytes.n - (size_t)n};
        rig_turn(client->rig);
    }
}

void client_say(struct client *client, const char *text)
{
    client_send(client, str_of(text));
}

void client_read(struct client *client)
{
    char bytes[16 << 10];
    ssize_t n;

    while (!client->eof && (n = recv(client->fd, bytes, sizeof bytes, MSG_DONTWAIT)) >= 0) {
        client->eof = n == 0;
        assert_true(buf_append(&client->in, bytes, (size_t)n));
    }
    if (!client->eof && errno != EAGAIN)
        client->eof = client->reset = true;
}

size_t client_times(const struct client *client, const char *text)
{
    const size_t n = strlen(text);
    size_t times = 0;

    for (size_t i = 0; i + n <= client->in.n; i++)
        times += memcmp(client->in.data + i, text, n) == 0;
    return times;
}

bool client_has(struct client *client, const char *text)
{
    client_read(client);
    return client_times(client, text) > 0;
}

void client_expect(struct client *client, const char *text)
{
    const uint64_t begin = uv_hrtime();

    while (!client_has(client, text)) {
        if (client->eof || uv_hrtime() - begin > 5000000000u)
            fail_msg("\"%s\" did not come, but this%s:\n%.*s", text, client->eof ? " and EOF" : "",
                     (int)client->in.n, client->in.data);
        rig_turn(client->rig);
    }
}

void client_expect_end(struct client *client)
{
    const uint64_t begin = uv_hrtime();

    while (client_read(client), !client->eof) {
        if (uv_hrtime() - begin > 5000000000u)
            fail_msg("the connection did not end; read:\n%.*s", (int)client->in.n, client->in.data);
        rig_turn(client->rig);
    }
}

void client_forget(struct client *client)
{
    client_read(client);
    buf_reset(&client->in);
}

void client_close(struct client *client)
{
    close(client->fd);
    buf_release(&client->in);
}

void client_kill(struct client *client)
{
    const struct linger none = {.l_onoff = 1};

    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    client_close(client);
}

void client_post(struct client *client, const char *body)
{
    char head[512];

    snprintf(head, sizeof head,
             "POST /v1/messages HTTP/1.1\r\n" RIG_HEADERS "Content-Type: application/json\r\n"
             "Content-Length: %zu\r\n\r\n", strlen(body));
    client_say(client, head);
    client_say(client, body);
}
