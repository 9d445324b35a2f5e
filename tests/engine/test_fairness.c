/* The policy against a server that does nothing but compute rows: who gets how many, and when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/fairness.h"

enum { CHUNK = 256, JOBS_MAX = 64 };

struct job {
    struct fair_ticket ticket;
    uint32_t left, done, finished_at;   /* rows; on the clock of all rows, 0: not yet */
    bool here;
};

struct world {
    struct fairness fairness;
    struct job jobs[JOBS_MAX];
    int n;
    uint32_t clock;
};

static struct job *arrive(struct world *world, uint64_t owner, enum sequence_rank rank,
                          uint64_t flow, uint32_t rows)
{
    struct job *job = &world->jobs[world->n++];

    assert_true(world->n <= JOBS_MAX);
    *job = (struct job){.left = rows, .here = true};
    fairness_enter(&world->fairness, &job->ticket, owner, rank, flow, rows);
    return job;
}

static void leave(struct world *world, struct job *job)
{
    fairness_leave(&world->fairness, &job->ticket);
    job->here = false;
}

/* One chunk for the first in line, who goes when it is done. NULL: nobody is there. */
static struct job *serve(struct world *world)
{
    struct job *best = NULL;

    for (int i = 0; i < world->n; i++) {
        struct job *job = &world->jobs[i];
        if (job->here && job->ticket.wants &&
            (!best || fairness_before(&job->ticket, &best->ticket)))
            best = job;
    }
    if (!best)
        return NULL;
    const uint32_t rows = best->left < CHUNK ? best->left : CHUNK;
    best->left -= rows;
    best->done += rows;
    world->clock += rows;
    fairness_prompt(&world->fairness, &best->ticket, rows, best->left);
    if (best->left == 0) {
        best->finished_at = world->clock;
        leave(world, best);
    }
    return best;
}

static void serve_rows(struct world *world, uint32_t rows)
{
    for (const uint32_t end = world->clock + rows; world->clock < end; )
        assert_non_null(serve(world));
}

static void serve_all(struct world *world)
{
    while (serve(world)) {
    }
    assert_null(world->fairness.owners);
}

static void test_short_passes_long(void **state)
{
    static const struct { uint64_t owner; enum sequence_rank rank; uint64_t flow; uint32_t most; }
    cases[] = {                         /* most: rows until it is done, its own 200 included */
        {1, RANK_MAIN, 0, CHUNK}, {1, RANK_MAIN, 8, CHUNK}, {2, RANK_BATCH, 8, CHUNK},
        {1, RANK_AGENT, 7, 2 * CHUNK}, {1, RANK_SIDE, 7, 2 * CHUNK}, {1, RANK_BATCH, 7, 2 * CHUNK},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world world = {0};
        struct job *longer = arrive(&world, 1, RANK_MAIN, 7, 25000);
        serve_rows(&world, 10000);
        const uint32_t before = world.clock;
        struct job *shorter = arrive(&world, cases[i].owner, cases[i].rank, cases[i].flow, 200);
        serve_all(&world);
        assert_true(shorter->finished_at - before <= cases[i].most);
        assert_int_equal(longer->finished_at, 25200);
    }
}

/* Equal ones one after the other: in between, nobody has a half of it. */
static void test_equal_ones_in_order(void **state)
{
    struct world world = {0};

    for (uint64_t i = 0; i < 8; i++)
        arrive(&world, 1, RANK_MAIN, i, 4 * CHUNK);
    serve_all(&world);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(world.jobs[i].finished_at, (i + 1) * 4 * CHUNK);
}

/* A long one is passed by at most as much as it wants itself, and a chunk of each flow. */
static void test_long_one_is_not_starved(void **state)
{
    struct world world = {0};
    struct job *longer = arrive(&world, 1, RANK_MAIN, 1, 20 * CHUNK);

    for (uint64_t flow = 2; flow < 50 && !longer->finished_at; flow++) {
        arrive(&world, 1, RANK_MAIN, flow, CHUNK);
        serve(&world);
    }
    assert_true(longer->done > 0);
    serve_all(&world);
    assert_true(longer->finished_at <= 41 * CHUNK);
}

static void test_owners_share_evenly(void **state)
{
    struct world world = {0};

    for (uint64_t flow = 0; flow < 10; flow++)
        arrive(&world, 1, RANK_MAIN, flow, 100 * CHUNK);
    struct job *single = arrive(&world, 2, RANK_BATCH, 1, 20 * CHUNK);
    arrive(&world, 3, RANK_SIDE, 1, 100 * CHUNK);
    serve_all(&world);
    assert_in_range(single->finished_at, 57 * CHUNK, 62 * CHUNK);
}

static void test_ranks_share_by_weight(void **state)
{
    struct world world = {0};
    struct job *jobs[SEQUENCE_RANKS];

    for (int rank = 0; rank < SEQUENCE_RANKS; rank++)
        jobs[rank] = arrive(&world, 1, (enum sequence_rank)rank, 1, 1000 * CHUNK);
    for (uint64_t flow = 2; flow < 20; flow++)          /* many helpers have no more together */
        arrive(&world, 1, RANK_AGENT, flow, 1000 * CHUNK);
    serve_rows(&world, 150 * CHUNK);
    assert_in_range(jobs[RANK_MAIN]->done, 79 * CHUNK, 81 * CHUNK);
    assert_in_range(jobs[RANK_AGENT]->done, 39 * CHUNK, 41 * CHUNK);
    assert_in_range(jobs[RANK_SIDE]->done, 19 * CHUNK, 21 * CHUNK);
    assert_in_range(jobs[RANK_BATCH]->done, 9 * CHUNK, 11 * CHUNK);
    for (int i = 0; i < world.n; i++)
        leave(&world, &world.jobs[i]);
    assert_null(world.fairness.owners);
}

/* A conversation with ten prompts waits behind itself; another's single one passes the other
 * nine. */
static void test_flows_wait_behind_themselves(void **state)
{
    struct world world = {0};

    for (int i = 0; i < 10; i++)
        arrive(&world, 1, RANK_MAIN, 1, 2 * CHUNK);
    struct job *other = arrive(&world, 1, RANK_MAIN, 2, 3 * CHUNK);
    serve_all(&world);
    assert_int_equal(other->finished_at, 5 * CHUNK);
}

/* Whoever was away starts with the others, and whoever was alone owes little for it. */
static void test_absence_earns_nothing(void **state)
{
    struct world world = {0};
    struct job *a = arrive(&world, 1, RANK_MAIN, 1, 1000 * CHUNK);
    struct job *b = arrive(&world, 2, RANK_MAIN, 1, CHUNK);

    for (int i = 0; i < 100000; i++)
        fairness_output(&b->ticket);
    serve_rows(&world, 500 * CHUNK);
    fairness_again(&world.fairness, &b->ticket);
    b->left = 1000 * CHUNK;
    const uint32_t before = a->done;
    serve_rows(&world, 100 * CHUNK);
    assert_in_range(a->done - before, (50 - 1) * CHUNK,
                    (50 + 1) * CHUNK + FAIR_DEBT_MAX / 2 + CHUNK);
    leave(&world, a);
    leave(&world, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_passes_long),
        cmocka_unit_test(test_equal_ones_in_order),
        cmocka_unit_test(test_long_one_is_not_starved),
        cmocka_unit_test(test_owners_share_evenly),
        cmocka_unit_test(test_ranks_share_by_weight),
        cmocka_unit_test(test_flows_wait_behind_themselves),
        cmocka_unit_test(test_absence_earns_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
