/* hub.c - reads the names and listings of a model hub, and chooses files by their names. */
#include "app/hub.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "engine/gguf_name.h"

enum { SHA256_DIGITS = 64, SHA1_DIGITS = 40 };
static const char usual_quant[] = "Q4_K_M";     /* what most people take, where there is a choice */

/* ---- names ---- */

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!is_plain(s.s[i]) || (i && s.s[i] == '.' && s.s[i - 1] == '.')) {
            return false;
        }
    }
    return s.n > 0 && s.n <= HUB_NAME_BYTES_MAX && s.s[0] != '.' && s.s[0] != '-';
}

static bool is_revision(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((!is_plain(s.s[i]) && s.s[i] != '/') || (i && s.s[i] == '.' && s.s[i - 1] == '.')) {
            return false;
        }
    }
    return s.n > 0 && s.n <= HUB_REVISION_BYTES_MAX;
}

/* The text up to a separator; what follows it is taken off into tail (n == 0: none). */
static struct str before(struct str s, char separator, struct str *tail)
{
    const char *at = s.n ? memchr(s.s, separator, s.n) : NULL;
    size_t n = at ? (size_t)(at - s.s) : s.n;
    *tail = at ? (struct str){at + 1, s.n - n - 1} : (struct str){s.s + s.n, 0};
    return (struct str){s.s, n};
}

bool hub_repo_parse(struct arena *arena, struct str text, struct hub_repo *out, struct err *err)
{
    struct str rest, revision, wanted, name;
    struct str shown = utf8_cut(text, 80);
    struct str head = before(text, '@', &revision);
    head = before(head, ':', &wanted);
    struct str owner = before(head, '/', &name);
    rest = (struct str){text.s, head.n};
    if (!is_name(owner) || !is_name(name) || rest.n != owner.n + 1 + name.n ||
        (memchr(text.s, '@', text.n) && !is_revision(revision)) ||
        wanted.n > HUB_PATH_BYTES_MAX) {
        return err_set(err, ERR_USAGE, "%.*s: a model is named OWNER/NAME[:FILE][@REVISION]",
                       STR_ARG(shown));
    }
    *out = (struct hub_repo){
        .owner = arena_str(arena, owner), .name = arena_str(arena, name),
        .wanted = arena_str(arena, wanted),
        .revision = revision.n ? arena_str(arena, revision) : STR("main"),
    };
    return true;
}

/* Percent-encoded; a slash stays where it separates. */
static struct str escape(struct arena *arena, struct str s, bool slashes)
{
    char *out = arena_alloc(arena, s.n * 3 + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (is_plain(s.s[i]) || (slashes && s.s[i] == '/')) {
            out[n++] = s.s[i];
        } else {
            n += (size_t)sprintf(out + n, "%%%02X", (unsigned char)s.s[i]);
        }
    }
    return (struct str){out, n};
}

struct str hub_tree_path(struct arena *arena, const struct hub_repo *repo)
{
    return arena_printf(arena, "/api/models/%.*s/%.*s/tree/%.*s?recursive=true",
                        STR_ARG(repo->owner), STR_ARG(repo->name),
                        STR_ARG(escape(arena, repo->revision, false)));
}

struct str hub_file_path(struct arena *arena, const struct hub_repo *repo, struct str path)
{
    return arena_printf(arena, "/%.*s/%.*s/resolve/%.*s/%.*s", STR_ARG(repo->owner),
                        STR_ARG(repo->name), STR_ARG(escape(arena, repo->revision, false)),
                        STR_ARG(escape(arena, path, true)));
}

/* ---- the listing ---- */

/* Whether it names something below a folder: no empty part, none that leads elsewhere. */
static bool is_safe_path(struct str path)
{
    struct str rest = path, part;
    if (path.n > HUB_PATH_BYTES_MAX || !utf8_valid(path)) {
        return false;
    }
    for (size_t i = 0; i < path.n; i++) {
        if ((unsigned char)path.s[i] < ' ' || path.s[i] == 127 || path.s[i] == '\\') {
            return false;
        }
    }
    do {
        part = before(rest, '/', &rest);
        if (part.n == 0 || str_is(part, ".") || str_is(part, "..")) {
            return false;
        }
    } while (rest.n);
    return path.s[path.n - 1] != '/';
}

static bool is_hex(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!memchr("0123456789abcdef", s.s[i], 16)) {
            return false;
        }
    }
    return true;
}

