/* memory.c - makes room, loads, and unloads: one model at a time, first come first served.
 *
 * The hard thing is that everything takes its time on another thread while requests come and go.
 * So there is one place that decides, turn(), called whenever something has changed; it looks at
 * the states as they are and starts at most one piece of work. */
#include "backend/memory.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define MIB(bytes) ((unsigned long long)((bytes) >> 20))

struct memory {
    uv_loop_t *loop;
    uint64_t bytes_max, idle_ms;
    struct resident *residents;
    uint64_t orders;            /* given out so far */
    bool working;               /* one is loading or leaving */
    uv_timer_t timer;           /* the next one's idle time is over, or turn() is due */
    uint64_t work_started_ns;
};

static void turn(struct memory *memory);
static void timer_set(struct memory *memory, uint64_t ms);

const char *residence_name(enum residence state)
{
    static const char *const names[] = {"unloaded", "loading", "ready", "unloading"};

    return names[state];
}

/* ---- work on the pool ---- */

static void work_load(uv_work_t *work)
{
    struct resident *resident = work->data;

    resident->loaded = resident->ops->load(resident, &resident->error);
}

static void work_unload(uv_work_t *work)
{
    struct resident *resident = work->data;

    resident->ops->unload(resident);
}

static void say(const struct resident *resident, enum log_level level, const char *event,
                const char *why)
{
    const struct memory *memory = resident->memory;
    char name[160], reason[300];

    log_event(level, event, "model=%s mib=%llu used_mib=%llu ms=%.0f%s%s",
              log_quote(name, sizeof name, resident->name), MIB(resident->bytes),
              MIB(memory_used(memory)), clock_seconds_since(memory->work_started_ns) * 1e3,
              why ? " reason=" : "", why ? log_quote(reason, sizeof reason, str_of(why)) : "");
}

static void settle(struct resident *resident, const struct err *error)
{
    resident->order = 0;
    resident->ops->settled(resident, error);
}

static void after_load(uv_work_t *work, int status)
{
    struct resident *resident = work->data;
    struct memory *memory = resident->memory;

    (void)status;                       /* nobody cancels it */
    memory->working = false;
    resident->state = resident->loaded ? RESIDENT_HERE : RESIDENT_AWAY;
    resident->idle_since = uv_now(memory->loop);
    if (resident->loaded) {
        say(resident, LOG_INFO, "model_loaded", NULL);
        settle(resident, NULL);
    } else {
        struct err error;
        say(resident, LOG_WARN, "model_failed", resident->error.text);
        err_set(&error, ERR_NOT_FOUND, "model: %.*s can't be loaded: %s", STR_ARG(resident->name),
                resident->error.text);
        settle(resident, &error);
    }
    turn(memory);
}

static void after_unload(uv_work_t *work, int status)
{
    struct resident *resident = work->data;
    struct memory *memory = resident->memory;

    (void)status;
    memory->working = false;
    resident->state = RESIDENT_AWAY;
    say(resident, LOG_INFO, "model_unloaded", NULL);
    turn(memory);
}

static void start(struct resident *resident, enum residence state, uv_work_cb work,
                  uv_after_work_cb after)
{
    struct memory *memory = resident->memory;

    memory->working = true;
    memory->work_started_ns = clock_ns();
    resident->state = state;
    resident->work.data = resident;
    const int rc = uv_queue_work(memory->loop, &resident->work, work, after);
    assert(rc == 0);                    /* fails for a missing callback only */
    (void)rc;
}

/* ---- deciding ---- */

uint64_t memory_used(const struct memory *memory)
{
    uint64_t bytes = 0;

    for (const struct resident *r = memory->residents; r; r = r->next)
        bytes += r->state == RESIDENT_AWAY ? 0 : r->bytes;
    return bytes;
}

static bool may_go(const struct resident *resident)
{
    return resident->state == RESIDENT_HERE && !resident->stays && resident->users == 0;
}

static struct resident *longest_wanted(const struct memory *memory)
{
    struct resident *first = NULL;

    for (struct resident *r = memory->residents; r; r = r->next)
        if (r->order && r->state == RESIDENT_AWAY && (!first || r->order < first->order))
            first = r;
    return first;
}

static struct resident *longest_idle(const struct memory *memory)
{
    struct resident *first = NULL;

    for (struct resident *r = memory->residents; r; r = r->next)
        if (may_go(r) && (!first || r->idle_since < first->idle_since))
            first = r;
    return first;
}

/* What would be left in use if all went that may. */
static uint64_t unmovable(const struct memory *memory)
{
    uint64_t bytes = memory_used(memory);

    for (const struct resident *r = memory->residents; r; r = r->next)
        bytes -= may_go(r) ? r->bytes : 0;
    return bytes;
}

