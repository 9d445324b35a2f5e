/* config.h - what a person may set, where it came from, and what it is worth.
 *
 * An option is one row of options[] in options.c. The row makes the config-file key, the
 * PENSIEVE_... environment variable, the --flag, the --help text and the tables in docs/. A flag
 * beats the environment, the environment the file, the file the default; a list is replaced as a
 * whole by the higher source. Every error names the place that was wrong.
 *
 * What there may be several of has a section of the file each, "[model NAME]" or "[upstream NAME]",
 * with rows of its own in sections.c; of them there are no flags and no variables. */
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
    CONFIG_SECTIONS_MAX = 64,           /* of one kind */
    CONFIG_MEMBERS_MAX = 32,            /* upstreams of a model, or fallbacks */
    CONFIG_NAME_BYTES_MAX = 128,        /* a section's */
    CONFIG_CONTEXT_UNKNOWN = 200000,    /* of a model that is elsewhere, where nobody says it */
};

/* Which commands an option is for: a bit each. */
enum command_bit {
    FOR_SERVE = 1, FOR_BENCH = 2, FOR_TOKENS = 4, FOR_PROMPT = 8, FOR_CHECK = 16, FOR_OPTIONS = 32,
    FOR_LIST = 64, FOR_PULL = 128,
    FOR_LAUNCH = 256,                   /* beside FOR_SERVE: it may start a server */
};

struct config_list {
    struct str *items;                  /* NUL-terminated, too */
    size_t n;
};

/* A section of the file; what it fills begins with this. */
struct config_section {
    const char *name;                   /* visible ASCII, and unlike that of others of its kind */
    const char *where;                  /* "pensieve.conf line 12: [model NAME]" */
};

/* [model NAME]: a model of the server, and who answers for it. */
struct config_model {
    struct config_section section;
    const char *backend;                /* "native", "mlx", "upstream" */
    const char *path;
    struct config_list upstreams, fallbacks, aliases;
    const char *display_name;
    uint64_t context, max_tokens;
    uint64_t processes;
    const char *python;
    uint64_t probe_ms;
};

/* [upstream NAME]: a server that speaks the Anthropic or the OpenAI API. */
struct config_upstream {
    struct config_section section;
    const char *url, *kind, *model;
    const char *key_file, *key_env;
    const char *key;                    /* what those two led to; "": none. Never shown. */
    const char *extra;
    uint64_t connect_ms, first_byte_ms, stall_ms, retries;
    bool insecure;
};

/* In the file's order. Each item is one of the structs above. */
struct config_sections {
    void **items;
    size_t n;
};

/* Texts are never NULL; "" is "not set". */
struct config {
    /* the model and the engine */
    struct config_list models;          /* at least one; none: the first section is served */
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
    const char *launch_log;             /* "" where there is no place for one */
    /* flags of single commands */
    bool plain, json;
    uint64_t decode_tokens, rounds, stall_ms;
    struct config_list lengths, batches;
    const char *format;

    /* sections of the file */
    struct config_sections model_sections, upstream_sections;

    /* not options: what the command line held besides */
    struct config_list args;
    struct config_list unknown_variables;       /* PENSIEVE_... names that are no option */
    bool help;
    bool keys_configured;               /* keys are a person's, not the default one */
    bool models_dir_chosen;             /* not the usual one */
    bool models_chosen;                 /* not the default one */
};

enum option_type {
    OPTION_TEXT, OPTION_NUMBER, OPTION_BYTES, OPTION_TIME, OPTION_BOOL, OPTION_CHOICE, OPTION_LIST,
};

enum option_reach { FROM_ANYWHERE, NOT_FROM_FILE, FLAG_ONLY };

struct option {
    const char *name;                   /* "kv-memory"; also PENSIEVE_KV_MEMORY */
    enum option_type type;
    size_t offset;                      /* in struct config, or in what its section fills */
    unsigned commands;                  /* FOR_... bits */
    enum option_reach reach;
    const char *fallback;               /* the default, as a person would write it; a list's: its
                                         * only value */
    uint64_t min, max;                  /* numbers, bytes, milliseconds */
    const char *metavar;                /* "PATH"; a choice: "debug|info|warn" */
    const char *section;                /* heading in --help and the docs, on its first row */
    const char *help;                   /* one line */
};