static bool add_file(struct hub_files *files, struct arena *arena, yyjson_val *item,
                     struct err *err)
{
    yyjson_val *lfs = yyjson_obj_get(item, "lfs");
    yyjson_val *source = yyjson_is_obj(lfs) ? lfs : item;
    yyjson_val *size = yyjson_obj_get(source, "size");
    struct str path = json_str(yyjson_obj_get(item, "path"));
    struct str digest = json_str(yyjson_obj_get(source, "oid"));
    struct str shown = utf8_valid(path) ? utf8_cut(path, 80) : STR("?");
    if (str_starts(digest, STR("sha256:"))) {
        digest = (struct str){digest.s + 7, digest.n - 7};
    }
    if (!is_safe_path(path)) {
        char quoted[200];
        return err_set(err, ERR_FORMAT, "the hub's listing holds a name that is not allowed: %s",
                       log_quote(quoted, sizeof(quoted), shown));
    }
    if (!yyjson_is_uint(size) || yyjson_get_uint(size) > HUB_FILE_BYTES_MAX) {
        return err_set(err, ERR_FORMAT, "the hub's listing gives no sane size for %.*s",
                       STR_ARG(shown));
    }
    if (!is_hex(digest) || digest.n != (source == lfs ? SHA256_DIGITS : SHA1_DIGITS)) {
        return err_set(err, ERR_FORMAT, "the hub's listing gives no checksum for %.*s",
                       STR_ARG(shown));
    }
    if (files->n == HUB_FILES_MAX) {
        return err_set(err, ERR_FORMAT, "the hub lists more than %d files", HUB_FILES_MAX);
    }
    struct hub_file *file = &files->list[files->n++];
    file->path = arena_str(arena, path);
    file->name = str_last_part(file->path);
    file->size = yyjson_get_uint(size);
    file->digest = arena_str(arena, digest);
    return true;
}

bool hub_page_add(struct hub_files *files, struct arena *arena, struct str json, struct err *err)
{
    yyjson_val *root, *item;
    size_t at, n;
    if (!json_parse(arena, json, &root, err) || !yyjson_is_arr(root)) {
        return err_set(err, ERR_FORMAT, "the hub's answer is not a list of files");
    }
    yyjson_arr_foreach(root, at, n, item) {
        if (str_is(json_str(yyjson_obj_get(item, "type")), "file") &&
            !add_file(files, arena, item, err)) {
            return false;
        }
    }
    return true;
}

/* <URL>; rel="next", <URL>; rel="..." */
struct str hub_next_query(struct str link)
{
    while (link.n) {
        struct str rest, target;
        struct str entry = before(link, ',', &rest);
        struct str url = before(entry, '>', &target);
        struct str query;
        before(url, '?', &query);
        if (target.n && memmem(target.s, target.n, "rel=\"next\"", 10) && query.n) {
            for (size_t i = 0; i < query.n; i++) {
                if (query.s[i] <= ' ' || query.s[i] > '~' || query.s[i] == '#') {
                    return STR("");
                }
            }
            return query;
        }
        link = rest;
    }
    return link;
}

/* ---- choosing ---- */

/* What a folder needs beside its weights, and the licence that comes with it. */
static bool is_companion(struct str path)
{
    static const char *const names[] = {
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
        "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json",
        "merges.txt", "chat_template.jinja", "chat_template.json", "LICENSE", "LICENSE.txt",
        "LICENSE.md",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (str_is(path, names[i])) {
            return true;
        }
    }
    return str_ends(path, STR(".safetensors.index.json"));
}

static bool is_top(struct str path)
{
    return !memchr(path.s, '/', path.n);
}

/* The weights at the top of the repository. Some hold them twice: then model*.safetensors are
 * meant, not consolidated.safetensors. */
static bool is_weights(struct str path, bool named_model)
{
    return str_ends(path, STR(".safetensors")) && is_top(path) &&
           (!named_model || str_starts(path, STR("model")));
}

static bool choose_folder(const struct hub_files *all, struct hub_files *out)
{
    bool config = false, named_model = false, weights = false;
    for (size_t i = 0; i < all->n; i++) {
        config |= str_is(all->list[i].path, "config.json");
        named_model |= is_weights(all->list[i].path, true);
        weights |= is_weights(all->list[i].path, false);
    }
    for (size_t i = 0; config && weights && i < all->n; i++) {
        struct str path = all->list[i].path;
        if (is_weights(path, named_model) || (is_companion(path) && is_top(path))) {
            out->list[out->n++] = all->list[i];
        }
    }
    return out->n > 0;
}

/* A GGUF model of the repository: one file, or a split set. */
struct group {
    struct str stem;
    size_t n;                           /* files */
    unsigned of;                        /* parts there should be; 0: it isn't split */
};

