/* config.c - the four places an option may come from, read in order of rising rank.
 *
 * The hard thing is to say exactly where a wrong value stands: a person has a flag, a variable and
 * a file in hand and must know which one to correct. So each source builds its own `where`. */
#include "app/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"

static const char default_key[] = "pensieve-local-token";

/* A flag as it stands on the command line; `value` has s == NULL where it has none. */
struct flag {
    const struct option *option;
    struct str value;
    const char *where;
};

struct flags {
    struct flag *items;
    size_t n;
};

struct str config_trim(struct str s)
{
    while (s.n > 0 && (*s.s == ' ' || *s.s == '\t')) {
        s.s++;
        s.n--;
    }
    while (s.n > 0 && strchr(" \t\r", s.s[s.n - 1])) {
        s.n--;
    }
    return s;
}

struct str config_cut(struct str *rest, char separator)
{
    const char *end = rest->n > 0 ? memchr(rest->s, separator, rest->n) : NULL;
    struct str head = {rest->s, end ? (size_t)(end - rest->s) : rest->n};
    rest->s += head.n + (end != NULL);
    rest->n -= head.n + (end != NULL);
    return head;
}

/* ---- the file ---- */

bool config_read_file(struct arena *arena, const char *path, struct str *out, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        enum err_code code = errno == ENOENT || errno == ENOTDIR ? ERR_NONE : ERR_USAGE;
        return err_set(err, code, "%s: %s", path, strerror(errno));
    }
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size > CONFIG_FILE_BYTES_MAX) {
        close(fd);
        return err_set(err, ERR_USAGE, "%s: not a regular file of at most %d bytes", path,
                       CONFIG_FILE_BYTES_MAX);
    }
    size_t size = (size_t)info.st_size;
    char *bytes = arena_alloc(arena, size);
    ssize_t got = io_read(fd, bytes, size, 0);
    int error = errno;
    close(fd);
    if (got < 0) {
        return err_set(err, ERR_USAGE, "%s: %s", path, strerror(error));
    }
    *out = (struct str){bytes, (size_t)got};
    return true;
}

/* Where a file is being read: before its first section, or in one. */
struct place {
    const char *where;
    bool *seen;                         /* by row of options[]: the file has set it */
    const struct section_kind *kind;    /* NULL: in none */
    struct config_section *section;
};

static bool read_option(struct config *config, struct arena *arena, struct str name,
                        struct str value, const struct place *place, struct err *err)
{
    const struct option *option = option_find(name);
    const char *before = arena_printf(arena, "%s: ", place->where).s;
    if (!option) {
        return option_unknown(options, options_n, name, before, err);
    }
    if (option->reach != FROM_ANYWHERE) {
        return err_set(err, ERR_USAGE, "%s%s has no meaning in a file", before, option->name);
    }
    if (!place->seen[option - options]) {
        place->seen[option - options] = true;
        option_clear(config, option);
    }
    return option_set(config, arena, option, value,
                      arena_printf(arena, "%s%s", before, option->name).s, err);
}

static bool read_line(struct config *config, struct arena *arena, struct str line,
                      struct place *place, struct err *err)
{
    line = config_trim(line);
    if (line.n == 0 || line.s[0] == '#') {
        return true;
    }
    if (line.s[0] == '[') {
        return section_open(config, arena, line, place->where, &place->kind, &place->section, err);
    }
    if (!memchr(line.s, '=', line.n)) {
        return err_set(err, ERR_USAGE, "%s: a line is \"option = value\" or a # comment",
                       place->where);
    }
    struct str name = config_trim(config_cut(&line, '='));
    line = config_trim(line);
    return place->kind ? section_set(place->section, arena, place->kind, name, line, place->where,
                                     err)
                       : read_option(config, arena, name, line, place, err);
}

