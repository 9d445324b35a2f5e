/* metrics.c - counters go up, here alone. */
#include "server/metrics.h"

#include <inttypes.h>

void metrics_count(struct metrics *metrics, const struct metrics_exchange *exchange)
{
    const int class = exchange->status / 100;

    metrics->requests++;
    if (class >= 1 && class <= 5)
        metrics->answers[class]++;
    metrics->abandoned += exchange->abandoned;
    metrics->input_tokens += exchange->input_tokens;
    metrics->output_tokens += exchange->output_tokens;
    metrics->memory_tokens += exchange->reuse.memory;
    metrics->disk_tokens += exchange->reuse.disk;
    metrics->computed_tokens += exchange->reuse.computed;
}

void metrics_json(struct buf *out, const struct metrics *metrics)
{
    buf_printf(out,
               "\"requests\":{\"total\":%" PRIu64 ",\"2xx\":%" PRIu64 ",\"4xx\":%" PRIu64
               ",\"5xx\":%" PRIu64 ",\"abandoned\":%" PRIu64 ",\"streams\":%" PRIu64
               ",\"input_tokens\":%" PRIu64 ",\"output_tokens\":%" PRIu64 ",\"memory_tokens\":%" PRIu64 ",\"disk_tokens\":%" PRIu64
               ",\"computed_tokens\":%" PRIu64 "}",
               metrics->requests, metrics->answers[2], metrics->answers[4], metrics->answers[5],
               metrics->abandoned, metrics->streams, metrics->input_tokens,
               metrics->output_tokens, metrics->memory_tokens, metrics->disk_tokens,
               metrics->computed_tokens);
}
