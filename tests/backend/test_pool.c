/* test_pool.c - who of several answers, over members that the test plays by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "backend/circuit.h"
#include "backend/pool.h"
#include "base/log.h"

enum { MEMBERS = 3, ASKED_MAX = 64 };

/* What a member gave out. */
struct generation {
    struct player *player;
    gen_event_fn *on_event;
    void *context;
    bool paused, cancelled;
};

struct player {
    struct backend backend;             /* first */
    struct generation generations[ASKED_MAX];
    size_t asked;
    enum err_code refuses;              /* ERR_NONE: takes it */
    count_fn *on_count;
    void *count_context;
    probe_fn *on_probe;
    void *probe_context;
    size_t probes;
    uint32_t retry_after_s;
    bool freed;
};

/* The client's side. */
struct heard {
    char events[64];                    /* a letter each: S(tarted) ( text ) D(one) F(ailed) */
    char by[64];                        /* who served, by the first letter of its name */
    struct err error;
    uint32_t tokens;
    bool counted;
};

struct world {
    uv_loop_t loop;
    struct arena *arena;
    struct backend *pool;
    struct player players[MEMBERS];
};

static struct generation *generate(struct backend *backend, struct arena *arena,
                                   const struct message_request *request, gen_event_fn *on_event,
                                   void *context, struct err *err)
{
    struct player *player = (struct player *)backend;

    if (player->refuses) {
        err_set(err, player->refuses, "%.*s refuses", STR_ARG(backend->card.id));
        return NULL;
    }
    assert_true(player->asked < ASKED_MAX);
    struct generation *generation = &player->generations[player->asked++];
    *generation = (struct generation){player, on_event, context, false, false};
    return generation;
}

static bool count(struct backend *backend, struct arena *arena,
                  const struct message_request *request, count_fn *on_count, void *context,
                  struct err *err)
{
    struct player *player = (struct player *)backend;

    if (player->refuses)
        return err_set(err, player->refuses, "%.*s refuses", STR_ARG(backend->card.id));
    player->on_count = on_count;
    player->count_context = context;
    return true;
}

static void pause_it(struct generation *generation) { generation->paused = true; }
static void resume_it(struct generation *generation) { generation->paused = false; }
static void cancel_it(struct generation *generation) { generation->cancelled = true; }

static void status_of(struct backend *backend, struct backend_status *status)
{
    *status = (struct backend_status){.ready = true, .state = "ready", .kind = "player",
                                      .running = 1, .sequences_max = 5,
                                      .retry_after_s = ((struct player *)backend)->retry_after_s};
}

static bool probe(struct backend *backend, probe_fn *on_probe, void *context, struct err *err)
{
    struct player *player = (struct player *)backend;

    player->on_probe = on_probe;
    player->probe_context = context;
    player->probes++;
    return true;
}

static void free_it(struct backend *backend) { ((struct player *)backend)->freed = true; }

static const struct backend_ops ops = {
    .kind = "player", .generate = generate, .count = count, .pause = pause_it,
    .resume = resume_it, .cancel = cancel_it, .status = status_of, .probe = probe,
    .free = free_it,
};

static void world_init(struct world *world, enum pool_policy policy, uint64_t probe_ms, size_t n)
{
    static const char *const names[MEMBERS] = {"anna", "bert", "cara"};
    const struct pool_options options = {
        .card = {.id = STR("model"), .display_name = STR("Model")}, .policy = policy,
        .probe_ms = probe_ms,
    };
    struct err err;

    log_set_level(LOG_OFF);
    *world = (struct world){.arena = arena_new(4096)};
    assert_int_equal(uv_loop_init(&world->loop), 0);
    world->pool = backend_pool_new(&world->loop, &options, &err);
    assert_non_null(world->pool);
    for (size_t i = 0; i < n; i++) {
        world->players[i].backend = (struct backend){.ops = &ops, .card.id = str_of(names[i])};
        backend_pool_add(world->pool, names[i], &world->players[i].backend, true);
    }
}

