/* app.h - the commands of the program: one row each in commands[], one cmd_*.c each. */
#ifndef PENSIEVE_APP_APP_H
#define PENSIEVE_APP_APP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "app/config.h"
#include "app/models.h"
#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "pensieve/engine.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_WRONG_USE = 2 };
enum { APP_INPUT_BYTES_MAX = 64 << 20 };        /* a text or request given to tokens and prompt */

struct command {
    const char *name;
    unsigned bits;              /* of whose options it takes */
    size_t args_max;            /* plain words it takes; SIZE_MAX: one, and all that follows it */
    const char *usage;          /* "check [options] MODEL" */
    const char *summary;        /* one line */
    const char *details;        /* a few lines for its own --help */
    /* false: err says why, and the program ends with EXIT_FAILED (EXIT_WRONG_USE: ERR_USAGE). */
    bool (*run)(const struct config *config, struct arena *arena, struct err *err);
};

extern const struct command commands[];
extern const size_t commands_n;

bool cmd_serve(const struct config *config, struct arena *arena, struct err *err);
bool cmd_bench(const struct config *config, struct arena *arena, struct err *err);
bool cmd_tokens(const struct config *config, struct arena *arena, struct err *err);
bool cmd_prompt(const struct config *config, struct arena *arena, struct err *err);
bool cmd_check(const struct config *config, struct arena *arena, struct err *err);
bool cmd_list(const struct config *config, struct arena *arena, struct err *err);
bool cmd_pull(const struct config *config, struct arena *arena, struct err *err);
bool cmd_launch(const struct config *config, struct arena *arena, struct err *err);
bool cmd_options(const struct config *config, struct arena *arena, struct err *err);

/* help.c */
void help_print(FILE *out);
void help_command(FILE *out, const struct command *command);
void help_options_markdown(FILE *out);
void help_options_man(FILE *out);

/* model.c: what the options mean by a model. */
struct models app_models(const struct config *config, struct arena *arena);
/* For what is measured or checked, and so must be computed: with no pages from disk. */
struct engine *app_engine_alone(const struct config *config, const char *path, struct err *err);
/* The only model of a command that takes one. */
struct engine *app_engine_only(const struct config *config, struct arena *arena, struct err *err);
/* context: 0: the model's own */
struct engine *app_engine_open(const struct config *config, const char *path, uint32_t context,
                               struct err *err);
uint32_t app_threads(const struct config *config);      /* 0 turned into this machine's number */
/* The configured host and this port as a URL; one that means "all" is reached through loopback. */
struct str app_url(const struct config *config, struct arena *arena, uint16_t port);
const char *app_size_text(struct arena *arena, uint64_t bytes);         /* "93.8 MiB" */

/* sequence.c: one sequence from its prompt to its end, waited for. text: what it wrote is appended;
 * may be NULL. A sequence that failed is an error. */
struct buf;
bool app_sequence(struct engine *engine, const struct tokens *prompt, uint32_t max_tokens,
                  struct sampling sampling, struct buf *text, struct sequence_result *result,
                  struct err *err);

/* input.c: all of a file, or of standard input where path is "-" or NULL. */
bool app_read(struct arena *arena, const char *path, struct str *out, struct err *err);

#endif
