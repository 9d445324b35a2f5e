/* metrics.h - what the server counts, for /health and the log. Loop thread only: plain numbers. */
#ifndef PENSIEVE_SERVER_METRICS_H
#define PENSIEVE_SERVER_METRICS_H

#include <stdint.h>

#include "api/generation.h"
#include "base/buf.h"

struct metrics {
    uint64_t connections_accepted, connections_refused;
    uint64_t requests;                  /* answered or abandoned */
    uint64_t answers[6];                /* by status class: answers[2] counts 2xx */
    uint64_t abandoned;                 /* the client went before its answer was complete */
    uint64_t streams;                   /* SSE answers begun */
    uint64_t input_tokens, output_tokens;
    uint64_t memory_tokens, disk_tokens, computed_tokens;       /* where prompts' tokens came from */
};

struct metrics_exchange {
    int status;                         /* 0: the client went before there was one */
    bool abandoned;
    uint32_t input_tokens, output_tokens;
    struct reuse reuse;
};

void metrics_count(struct metrics *metrics, const struct metrics_exchange *exchange);
/* "requests":{...} without braces around it, to go into an object. */
void metrics_json(struct buf *out, const struct metrics *metrics);

#endif
