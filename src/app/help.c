/* help.c - the option rows as a person reads them: --help, a markdown table, a man page. */
#include "app/app.h"

#include "base/buf.h"

static bool has_default(const struct option *option)
{
    return option->fallback[0] && option->type != OPTION_BOOL;
}

void help_print(FILE *out)
{
    fputs("pensieve " PENSIEVE_VERSION " - a language model on this machine, behind the Anthropic "
          "Messages API\n\nusage: pensieve COMMAND [options]\n\n", out);
    for (size_t i = 0; i < commands_n; i++) {
        fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].summary);
    }
    fputs("\n`pensieve COMMAND --help` lists a command's options. Each can also stand in a file\n"
          "(~/.config/pensieve/pensieve.conf or --config PATH, lines of \"port = 7777\") and in the\n"
          "environment (PENSIEVE_PORT=7777); a flag beats the environment, which beats the file.\n",
          out);
}

static void help_row(FILE *out, const struct option *option)
{
    char flag[64];
    int n = snprintf(flag, sizeof(flag), "--%s", option->name);
    if (option->type != OPTION_BOOL && option->type != OPTION_CHOICE) {
        snprintf(flag + n, sizeof(flag) - (size_t)n, " %s", option->metavar);
    }
    fprintf(out, "  %-24s %s", flag, option->help);
    if (option->type == OPTION_CHOICE) {
        fprintf(out, ": %s", option->metavar);
    }
    if (has_default(option)) {
        fprintf(out, " [%s]", option->fallback);
    }
    fputc('\n', out);
}

void help_command(FILE *out, const struct command *command)
{
    fprintf(out, "pensieve %s - %s\n\nusage: pensieve %s\n\n%s", command->name, command->summary,
            command->usage, command->details);
    const char *section = NULL, *printed = NULL;
    for (size_t i = 0; i < options_n; i++) {
        section = options[i].section ? options[i].section : section;
        if (!(options[i].commands & command->bits)) {
            continue;
        }
        if (section != printed) {
            fprintf(out, "\n%s:\n", section);
            printed = section;
        }
        help_row(out, &options[i]);
    }
}

/* ---- documents ---- */

/* What a value may be, in the words of the rows. */
static void print_values(FILE *out, const struct option *option)
{
    switch (option->type) {
    case OPTION_CHOICE:
        for (const char *c = option->metavar; *c; c++) {
            if (*c == '|') {
                fputs(", ", out);
            } else {
                fputc(*c, out);
            }
        }
        return;
    case OPTION_BOOL:
        fputs("yes or no", out);
        return;
    case OPTION_NUMBER:
        fprintf(out, "%llu to %llu", (unsigned long long)option->min,
                (unsigned long long)option->max);
        return;
    case OPTION_BYTES:
        fputs("bytes, KiB, MiB, GiB, TiB", out);
        return;
    case OPTION_TIME:
        fputs("ms, s, min, h", out);
        return;
    case OPTION_LIST:
        fputs("repeatable", out);
        return;
    case OPTION_TEXT:
        fputs(option->metavar, out);
        return;
    }
}

/* The columns value, default and meaning. */
static void print_rest(FILE *out, const struct option *option)
{
    print_values(out, option);
    if (option->fallback[0]) {
        fprintf(out, " | `%s` | %s |\n", option->fallback, option->help);
    } else {
        fprintf(out, " | | %s |\n", option->help);
    }
}

static void sections_markdown(FILE *out)
{
    for (size_t i = 0; i < section_kinds_n; i++) {
        const struct section_kind *kind = &section_kinds[i];
        fprintf(out, "\n## Sections of the file: `[%s NAME]`\n\n%s\n\n| line | value | default | "
                "meaning |\n|---|---|---|---|\n", kind->name, kind->help);
        for (size_t k = 0; k < kind->rows_n; k++) {
            fprintf(out, "| `%s` | ", kind->rows[k].name);
            print_rest(out, &kind->rows[k]);
        }
    }
}

