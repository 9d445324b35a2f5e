/* main.c - which command, with which options; errors become one line and an exit code.
 *
 * 0: done. 1: it went wrong. 2: it was asked for in a wrong way. */
#include "app/app.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/log.h"

extern char **environ;

const struct command commands[] = {
    {"serve", FOR_SERVE, 0, "serve [options]", "answer the Anthropic Messages API",
     "Loads the model, listens, and prints one line when it is ready. SIGTERM or Ctrl-C: no new\n"
     "requests are taken, running answers are finished; a second one ends at once.\n",
     cmd_serve},
    {"pull", FOR_PULL, 1, "pull [options] OWNER/NAME[:FILE][@REVISION]",
     "get a model from Hugging Face into the models folder",
     "A folder's weights and what belongs to them, or the GGUF file that FILE names (the whole name,\n"
     "a part of it, or a pattern; without it Q4_K_M, or the only one). What was broken off goes on;\n"
     "every file is checked. HF_ENDPOINT names another hub, HF_TOKEN lets you in to gated models.\n",
     cmd_pull},
    {"list", FOR_LIST, 0, "list [options]", "the models in the models folder",
     "Opens each as serve would and says what it is: its name, form, architecture, weights, size,\n"
     "context, and whether it will run; where it won't, why.\n",
     cmd_list},
    {"bench", FOR_BENCH, 0, "bench [options]", "measure prefill and decode at growing context",
     "Prompts of synthetic tokens through the whole engine, one after the other: how fast a prompt\n"
     "of a length is read, and how fast answers come after it, one or --batch of them at once.\n",
     cmd_bench},
    {"tokens", FOR_TOKENS, 1, "tokens [options] [TEXT]", "a text as the model's tokens",
     "Prints each token's number and spelling, a line each. Reads standard input without TEXT.\n",
     cmd_tokens},
    {"prompt", FOR_PROMPT, 1, "prompt [options] [REQUEST.json]",
     "the exact text the model sees for a request",
     "Takes the JSON body of a POST /v1/messages, from a file or standard input. The text goes to\n"
     "standard output, the number of its tokens to standard error.\n",
     cmd_prompt},
    {"check", FOR_CHECK, 1, "check [options] [MODEL]", "say what a model is, and whether it runs",
     "Reads every file of it, says what it is, what its chat template can do and what memory it\n"
     "takes, and lets it write a word. MODEL: a GGUF file, a folder, or a name as `list` shows it.\n"
     "Without it: whether the sections of the configuration file lead somewhere.\n",
     cmd_check},
    {"launch", FOR_LAUNCH | FOR_SERVE, SIZE_MAX, "launch [options] claude [ARGUMENT...]",
     "run Claude Code on a model of this machine",
     "Uses the server that answers on --host and --port, or else starts one with these options and\n"
     "ends it afterwards. Claude Code gets its settings as variables of that one process, and all\n"
     "that follows `claude` as its arguments. --model: with a running server, one that it has.\n",
     cmd_launch},
    {"options", FOR_OPTIONS, 0, "options [--format text|markdown|man]",
     "all options, as text, markdown or a man page",
     "docs/options.md and docs/pensieve.1 are made by this.\n",
     cmd_options},
};

const size_t commands_n = sizeof(commands) / sizeof(commands[0]);

static const struct command *command_find(struct str name, struct err *err)
{
    const struct command *nearest = NULL;
    size_t least = WORD_NEAR + 1;
    for (size_t i = 0; i < commands_n; i++) {
        size_t distance = word_distance(name, str_of(commands[i].name));
        if (distance == 0) {
            return &commands[i];
        }
        if (distance < least) {
            least = distance;
            nearest = &commands[i];
        }
    }
    err_set(err, ERR_USAGE, "there is no command %.60s; %s%s%s", name.s,
            nearest ? "did you mean " : "`pensieve --help` lists them",
            nearest ? nearest->name : "", nearest ? "?" : "");
    return NULL;
}

static bool run(const struct command *command, struct arena *arena, char **words, size_t words_n,
                struct err *err)
{
    struct config config;
    enum log_level level;
    if (!config_load(&config, arena, command->bits, words, words_n, environ, err)) {
        return false;
    }
    if (config.help) {
        help_command(stdout, command);
        return true;
    }
    if (config.args.n > command->args_max) {
        return err_set(err, ERR_USAGE, "%.60s: one word too many; usage: pensieve %s",
                       config.args.items[command->args_max].s, command->usage);
    }
    if (log_level_parse(str_of(config.log_level), &level)) {
        log_set_level(level);
    }
    for (size_t i = 0; i < config.unknown_variables.n; i++) {
        log_event(LOG_WARN, "unknown_variable", "name=%s", config.unknown_variables.items[i].s);
    }
    return command->run(&config, arena, err);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);           /* a reader that went away is an error of its write */
    const char *name = argc > 1 ? argv[1] : "--help";
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        puts("pensieve " PENSIEVE_VERSION);
        return EXIT_OK;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        help_print(argc > 1 ? stdout : stderr);
        return argc > 1 ? EXIT_OK : EXIT_WRONG_USE;
    }
    struct err err = {0};
    struct arena *arena = arena_new(1 << 16);
    const struct command *command = command_find(str_of(name), &err);
    bool done = command && run(command, arena, argv + 2, (size_t)argc - 2, &err);
    arena_free(arena);
    if (!done) {
        fprintf(stderr, "pensieve: %s\n", err.text);
        return err.code == ERR_USAGE ? EXIT_WRONG_USE : EXIT_FAILED;
    }
    if (fflush(stdout) != 0) {
        perror("pensieve: standard output");
        return EXIT_FAILED;
    }
    return EXIT_OK;
}