extern const struct option options[];
extern const size_t options_n;

/* Reads the defaults, the file, the environment and the flags of one command, in that order of
 * rising rank. commands: the bits of whose options it takes; with FOR_LAUNCH all that follows its
 * first plain word is plain words too. argv: what follows the command's name. envp: "NAME=value"
 * strings. ERR_USAGE. All strings live in the arena. */
bool config_load(struct config *config, struct arena *arena, unsigned commands,
                 char *const *argv, size_t argc, char *const *envp, struct err *err);

/* Reads one value into its field. A list grows by it. fields: a struct config, or what a section
 * fills. where: "--port", "PENSIEVE_PORT", "pensieve.conf line 3: port"; an error begins with it.
 * The value of a key is never repeated. */
bool option_set(void *fields, struct arena *arena, const struct option *option, struct str value,
                const char *where, struct err *err);
void option_clear(struct config *config, const struct option *option);     /* a list, before a
                                                                           * higher source */
const struct option *option_find(struct str name);
const struct option *option_find_in(const struct option *rows, size_t n, struct str name);
/* For "did you mean"; NULL: none is near. */
const struct option *option_nearest(const struct option *rows, size_t n, struct str name);
/* Says so, with the nearest of the rows. */
bool option_unknown(const struct option *rows, size_t n, struct str name, const char *before,
                    struct err *err);

/* A kind of section. */
struct section_kind {
    const char *name;                   /* "model" */
    const char *help;                   /* what it is for, one paragraph */
    const struct option *rows;
    size_t rows_n;
    size_t size;                        /* of what it fills */
    size_t offset;                      /* of its struct config_sections in struct config */
};

extern const struct section_kind section_kinds[];
extern const size_t section_kinds_n;

/* Begins the section of a line "[KIND NAME]" and says which rows the lines after it have. */
bool section_open(struct config *config, struct arena *arena, struct str line, const char *where,
                  const struct section_kind **kind, struct config_section **section,
                  struct err *err);
/* Its line "option = value"; lists take several values with commas between them. */
bool section_set(struct config_section *section, struct arena *arena,
                 const struct section_kind *kind, struct str name, struct str value,
                 const char *where, struct err *err);
/* What no single line can say: that the names lead somewhere, and each model has what its backend
 * needs. */
bool sections_settle(struct config *config, struct err *err);
/* Gives each upstream's section its key, from a file or the environment; warns where others may read such a file. */
bool sections_read_keys(const struct config *config, struct arena *arena, char *const *envp,
                        struct err *err);
const struct config_model *config_model_find(const struct config *config, struct str name);
/* Of one in this process: what --model would be given for it. */
const char *config_model_path(const struct config_model *model);
const struct config_upstream *config_upstream_find(const struct config *config, struct str name);
/* What a model's `upstream` means: that section, or a URL with what an upstream has by default. */
bool config_upstream_of(const struct config *config, struct arena *arena, struct str name,
                        struct config_upstream *out, struct err *err);

/* Text without the space around it; and the text before a separator, while the rest stays. */
struct str config_trim(struct str text);
struct str config_cut(struct str *rest, char separator);
/* Of an environment; NULL: it isn't there, or is empty. */
const char *config_variable(char *const *envp, const char *name);
/* Reads a small file whole. false with code ERR_NONE: it is not there. */
bool config_read_file(struct arena *arena, const char *path, struct str *out, struct err *err);
/* A key is visible ASCII, and not too long. */
bool config_key_check(struct str key, const char *where, struct err *err);

/* "PENSIEVE_KV_MEMORY" */
struct str option_variable(struct arena *arena, const struct option *option);
/* How many letters must change to make one word of the other (a swap counts as one). */
size_t word_distance(struct str a, struct str b);
enum { WORD_NEAR = 2 };

#endif
