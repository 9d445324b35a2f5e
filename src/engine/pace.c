/* pace.c - moving averages. */
#include "engine/pace.h"

#include <math.h>

static const double NEWEST = 0.2;       /* the weight of the last step */
static const double RATE_SECONDS = 4;

static void learn(double *average, double value)
{
    *average = *average > 0 ? *average + NEWEST * (value - *average) : value;
}

void pace_learn(struct pace *pace, uint32_t prompt_rows, uint32_t decode_rows, double seconds)
{
    if (prompt_rows == 0) {
        learn(&pace->decode_s, seconds);
        return;
    }
    const double decoding = decode_rows ? pace->decode_s : 0;
    learn(&pace->row_s, (seconds > decoding ? seconds - decoding : 0) / prompt_rows);
}

uint32_t pace_rows(const struct pace *pace, double seconds)
{
    if (pace->row_s <= 0)
        return UINT32_MAX;
    const double rows = (seconds - pace->decode_s) / pace->row_s;
    return rows < PACE_ROWS_MIN ? PACE_ROWS_MIN : rows < UINT32_MAX ? (uint32_t)rows : UINT32_MAX;
}

double rate_add(struct rate *rate, uint32_t tokens, double seconds)
{
    if (tokens) {
        const double kept = exp(-seconds / RATE_SECONDS);
        rate->tokens = rate->tokens * kept + tokens;
        rate->seconds = rate->seconds * kept + seconds;
    }
    return rate->seconds > 0 ? rate->tokens / rate->seconds : 0;
}
