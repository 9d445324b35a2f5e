/* worth.h - what a step of so many rows costs here and now, and which drafts are worth their rows. */
#ifndef PENSIEVE_ENGINE_WORTH_H
#define PENSIEVE_ENGINE_WORTH_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/speculate.h"

enum { WORTH_KNOTS = 15 };

/* Seconds of a step = unit * the curve over its rows, a line between knots. */
struct worth {
    double unit;                /* seconds of a step of one row; 0: none was seen yet */
    double curve[WORTH_KNOTS];  /* curve[0] is 1 */
    double seen[WORTH_KNOTS];   /* steps that told of a knot: the first are believed at once */
};

void worth_init(struct worth *worth);
/* A step that only decoded took so long. drafts: how many of its rows were guesses. */
void worth_note(struct worth *worth, uint32_t rows, uint32_t drafts, double seconds);
double worth_cost(const struct worth *worth, uint32_t rows);     /* in units */

/* Chooses how many tokens of each draft to compute beside `rows` others of a step in which `certain`
 * tokens will be sampled anyway: so that the expected tokens a second of all sequences together are
 * most, with rows_max drafts at most. worth NULL: rows cost nothing. Sets their `kept`; returns the
 * sum. */
uint32_t worth_plan(const struct worth *worth, uint32_t rows, uint32_t certain,
                    struct draft *const *drafts, uint32_t drafts_n, uint32_t rows_max);

#endif
