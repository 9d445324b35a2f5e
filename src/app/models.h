/* models.h - the models a person has on disk, and the names they go by.
 *
 * A model's id is its path below the models folder, without ".gguf" and without the number of a
 * split file: "OWNER/NAME" for a folder, "OWNER/NAME/FILE" for a GGUF file in one. A short name is
 * any trailing part of an id that no other model shares. Nothing is opened here. */
#ifndef PENSIEVE_APP_MODELS_H
#define PENSIEVE_APP_MODELS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

enum {
    MODELS_MAX = 1024,          /* in all folders together; those beyond it are not seen */
    MODELS_DEPTH_MAX = 4,       /* folders in folders */
    MODELS_ENTRIES_MAX = 1 << 16,       /* looked at in all */
};

struct model_entry {
    struct str id;
    const char *path;           /* what the engine opens: a file, or a folder */
};

struct models {
    struct model_entry *list;   /* by id */
    size_t n;
};

/* What lies in these folders; one that isn't there is empty. A model that two of them hold under
 * one id is the first one's. */
struct models models_scan(struct arena *arena, const char *const *roots, size_t roots_n);

/* The model of an id or short name. ERR_NOT_FOUND: says which are near, or share the name. */
const struct model_entry *models_find(const struct models *models, struct str name,
                                      struct err *err);

/* A file, a folder, or a name to what the engine opens and its id. A folder that only holds GGUF
 * files means the only one of them. Errors as of models_find; ERR_IO where nothing is there. */
bool models_resolve(const struct models *models, struct arena *arena, const char *given,
                    struct model_entry *out, struct err *err);

/* The id of a path as it was given: its last part, without what models_scan leaves out. */
struct str models_id_of_path(struct arena *arena, const char *path);

#endif
