/* victims.c - a few walks over those that run. */
#include "engine/victims.h"

struct sequence *victim_of(struct sequence *newest)
{
    struct sequence *victim = NULL;

    for (struct sequence *sequence = newest; sequence; sequence = sequence->older) {
        if (sequence->table.reading)
            continue;
        if (!victim || (sequence->held != victim->held ? sequence->held
                                           : sequence->params.rank > victim->params.rank))
            victim = sequence;
    }
    return victim;
}

bool victim_makes_way(const struct sequence *victim, const struct sequence *sequence)
{
    return !victim->table.reading &&
           (victim->held || victim->params.rank > sequence->params.rank);
}

struct sequence *victim_for_place(struct sequence *newest, const struct sequence *sequence)
{
    const uint32_t own = sequences_active(newest, sequence->ticket.owner);
    struct sequence *victim = victim_of(newest);

    if (victim && victim_makes_way(victim, sequence))
        return victim;
    for (victim = newest; victim; victim = victim->older)
        if (!victim->held && !victim->table.reading && victim->params.rank >= sequence->params.rank &&
            sequences_active(newest, victim->ticket.owner) >= own + 2)
            return victim;
    return NULL;
}

uint32_t sequences_active(const struct sequence *newest, const struct fair_owner *owner)
{
    uint32_t n = 0;

    for (const struct sequence *sequence = newest; sequence; sequence = sequence->older)
        n += !sequence->held && (!owner || sequence->ticket.owner == owner);
    return n;
}
