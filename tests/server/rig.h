/* rig.h - a real server on a real loop, with a backend whose answers the test gives by hand.
 *
 * All of it runs in the test's thread: rig_turn runs the loop once without waiting, and whatever
 * waits for something turns it until that is there. Clients are plain sockets. */
#ifndef PENSIEVE_TESTS_SERVER_RIG_H
#define PENSIEVE_TESTS_SERVER_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "backend/backend.h"
#include "base/buf.h"
#include "server/server.h"

#define RIG_KEY "secret-of-the-test"
#define RIG_MODEL "test-model"
#define RIG_HEADERS "Host: localhost\r\nx-api-key: " RIG_KEY "\r\n"

enum { RIG_GENERATIONS_MAX = 128 };

/* One generation as the backend sees it. */
struct generation {
    struct rig *rig;
    gen_event_fn *on_event;
    void *context;
    const struct message_request *request;
    bool alive, cancelled, paused;
    unsigned pauses, resumes;
};

struct count {
    count_fn *on_count;
    void *context;
};

struct rig {
    struct backend backend;             /* first: the backend's ops cast back to the rig */
    uv_loop_t loop;
    struct backends *backends;
    struct server *server;
    struct server_options options;
    struct generation generations[RIG_GENERATIONS_MAX];
    size_t generations_n;
    struct count count;                 /* the last one asked for; on_count NULL: none is open */
    struct err refuse;                  /* code set: generate and count fail with it */
    bool ready;
};

/* Options that suit a test; change rig->options, then start. */
void rig_init(struct rig *rig);
void rig_start(struct rig *rig);
/* Ends the server (cut at once if anything is left), checks that all of it is gone. */
void rig_stop(struct rig *rig);
/* For cmocka: a rig of its own for each test, stopped after it. */
int rig_setup(void **state);
int rig_teardown(void **state);
void rig_turn(struct rig *rig);
void rig_turn_ms(struct rig *rig, unsigned ms);         /* keeps turning for so long */
/* Turns until the condition holds, at most 5 s. */
#define rig_until(rig, condition)                                                                  \
    do {                                                                                           \
        const uint64_t since = uv_hrtime();                                                        \
        while (!(condition)) {                                                                     \
            if (uv_hrtime() - since > 5000000000u)                                                 \
                fail_msg("waited in vain for " #condition);                                        \
            rig_turn(rig);                                                                         \
        }                                                                                          \
    } while (0)

/* The i-th generation, once it has been asked for. */
struct generation *rig_generation(struct rig *rig, size_t i);
size_t rig_alive(const struct rig *rig);
void generation_start(struct generation *generation, uint32_t input_tokens);    /* and a block */
void generation_delta(struct generation *generation, struct str text);
void generation_done(struct generation *generation, uint32_t output_tokens);
void generation_fail(struct generation *generation, enum err_code code, const char *text);
void rig_count_done(struct rig *rig, uint32_t input_tokens);

/* A client. Reading takes what is there and appends it to `in`. */
struct client {
    struct rig *rig;
    int fd;
    struct buf in;
    bool eof, reset;
};

void client_open(struct client *client, struct rig *rig);
void client_send(struct client *client, struct str bytes);
void client_say(struct client *client, const char *text);
void client_read(struct client *client);
bool client_has(struct client *client, const char *text);       /* reads first */
void client_expect(struct client *client, const char *text);    /* turns until it is there */
void client_expect_end(struct client *client);                  /* turns until EOF */
void client_close(struct client *client);                       /* FIN */
void client_kill(struct client *client);                        /* RST */
/* Forgets what was read. */
void client_forget(struct client *client);
size_t client_times(const struct client *client, const char *text);

/* POST /v1/messages with this body and the key. */
void client_post(struct client *client, const char *body);
extern const char rig_body[], rig_stream_body[];

#endif
