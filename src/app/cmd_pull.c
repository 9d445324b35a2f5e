/* cmd_pull.c - a model from a hub into the models folder.
 *
 * All is done in a hidden folder, .partial-OWNER--NAME, which becomes OWNER/NAME when every file in
 * it is whole: nobody ever sees half a model. What a broken attempt left there is taken up by the
 * next one; a lock on the folder keeps two from writing at once. */
#include "app/app.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "app/fetch.h"
#include "app/hub.h"
#include "app/progress.h"
#include "app/web.h"
#include "base/buf.h"
#include "base/io.h"
#include "engine/gguf_name.h"

enum { PAGES_MAX = 200, TOKEN_BYTES_MAX = 4096 };
#define SPACE_SPARED ((uint64_t)64 << 20)       /* of the disk, left to others */

struct pull {
    struct arena *arena;
    struct web *web;
    struct hub_repo repo;
    struct hub_files files;             /* those that are wanted */
    const char *root, *partial, *final;
    int lock;
    struct progress progress;
    uint64_t before;                    /* bytes of the files that are done */
};

/* ---- where from, and as whom ---- */

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static bool find_endpoint(struct arena *arena, const char **out, struct err *err)
{
    struct str endpoint = str_of(environment("HF_ENDPOINT") ? environment("HF_ENDPOINT")
                                                            : "https://huggingface.co");
    while (endpoint.n && endpoint.s[endpoint.n - 1] == '/') {
        endpoint.n--;
    }
    *out = arena_cstr(arena, endpoint);
    return str_starts(endpoint, STR("https://")) || str_starts(endpoint, STR("http://")) ||
           err_set(err, ERR_USAGE, "HF_ENDPOINT: %.100s is no http or https address", *out);
}

/* HF_TOKEN, or what the hub's own tools have left. NULL: none. */
static const char *find_token(struct arena *arena)
{
    const char *home = environment("HOME"), *hub_home = environment("HF_HOME");
    const char *token = environment("HF_TOKEN");
    struct str text;
    struct err ignored = {0};
    if (!token && (hub_home || home)) {
        const char *path = hub_home ? arena_printf(arena, "%s/token", hub_home).s
                                    : arena_printf(arena, "%s/.cache/huggingface/token", home).s;
        if (access(path, R_OK) == 0 && app_read(arena, path, &text, &ignored)) {
            token = text.s;
        }
    }
    size_t n = 0;
    while (token && token[n] > ' ' && token[n] <= '~' && n < TOKEN_BYTES_MAX) {
        n++;
    }
    return n ? arena_cstr(arena, (struct str){token, n}) : NULL;
}

/* ---- what to get ---- */

static bool list_files(struct pull *pull, struct hub_files *all, struct err *err)
{
    struct str first = hub_tree_path(pull->arena, &pull->repo);
    struct buf body = {0};
    const char *path = first.s;
    bool done = false;
    *all = (struct hub_files){arena_array(pull->arena, HUB_FILES_MAX, sizeof(all->list[0])), 0};
    for (int page = 0; path && page < PAGES_MAX; page++) {
        struct web_head head;
        if (!web_text(pull->web, path, &body, &head, err) ||
            !hub_page_add(all, pull->arena, buf_view(&body), err)) {
            buf_release(&body);
            return false;
        }
        struct str query = hub_next_query(str_of(head.link));
        size_t path_n = (size_t)(strchr(first.s, '?') - first.s);
        done = query.n == 0;
        path = done ? NULL : arena_printf(pull->arena, "%.*s?%.*s", (int)path_n, first.s,
                                          STR_ARG(query)).s;
    }
    buf_release(&body);
    return done || err_set(err, ERR_FORMAT, "the hub's listing has more than %d pages", PAGES_MAX);
}

/* ---- the folder ---- */

static bool make_folders(struct arena *arena, const char *path, struct err *err)
{
    struct str failed;
    return io_make_folders(arena_cstr(arena, str_of(path)), 0755, &failed) ||
           err_set(err, ERR_IO, "%.*s can't be made: %s", STR_ARG(failed), strerror(errno));
}

