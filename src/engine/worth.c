/* worth.c - a curve of costs, learnt from the steps as they come.
 *
 * The hard thing is that a step's time changes with the context, with other programs, with the clock
 * of the processor, while steps with drafts and without come in no order. So two things are learnt
 * apart: the unit follows every plain step at once; the curve, which belongs to the kernels and
 * changes little, slowly. Knots that are not seen forget: they go back to what was believed at first,
 * which is hopeful. So what one bad moment has put off is tried again, seldom, a step at a time. */
#include "engine/worth.h"

#include <math.h>
#include <stddef.h>

static const uint32_t knots[WORTH_KNOTS] = {1,  2,  3,  4,  6,  8,   12, 16,
                                            24, 32, 48, 64, 96, 128, 256};

static const double ROW_BELIEVED = 0.1;         /* one more row, before any was seen */
static const double UNIT_PLAIN = 0.15, UNIT_DRAFTS = 0.03;      /* how fast each of them learns, */
static const double CURVE_SEEN = 0.1, CURVE_FORGETS = 1.0 / 2048;
static const double SURPRISE_MAX = 1.5;         /* and what is believed at most, of one step, */
static const double SEEN_ENOUGH = 2;            /* once there were so many */
static const double GAIN_MIN = 1.06;            /* below it drafts are not worth the risk */

static double believed(uint32_t rows)
{
    return 1 + ROW_BELIEVED * (rows - 1);
}

void worth_init(struct worth *worth)
{
    *worth = (struct worth){0};
    for (int i = 0; i < WORTH_KNOTS; i++)
        worth->curve[i] = believed(knots[i]);
}

/* The knot at or before so many rows, but never the last one: the line after it goes on. */
static int knot_before(uint32_t rows)
{
    int i = WORTH_KNOTS - 2;

    while (i > 0 && knots[i] > rows)
        i--;
    return i;
}

/* How far from knot i towards the next; beyond 1 past the last. */
static double way(int i, uint32_t rows)
{
    return (double)(rows - knots[i]) / (knots[i + 1] - knots[i]);
}

static double between(const double *values, uint32_t rows)
{
    const int i = knot_before(rows);

    return values[i] + way(i, rows) * (values[i + 1] - values[i]);
}

double worth_cost(const struct worth *worth, uint32_t rows)
{
    return between(worth->curve, rows);
}

/* Moves the curve towards having `cost` at so many rows, by the knots on both sides. The others
 * forget, but never what follows from these: more rows cost no less. */
static void curve_learn(struct worth *worth, uint32_t rows, double cost)
{
    const int i = knot_before(rows);
    const double t = way(i, rows) < 1 ? way(i, rows) : 1;
    const double off = cost - (worth->curve[i] + t * (worth->curve[i + 1] - worth->curve[i]));

    for (int k = 1; k < WORTH_KNOTS; k++) {
        const double weight = k == i ? 1 - t : k == i + 1 ? t : 0;
        if (weight > 0) {
            worth->seen[k] += weight;
            worth->curve[k] += fmax(CURVE_SEEN, 1 / worth->seen[k]) * weight * off;
        } else {
            worth->curve[k] += CURVE_FORGETS * (believed(knots[k]) - worth->curve[k]);
        }
    }
    worth->curve[i] = fmax(1, worth->curve[i]);
    for (int k = i - 1; k > 0; k--)
        worth->curve[k] = fmin(worth->curve[k], worth->curve[k + 1]);
    for (int k = i + 1; k < WORTH_KNOTS; k++)
        worth->curve[k] = fmax(worth->curve[k], worth->curve[k - 1]);
}

void worth_note(struct worth *worth, uint32_t rows, uint32_t drafts, double seconds)
{
    const double guess = worth_cost(worth, rows) * worth->unit;

    if (!(seconds > 0))
        return;
    if (worth->unit == 0) {
        worth->unit = seconds / worth_cost(worth, rows);
        worth->seen[0] = 1 + SEEN_ENOUGH;
        return;
    }
    if (seconds > SURPRISE_MAX * guess && between(worth->seen, rows) > SEEN_ENOUGH)
        seconds = SURPRISE_MAX * guess;
    const double unit = seconds / worth_cost(worth, rows);
    worth->unit += (drafts ? UNIT_DRAFTS : UNIT_PLAIN) * (unit - worth->unit);
    curve_learn(worth, rows, seconds / worth->unit);
}

/* Keeps one token more of the draft whose next one is the likeliest; its chance, 0: none is left. */
static float take_likeliest(struct draft *const *drafts, uint32_t drafts_n)
{
    struct draft *likeliest = NULL;
    float chance = 0;

    for (uint32_t i = 0; i < drafts_n; i++) {
        struct draft *draft = drafts[i];
        if (draft->kept < draft->n && draft->reach[draft->kept] > chance) {
            likeliest = draft;
            chance = draft->reach[draft->kept];
        }
    }
    if (likeliest)
        likeliest->kept++;
    return chance;
}

/* What is not worth one row more may be worth four: the curve has steps. So all counts are tried. */
uint32_t worth_plan(const struct worth *worth, uint32_t rows, uint32_t certain,
                    struct draft *const *drafts, uint32_t drafts_n, uint32_t rows_max)
{
    double tokens = certain, best = GAIN_MIN * certain / (worth ? worth_cost(worth, rows) : 1);
    uint32_t chosen = 0;
    float chance;

    for (uint32_t i = 0; i < drafts_n; i++)
        drafts[i]->kept = 0;
    for (uint32_t n = 1; n <= rows_max && (chance = take_likeliest(drafts, drafts_n)) > 0; n++) {
        tokens += (double)chance;
        const double rate = tokens / (worth ? worth_cost(worth, rows + n) : 1);
        if (rate > best || !worth) {
            best = rate;
            chosen = n;
        }
    }
    for (uint32_t i = 0; i < drafts_n; i++)
        drafts[i]->kept = 0;
    for (uint32_t n = 0; n < chosen; n++)
        take_likeliest(drafts, drafts_n);
    return chosen;
}
