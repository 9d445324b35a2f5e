/* config.h - what a person may set, where it came from, and what it is worth.
 *
 * An option is one row of options[] in options.c. The row makes the config-file key, the
 * PENSIEVE_... environment variable, the --flag, the --help text and the tables in docs/. A flag
 * beats the environment, the environment the file, the file the default; a list is replaced as a
 * whole by the higher source. Every error names the place that was wrong. */
#ifndef PENSIEVE_APP_CONFIG_H
#define PENSIEVE_APP_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

enum {
    CONFIG_FILE_BYTES_MAX = 1 << 20,
    CONFIG_VALUE_BYTES_MAX = 4096,
    CONFIG_LIST_MAX = 1024,             /* values of one repeatable option */
    CONFIG_KEY_BYTES_MAX = 512,         /* of one credential */
    CONFIG_PATH_BYTES_MAX = 4096,
};

/* Which commands an option is for: a bit each. */
enum command_bit {
    FOR_SERVE = 1, FOR_BENCH = 2, FOR_TOKENS = 4, FOR_PROMPT = 8, FOR_CHECK = 16, FOR_OPTIONS = 32,
    FOR_LIST = 64, FOR_PULL = 128,
};

struct config_list {
    struct str *items;                  /* NUL-terminated, too */
    size_t n;
};

/* Texts are never NULL; "" is "not set". */
struct config {
    /* the model and the engine */
    struct config_list models;          /* at least one */
    const char *models_dir, *model_id, *cpu;
    uint64_t threads, context, kv_memory, prefill_chunk, sequences_max, queue_max, seed;
    uint64_t step_ms;
    struct config_list aliases;
    uint64_t memory_max, model_idle_ms;
    const char *sampling;
    const char *cache_dir;              /* "" where there is no place for one */
    uint64_t cache_disk_max;
    const char *longrope, *speculate;
    /* the server */
    const char *host, *key_file;
    uint64_t port;
    struct config_list keys, allowed_hosts, allowed_origins;
    bool require_key, cache_shared, strict;
    /* limits and times (ms) */
    uint64_t head_bytes_max, body_bytes_max, connections_max;
    uint64_t head_timeout_ms, body_timeout_ms, idle_timeout_ms;
    uint64_t ping_ms, keepalive_ms, drain_ms;
    /* seeing what happens */
    const char *trace_dir, *log_level;
    const char *config_file;
    /* flags of single commands */
    bool plain, json;
    uint64_t decode_tokens, rounds, stall_ms;
    struct config_list lengths, batches;
    const char *format;

    /* not options: what the command line held besides */
    struct config_list args;
    struct config_list unknown_variables;       /* PENSIEVE_... names that are no option */
    bool help;
    bool keys_configured;               /* keys are a person's, not the default one */
    bool models_dir_chosen;             /* not the usual one */
};

enum option_type {
    OPTION_TEXT, OPTION_NUMBER, OPTION_BYTES, OPTION_TIME, OPTION_BOOL, OPTION_CHOICE, OPTION_LIST,
};

enum option_reach { FROM_ANYWHERE, NOT_FROM_FILE, FLAG_ONLY };

struct option {
    const char *name;                   /* "kv-memory"; also PENSIEVE_KV_MEMORY */
    enum option_type type;
    size_t offset;                      /* in struct config */
    unsigned commands;                  /* FOR_... bits */
    enum option_reach reach;
    const char *fallback;               /* the default, as a person would write it; a list's: its
                                         * only value */
    uint64_t min, max;                  /* numbers, bytes, milliseconds */
    const char *metavar;                /* "PATH"; a choice: "debug|info|warn" */
    const char *section;                /* heading in --help and the docs, on a section's first row */
    const char *help;                   /* one line */
};

extern const struct option options[];
extern const size_t options_n;

/* Reads the defaults, the file, the environment and the flags of one command, in that order of
 * rising rank. argv: what follows the command's name. envp: "NAME=value" strings. ERR_USAGE. All
 * strings live in the arena. */
bool config_load(struct config *config, struct arena *arena, enum command_bit command,
                 char *const *argv, size_t argc, char *const *envp, struct err *err);

/* Reads one value into its field. A list grows by it. where: "--port", "PENSIEVE_PORT",
 * "pensieve.conf line 3: port"; an error begins with it. The value of a key is never repeated. */
bool option_set(struct config *config, struct arena *arena, const struct option *option,
                struct str value, const char *where, struct err *err);
void option_clear(struct config *config, const struct option *option);     /* a list, before a
                                                                           * higher source */
const struct option *option_find(struct str name);
const struct option *option_nearest(struct str name);   /* for "did you mean"; NULL: none is near */
/* "PENSIEVE_KV_MEMORY" */
struct str option_variable(struct arena *arena, const struct option *option);
/* How many letters must change to make one word of the other (a swap counts as one). */
size_t word_distance(struct str a, struct str b);
enum { WORD_NEAR = 2 };

#endif
