/* checkpoint.c - which form a model on disk has.
 *
 * The hard thing is a folder: people point at one that holds a model in either form, several
 * models, or one in a form that nobody here reads, and each should be told what was found. */
#include "engine/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "engine/checkpoint_hf.h"
#include "engine/file_map.h"
#include "engine/gguf.h"
#include "engine/gguf_name.h"

enum { NAMES_SHOWN_MAX = 160 };

/* What lies in a folder. */
struct contents {
    bool config;                /* config.json */
    bool safetensors;           /* any, or the index of some */
    bool pickled;               /* weights in Python's own form */
    struct str *ggufs;          /* models: of a split set only the first file */
    size_t ggufs_n;
};

/* The file of a model, and of a split set the first. */
static bool is_model(struct str name)
{
    unsigned part, of;

    return str_ends(name, STR(".gguf")) && !gguf_name_is_encoder(name) &&
           gguf_name_stem(&name, &part, &of) && part <= 1;
}

static void look_at(struct contents *contents, struct str name, struct arena *arena)
{
    static const char *const pickles[] = {".bin", ".pt", ".pth", ".ckpt"};

    contents->config |= str_is(name, "config.json");
    contents->safetensors |= str_ends(name, STR(".safetensors")) ||
                             str_is(name, "model.safetensors.index.json");
    for (size_t i = 0; i < sizeof pickles / sizeof *pickles; i++)
        contents->pickled |= str_ends(name, str_of(pickles[i]));
    if (contents->ggufs_n < FOLDER_GGUFS_MAX && is_model(name))
        contents->ggufs[contents->ggufs_n++] = arena_str(arena, name);
}

static bool read_contents(const char *path, struct contents *contents, struct arena *arena,
                          struct err *err)
{
    DIR *dir = opendir(path);

    if (!dir)
        return err_set(err, ERR_IO, "cannot look into the folder (%s): %s", strerror(errno), path);
    contents->ggufs = arena_array(arena, FOLDER_GGUFS_MAX, sizeof *contents->ggufs);
    for (const struct dirent *entry; (entry = readdir(dir));)
        look_at(contents, str_of(entry->d_name), arena);
    closedir(dir);
    return true;
}

static int by_name(const void *a, const void *b)
{
    return str_compare(*(const struct str *)a, *(const struct str *)b);
}

static bool refuse_several(const struct contents *contents, struct err *err)
{
    char names[NAMES_SHOWN_MAX] = "";
    size_t n = 0, i = 0;

    qsort(contents->ggufs, contents->ggufs_n, sizeof *contents->ggufs, by_name);
    for (; i < contents->ggufs_n && n + contents->ggufs[i].n + 2 < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "",
                              contents->ggufs[i].s);
    return err_set(err, ERR_FORMAT, "the folder holds %zu models, name one of the files: %s%s",
                   contents->ggufs_n, names, i < contents->ggufs_n ? ", ..." : "");
}

static bool refuse_none(const struct contents *contents, struct err *err)
{
    if (contents->pickled)
        return err_set(err, ERR_FORMAT, "the weights are Python pickles (.bin, .pt); only "
                       "safetensors and GGUF are read: get the model in one of these");
    if (contents->config || contents->safetensors)
        return err_set(err, ERR_FORMAT, "the folder has no weights, or no config.json beside them");
    return err_set(err, ERR_FORMAT, "the folder holds no model: neither config.json with "
                   "safetensors nor a .gguf file");
}

static struct checkpoint *open_file(const char *path, struct err *err)
{
    struct gguf *file = gguf_open(path, err);

    return file ? checkpoint_of_gguf(file, err) : NULL;
}

static struct checkpoint *open_folder(const char *path, struct err *err)
{
    struct arena *arena = arena_new(1 << 14);
    struct contents contents = {0};
    struct checkpoint *checkpoint = NULL;

    if (!read_contents(path, &contents, arena, err))
        ;
    else if (contents.config && contents.safetensors)
        checkpoint = checkpoint_open_hf(path, err);
    else if (contents.ggufs_n == 1)
        checkpoint = open_file(arena_printf(arena, "%s/%s", path, contents.ggufs[0].s).s, err);
    else if (contents.ggufs_n > 1)
        refuse_several(&contents, err);
    else
        refuse_none(&contents, err);
    arena_free(arena);
    return checkpoint;
}

struct checkpoint *checkpoint_open(const char *path, struct err *err)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? open_folder(path, err)
                                                       : open_file(path, err);
}

void checkpoint_close(struct checkpoint *checkpoint)
{
    if (!checkpoint)
        return;
    checkpoint->close(checkpoint);
    arena_free(checkpoint->arena);
}

bool checkpoint_prefix(const struct checkpoint *checkpoint, struct err *err)
{
    return err_prefix(err, "%.*s", STR_ARG(file_base(checkpoint->path)));
}