/* Until this process ends. A folder that another pull has just finished and moved is no longer ours
 * to write to: then once more from the start. */
static bool lock_partial(struct pull *pull, struct err *err)
{
    for (;;) {
        struct stat held, named;
        if (!make_folders(pull->arena, pull->partial, err)) {
            return false;
        }
        pull->lock = open(pull->partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (pull->lock < 0) {
            return err_set(err, ERR_IO, "%s: %s", pull->partial, strerror(errno));
        }
        if (flock(pull->lock, LOCK_EX | LOCK_NB) != 0) {
            return err_set(err, ERR_IO, errno == EWOULDBLOCK
                           ? "another pull of this model is under way (%s)"
                           : "%s can't be locked", pull->partial);
        }
        if (fstat(pull->lock, &held) == 0 && stat(pull->partial, &named) == 0 &&
            held.st_ino == named.st_ino && held.st_dev == named.st_dev) {
            return true;
        }
        close(pull->lock);
    }
}

static const char *path_of(struct pull *pull, const char *folder, struct str name)
{
    return arena_printf(pull->arena, "%s/%.*s", folder, STR_ARG(name)).s;
}

/* Whether the file is whole already, here or in the finished folder: then it is linked, not got. */
static bool have_file(struct pull *pull, const struct hub_file *file, struct err *err)
{
    const char *here = path_of(pull, pull->partial, file->name);
    const char *there = path_of(pull, pull->final, file->name);
    if (fetch_is_whole(here, file, err)) {
        return true;
    }
    if (err->code != ERR_NONE || !fetch_is_whole(there, file, err)) {
        return false;
    }
    unlink(here);
    return link(there, here) == 0;      /* where it can't be: it is got anew */
}

/* What the unfinished files already hold, in all. */
static uint64_t partly_there(struct pull *pull)
{
    DIR *dir = opendir(pull->partial);
    uint64_t bytes = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        struct stat info;
        if (fetch_is_part(str_of(entry->d_name)) &&
            fstatat(dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0) {
            bytes += (uint64_t)info.st_size;
        }
    }
    if (dir) {
        closedir(dir);
    }
    return bytes;
}

static bool space_enough(struct pull *pull, uint64_t missing, struct err *err)
{
    struct statvfs disk;
    uint64_t there = partly_there(pull);
    uint64_t needed = missing > there ? missing - there : 0;
    if (statvfs(pull->partial, &disk) != 0) {
        return err_set(err, ERR_IO, "%s: %s", pull->partial, strerror(errno));
    }
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    return needed == 0 || needed + SPACE_SPARED <= free_bytes ||
           err_set(err, ERR_IO, "%s more are needed, the disk of %.100s has %s",
                   app_size_text(pull->arena, needed), pull->root,
                   app_size_text(pull->arena, free_bytes));
}

/* ---- getting and finishing ---- */

static void on_bytes(void *context, uint64_t have)
{
    struct pull *pull = context;
    progress_set(&pull->progress, pull->before + have);
}

/* get: the files that are not there yet, in any case first all that are. */
static bool get_files(struct pull *pull, struct err *err)
{
    struct hub_files *files = &pull->files;
    bool *there = arena_array(pull->arena, files->n, sizeof(*there));
    uint64_t total = 0;
    for (size_t i = 0; i < files->n; i++) {
        there[i] = have_file(pull, &files->list[i], err);
        if (!there[i] && err->code != ERR_NONE) {
            return false;
        }
        total += files->list[i].size;
        pull->before += there[i] ? files->list[i].size : 0;
    }
    if (!space_enough(pull, total - pull->before, err)) {
        return false;
    }
    progress_begin(&pull->progress, total, pull->before);
    for (size_t i = 0; i < files->n; i++) {
        const struct hub_file *file = &files->list[i];
        struct fetch fetch = {
            .web = pull->web, .file = file, .folder = pull->partial, .on_bytes = on_bytes,
            .context = pull, .path = hub_file_path(pull->arena, &pull->repo, file->path).s,
        };
        if (there[i]) {
            continue;
        }
        if (!fetch_file(&fetch, err)) {
            progress_end(&pull->progress);
            return false;
        }
        pull->before += file->size;
    }
    progress_end(&pull->progress);
    return true;
}

static void remove_parts(struct pull *pull)
{
    DIR *dir = opendir(pull->partial);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (fetch_is_part(str_of(entry->d_name))) {
            unlinkat(dirfd(dir), entry->d_name, 0);
        }
    }
    if (dir) {
        closedir(dir);
    }
}

