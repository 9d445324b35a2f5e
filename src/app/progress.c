/* progress.c - draws it, on standard error. */
#include "app/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

enum { BAR = 30, TENTHS = 10 };
#define REDRAW_NS ((uint64_t)100 * 1000 * 1000)
#define MB(bytes) ((double)(bytes) / 1e6)

void progress_begin(struct progress *progress, uint64_t total, uint64_t have)
{
    *progress = (struct progress){
        .total = total, .shown = have, .at_begin = have, .begun_ns = clock_ns(),
        .terminal = isatty(STDERR_FILENO) == 1,
    };
}

static void draw(struct progress *progress)
{
    char bar[BAR + 1];
    double part = progress->total ? (double)progress->shown / (double)progress->total : 1;
    double seconds = clock_seconds_since(progress->begun_ns);
    double speed = seconds > 0 ? (double)(progress->shown - progress->at_begin) / seconds : 0;
    for (int i = 0; i < BAR; i++) {
        bar[i] = i < (int)(part * BAR) ? '#' : '.';
    }
    bar[BAR] = 0;
    fprintf(stderr, "\r%s %3d%%  %.1f of %.1f MB, %.1f MB/s ", bar, (int)(part * 100),
            MB(progress->shown), MB(progress->total), speed / 1e6);
    progress->said_ns = clock_ns();
}

void progress_set(struct progress *progress, uint64_t have)
{
    if (have <= progress->shown) {
        return;
    }
    progress->shown = have < progress->total ? have : progress->total;
    if (progress->terminal) {
        if (clock_ns() - progress->said_ns >= REDRAW_NS) {
            draw(progress);
        }
        return;
    }
    unsigned tenths = progress->total ? (unsigned)((double)progress->shown * TENTHS /
                                                   (double)progress->total) : TENTHS;
    if (tenths > progress->said_tenths) {
        progress->said_tenths = tenths;
        fprintf(stderr, "%u%% of %.1f MB\n", tenths * 10, MB(progress->total));
    }
}

void progress_end(struct progress *progress)
{
    if (progress->terminal) {
        draw(progress);
        fputc('\n', stderr);
    }
}
