/* Which models are in memory, with residents that load in no time: who comes, who has to go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "backend/memory.h"
#include "base/log.h"

enum { MODELS = 4, IDLE_MS = 60 };
#define MIB ((uint64_t)1 << 20)

struct model {
    struct resident resident;           /* first */
    struct world *world;
    bool broken;
    int loads, unloads, settled;
    struct err error;                   /* of the last settled */
};

struct world {
    uv_loop_t loop;
    uv_idle_t alive;                    /* residents' owners keep the loop alive */
    struct memory *memory;
    struct model models[MODELS];
    _Atomic int working;                /* never more than one */
};

static bool load(struct resident *resident, struct err *err)
{
    struct model *model = (struct model *)resident;
    assert_int_equal(model->world->working++, 0);
    uv_sleep(2);
    model->world->working--;
    model->loads++;
    return !model->broken || err_set(err, ERR_FORMAT, "it is broken");
}

static void unload(struct resident *resident)
{
    struct model *model = (struct model *)resident;
    assert_int_equal(model->world->working++, 0);
    uv_sleep(2);
    model->world->working--;
    model->unloads++;
}

static void settled(struct resident *resident, const struct err *error)
{
    struct model *model = (struct model *)resident;
    model->settled++;
    model->error = error ? *error : (struct err){0};
}

static const struct resident_ops ops = {load, unload, settled};

static void nothing(uv_idle_t *idle) {}

static void open_world(struct world *world, uint64_t bytes_max, uint64_t idle_ms)
{
    log_set_level(LOG_OFF);
    *world = (struct world){0};
    assert_int_equal(uv_loop_init(&world->loop), 0);
    uv_idle_init(&world->loop, &world->alive);
    uv_idle_start(&world->alive, nothing);
    world->memory = memory_new(&world->loop, bytes_max, idle_ms);
    for (int i = 0; i < MODELS; i++) {
        world->models[i] = (struct model){
            .resident = {.ops = &ops, .name = STR("m"), .bytes = 10 * MIB}, .world = world};
        memory_add(world->memory, &world->models[i].resident);
    }
}

static void run_ms(struct world *world, unsigned ms)
{
    const uint64_t end = uv_hrtime() + ms * 1000000ull;
    do {
        uv_run(&world->loop, UV_RUN_NOWAIT);
        uv_sleep(1);
    } while (uv_hrtime() < end);
}

/* Until nothing is loading, leaving or wanted. */
static void run_until_quiet(struct world *world)
{
    bool busy = true;
    for (int n = 0; n < 10000 && busy; n++) {
        run_ms(world, 1);
        busy = false;
        for (int i = 0; i < MODELS; i++) {
            const struct resident *resident = &world->models[i].resident;
            busy |= resident->order || resident->state == RESIDENT_LOADING ||
                    resident->state == RESIDENT_LEAVING;
        }
    }
    assert_false(busy);
}

static bool enter(struct world *world, int i)
{
    return resident_enter(&world->models[i].resident);
}

/* One user comes and stays until it is settled. */
static void visit(struct world *world, int i)
{
    struct model *model = &world->models[i];
    const int before = model->settled;
    if (!enter(world, i)) {
        assert_int_equal(model->settled, before);       /* never from within the call */
        run_until_quiet(world);
        assert_int_equal(model->settled, before + 1);
    }
}

static void leave(struct world *world, int i)
{
    resident_leave(&world->models[i].resident);
    run_ms(world, 2);                   /* so that no two leave at the same millisecond */
}

static const char *states(struct world *world)
{
    static char text[MODELS + 1];
    for (int i = 0; i < MODELS; i++)
        text[i] = "-lH<"[world->models[i].resident.state];
    return text;
}

static void close_world(struct world *world)
{
    run_ms(world, 10);
    memory_free(world->memory);
    uv_close((uv_handle_t *)&world->alive, NULL);
    uv_run(&world->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world->loop), 0);
}

static void test_many_wait_for_one_load(void **state)
{
    struct world world;
    open_world(&world, 0, 0);
    for (int i = 0; i < 5; i++)
        assert_false(enter(&world, 1));
    run_until_quiet(&world);
    assert_int_equal(world.models[1].loads, 1);
    assert_int_equal(world.models[1].settled, 1);
    assert_true(enter(&world, 1));
    assert_string_equal(states(&world), "-H--");
    assert_int_equal(memory_used(world.memory), 10 * MIB);
    run_until_quiet(&world);
    for (int i = 0; i < 6; i++)
        leave(&world, 1);
    run_until_quiet(&world);
    assert_string_equal(states(&world), "-H--");        /* no ceiling, no idle time: it stays */
    close_world(&world);
}

