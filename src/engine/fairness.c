/* fairness.c - three clocks, and who is behind on them.
 *
 * The hard thing is the clocks. A member that only compares how much each was given would let
 * one that was away for an hour have the next hour alone. So every level's clock follows the
 * member in service, and whoever begins to want again is moved up to it. */
#include "engine/fairness.h"

#include <assert.h>
#include <stdlib.h>

static const double weights[SEQUENCE_RANKS] = {
    [RANK_MAIN] = 8, [RANK_AGENT] = 4, [RANK_SIDE] = 2, [RANK_BATCH] = 1,
};

static double at_least(double a, double b)
{
    return a > b ? a : b;
}

/* Where one that begins to want stands: not before the clock, and not far behind it. */
static double stand(double served, double clock, double debt_max)
{
    return served > clock + debt_max ? clock + debt_max : at_least(served, clock);
}

static struct fair_rank *rank_of(const struct fair_ticket *ticket)
{
    return &ticket->owner->ranks[ticket->rank];
}

static void want(struct fairness *fairness, struct fair_ticket *ticket)
{
    struct fair_owner *owner = ticket->owner;
    struct fair_rank *rank = rank_of(ticket);

    ticket->wants = true;
    if (owner->wanting++ == 0)
        owner->served = stand(owner->served, fairness->clock, FAIR_DEBT_MAX);
    if (rank->wanting++ == 0)
        rank->served = stand(rank->served, owner->clock, FAIR_DEBT_MAX / weights[ticket->rank]);
}

static void rest(struct fair_ticket *ticket)
{
    if (!ticket->wants)
        return;
    ticket->wants = false;
    ticket->owner->wanting--;
    rank_of(ticket)->wanting--;
}

static struct fair_owner *owner_of(struct fairness *fairness, uint64_t key)
{
    struct fair_owner *owner = fairness->owners;

    while (owner && owner->key != key)
        owner = owner->next;
    if (owner)
        return owner;
    owner = calloc(1, sizeof *owner);
    if (!owner)
        abort();                        /* as arenas do: the machine is out of memory */
    owner->key = key;
    owner->serial = ++fairness->serial;
    owner->next = fairness->owners;
    fairness->owners = owner;
    return owner;
}

void fairness_enter(struct fairness *fairness, struct fair_ticket *ticket, uint64_t key,
                    enum sequence_rank rank_wanted, uint64_t flow, uint32_t rows)
{
    struct fair_owner *owner = owner_of(fairness, key);
    struct fair_rank *rank = &owner->ranks[rank_wanted];
    double start = rank->clock;

    for (const struct fair_ticket *other = rank->tickets; other; other = other->next)
        if (flow && other->flow == flow)
            start = at_least(start, other->finish);
    *ticket = (struct fair_ticket){
        .owner = owner, .rank = rank_wanted, .flow = flow, .serial = ++fairness->serial,
        .finish = start + rows, .next = rank->tickets,
    };
    if (rank->tickets)
        rank->tickets->previous = ticket;
    rank->tickets = ticket;
    owner->tickets++;
    want(fairness, ticket);
}

void fairness_leave(struct fairness *fairness, struct fair_ticket *ticket)
{
    struct fair_owner *owner = ticket->owner, **link = &fairness->owners;

    rest(ticket);
    *(ticket->previous ? &ticket->previous->next : &rank_of(ticket)->tickets) = ticket->next;
    if (ticket->next)
        ticket->next->previous = ticket->previous;
    if (--owner->tickets)
        return;
    while (*link != owner)
        link = &(*link)->next;
    *link = owner->next;
    free(owner);
}

bool fairness_before(const struct fair_ticket *a, const struct fair_ticket *b)
{
    if (a->owner != b->owner) {
        if (a->owner->served != b->owner->served)
            return a->owner->served < b->owner->served;
        return a->owner->serial > b->owner->serial;     /* the newcomer: it had nothing yet */
    }
    if (a->rank != b->rank) {
        if (rank_of(a)->served != rank_of(b)->served)
            return rank_of(a)->served < rank_of(b)->served;
        return a->rank < b->rank;
    }
    return a->finish != b->finish ? a->finish < b->finish : a->serial < b->serial;
}

void fairness_prompt(struct fairness *fairness, struct fair_ticket *ticket, uint32_t rows,
                     uint32_t left)
{
    struct fair_owner *owner = ticket->owner;
    struct fair_rank *rank = rank_of(ticket);

    assert(ticket->wants);
    fairness->clock = at_least(fairness->clock, owner->served);
    owner->clock = at_least(owner->clock, rank->served);
    rank->clock = at_least(rank->clock, ticket->finish - left);
    owner->served += rows;
    rank->served += rows / weights[ticket->rank];
}

void fairness_output(struct fair_ticket *ticket)
{
    rest(ticket);
    ticket->owner->served++;
    rank_of(ticket)->served += 1 / weights[ticket->rank];
    ticket->finish++;
}

void fairness_again(struct fairness *fairness, struct fair_ticket *ticket)
{
    if (!ticket->wants)
        want(fairness, ticket);
}