void help_options_markdown(FILE *out)
{
    struct arena *arena = arena_new(1 << 14);
    fputs("# Options\n\n"
          "Made from the option rows (`src/app/options.c`, `sections.c`) by `make docs`; do not "
          "edit.\n\n"
          "A flag beats the environment, the environment beats the file, the file beats the "
          "default. In the file\n(`--config PATH`, else `$XDG_CONFIG_HOME/pensieve/pensieve.conf`, "
          "else `~/.config/pensieve/pensieve.conf`)\na line is `name = value` or a `#` comment; a "
          "repeatable option may stand on several lines. In the\nenvironment a repeatable option "
          "is one comma-separated variable. Lines after `[model NAME]` or\n`[upstream NAME]` "
          "belong to that section, to the next one or the file's end.\n", out);
    for (size_t i = 0; i < options_n; i++) {
        const struct option *option = &options[i];
        if (option->section) {
            fprintf(out, "\n## %s\n\n| option | variable | value | default | meaning |\n"
                    "|---|---|---|---|---|\n", option->section);
        }
        fprintf(out, "| `--%s` | ", option->name);
        if (option->reach == FLAG_ONLY) {
            fputs("- | ", out);
        } else {
            fprintf(out, "`%s` | ", option_variable(arena, option).s);
        }
        print_rest(out, option);
    }
    arena_free(arena);
    sections_markdown(out);
}

/* roff takes "-" for a hyphen and a leading "." for a request. */
static void man_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '-' || *text == '\\') {
            fputc('\\', out);
        }
        fputc(*text, out);
    }
}

/* What it is for, and what may stand there. */
static void man_meaning(FILE *out, const struct option *option)
{
    fputc('\n', out);
    man_text(out, option->help);
    if (option->fallback[0]) {
        fputs(". Default: ", out);
        man_text(out, option->fallback);
    }
    fputs(". Value: ", out);
    print_values(out, option);
    fputs(".\n", out);
}

static void sections_man(FILE *out)
{
    fputs(".SH SECTIONS OF THE FILE\n", out);
    for (size_t i = 0; i < section_kinds_n; i++) {
        const struct section_kind *kind = &section_kinds[i];
        fprintf(out, ".SS \"[%s NAME]\"\n", kind->name);
        man_text(out, kind->help);
        fputc('\n', out);
        for (size_t k = 0; k < kind->rows_n; k++) {
            fputs(".TP\n.B ", out);
            man_text(out, kind->rows[k].name);
            man_meaning(out, &kind->rows[k]);
        }
    }
}

void help_options_man(FILE *out)
{
    fputs(".TH PENSIEVE 1 \"\" \"pensieve " PENSIEVE_VERSION "\" \"User Commands\"\n"
          ".SH NAME\npensieve \\- a language model on this machine, behind the Anthropic Messages "
          "API\n.SH SYNOPSIS\n", out);
    for (size_t i = 0; i < commands_n; i++) {
        fputs(i ? ".br\n.B pensieve\n" : ".B pensieve\n", out);
        man_text(out, commands[i].usage);
        fputc('\n', out);
    }
    fputs(".SH COMMANDS\n", out);
    for (size_t i = 0; i < commands_n; i++) {
        fprintf(out, ".TP\n.B %s\n", commands[i].name);
        man_text(out, commands[i].details);
    }
    for (size_t i = 0; i < options_n; i++) {
        const struct option *option = &options[i];
        if (option->section) {
            fputs(i ? ".SS \"" : ".SH OPTIONS\nEach can stand in the file and, as PENSIEVE_NAME, "
                  "in the environment too.\n.SS \"", out);
            fprintf(out, "%s\"\n", option->section);
        }
        fputs(".TP\n.B \\-\\-", out);
        man_text(out, option->name);
        if (option->metavar) {
            fputs(" \\fI", out);
            man_text(out, option->metavar);
            fputs("\\fR", out);
        }
        man_meaning(out, option);
    }
    sections_man(out);
    fputs(".SH FILES\n.TP\n.I ~/.config/pensieve/pensieve.conf\nLines of \"name = value\".\n"
          ".SH EXIT STATUS\n0: done. 1: it went wrong. 2: it was asked for in a wrong way.\n", out);
}

static void sections_text(FILE *out)
{
    for (size_t i = 0; i < section_kinds_n; i++) {
        const struct section_kind *kind = &section_kinds[i];
        fprintf(out, "\nLines of the file after [%s NAME]:\n", kind->name);
        for (size_t k = 0; k < kind->rows_n; k++) {
            const struct option *row = &kind->rows[k];
            fprintf(out, "  %-24s %s", row->name, row->help);
            if (has_default(row)) {
                fprintf(out, " [%s]", row->fallback);
            }
            fputc('\n', out);
        }
    }
}

bool cmd_options(const struct config *config, struct arena *arena, struct err *err)
{
    if (strcmp(config->format, "markdown") == 0) {
        help_options_markdown(stdout);
    } else if (strcmp(config->format, "man") == 0) {
        help_options_man(stdout);
    } else {
        for (size_t i = 0; i < options_n; i++) {
            if (options[i].section) {
                printf("%s%s:\n", i ? "\n" : "", options[i].section);
            }
            help_row(stdout, &options[i]);
        }
        sections_text(stdout);
    }
    return true;
}
