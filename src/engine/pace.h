/* pace.h - how long steps take on this machine, learned from those that were: so that prompts are
 * computed in pieces that don't hold up the tokens of others for longer than is wanted. */
#ifndef PENSIEVE_ENGINE_PACE_H
#define PENSIEVE_ENGINE_PACE_H

#include <stdint.h>

/* Zeroed: nothing known. */
struct pace {
    double decode_s;            /* of a step that only decodes */
    double row_s;               /* what each prompt row adds to one */
};

void pace_learn(struct pace *pace, uint32_t prompt_rows, uint32_t decode_rows, double seconds);
/* Prompt rows that fit into a step of so many seconds beside decoding: at least PACE_ROWS_MIN,
 * below which reading the weights is most of the cost; UINT32_MAX while nothing is known. */
uint32_t pace_rows(const struct pace *pace, double seconds);

enum { PACE_ROWS_MIN = 32 };

/* Tokens a second over the last few seconds of such work. */
struct rate {
    double tokens, seconds;             /* both fade with RATE_SECONDS of work */
};

/* A step that took so many seconds had so many of them. Returns the rate. */
double rate_add(struct rate *rate, uint32_t tokens, double seconds);

#endif
