/* clock.c - clock_gettime, and gmtime_r for people. */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

uint64_t clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

double clock_seconds_since(uint64_t start_ns)
{
    return (double)(clock_ns() - start_ns) * 1e-9;
}

void clock_rfc3339(char out[32], int64_t unix_seconds)
{
    const time_t t = (time_t)unix_seconds, epoch = 0;
    struct tm tm;

    if (!gmtime_r(&t, &tm))                             /* the year doesn't fit an int */
        gmtime_r(&epoch, &tm);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

void clock_rfc3339_now_ms(char out[32])
{
    struct timespec t;
    struct tm tm;

    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &tm);
    const size_t n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, 32 - n, ".%03uZ", (unsigned)(t.tv_nsec / 1000000) % 1000u);
}
