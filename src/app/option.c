/* option.c - one value of one option: from the text a person wrote to the field it fills.
 *
 * Everything is checked here, against the row's type and bounds, so that a wrong value is told in
 * the words of the place it came from and nothing later has to check again. */
#include "app/config.h"

#include <ctype.h>
#include <stdio.h>

#include "base/utf8.h"

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit byte_units[] = {
    {"", 1}, {"B", 1},
    {"K", 1ull << 10}, {"KB", 1ull << 10}, {"KiB", 1ull << 10},
    {"M", 1ull << 20}, {"MB", 1ull << 20}, {"MiB", 1ull << 20},
    {"G", 1ull << 30}, {"GB", 1ull << 30}, {"GiB", 1ull << 30},
    {"T", 1ull << 40}, {"TB", 1ull << 40}, {"TiB", 1ull << 40},
    {NULL, 0},
};

static const struct unit time_units[] = {
    {"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}, {NULL, 0},
};

static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

static const struct {
    const struct unit *units;
    const char *example;
} measures[] = {
    [OPTION_NUMBER] = {no_units, "a whole number"},
    [OPTION_BYTES] = {byte_units, "a size like 512MiB or 1GiB"},
    [OPTION_TIME] = {time_units, "a time like 500ms, 5s or 2min"},
};

/* Writes a bound in the largest unit that holds it whole. */
static void measure_text(char *out, size_t size, enum option_type type, uint64_t value)
{
    const struct unit *best = NULL;
    for (const struct unit *unit = measures[type].units; unit->name; unit++) {
        bool long_name = type != OPTION_BYTES || unit->factor == 1 || unit->name[1] == 'i';
        if (long_name && unit->factor <= (value ? value : 1) && value % unit->factor == 0 &&
            (!best || unit->factor > best->factor)) {
            best = unit;
        }
    }
    snprintf(out, size, "%llu%s", (unsigned long long)(value / best->factor), best->name);
}

/* Digits, then a unit. false: not of that form. Too large for 64 bits comes out as UINT64_MAX. */
static bool measure_parse(struct str text, const struct unit *units, uint64_t *out)
{
    uint64_t number = 0;
    size_t i = 0;
    for (; i < text.n && isdigit((unsigned char)text.s[i]); i++) {
        uint64_t digit = (uint64_t)(text.s[i] - '0');
        number = number > (UINT64_MAX - digit) / 10 ? UINT64_MAX : number * 10 + digit;
    }
    if (i == 0) {
        return false;
    }
    struct str suffix = {text.s + i, text.n - i};
    if (number == 0 && suffix.n == 0) {
        *out = 0;                       /* nothing needs no unit */
        return true;
    }
    for (const struct unit *unit = units; unit->name; unit++) {
        if (str_is(suffix, unit->name)) {
            *out = number > UINT64_MAX / unit->factor ? UINT64_MAX : number * unit->factor;
            return true;
        }
    }
    return false;
}

/* Enough of a wrong value for a person to know it again. */
static struct str excerpt(struct str value)
{
    enum { EXCERPT_BYTES = 60 };
    if (value.n > EXCERPT_BYTES) {
        value.n = EXCERPT_BYTES;
        value.n = utf8_valid_prefix(value);
    }
    return value;
}

static bool set_measure(uint64_t *field, const struct option *option, struct str value,
                        const char *where, struct err *err)
{
    uint64_t number;
    struct str shown = excerpt(value);
    if (!measure_parse(value, measures[option->type].units, &number)) {
        return err_set(err, ERR_USAGE, "%s: \"%.*s\" is not %s", where, STR_ARG(shown),
                       measures[option->type].example);
    }
    if (number < option->min || number > option->max) {
        char min[32], max[32];
        measure_text(min, sizeof(min), option->type, option->min);
        measure_text(max, sizeof(max), option->type, option->max);
        return err_set(err, ERR_USAGE, "%s: %.*s is not between %s and %s", where, STR_ARG(shown),
                       min, max);
    }
    *field = number;
    return true;
}

static bool set_bool(bool *field, struct str value, const char *where, struct err *err)
{
    static const struct {
        const char *word;
        bool means;
    } words[] = {
        {"yes", true}, {"true", true}, {"on", true}, {"1", true},
        {"no", false}, {"false", false}, {"off", false}, {"0", false},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (str_is(value, words[i].word)) {
            *field = words[i].means;
            return true;
        }
    }
    struct str shown = excerpt(value);
    return err_set(err, ERR_USAGE, "%s: \"%.*s\" is neither yes nor no", where, STR_ARG(shown));
}

static bool set_choice(const char **field, struct arena *arena, const struct option *option,
                       struct str value, const char *where, struct err *err)
{
    struct str rest = str_of(option->metavar);
    while (rest.n > 0) {
        const char *bar = memchr(rest.s, '|', rest.n);
        struct str choice = {rest.s, bar ? (size_t)(bar - rest.s) : rest.n};
        if (str_equal(choice, value)) {
            *field = arena_cstr(arena, choice);
            return true;
        }
        rest.s += choice.n + (bar != NULL);
        rest.n -= choice.n + (bar != NULL);
    }
    struct str shown = excerpt(value);
    return err_set(err, ERR_USAGE, "%s: \"%.*s\" is none of %s", where, STR_ARG(shown),
                   option->metavar);
}

static bool list_add(struct config_list *list, struct arena *arena, struct str value,
                     const char *where, struct err *err)
{
    if (value.n == 0) {
        return err_set(err, ERR_USAGE, "%s: the value is empty", where);
    }
    if (list->n == CONFIG_LIST_MAX) {
        return err_set(err, ERR_USAGE, "%s: more than %d values", where, CONFIG_LIST_MAX);
    }
    if (!list->items) {
        list->items = arena_array(arena, CONFIG_LIST_MAX, sizeof(list->items[0]));
    }
    list->items[list->n++] = arena_str(arena, value);
    return true;
}

bool option_set(void *fields, struct arena *arena, const struct option *option, struct str value,
                const char *where, struct err *err)
{
    void *field = (char *)fields + option->offset;
    if (value.n > CONFIG_VALUE_BYTES_MAX) {
        return err_set(err, ERR_USAGE, "%s: the value is longer than %d bytes", where,
                       CONFIG_VALUE_BYTES_MAX);
    }
    if (value.n > 0 && (memchr(value.s, 0, value.n) || !utf8_valid(value))) {
        return err_set(err, ERR_USAGE, "%s: the value is not UTF-8 text", where);
    }
    switch (option->type) {
    case OPTION_TEXT:
        *(const char **)field = arena_cstr(arena, value);
        return true;
    case OPTION_NUMBER:
    case OPTION_BYTES:
    case OPTION_TIME:
        return set_measure(field, option, value, where, err);
    case OPTION_BOOL:
        return set_bool(field, value, where, err);
    case OPTION_CHOICE:
        return set_choice(field, arena, option, value, where, err);
    case OPTION_LIST:
        return list_add(field, arena, value, where, err);
    }
    return err_set(err, ERR_INTERNAL, "%s: an option without a type", where);
}

void option_clear(struct config *config, const struct option *option)
{
    if (option->type == OPTION_LIST) {
        ((struct config_list *)(void *)((char *)config + option->offset))->n = 0;
    }
}

const struct option *option_find_in(const struct option *rows, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++) {
        if (str_is(name, rows[i].name)) {
            return &rows[i];
        }
    }
    return NULL;
}

