/* backend.h - who answers a request: the engine in this process now; bridges and upstreams later.
 *
 * Every call is made on the loop thread and returns at once; events come later, on that thread too.
 * A generation reports GEN_STARTED (its prompt is checked, measured and queued, and the engine has
 * begun, or is busy) at most once, any number of block events, then exactly one GEN_DONE or
 * GEN_FAILED, also after a cancel. Until that event the backend reads the request and its arena;
 * after it the generation is dead and nothing of the caller's is held. */
#ifndef PENSIEVE_BACKEND_BACKEND_H
#define PENSIEVE_BACKEND_BACKEND_H

#include <stdbool.h>
#include <uv.h>

#include "api/generation.h"
#include "api/model_card.h"
#include "api/request.h"
#include "base/arena.h"
#include "base/err.h"

struct backend;
struct generation;

typedef void gen_event_fn(void *context, const struct gen_event *event);
/* error NULL: fine */
typedef void count_fn(void *context, uint32_t input_tokens, const struct err *error);
/* error NULL: it could take a request now */
typedef void probe_fn(void *context, const struct err *error);

enum { BACKEND_RANKS = 4 };             /* main, agent, side, batch: the engine's */

struct backend_status {
    bool ready;                         /* it can take requests; not: it has its model loaded */
    const char *state;                  /* "ready", "unloaded", "loading", "unloading" */
    uint64_t memory_bytes;              /* weights and the reserve for keys and values, if loaded */
    const char *kind;                   /* "native", "mlx", "upstream", "pool", "chain" */
    const char *cpu;
    uint32_t queued, running, sequences_max, queue_max;
    struct {
        uint32_t queued;
        uint64_t admitted;              /* since the model was loaded, and */
        double waited_ms;               /* how long they were queued, all together */
    } ranks[BACKEND_RANKS];
    uint32_t retry_after_s;             /* for who is refused now; 0: not known */
    uint64_t prefill_tokens, preemptions;
    uint64_t kv_bytes_total, kv_bytes_used, kv_bytes_cached;
    uint64_t prompt_tokens, cached_tokens, output_tokens;
    uint64_t decode_steps, drafted_tokens, accepted_tokens;
    double prefill_tps, decode_tps;
    struct {
        uint64_t entries, bytes, file_bytes;
        uint64_t found, missed;         /* answers that clients sent back, since the start */
    } replays;
};

/* One of those that a backend chooses from. */
struct backend_member {
    const char *name;
    const char *kind;                   /* of its backend */
    const char *state;                  /* "ready", "trying", "resting" (for retry_ms) */
    uint64_t retry_ms;
    uint32_t running;                   /* this backend's answers and counts it is at now */
    uint64_t served, failed, moved;     /* since the start; moved: conversations lost */
    const char *why;                    /* how it failed last; NULL: it never did */
};

struct backend_ops {
    const char *kind;
    /* arena: the exchange's; the backend may allocate in it until the last event. */
    struct generation *(*generate)(struct backend *backend, struct arena *arena,
                                   const struct message_request *request, gen_event_fn *on_event,
                                   void *context, struct err *err);
    /* The same rendering and tokenising as generate; never queued behind generation. The callback
     * comes exactly once; the arena and request must live until then. */
    bool (*count)(struct backend *backend, struct arena *arena,
                  const struct message_request *request, count_fn *on_count, void *context,
                  struct err *err);
    void (*pause)(struct generation *generation);   /* the reader is full: hold your tokens */
    void (*resume)(struct generation *generation);
    void (*cancel)(struct generation *generation);
    void (*status)(struct backend *backend, struct backend_status *status);
    /* Whether it could take a request, found out by a small one where it is far away. The callback
     * comes exactly once, but not after free; it keeps no loop from returning. NULL: status says
     * it. */
    bool (*probe)(struct backend *backend, probe_fn *on_probe, void *context, struct err *err);
    /* The i-th of those it chooses from. false: there are no more. NULL: it has none. */
    bool (*member)(struct backend *backend, size_t i, struct backend_member *out);
    void (*free)(struct backend *backend);          /* no generation may be alive */
};

struct backend {
    const struct backend_ops *ops;
    struct model_card card;
    bool passes;                        /* bodies as they came: what is refused here, it may take */
    bool sees;                          /* it may take images */
};

/* Whether it can be asked this. err: what the request wants that it can't do; may be NULL. */
bool backend_takes(const struct backend *backend, const struct message_request *request,
                   struct err *err);

/* The engine in this process: one model, in memory while it is asked for (memory.h). */
struct engine;
struct memory;

struct native_options {
    struct model_card card;             /* copied */
    /* Opens the model; called on the loop's work pool, again each time after it was unloaded. */
    struct engine *(*open)(void *context, struct err *err);
    void *context;
    struct engine *engine;              /* not NULL: it is open already, and stays */
    uint64_t bytes;                     /* of memory, once it is open */
    const char *cache_dir;              /* what was sampled outlives a restart here; or NULL */
    bool seeded;                        /* every request samples with this seed, so that equal */
    uint64_t seed;                      /* ones get equal answers; otherwise each draws its own */
    bool advised;                       /* what a request leaves out: as its makers advise */
};

/* On success the backend owns the engine. While no generation or count is under way it keeps no
 * loop from returning; its free leaves one closing handle on the loop. */
struct backend *native_new(uv_loop_t *loop, struct memory *memory,
                           const struct native_options *options, struct err *err);

#endif