static void test_the_longest_idle_one_goes(void **state)
{
    struct world world;
    open_world(&world, 25 * MIB, 0);
    visit(&world, 0);
    visit(&world, 1);
    leave(&world, 1);
    leave(&world, 0);                   /* now 1 is idle for longer */
    visit(&world, 2);
    assert_string_equal(states(&world), "H-H-");
    visit(&world, 3);                   /* 2 is in use, so 0 goes */
    assert_string_equal(states(&world), "--HH");
    leave(&world, 2);
    assert_false(enter(&world, 1));     /* and two may be wanted at once: one finds room */
    assert_false(enter(&world, 0));
    run_until_quiet(&world);
    assert_string_equal(states(&world), "-H-H");
    assert_int_equal(world.models[1].error.code, ERR_NONE);
    assert_int_equal(world.models[0].error.code, ERR_OVERLOADED);
    assert_string_equal(world.models[0].error.text,
                        "no room for model m now: it needs 10 MiB, and models in use take 20 of 25 "
                        "MiB; try again later");
    leave(&world, 0);
    leave(&world, 1);
    visit(&world, 0);
    assert_int_equal(world.models[0].error.code, ERR_NONE);
    assert_string_equal(states(&world), "H--H");
    close_world(&world);
}

static void test_what_stays_and_what_never_fits(void **state)
{
    struct world world;
    open_world(&world, 25 * MIB, 5);
    struct model stays = {.resident = {.ops = &ops, .name = STR("first"), .bytes = 16 * MIB,
                                       .stays = true, .state = RESIDENT_HERE}, .world = &world};
    memory_add(world.memory, &stays.resident);
    visit(&world, 0);
    assert_int_equal(world.models[0].error.code, ERR_OVERLOADED);
    leave(&world, 0);
    world.models[1].resident.bytes = 26 * MIB;
    visit(&world, 1);
    assert_int_equal(world.models[1].error.code, ERR_NOT_FOUND);        /* no use to try again */
    assert_string_equal(world.models[1].error.text,
                        "model: m needs 26 MiB of memory, more than the 25 MiB that models may take "
                        "here");
    leave(&world, 1);
    world.models[2].resident.bytes = 9 * MIB;
    visit(&world, 2);
    assert_string_equal(states(&world), "--H-");
    run_until_quiet(&world);
    assert_int_equal(stays.resident.state, RESIDENT_HERE);
    assert_int_equal(stays.unloads, 0);
    close_world(&world);
}

/* Runs until the model is away; how long that took. */
static uint64_t until_away(struct world *world, int i)
{
    const uint64_t begin = uv_hrtime();
    while (world->models[i].resident.state != RESIDENT_AWAY && uv_hrtime() - begin < 10000000000ull)
        run_ms(world, 1);
    assert_int_equal(world->models[i].resident.state, RESIDENT_AWAY);
    return (uv_hrtime() - begin) / 1000000;
}

static void test_idle_ones_go(void **state)
{
    struct world world;
    open_world(&world, 0, IDLE_MS);
    visit(&world, 0);
    visit(&world, 1);
    resident_leave(&world.models[0].resident);
    assert_true(until_away(&world, 0) >= IDLE_MS - 2);  /* the loop's clock is a little behind */
    assert_string_equal(states(&world), "-H--");        /* 1 is in use */
    resident_leave(&world.models[1].resident);
    uv_sleep(IDLE_MS / 2);
    uv_update_time(&world.loop);
    assert_true(enter(&world, 1));                      /* used again: the time begins anew */
    resident_leave(&world.models[1].resident);
    assert_true(until_away(&world, 1) >= IDLE_MS - 2);
    visit(&world, 0);
    assert_int_equal(world.models[0].loads, 2);
    close_world(&world);
}

static void test_asked_for_while_it_leaves(void **state)
{
    struct world world;
    open_world(&world, 0, 1);
    visit(&world, 0);
    leave(&world, 0);
    while (world.models[0].resident.state == RESIDENT_HERE)
        run_ms(&world, 0);
    assert_int_equal(world.models[0].resident.state, RESIDENT_LEAVING);
    visit(&world, 0);
    assert_int_equal(world.models[0].unloads, 1);
    assert_int_equal(world.models[0].loads, 2);
    assert_string_equal(states(&world), "H---");
    close_world(&world);
}

static void test_broken_ones_and_those_nobody_wants_any_more(void **state)
{
    struct world world;
    open_world(&world, 0, 0);
    world.models[0].broken = true;
    visit(&world, 0);
    assert_int_equal(world.models[0].error.code, ERR_NOT_FOUND);
    assert_string_equal(world.models[0].error.text, "model: m can't be loaded: it is broken");
    assert_int_equal(memory_used(world.memory), 0);
    leave(&world, 0);
    world.models[0].broken = false;     /* each new request tries again */
    visit(&world, 0);
    assert_string_equal(states(&world), "H---");
    assert_false(enter(&world, 1));
    resident_leave(&world.models[1].resident);
    run_until_quiet(&world);
    assert_int_equal(world.models[1].loads, 0);
    close_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_wait_for_one_load),
        cmocka_unit_test(test_the_longest_idle_one_goes),
        cmocka_unit_test(test_what_stays_and_what_never_fits),
        cmocka_unit_test(test_idle_ones_go),
        cmocka_unit_test(test_asked_for_while_it_leaves),
        cmocka_unit_test(test_broken_ones_and_those_nobody_wants_any_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
