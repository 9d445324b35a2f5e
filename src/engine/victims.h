/* victims.h - who gives way when there is not enough for all: pages, or places in a step.
 *
 * Questions about the sequences that run, a list by age from its newest; nothing is changed
 * here. One whose pages the disk is filling is nobody's victim: the disk holds them until it is done,
 * so its going would free none, and it would begin to read them again. */
#ifndef PENSIEVE_ENGINE_VICTIMS_H
#define PENSIEVE_ENGINE_VICTIMS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/sequence.h"

/* Who goes first when one that runs needs a page: one that is paused, the least urgent, the
 * youngest. NULL: there is none. */
struct sequence *victim_of(struct sequence *newest);
/* Whether it has to go so that `sequence` can come in: it is paused, or less urgent. */
bool victim_makes_way(const struct sequence *victim, const struct sequence *sequence);
/* Whose place `sequence` could take, if all are taken: of one that makes way, or, for places go to
 * owners evenly, of the youngest of an owner that has two more than its own, if that is not more
 * urgent. NULL: nobody's. */
struct sequence *victim_for_place(struct sequence *newest, const struct sequence *sequence);
/* How many take places, of this owner or (NULL) of all: those that are not paused. */
uint32_t sequences_active(const struct sequence *newest, const struct fair_owner *owner);

#endif