/* A new model appears at once. Files for one that is there replace theirs one by one. */
static bool publish(struct pull *pull, struct err *err)
{
    remove_parts(pull);
    const char *owner = arena_printf(pull->arena, "%s/%.*s", pull->root,
                                     STR_ARG(pull->repo.owner)).s;
    if (!make_folders(pull->arena, owner, err)) {
        return false;
    }
    if (rename(pull->partial, pull->final) == 0) {
        return fetch_sync_folder(pull->final, err) && fetch_sync_folder(owner, err);
    }
    if (errno != EEXIST && errno != ENOTEMPTY) {
        return err_set(err, ERR_IO, "%s: %s", pull->final, strerror(errno));
    }
    for (size_t i = 0; i < pull->files.n; i++) {
        struct str name = pull->files.list[i].name;
        const char *from = path_of(pull, pull->partial, name);
        if (rename(from, path_of(pull, pull->final, name)) != 0) {
            return err_set(err, ERR_IO, "%s: %s", from, strerror(errno));
        }
        unlink(from);                   /* still there where both are links to one file */
    }
    rmdir(pull->partial);
    return fetch_sync_folder(pull->final, err);
}

/* The name by which serve and the other commands find it. */
static void say_done(const struct pull *pull)
{
    struct str stem = pull->files.list[0].name;
    unsigned part, of;
    uint64_t bytes = 0;
    for (size_t i = 0; i < pull->files.n; i++) {
        bytes += pull->files.list[i].size;
    }
    bool gguf = gguf_name_stem(&stem, &part, &of);
    printf("%.*s/%.*s%s%.*s: %zu files, %s, in %s\n", STR_ARG(pull->repo.owner),
           STR_ARG(pull->repo.name), gguf ? "/" : "", gguf ? (int)stem.n : 0, stem.s,
           pull->files.n, app_size_text(pull->arena, bytes), pull->final);
}

static bool pull_run(struct pull *pull, struct err *err)
{
    struct hub_files all;
    return list_files(pull, &all, err) &&
           hub_choose(&all, &pull->repo, pull->arena, &pull->files, err) &&
           lock_partial(pull, err) && get_files(pull, err) && publish(pull, err);
}

bool cmd_pull(const struct config *config, struct arena *arena, struct err *err)
{
    struct pull pull = {.arena = arena, .root = config->models_dir, .lock = -1};
    struct web_options reach = {.stall_ms = config->stall_ms, .token = find_token(arena)};
    if (config->args.n == 0) {
        return err_set(err, ERR_USAGE,
                       "which model? usage: pensieve pull [options] OWNER/NAME[:FILE][@REVISION]");
    }
    if (!hub_repo_parse(arena, config->args.items[0], &pull.repo, err) ||
        !find_endpoint(arena, &reach.endpoint, err)) {
        return false;
    }
    pull.partial = arena_printf(arena, "%s/.partial-%.*s--%.*s", pull.root,
                                STR_ARG(pull.repo.owner), STR_ARG(pull.repo.name)).s;
    pull.final = arena_printf(arena, "%s/%.*s/%.*s", pull.root, STR_ARG(pull.repo.owner),
                              STR_ARG(pull.repo.name)).s;
    pull.web = web_new(&reach, err);
    bool done = pull.web && pull_run(&pull, err);
    if (done) {
        say_done(&pull);
    }
    if (pull.lock >= 0) {
        close(pull.lock);
    }
    web_free(pull.web);
    return done;
}
