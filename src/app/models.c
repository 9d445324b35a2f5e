/* models.c - looks through folders for models by the names of files alone, and finds them by name.
 *
 * The hard thing is a name for each that stays the same when another model comes beside it: so ids
 * are paths, and only looking up is generous. */
#include "app/models.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/config.h"
#include "base/utf8.h"
#include "engine/file_map.h"
#include "engine/gguf_name.h"

enum { SHOWN_MAX = 5 };

struct scan {
    struct arena *arena;
    struct models *models;
    size_t entries;
};

/* ---- names ---- */

static bool ends_ignoring_case(struct str s, const char *suffix)
{
    size_t n = strlen(suffix);
    return s.n > n && strncasecmp(s.s + s.n - n, suffix, n) == 0;
}

struct str models_id_of_path(struct arena *arena, const char *path)
{
    struct str name = file_base(str_of(path));
    unsigned part, of;
    gguf_name_stem(&name, &part, &of);
    return arena_str(arena, name);
}

/* ---- looking through folders ---- */

static bool is_file(struct arena *arena, const char *dir, const char *name)
{
    struct stat info;
    return stat(arena_printf(arena, "%s/%s", dir, name).s, &info) == 0 && S_ISREG(info.st_mode);
}

static void add(struct scan *scan, struct str id, const char *path)
{
    struct models *models = scan->models;
    if (models->n < MODELS_MAX && utf8_valid(id)) {
        models->list[models->n++] = (struct model_entry){arena_str(scan->arena, id), path};
    }
}

static void scan_file(struct scan *scan, const char *path, struct str id)
{
    unsigned part, of;
    if (!gguf_name_stem(&id, &part, &of) || part > 1 ||
        gguf_name_is_encoder(str_last_part(str_of(path)))) {
        return;
    }
    add(scan, id, path);
}

/* A folder's own weights make one model; GGUF files in it are models each. */
static void scan_folder(struct scan *scan, const char *path, struct str id, int depth)
{
    DIR *dir = opendir(path);
    bool safetensors = false;
    if (!dir) {
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir)) && scan->entries < MODELS_ENTRIES_MAX;) {
        struct stat info;
        if (entry->d_name[0] == '.') {
            continue;                   /* hidden, or a download that isn't finished */
        }
        scan->entries++;
        const char *inner = arena_printf(scan->arena, "%s/%s", path, entry->d_name).s;
        struct str inner_id = id.n ? arena_printf(scan->arena, "%.*s/%s", STR_ARG(id),
                                                  entry->d_name)
                                   : arena_str(scan->arena, str_of(entry->d_name));
        if (stat(inner, &info) != 0) {
            continue;
        }
        if (S_ISDIR(info.st_mode) && depth < MODELS_DEPTH_MAX) {
            scan_folder(scan, inner, inner_id, depth + 1);
        } else if (S_ISREG(info.st_mode)) {
            safetensors |= ends_ignoring_case(inner_id, ".safetensors");
            scan_file(scan, inner, inner_id);
        }
    }
    closedir(dir);
    if (id.n && safetensors && is_file(scan->arena, path, "config.json")) {
        add(scan, id, path);
    }
}

static int by_id(const void *a, const void *b)
{
    const struct model_entry *x = a, *y = b;
    return str_compare(x->id, y->id);
}

static bool known(const struct models *models, size_t n, struct str id)
{
    for (size_t i = 0; i < n; i++) {
        if (str_equal(models->list[i].id, id)) {
            return true;
        }
    }
    return false;
}

struct models models_scan(struct arena *arena, const char *const *roots, size_t roots_n)
{
    struct models models = {arena_array(arena, MODELS_MAX, sizeof(struct model_entry)), 0};
    struct scan scan = {arena, &models, 0};
    for (size_t i = 0; i < roots_n; i++) {
        size_t before = models.n, kept = before;
        scan_folder(&scan, roots[i], STR(""), 0);
        for (size_t j = before; j < models.n; j++) {
            if (!known(&models, kept, models.list[j].id)) {
                models.list[kept++] = models.list[j];
            }
        }
        models.n = kept;
    }
    qsort(models.list, models.n, sizeof(models.list[0]), by_id);
    return models;
}

/* ---- finding by name ---- */