static size_t find_groups(const struct hub_files *all, struct group *groups)
{
    size_t n = 0;
    for (size_t i = 0; i < all->n; i++) {
        unsigned part, of;
        struct str stem = all->list[i].path;
        if (!gguf_name_stem(&stem, &part, &of) || gguf_name_is_encoder(all->list[i].name)) {
            continue;
        }
        size_t g = 0;
        while (g < n && !str_equal(groups[g].stem, stem)) {
            g++;
        }
        if (g == n) {
            groups[n++] = (struct group){.stem = stem, .of = of};
        }
        groups[g].n++;
    }
    return n;
}

static bool contains(struct str s, struct str part)
{
    for (size_t i = 0; i + part.n <= s.n; i++) {
        if (strncasecmp(s.s + i, part.s, part.n) == 0) {
            return true;
        }
    }
    return false;
}

/* A file's whole name, with or without what a stem leaves out; of a split set, any part's. */
static bool is_exactly(struct str stem, struct str wanted)
{
    unsigned part, of;
    gguf_name_stem(&wanted, &part, &of);
    return str_equal(stem, wanted) || str_equal(str_last_part(stem), wanted);
}

/* A pattern, or a part of the name. */
static bool is_roughly(struct str stem, struct str wanted, struct arena *arena)
{
    const char *pattern = arena_cstr(arena, wanted);
    struct str name = str_last_part(stem);
    if (strpbrk(pattern, "*?")) {
        return fnmatch(pattern, arena_cstr(arena, name), 0) == 0 ||
               fnmatch(pattern, arena_printf(arena, "%.*s.gguf", STR_ARG(name)).s, 0) == 0;
    }
    return contains(name, wanted);
}

/* Puts those that are wanted first, returns how many: those of exactly this name, or else those
 * that fit it roughly. */
static size_t filter(struct group *groups, size_t n, struct str wanted, struct arena *arena)
{
    size_t kept = 0;
    for (int rough = 0; rough < 2 && kept == 0; rough++) {
        for (size_t i = 0; i < n; i++) {
            struct group group = groups[i];
            if (rough ? is_roughly(group.stem, wanted, arena) : is_exactly(group.stem, wanted)) {
                groups[i] = groups[kept];
                groups[kept++] = group;
            }
        }
    }
    return kept;
}

/* The first few names, for a person to choose from. */
static struct str names_of(const struct group *groups, size_t n, struct arena *arena)
{
    struct str text = {0};
    size_t i = 0;
    for (; i < n && text.n < 90; i++) {
        struct str name = utf8_cut(str_last_part(groups[i].stem), 60);
        text = arena_printf(arena, "%.*s%s%.*s", STR_ARG(text), i ? ", " : "", STR_ARG(name));
    }
    return i < n ? arena_printf(arena, "%.*s and %zu more", STR_ARG(text), n - i) : text;
}

static bool take_group(const struct hub_files *all, const struct group *group,
                       struct hub_files *out, struct err *err)
{
    if (group->of && group->n != group->of) {
        return err_set(err, ERR_FORMAT, "%.*s: the hub has %zu of its %u parts",
                       STR_ARG(utf8_cut(group->stem, 100)), group->n, group->of);
    }
    for (size_t i = 0; i < all->n; i++) {
        unsigned part, of;
        struct str stem = all->list[i].path;
        if (gguf_name_stem(&stem, &part, &of) && str_equal(stem, group->stem)) {
            out->list[out->n++] = all->list[i];
        }
    }
    return true;
}

bool hub_choose(const struct hub_files *all, const struct hub_repo *repo, struct arena *arena,
                struct hub_files *out, struct err *err)
{
    struct group *groups = arena_array(arena, all->n, sizeof(groups[0]));
    struct str wanted = repo->wanted;
    *out = (struct hub_files){arena_array(arena, all->n, sizeof(out->list[0])), 0};
    if (wanted.n == 0 && choose_folder(all, out)) {
        return true;
    }
    size_t n = find_groups(all, groups);
    size_t kept = n > 1 || wanted.n
                      ? filter(groups, n, wanted.n ? wanted : str_of(usual_quant), arena) : n;
    if (kept == 1) {
        return take_group(all, &groups[0], out, err);
    }
    if (n == 0) {
        return err_set(err, ERR_NOT_FOUND, "%.*s/%.*s holds neither GGUF files nor a folder with "
                       "safetensors", STR_ARG(repo->owner), STR_ARG(repo->name));
    }
    struct str names = names_of(groups, kept ? kept : n, arena);
    if (wanted.n == 0) {
        return err_set(err, ERR_USAGE, "which one? add :NAME; there are %.*s", STR_ARG(names));
    }
    struct str shown = utf8_cut(wanted, 60);
    return kept ? err_set(err, ERR_USAGE, ":%.*s fits several: %.*s", STR_ARG(shown),
                          STR_ARG(names))
                : err_set(err, ERR_NOT_FOUND, "no GGUF file is called %.*s; there are %.*s",
                          STR_ARG(shown), STR_ARG(names));
}
