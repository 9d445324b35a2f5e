/* hub.h - a repository of a model hub in Hugging Face's layout: what it is called, what it holds,
 * which of its files make the model that is wanted. No network here.
 *
 * Everything comes from outside: names that could leave the folder they are meant for are refused,
 * counts and sizes are bounded. */
#ifndef PENSIEVE_APP_HUB_H
#define PENSIEVE_APP_HUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

enum {
    HUB_NAME_BYTES_MAX = 96,            /* of an owner, a model */
    HUB_REVISION_BYTES_MAX = 200,
    HUB_PATH_BYTES_MAX = 240,           /* of a file in a repository */
    HUB_FILES_MAX = 10000,
};
#define HUB_FILE_BYTES_MAX ((uint64_t)4 << 40)

/* OWNER/NAME[:FILE][@REVISION] */
struct hub_repo {
    struct str owner, name;
    struct str wanted;                  /* a GGUF file's name, part of it, a pattern; n == 0: none */
    struct str revision;                /* "main" if none was given */
};

struct hub_file {
    struct str path;                    /* in the repository */
    struct str name;                    /* its last part: what it is called here */
    uint64_t size;
    struct str digest;                  /* 64 hex digits: sha256; 40: git's sha1 of a blob */
};

struct hub_files {
    struct hub_file *list;
    size_t n;
};

/* ERR_USAGE */
bool hub_repo_parse(struct arena *arena, struct str text, struct hub_repo *out, struct err *err);
/* "/api/models/OWNER/NAME/tree/REVISION?recursive=true", "/OWNER/NAME/resolve/REVISION/PATH" */
struct str hub_tree_path(struct arena *arena, const struct hub_repo *repo);
struct str hub_file_path(struct arena *arena, const struct hub_repo *repo, struct str path);

/* Adds one page of the listing. files->list has room for HUB_FILES_MAX. ERR_FORMAT */
bool hub_page_add(struct hub_files *files, struct arena *arena, struct str json, struct err *err);
/* The query of the next page in a Link header's value; n == 0: there is none. Only the query: the
 * next page is asked from the same place as this one, whatever the header says. */
struct str hub_next_query(struct str link);

/* The files of the model: all of a folder's, or those of one GGUF model. ERR_NOT_FOUND, ERR_USAGE:
 * what there is to choose from. */
bool hub_choose(const struct hub_files *all, const struct hub_repo *repo, struct arena *arena,
                struct hub_files *out, struct err *err);

#endif