static bool read_config_file(struct config *config, struct arena *arena, const char *path,
                             bool required, struct err *err)
{
    struct str text;
    struct err why = {0};
    if (!config_read_file(arena, path, &text, &why)) {
        return why.code == ERR_NONE && !required
                   ? true
                   : err_set(err, ERR_USAGE, "--config: %s", why.text);
    }
    const char *slash = strrchr(path, '/');
    const char *short_name = slash ? slash + 1 : path;
    struct place place = {.seen = arena_array(arena, options_n, sizeof(bool))};
    for (size_t line_n = 1; text.n > 0; line_n++) {
        struct str line = config_cut(&text, '\n');
        place.where = arena_printf(arena, "%s line %zu", short_name, line_n).s;
        if (!read_line(config, arena, line, &place, err)) {
            return false;
        }
    }
    return true;
}

const char *config_variable(char *const *envp, const char *name)
{
    size_t n = strlen(name);
    for (; *envp; envp++) {
        if (strncmp(*envp, name, n) == 0 && (*envp)[n] == '=' && (*envp)[n + 1]) {
            return *envp + n + 1;
        }
    }
    return NULL;
}

/* Where the XDG rules have a thing of ours: under the variable's folder, else under `usual` at
 * home; a relative one is to be ignored. n == 0: there is no home. */
static struct str own_path(struct arena *arena, char *const *envp, const char *name,
                           const char *usual, const char *thing)
{
    const char *base = config_variable(envp, name), *home = config_variable(envp, "HOME");
    if (base && *base == '/') {
        return arena_printf(arena, "%s/pensieve/%s", base, thing);
    }
    return home ? arena_printf(arena, "%s/%s/pensieve/%s", home, usual, thing) : (struct str){0};
}

/* The file that was asked for, or the usual place. */
static bool read_configured_file(struct config *config, struct arena *arena,
                                 const struct flags *flags, char *const *envp, struct err *err)
{
    const char *asked = config_variable(envp, "PENSIEVE_CONFIG");
    for (size_t i = 0; i < flags->n; i++) {
        if (strcmp(flags->items[i].option->name, "config") == 0) {
            asked = arena_cstr(arena, flags->items[i].value);
        }
    }
    if (asked) {
        return read_config_file(config, arena, asked, true, err);
    }
    struct str path = own_path(arena, envp, "XDG_CONFIG_HOME", ".config", "pensieve.conf");
    return path.n == 0 || path.n > CONFIG_PATH_BYTES_MAX ||
           read_config_file(config, arena, path.s, false, err);
}

/* ---- the environment ---- */

static bool read_variable(struct config *config, struct arena *arena, const struct option *option,
                          struct str value, const char *name, struct err *err)
{
    if (option->type != OPTION_LIST) {
        return option_set(config, arena, option, value, name, err);
    }
    option_clear(config, option);
    while (value.n > 0) {               /* a list: separated by commas */
        struct str item = config_trim(config_cut(&value, ','));
        if (item.n > 0 && !option_set(config, arena, option, item, name, err)) {
            return false;
        }
    }
    return true;
}

static bool read_environment(struct config *config, struct arena *arena, char *const *envp,
                             struct err *err)
{
    struct str prefix = STR("PENSIEVE_");
    for (; *envp; envp++) {
        struct str value = str_of(*envp);
        struct str name = config_cut(&value, '=');
        if (!str_starts(name, prefix) || value.n == 0) {
            continue;                   /* an empty variable is as good as none */
        }
        const struct option *found = NULL;
        for (size_t i = 0; i < options_n && !found; i++) {
            if (options[i].reach != FLAG_ONLY &&
                str_equal(name, option_variable(arena, &options[i]))) {
                found = &options[i];
            }
        }
        const char *where = arena_cstr(arena, name);
        if (found) {
            if (!read_variable(config, arena, found, value, where, err)) {
                return false;
            }
        } else if (config->unknown_variables.n < CONFIG_LIST_MAX) {
            struct config_list *list = &config->unknown_variables;
            if (!list->items) {
                list->items = arena_array(arena, CONFIG_LIST_MAX, sizeof(list->items[0]));
            }
            list->items[list->n++] = (struct str){where, name.n};
        }
    }
    return true;
}

/* ---- the flags ---- */