/* "b/c" of "a/b/c", not "c" of "abc". */
static bool is_trailing_part(struct str id, struct str name)
{
    return name.n && str_ends(id, name) && (id.n == name.n || id.s[id.n - name.n - 1] == '/');
}

/* A folder's name, for what it holds: "a" or "a/b" of "a/b/c", "b" likewise. */
static bool is_folder_of(struct str id, struct str name)
{
    while (id.n) {
        struct str last = str_last_part(id);
        id.n -= last.n + (last.n < id.n);
        if (is_trailing_part(id, name)) {
            return true;
        }
    }
    return false;
}

static bool is_near(struct str id, struct str name)
{
    struct str last = str_last_part(id);
    struct str wanted = str_last_part(name);
    if (word_distance(last, wanted) <= WORD_NEAR) {
        return true;
    }
    for (size_t i = 0; wanted.n > 2 && i + wanted.n <= id.n; i++) {
        if (strncasecmp(id.s + i, wanted.s, wanted.n) == 0) {
            return true;
        }
    }
    return false;
}

typedef bool match_fn(struct str id, struct str name);

/* How many match; the first one, and the first few as text. */
static size_t matching(const struct models *models, struct str name, match_fn *matches,
                       const struct model_entry **first, char *shown, size_t size)
{
    size_t n = 0, at = 0;
    *shown = 0;
    for (size_t i = 0; i < models->n; i++) {
        const struct model_entry *entry = &models->list[i];
        if (!matches(entry->id, name)) {
            continue;
        }
        *first = n++ ? *first : entry;
        if (n <= SHOWN_MAX && at + entry->id.n + 3 < size) {
            at += (size_t)snprintf(shown + at, size - at, "%s%.*s", n > 1 ? ", " : "",
                                   STR_ARG(entry->id));
        }
    }
    return n;
}

const struct model_entry *models_find(const struct models *models, struct str name,
                                      struct err *err)
{
    static match_fn *const rules[] = {str_equal, is_trailing_part, is_folder_of};
    const struct model_entry *found = NULL;
    struct str cut = utf8_cut(name, 80);
    char shown[150];
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        size_t n = matching(models, name, rules[i], &found, shown, sizeof(shown));
        if (n == 1) {
            return found;
        }
        if (n > 1) {
            err_set(err, ERR_NOT_FOUND, "%.*s may be each of these: %s", STR_ARG(cut), shown);
            return NULL;
        }
    }
    if (matching(models, name, is_near, &found, shown, sizeof(shown))) {
        err_set(err, ERR_NOT_FOUND, "there is no model %.*s; did you mean %s?", STR_ARG(cut),
                shown);
    } else {
        err_set(err, ERR_NOT_FOUND, "there is no model at %.*s; `make model` fetches the default "
                "one, `pensieve list` shows what is there", STR_ARG(cut));
    }
    return NULL;
}

/* A folder without config.json: the one GGUF model that is in it. */
static bool resolve_folder(struct arena *arena, const char *path, struct model_entry *out,
                           struct err *err)
{
    const char *root = path;
    struct models inside = models_scan(arena, &root, 1);
    if (is_file(arena, path, "config.json") || inside.n == 0) {
        *out = (struct model_entry){models_id_of_path(arena, path), arena_cstr(arena,
                                                                               str_of(path))};
        return true;
    }
    if (inside.n > 1) {
        return err_set(err, ERR_NOT_FOUND, "%.80s holds %zu models, %.*s and %.*s among them; name "
                       "one", path, inside.n, STR_ARG(utf8_cut(inside.list[0].id, 50)),
                       STR_ARG(utf8_cut(inside.list[1].id, 50)));
    }
    *out = inside.list[0];
    return true;
}

bool models_resolve(const struct models *models, struct arena *arena, const char *given,
                    struct model_entry *out, struct err *err)
{
    struct stat info;
    if (stat(given, &info) == 0) {
        if (S_ISDIR(info.st_mode)) {
            return resolve_folder(arena, given, out, err);
        }
        *out = (struct model_entry){models_id_of_path(arena, given), arena_cstr(arena,
                                                                                str_of(given))};
        return true;
    }
    if (errno != ENOENT && errno != ENOTDIR) {
        return err_set(err, ERR_IO, "%.160s can't be read: %s", given, strerror(errno));
    }
    const struct model_entry *found = models_find(models, str_of(given), err);
    if (!found) {
        return false;
    }
    *out = *found;
    return true;
}