static void world_release(struct world *world)
{
    world->pool->ops->free(world->pool);
    for (size_t i = 0; i < MEMBERS; i++)
        assert_true(world->players[i].freed == (world->players[i].backend.ops != NULL));
    uv_run(&world->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    arena_free(world->arena);
}

static void on_event(void *context, const struct gen_event *event)
{
    static const char letters[] = {
        [GEN_STARTED] = 'S', [GEN_BLOCK_START] = '(', [GEN_DELTA] = 't', [GEN_BLOCK_STOP] = ')',
        [GEN_DONE] = 'D', [GEN_FAILED] = 'F',
    };
    struct heard *heard = context;

    heard->events[strlen(heard->events)] = letters[event->type];
    heard->by[strlen(heard->by)] = event->served_by ? event->served_by[0] : '-';
    if (event->type == GEN_FAILED)
        heard->error = event->error;
}

static void on_count(void *context, uint32_t tokens, const struct err *error)
{
    struct heard *heard = context;

    assert_false(heard->counted);
    heard->counted = true;
    heard->tokens = tokens;
    if (error)
        heard->error = *error;
}

/* A conversation is told apart by what it begins with. */
static struct message_request *request_of(struct world *world, const char *text)
{
    struct message_request *request = arena_alloc(world->arena, sizeof *request);

    request->messages = arena_alloc(world->arena, sizeof *request->messages);
    request->messages[0].blocks = arena_alloc(world->arena, sizeof(struct content_block));
    request->messages[0].blocks[0] = (struct content_block){.text = str_of(text)};
    request->messages[0].blocks_n = request->messages_n = 1;
    return request;
}

static struct generation *ask(struct world *world, const char *text, struct heard *heard)
{
    struct err err = {0};

    *heard = (struct heard){0};
    struct generation *generation = world->pool->ops->generate(
        world->pool, world->arena, request_of(world, text), on_event, heard, &err);
    heard->error = err;
    return generation;
}

/* Who was asked last of all, given how many each had been asked before. */
static struct generation *last_of(struct player *player)
{
    assert_true(player->asked > 0);
    return &player->generations[player->asked - 1];
}

static void tell(struct generation *generation, enum gen_event_type type)
{
    generation->on_event(generation->context, &(struct gen_event){.type = type});
}

static void tell_failed(struct generation *generation, enum err_code code)
{
    struct gen_event event = {.type = GEN_FAILED};

    err_set(&event.error, code, "%.*s failed", STR_ARG(generation->player->backend.card.id));
    generation->on_event(generation->context, &event);
}

static void answer(struct generation *generation)
{
    tell(generation, GEN_STARTED);
    tell(generation, GEN_BLOCK_START);
    tell(generation, GEN_DELTA);
    tell(generation, GEN_BLOCK_STOP);
    tell(generation, GEN_DONE);
}

/* Which player a request went to; it is left running. */
static size_t goes_to(struct world *world, const char *text, struct heard *heard)
{
    size_t before[MEMBERS], found = MEMBERS;

    for (size_t i = 0; i < MEMBERS; i++)
        before[i] = world->players[i].asked;
    assert_non_null(ask(world, text, heard));
    for (size_t i = 0; i < MEMBERS; i++)
        if (world->players[i].asked > before[i])
            found = i;
    assert_true(found < MEMBERS);
    return found;
}

static struct backend_member member_of(struct world *world, size_t i)
{
    struct backend_member member;

    assert_true(world->pool->ops->member(world->pool, i, &member));
    return member;
}

static void test_an_answer_passes_through(void **state)
{
    struct world world;
    struct heard heard;

    world_init(&world, POOL_SHARE, 0, 1);
    struct generation *outer = ask(&world, "a", &heard);
    struct generation *inner = last_of(&world.players[0]);
    world.pool->ops->pause(outer);
    assert_true(inner->paused);
    world.pool->ops->resume(outer);
    assert_false(inner->paused);
    assert_int_equal(member_of(&world, 0).running, 1);
    answer(inner);
    assert_string_equal(heard.events, "S(t)D");
    assert_string_equal(heard.by, "aaaaa");
    assert_int_equal(member_of(&world, 0).running, 0);
    assert_int_equal(member_of(&world, 0).served, 1);
    assert_string_equal(member_of(&world, 0).name, "anna");
    assert_string_equal(member_of(&world, 0).state, "ready");
    world_release(&world);
}

static void test_conversations_stay_and_new_ones_spread(void **state)
{
    static const char *const texts[] = {"a", "b", "c", "d", "e", "f"};
    struct world world;
    struct heard heard[2 * 6];
    size_t home[6], asked[MEMBERS] = {0};

    world_init(&world, POOL_SHARE, 0, 3);
    for (size_t i = 0; i < 6; i++)
        asked[home[i] = goes_to(&world, texts[i], &heard[i])]++;
    for (size_t i = 0; i < MEMBERS; i++)
        assert_int_equal(asked[i], 2);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(goes_to(&world, texts[i], &heard[6 + i]), home[i]);
    for (size_t i = 0; i < MEMBERS; i++)
        for (size_t k = 0; k < 4; k++)
            answer(&world.players[i].generations[k]);
    for (size_t i = 0; i < MEMBERS; i++)        /* with nothing running, by how often they were asked */
        assert_int_equal(member_of(&world, i).served, 4);
    world_release(&world);
}

static void test_a_conversation_leaves_who_is_far_busier(void **state)
{
    struct world world;
    struct heard heard[16], last;
    size_t n = 0;

    world_init(&world, POOL_SHARE, 0, 2);
    const size_t home = goes_to(&world, "a", &heard[n++]);
    while (n <= POOL_AHEAD_MAX)                 /* all of one conversation */
        assert_int_equal(goes_to(&world, "a", &heard[n++]), home);
    assert_int_equal(member_of(&world, home).running, POOL_AHEAD_MAX + 1);
    assert_int_equal(goes_to(&world, "a", &last), 1 - home);
    assert_int_equal(member_of(&world, home).moved, 1);
    answer(last_of(&world.players[1 - home]));
    for (size_t i = 0; i < n; i++)
        answer(&world.players[home].generations[i]);
    assert_int_equal(goes_to(&world, "a", &last), 1 - home);    /* there it stays now */
    answer(last_of(&world.players[1 - home]));
    world_release(&world);
}

static void test_failure_before_the_first_block_moves_on(void **state)
{
    struct world world;
    struct heard heard;

    world_init(&world, POOL_SHARE, 0, 2);
    world.players[0].refuses = ERR_IO;          /* at once */
    assert_int_equal(goes_to(&world, "a", &heard), 1);
    answer(last_of(&world.players[1]));
    assert_string_equal(heard.by, "bbbbb");
    assert_int_equal(member_of(&world, 0).failed, 1);
    assert_string_equal(member_of(&world, 0).why, "anna refuses");

    world.players[0].refuses = ERR_NONE;
    const size_t first = goes_to(&world, "b", &heard);
    tell_failed(last_of(&world.players[first]), ERR_TIMEOUT);   /* later */
    assert_string_equal(heard.events, "");
    answer(last_of(&world.players[1 - first]));
    assert_string_equal(heard.events, "S(t)D");

    const size_t second = goes_to(&world, "c", &heard);         /* after its start, which is told once */
    tell(last_of(&world.players[second]), GEN_STARTED);
    tell_failed(last_of(&world.players[second]), ERR_INTERNAL);
    answer(last_of(&world.players[1 - second]));
    assert_string_equal(heard.events, "S(t)D");
    assert_int_equal(heard.by[4], second ? 'a' : 'b');
    world_release(&world);
}

static void test_failure_after_it_is_told(void **state)
{
    struct world world;
    struct heard heard;

    world_init(&world, POOL_SHARE, 0, 2);
    const size_t first = goes_to(&world, "a", &heard);
    tell(last_of(&world.players[first]), GEN_STARTED);
    tell(last_of(&world.players[first]), GEN_BLOCK_START);
    tell_failed(last_of(&world.players[first]), ERR_INTERNAL);
    assert_string_equal(heard.events, "S(F");
    assert_int_equal(heard.error.code, ERR_INTERNAL);
    assert_int_equal(world.players[1 - first].asked, 0);
    assert_int_equal(member_of(&world, first).failed, 1);
    world_release(&world);
}

static void test_the_requests_own_fault_is_nobody_elses(void **state)
{
    struct world world;
    struct heard heard;

    world_init(&world, POOL_SHARE, 0, 2);
    world.players[0].refuses = world.players[1].refuses = ERR_INVALID;
    for (int i = 0; i < 2 * CIRCUIT_FAILURES; i++) {
        assert_null(ask(&world, "a", &heard));
        assert_int_equal(heard.error.code, ERR_INVALID);
    }
    assert_int_equal(member_of(&world, 0).failed + member_of(&world, 1).failed, 0);
    world.players[0].refuses = world.players[1].refuses = ERR_NONE;
    const size_t first = goes_to(&world, "a", &heard);
    tell_failed(last_of(&world.players[first]), ERR_INVALID);
    assert_string_equal(heard.events, "F");
    assert_int_equal(world.players[1 - first].asked, 0);
    world_release(&world);
}

static void test_cancelled_is_not_tried_elsewhere(void **state)
{
    struct world world;
    struct heard heard;

    world_init(&world, POOL_SHARE, 0, 2);
    struct generation *outer = ask(&world, "a", &heard);
    struct player *player = &world.players[world.players[0].asked ? 0 : 1];
    world.pool->ops->cancel(outer);
    assert_true(last_of(player)->cancelled);
    tell_failed(last_of(player), ERR_IO);       /* it may well fail in another way meanwhile */
    assert_string_equal(heard.events, "F");
    assert_int_equal(world.players[0].asked + world.players[1].asked, 1);
    world_release(&world);
}

static void test_paused_stays_paused_on_the_next(void **state)
{
    struct world world;
    struct heard heard;

    world_init(&world, POOL_ORDER, 0, 2);
    struct generation *outer = ask(&world, "a", &heard);
    world.pool->ops->pause(outer);
    tell_failed(last_of(&world.players[0]), ERR_IO);
    assert_true(last_of(&world.players[1])->paused);
    world.pool->ops->cancel(outer);
    assert_true(last_of(&world.players[1])->cancelled);
    tell_failed(last_of(&world.players[1]), ERR_CANCELLED);
    assert_string_equal(heard.events, "F");
    world_release(&world);
}

static void test_who_fails_often_is_left_alone(void **state)
{
    struct world world;
    struct heard heard;

    world_init(&world, POOL_ORDER, 0, 2);
    world.players[0].refuses = ERR_IO;
    for (int i = 0; i < CIRCUIT_FAILURES; i++) {
        assert_int_equal(goes_to(&world, "a", &heard), 1);
        answer(last_of(&world.players[1]));
    }
    assert_string_equal(member_of(&world, 0).state, "resting");
    assert_true(member_of(&world, 0).retry_ms > 0);
    world.players[0].refuses = ERR_NONE;
    assert_int_equal(goes_to(&world, "a", &heard), 1);          /* it is not asked at all */
    answer(last_of(&world.players[1]));
    assert_int_equal(world.players[0].asked, 0);
    world_release(&world);
}

static void test_the_most_useful_error(void **state)
{
    struct world world;
    struct heard heard;
    struct backend_status status;

    world_init(&world, POOL_ORDER, 0, 3);
    world.players[0].refuses = ERR_IO;
    world.players[1].refuses = ERR_OVERLOADED;
    world.players[2].refuses = ERR_TIMEOUT;
    world.players[1].retry_after_s = 9;
    assert_null(ask(&world, "a", &heard));      /* busy is worth waiting for */
    assert_int_equal(heard.error.code, ERR_OVERLOADED);
    assert_string_equal(heard.error.text, "bert refuses");
    world.players[1].refuses = ERR_TIMEOUT;
    assert_null(ask(&world, "a", &heard));      /* else the first one's */
    assert_string_equal(heard.error.text, "anna refuses");
    for (int i = 2; i < CIRCUIT_FAILURES + 1; i++)
        assert_null(ask(&world, "a", &heard));
    assert_null(ask(&world, "a", &heard));      /* nobody is even asked now */
    assert_int_equal(heard.error.code, ERR_OVERLOADED);
    assert_non_null(strstr(heard.error.text, "is well: anna refuses"));
    world.pool->ops->status(world.pool, &status);
    assert_false(status.ready);
    assert_string_equal(status.state, "resting");
    assert_int_equal(status.retry_after_s, CIRCUIT_REST_MS / 1000);
    world_release(&world);
}

static void test_overload_is_not_failure(void **state)
{
    struct world world;
    struct heard heard;

    world_init(&world, POOL_ORDER, 0, 2);
    world.players[0].refuses = ERR_OVERLOADED;
    for (int i = 0; i < 3 * CIRCUIT_FAILURES; i++) {
        assert_int_equal(goes_to(&world, "a", &heard), 1);
        answer(last_of(&world.players[1]));
    }
    world.players[0].refuses = ERR_NONE;
    assert_int_equal(goes_to(&world, "a", &heard), 0);          /* a chain's first is asked first */
    answer(last_of(&world.players[0]));
    world_release(&world);

    world_init(&world, POOL_SHARE, 0, 2);
    world.players[0].retry_after_s = world.players[1].retry_after_s = 60;
    const size_t home = goes_to(&world, "a", &heard);
    answer(last_of(&world.players[home]));
    world.players[home].refuses = ERR_RATE;
    assert_int_equal(goes_to(&world, "a", &heard), 1 - home);   /* equals: not before its time */
    answer(last_of(&world.players[1 - home]));
    world.players[home].refuses = ERR_NONE;
    assert_int_equal(goes_to(&world, "b", &heard), 1 - home);
    answer(last_of(&world.players[1 - home]));
    world_release(&world);
}

static void test_counts_go_the_same_way(void **state)
{
    struct world world;
    struct heard heard = {0};
    struct err err = {0};

    world_init(&world, POOL_ORDER, 0, 3);
    world.players[0].refuses = ERR_IO;
    assert_true(world.pool->ops->count(world.pool, world.arena, request_of(&world, "a"), on_count,
                                       &heard, &err));
    const struct err failed = {ERR_TIMEOUT, "late"};
    world.players[1].on_count(world.players[1].count_context, 0, &failed);
    assert_false(heard.counted);
    world.players[2].on_count(world.players[2].count_context, 42, NULL);
    assert_int_equal(heard.tokens, 42);

    heard = (struct heard){0};
    world.players[1].refuses = world.players[2].refuses = ERR_INVALID;
    assert_false(world.pool->ops->count(world.pool, world.arena, request_of(&world, "a"), on_count,
                                        &heard, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_false(heard.counted);
    world_release(&world);
}

/* A pool keeps no loop from returning, so the test gives it something to do. */
static void on_idle(uv_idle_t *idle) { (void)idle; }

static void turn_until_probed(struct world *world, size_t i, size_t times)
{
    uv_idle_t idle;

    uv_idle_init(&world->loop, &idle);
    uv_idle_start(&idle, on_idle);
    for (int n = 0; world->players[i].probes < times && n < 1000000; n++)
        uv_run(&world->loop, UV_RUN_NOWAIT);
    assert_int_equal(world->players[i].probes, times);
    uv_close((uv_handle_t *)&idle, NULL);
    uv_run(&world->loop, UV_RUN_NOWAIT);
}

static void test_probes_find_who_is_away(void **state)
{
    const struct err away = {ERR_IO, "connection refused"};
    struct world world;
    struct heard heard;

    world_init(&world, POOL_SHARE, 1, 2);
    for (size_t n = 1; n <= POOL_MISSES_MAX; n++) {
        turn_until_probed(&world, 0, n);
        assert_string_equal(member_of(&world, 0).state, "ready");
        world.players[0].on_probe(world.players[0].probe_context, &away);
    }
    assert_string_equal(member_of(&world, 0).state, "resting");
    assert_string_equal(member_of(&world, 0).why, "connection refused");
    assert_int_equal(goes_to(&world, "a", &heard), 1);
    answer(last_of(&world.players[1]));
    world_release(&world);
}

static void test_probes_find_who_is_back(void **state)
{
    struct world world;
    struct heard heard, other;

    world_init(&world, POOL_SHARE, 1, 2);
    turn_until_probed(&world, 0, 1);            /* under way while requests fail */
    world.players[0].refuses = ERR_IO;
    for (int i = 0; i < CIRCUIT_FAILURES; i++) {
        const char text[] = {(char)('a' + i), 0};
        assert_int_equal(goes_to(&world, text, &heard), 1);
        answer(last_of(&world.players[1]));
    }
    assert_string_equal(member_of(&world, 0).state, "resting");
    world.players[0].refuses = ERR_NONE;
    world.players[0].on_probe(world.players[0].probe_context, NULL);
    assert_string_equal(member_of(&world, 0).state, "trying");
    assert_int_equal(goes_to(&world, "new", &heard), 0);
    assert_int_equal(goes_to(&world, "newer", &other), 1);      /* one at a time */
    answer(last_of(&world.players[1]));
    answer(last_of(&world.players[0]));
    assert_string_equal(member_of(&world, 0).state, "ready");
    world_release(&world);
}

/* A pool in a chain: the answer says who it was at the end of all choosing. */
static void test_a_pool_as_a_fallback(void **state)
{
    const struct pool_options options = {.card = {.id = STR("chain")}, .policy = POOL_ORDER};
    struct world world;
    struct heard heard = {0};
    struct player near = {.backend = {.ops = &ops, .card.id = STR("near")},
                          .refuses = ERR_OVERLOADED};
    struct err err;

    world_init(&world, POOL_SHARE, 0, 1);
    struct backend *chain = backend_pool_new(&world.loop, &options, &err);
    backend_pool_add(chain, "near", &near.backend, true);
    backend_pool_add(chain, "pool", world.pool, false);
    assert_non_null(chain->ops->generate(chain, world.arena, request_of(&world, "a"), on_event,
                                         &heard, &err));
    answer(last_of(&world.players[0]));
    assert_string_equal(heard.by, "aaaaa");
    chain->ops->free(chain);
    assert_true(near.freed);
    world_release(&world);
}

/* What we can't do ourselves goes to those alone who take bodies as they are. */
static void test_what_is_refused_here(void **state)
{
    const struct err refused = {ERR_INVALID, "images"};
    const struct pool_options options = {.card = {.id = STR("chain")}, .policy = POOL_ORDER};
    struct player far = {.backend = {.ops = &ops, .card.id = STR("far"), .passes = true}};
    struct player near = {.backend = {.ops = &ops, .card.id = STR("near")}};
    struct world world;
    struct heard heard = {0};
    struct err err = {0};

    world_init(&world, POOL_SHARE, 0, 1);
    struct message_request *request = request_of(&world, "a");
    request->refused = &refused;
    assert_false(backend_takes(world.pool, request, &err));
    assert_string_equal(err.text, "images");
    backend_pool_add(world.pool, "far", &far.backend, true);
    for (size_t i = 0; i < 3; i++) {
        assert_true(backend_takes(world.pool, request, &err));
        assert_non_null(world.pool->ops->generate(world.pool, world.arena, request, on_event,
                                                  &heard, &err));
    }
    assert_int_equal(far.asked, 3);
    assert_int_equal(world.players[0].asked, 0);
    while (far.asked)
        tell(&far.generations[--far.asked], GEN_DONE);

    struct backend *chain = backend_pool_new(&world.loop, &options, &err);
    backend_pool_add(chain, "near", &near.backend, true);
    backend_pool_add(chain, "pool", world.pool, false);
    assert_false(backend_takes(chain, request, &err));      /* nearer than asked for, not farther */
    chain->ops->free(chain);
    world_release(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer_passes_through),
        cmocka_unit_test(test_conversations_stay_and_new_ones_spread),
        cmocka_unit_test(test_a_conversation_leaves_who_is_far_busier),
        cmocka_unit_test(test_failure_before_the_first_block_moves_on),
        cmocka_unit_test(test_failure_after_it_is_told),
        cmocka_unit_test(test_the_requests_own_fault_is_nobody_elses),
        cmocka_unit_test(test_cancelled_is_not_tried_elsewhere),
        cmocka_unit_test(test_paused_stays_paused_on_the_next),
        cmocka_unit_test(test_who_fails_often_is_left_alone),
        cmocka_unit_test(test_the_most_useful_error),
        cmocka_unit_test(test_overload_is_not_failure),
        cmocka_unit_test(test_counts_go_the_same_way),
        cmocka_unit_test(test_probes_find_who_is_away),
        cmocka_unit_test(test_probes_find_who_is_back),
        cmocka_unit_test(test_a_pool_as_a_fallback),
        cmocka_unit_test(test_what_is_refused_here),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