/* One `--name`, `--name=value`, `--name value` or `--no-name`. Takes a following word if it must. */
static bool read_flag(struct flags *flags, struct arena *arena, unsigned commands,
                      char *const *argv, size_t argc, size_t *at, struct err *err)
{
    struct str value = str_of(argv[*at] + 2);
    bool has_value = memchr(value.s, '=', value.n) != NULL;
    struct str name = config_cut(&value, '=');
    const struct option *option = option_find(name);
    bool negated = false;
    if (!option && str_starts(name, STR("no-"))) {
        option = option_find((struct str){name.s + 3, name.n - 3});
        negated = option && option->type == OPTION_BOOL;
        option = negated ? option : NULL;
    }
    if (!option) {
        return option_unknown(options, options_n, name, "--", err);
    }
    if (!(option->commands & commands)) {
        return err_set(err, ERR_USAGE, "--%s is an option, but not of this command", option->name);
    }
    const char *where = arena_printf(arena, "--%.*s", STR_ARG(name)).s;
    if (option->type == OPTION_BOOL) {
        if (negated && has_value) {
            return err_set(err, ERR_USAGE, "%s takes no value", where);
        }
        value = negated ? STR("no") : has_value ? value : STR("yes");
    } else if (!has_value) {
        if (*at + 1 == argc) {
            return err_set(err, ERR_USAGE, "%s needs a value: %s %s", where, where,
                           option->metavar);
        }
        value = str_of(argv[++*at]);
    }
    flags->items[flags->n++] = (struct flag){option, value, where};
    return true;
}

/* Sorts the command line into flags and plain words. */
static bool read_words(struct config *config, struct flags *flags, struct arena *arena,
                       unsigned commands, char *const *argv, size_t argc, struct err *err)
{
    bool only_words = false;
    flags->items = arena_array(arena, argc, sizeof(flags->items[0]));
    config->args.items = arena_array(arena, argc, sizeof(config->args.items[0]));
    for (size_t i = 0; i < argc; i++) {
        struct str word = str_of(argv[i]);
        if (only_words || !str_starts(word, STR("-")) || word.n == 1) {
            config->args.items[config->args.n++] = arena_str(arena, word);
            only_words = only_words || (commands & FOR_LAUNCH);
        } else if (str_is(word, "--")) {
            only_words = true;
        } else if (str_is(word, "-h") || str_is(word, "--help")) {
            config->help = true;
        } else if (!str_starts(word, STR("--"))) {
            return err_set(err, ERR_USAGE, "%.60s: options begin with two dashes; --help lists them",
                           word.s);
        } else if (!read_flag(flags, arena, commands, argv, argc, &i, err)) {
            return false;
        }
    }
    return true;
}

static bool apply_flags(struct config *config, struct arena *arena, const struct flags *flags,
                        struct err *err)
{
    bool *seen = arena_array(arena, options_n, sizeof(*seen));
    for (size_t i = 0; i < flags->n; i++) {
        const struct flag *flag = &flags->items[i];
        size_t row = (size_t)(flag->option - options);
        if (!seen[row]) {
            seen[row] = true;
            option_clear(config, flag->option);
        }
        if (!option_set(config, arena, flag->option, flag->value, flag->where, err)) {
            return false;
        }
    }
    return true;
}

/* ---- the keys ---- */

bool config_key_check(struct str key, const char *where, struct err *err)
{
    if (key.n > CONFIG_KEY_BYTES_MAX) {
        return err_set(err, ERR_USAGE, "%s: a key has at most %d bytes", where,
                       CONFIG_KEY_BYTES_MAX);
    }
    for (size_t i = 0; i < key.n; i++) {
        if (key.s[i] <= ' ' || key.s[i] > '~') {
            return err_set(err, ERR_USAGE, "%s: a key is visible ASCII without spaces", where);
        }
    }
    return true;
}

