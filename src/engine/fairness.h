/* fairness.h - whose prompt is computed next: a policy over a few numbers, no pages and no threads.
 *
 * Three levels. Each gives its time to the member that had least of it, on a clock of its own:
 *   owners  evenly, in rows computed, of prompts and of outputs;
 *   ranks   of an owner, by weight: 8, 4, 2, 1 (start-time fair queueing, Goyal et al. 1996);
 *   flows   of a rank, a whole prompt at a time, in the order in which a server that works on all
 *           flows at once would finish them (fair queueing by finish times, Demers et al. 1989).
 *           So a short prompt passes a long one that began, equal ones are finished one after the
 *           other, and a flow with many waits behind itself alone.
 * Nobody waits for ever: whoever is passed stays where it is on a clock that goes on. Who comes
 * after an absence starts at the clock's time: absence earns nothing, and what was taken while
 * nobody else wanted it is forgiven but for FAIR_DEBT_MAX rows. */
#ifndef PENSIEVE_ENGINE_FAIRNESS_H
#define PENSIEVE_ENGINE_FAIRNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "pensieve/engine.h"

enum { FAIR_DEBT_MAX = 4096 };

struct fair_ticket;

struct fair_rank {
    double served;                      /* rows, divided by its weight */
    double clock;                       /* of its flows: rows */
    uint32_t wanting;
    struct fair_ticket *tickets;
};

struct fair_owner {
    uint64_t key, serial;
    double served, clock;               /* rows; the clock of its ranks */
    uint32_t wanting, tickets;
    struct fair_rank ranks[SEQUENCE_RANKS];
    struct fair_owner *next;
};

/* One sequence's place; lies in the sequence. */
struct fair_ticket {
    struct fair_owner *owner;
    enum sequence_rank rank;
    uint64_t flow, serial;
    double finish;                      /* on its rank's clock */
    bool wants;                         /* has a prompt to compute */
    struct fair_ticket *previous, *next;
};

/* Zeroed: nobody there. Owners live while they have tickets. */
struct fairness {
    struct fair_owner *owners;
    double clock;                       /* of the owners */
    uint64_t serial;
};

/* A prompt of which `rows` are to be computed, as far as is known. */
void fairness_enter(struct fairness *fairness, struct fair_ticket *ticket, uint64_t owner,
                    enum sequence_rank rank, uint64_t flow, uint32_t rows);
void fairness_leave(struct fairness *fairness, struct fair_ticket *ticket);
/* Whether a is to be served before b; both want. A total order between two charges. */
bool fairness_before(const struct fair_ticket *a, const struct fair_ticket *b);
/* `rows` of its prompt are computed in its turn, after which `left` of them remain. */
void fairness_prompt(struct fairness *fairness, struct fair_ticket *ticket, uint32_t rows,
                     uint32_t left);
/* It sampled a token: its prompt is done. */
void fairness_output(struct fair_ticket *ticket);
/* It gave its pages up: all it had is a prompt again. */
void fairness_again(struct fairness *fairness, struct fair_ticket *ticket);

#endif