const struct option *option_find(struct str name)
{
    return option_find_in(options, options_n, name);
}

struct str option_variable(struct arena *arena, const struct option *option)
{
    struct str text = arena_printf(arena, "PENSIEVE_%s", option->name);
    char *letters = arena_cstr(arena, text);
    for (size_t i = 0; i < text.n; i++) {
        letters[i] = letters[i] == '-' ? '_' : (char)toupper((unsigned char)letters[i]);
    }
    return (struct str){letters, text.n};
}

size_t word_distance(struct str a, struct str b)
{
    enum { WORD_BYTES_MAX = 32 };
    if (a.n > WORD_BYTES_MAX || b.n > WORD_BYTES_MAX) {
        return WORD_BYTES_MAX;
    }
    /* d[i][j]: between the first i letters of a and the first j of b */
    uint8_t d[WORD_BYTES_MAX + 1][WORD_BYTES_MAX + 1];
    for (size_t i = 0; i <= a.n; i++) {
        for (size_t j = 0; j <= b.n; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = (uint8_t)(i + j);
                continue;
            }
            uint8_t best = d[i - 1][j - 1] + (a.s[i - 1] != b.s[j - 1]);
            best = d[i - 1][j] + 1 < best ? d[i - 1][j] + 1 : best;
            best = d[i][j - 1] + 1 < best ? d[i][j - 1] + 1 : best;
            if (i > 1 && j > 1 && a.s[i - 1] == b.s[j - 2] && a.s[i - 2] == b.s[j - 1] &&
                d[i - 2][j - 2] + 1 < best) {
                best = d[i - 2][j - 2] + 1;
            }
            d[i][j] = best;
        }
    }
    return d[a.n][b.n];
}

const struct option *option_nearest(const struct option *rows, size_t n, struct str name)
{
    const struct option *nearest = NULL;
    size_t least = WORD_NEAR + 1;
    for (size_t i = 0; i < n; i++) {
        size_t distance = word_distance(name, str_of(rows[i].name));
        if (distance < least) {
            least = distance;
            nearest = &rows[i];
        }
    }
    return nearest;
}

bool option_unknown(const struct option *rows, size_t n, struct str name, const char *before,
                    struct err *err)
{
    const struct option *near = option_nearest(rows, n, name);
    struct str shown = excerpt(name);
    if (!near) {
        return err_set(err, ERR_USAGE, "%s%.*s: there is no such option; %s", before,
                       STR_ARG(shown), rows == options ? "--help lists them"
                                                       : "docs/options.md lists them");
    }
    const char *dashes = str_ends(str_of(before), STR("--")) ? "--" : "";
    return err_set(err, ERR_USAGE, "%s%.*s: there is no such option; did you mean %s%s?", before,
                   STR_ARG(shown), dashes, near->name);
}