static bool read_key_file(struct config *config, struct arena *arena, struct err *err)
{
    struct str text;
    if (!config_read_file(arena, config->key_file, &text, err)) {
        err->code = ERR_USAGE;
        return err_prefix(err, "--key-file");
    }
    const struct option *option = option_find(STR("key"));
    size_t before = config->keys.n;
    for (size_t line_n = 1; text.n > 0; line_n++) {
        struct str line = config_trim(config_cut(&text, '\n'));
        if (line.n == 0 || line.s[0] == '#') {
            continue;
        }
        const char *where = arena_printf(arena, "%s line %zu", config->key_file, line_n).s;
        if (!config_key_check(line, where, err) ||
            !option_set(config, arena, option, line, where, err)) {
            return false;
        }
    }
    if (config->keys.n == before) {
        return err_set(err, ERR_USAGE, "--key-file: %s holds no key", config->key_file);
    }
    return true;
}

/* A key of the person's own puts the well-known default one out of use. */
static bool settle_keys(struct config *config, struct arena *arena, struct err *err)
{
    for (size_t i = 0; i < config->keys.n; i++) {
        if (!config_key_check(config->keys.items[i], "key", err)) {
            return false;
        }
    }
    if (config->key_file[0] && !read_key_file(config, arena, err)) {
        return false;
    }
    config->keys_configured = config->keys.n > 0;
    if (config->keys_configured) {
        return true;
    }
    return option_set(config, arena, option_find(STR("key")), STR(default_key), "key", err);
}

/* The model that is served where nobody named one: the first section's, if the file has any. */
static bool sections_will_do(const struct config *config, const struct option *option,
                             unsigned commands)
{
    return (commands & (FOR_SERVE | FOR_CHECK)) && config->model_sections.n > 0 &&
           option->offset == offsetof(struct config, models);
}

/* A list that nobody filled has its default; a choice of folder that nobody made, the usual one. */
static bool settle_defaults(struct config *config, struct arena *arena, unsigned commands,
                            char *const *envp, struct err *err)
{
    config->models_chosen = config->models.n > 0;
    for (size_t i = 0; i < options_n; i++) {
        const struct option *option = &options[i];
        const void *field = (const char *)config + option->offset;
        if (option->type == OPTION_LIST && option->fallback[0] &&
            ((const struct config_list *)field)->n == 0 &&
            !sections_will_do(config, option, commands) &&
            !option_set(config, arena, option, str_of(option->fallback), option->name, err)) {
            return false;
        }
    }
    config->models_dir_chosen = config->models_dir[0] != 0;
    if (!config->models_dir_chosen) {
        struct str path = own_path(arena, envp, "XDG_DATA_HOME", ".local/share", "models");
        config->models_dir = path.n ? path.s : "models";
    }
    if (!config->cache_dir[0]) {
        struct str path = own_path(arena, envp, "XDG_CACHE_HOME", ".cache", "kv");
        config->cache_dir = path.n ? path.s : "";
    }
    if (!config->launch_log[0]) {
        struct str path = own_path(arena, envp, "XDG_STATE_HOME", ".local/state", "launch.log");
        config->launch_log = path.n ? path.s : "";
    }
    return true;
}

bool config_load(struct config *config, struct arena *arena, unsigned commands,
                 char *const *argv, size_t argc, char *const *envp, struct err *err)
{
    struct flags flags = {0};
    *config = (struct config){0};
    for (size_t i = 0; i < options_n; i++) {
        const struct option *option = &options[i];
        if (option->type != OPTION_LIST &&
            !option_set(config, arena, option, str_of(option->fallback), option->name, err)) {
            return false;
        }
    }
    if (!read_words(config, &flags, arena, commands, argv, argc, err)) {
        return false;
    }
    if (config->help) {
        return true;                    /* help must come even where a file or variable is wrong */
    }
    return read_configured_file(config, arena, &flags, envp, err) &&
           read_environment(config, arena, envp, err) &&
           apply_flags(config, arena, &flags, err) &&
           settle_defaults(config, arena, commands, envp, err) &&
           sections_settle(config, err) &&
           (!(commands & FOR_SERVE) || (settle_keys(config, arena, err) &&
                                       sections_read_keys(config, arena, envp, err)));
}
