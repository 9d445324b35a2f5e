/* clock.h - time: monotonic for durations, wall clock for people. */
#ifndef PENSIEVE_BASE_CLOCK_H
#define PENSIEVE_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t clock_ns(void);                        /* monotonic */
double clock_seconds_since(uint64_t start_ns);
/* "2026-05-01T08:00:00Z" or with milliseconds. A time that no calendar holds is shown as 1970. */
void clock_rfc3339(char out[32], int64_t unix_seconds);
void clock_rfc3339_now_ms(char out[32]);

#endif