/* Room for it: there already, being made (one who is idle goes), or not to be had. */
static void make_room(struct memory *memory, struct resident *wanted)
{
    struct err error;

    if (memory->bytes_max == 0 || memory_used(memory) + wanted->bytes <= memory->bytes_max) {
        start(wanted, RESIDENT_LOADING, work_load, after_load);
    } else if (wanted->bytes > memory->bytes_max) {
        err_set(&error, ERR_NOT_FOUND, "model: %.*s needs %llu MiB of memory, more than the %llu "
                "MiB that models may take here", STR_ARG(wanted->name), MIB(wanted->bytes),
                MIB(memory->bytes_max));
        settle(wanted, &error);
    } else if (unmovable(memory) + wanted->bytes > memory->bytes_max) {
        err_set(&error, ERR_OVERLOADED, "no room for model %.*s now: it needs %llu MiB, and models "
                "in use take %llu of %llu MiB; try again later", STR_ARG(wanted->name),
                MIB(wanted->bytes), MIB(unmovable(memory)), MIB(memory->bytes_max));
        settle(wanted, &error);
    } else {
        start(longest_idle(memory), RESIDENT_LEAVING, work_unload, after_unload);
    }
}

/* The loop time at which a model has been idle for long enough; UINT64_MAX: it hasn't to go. */
static uint64_t leaves_at(const struct memory *memory, const struct resident *resident)
{
    return memory->idle_ms && may_go(resident) ? resident->idle_since + memory->idle_ms
                                               : UINT64_MAX;
}

static void turn(struct memory *memory)
{
    const uint64_t now = uv_now(memory->loop);
    uint64_t next = UINT64_MAX;
    struct resident *wanted;

    while (!memory->working && (wanted = longest_wanted(memory))) {
        if (wanted->users == 0)
            wanted->order = 0;          /* all who waited have gone */
        else
            make_room(memory, wanted);
    }
    for (struct resident *r = memory->residents; r; r = r->next) {
        if (!memory->working && leaves_at(memory, r) <= now)
            start(r, RESIDENT_LEAVING, work_unload, after_unload);
        if (leaves_at(memory, r) < next)
            next = leaves_at(memory, r);
    }
    if (!memory->working && next != UINT64_MAX)
        timer_set(memory, next > now ? next - now : 0);
}

static void on_timer(uv_timer_t *timer)
{
    turn(timer->data);
}

/* Somebody waits for turn() with 0; an idle model waits for nobody. */
static void timer_set(struct memory *memory, uint64_t ms)
{
    uv_timer_start(&memory->timer, on_timer, ms, 0);
}

bool resident_enter(struct resident *resident)
{
    struct memory *memory = resident->memory;

    resident->users++;
    if (resident->state == RESIDENT_HERE)
        return true;
    if (resident->order == 0)
        resident->order = ++memory->orders;
    if (!memory->working)
        timer_set(memory, 0);           /* not now: the caller isn't ready for its answer */
    return false;
}

void resident_leave(struct resident *resident)
{
    struct memory *memory = resident->memory;

    assert(resident->users > 0);
    if (--resident->users > 0)
        return;
    resident->idle_since = uv_now(memory->loop);
    if (!memory->working && leaves_at(memory, resident) != UINT64_MAX &&
        !uv_is_active((uv_handle_t *)&memory->timer))
        timer_set(memory, memory->idle_ms);
}

/* ---- its own life ---- */

struct memory *memory_new(uv_loop_t *loop, uint64_t bytes_max, uint64_t idle_ms)
{
    struct memory *memory = calloc(1, sizeof *memory);

    if (!memory)
        abort();                        /* at start: there is nothing to go on with */
    *memory = (struct memory){.loop = loop, .bytes_max = bytes_max, .idle_ms = idle_ms};
    uv_timer_init(loop, &memory->timer);
    memory->timer.data = memory;
    uv_unref((uv_handle_t *)&memory->timer);
    return memory;
}

static void closed(uv_handle_t *handle)
{
    free(handle->data);
}

void memory_free(struct memory *memory)
{
    if (memory)
        uv_close((uv_handle_t *)&memory->timer, closed);
}

void memory_add(struct memory *memory, struct resident *resident)
{
    resident->memory = memory;
    resident->next = memory->residents;
    resident->order = 0;
    resident->users = 0;
    resident->idle_since = uv_now(memory->loop);
    memory->residents = resident;
    if (leaves_at(memory, resident) != UINT64_MAX)
        timer_set(memory, memory->idle_ms);
}
