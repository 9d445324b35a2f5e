/* native_world.h - a loop, the native backend with a tiny real model, and clients that check the story of
 * each generation as it is told. */
#ifndef PENSIEVE_TESTS_NATIVE_WORLD_H
#define PENSIEVE_TESTS_NATIVE_WORLD_H

#include "backend/backend.h"
#include "backend/memory.h"
#include "base/arena.h"
#include "base/buf.h"
#include "pensieve/engine.h"

enum { CONTEXT = 256 };

/* ---- the world: a loop, an engine, the backend ---- */

extern const char *cache_dir;           /* of the worlds that are opened; NULL: none */

struct world {
    struct arena *arena;
    uv_loop_t loop;
    struct engine *engine;
    struct memory *memory;
    struct backend *backend;
    struct engine_options options;      /* lazy: of what is opened when it is asked for */
    int opened;
    bool broken;
};

/* seed 0: each request draws its own. */
void world_open_seeded(struct world *world, uint32_t sequences_max, uint32_t queue_max,
                       uint64_t seed);
void world_open(struct world *world, uint32_t sequences_max, uint32_t queue_max);
/* Runs until nothing is under way: an idle backend keeps no loop from returning. */
void world_run(struct world *world);
/* Nothing is left of any generation. */
void world_close(struct world *world);

/* ---- a client: one generation, its story written down and checked as it comes ---- */

struct client {
    struct world *world;
    struct arena *arena;
    const struct message_request *request;
    struct generation *generation;
    struct buf text;
    uint32_t deltas, events_after_pause;
    bool started, open, closed, ended;
    struct usage usage;
    struct reuse reuse;
    enum gen_event_type last;
    enum stop_reason stop_reason;
    char stop_sequence[64];
    struct err error;
    struct str prompt;
    /* What to do when. */
    bool cancel_at_start, cancelled, paused;
    uint32_t cancel_at_delta, pause_at_delta;
    uv_timer_cb after_pause;            /* some time after it, however slow the machine is */
    uv_timer_t timer;
};

const struct message_request *decode(struct arena *arena, const char *body);
/* A greedy request; `rest` is more JSON. */
const char *body_of(struct arena *arena, const char *content, int max_tokens, const char *rest);

/* The client may hold what it is to do, and when. */
void client_start(struct client *client, struct world *world, const char *body);
void client_cancel(struct client *client);
void client_pause(struct client *client);
void client_free(struct client *client);
void after(struct client *client, uint64_t ms, uv_timer_cb call);

/* What is answered to a greedy request. */
struct str reference(struct world *world, const char *content, int max_tokens);

#endif
