/* checkpoint.c - which form a model on disk has. */
#include "engine/checkpoint.h"

#include "engine/gguf.h"

struct checkpoint *checkpoint_open(const char *path, struct err *err)
{
    struct gguf *file = gguf_open(path, err);

    return file ? checkpoint_of_gguf(file, err) : NULL;
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
    struct str name = checkpoint->path;

    for (size_t i = name.n; i > 0; i--)
        if (name.s[i - 1] == '/') {
            name = (struct str){name.s + i, name.n - i};
            break;
        }
    return err_prefix(err, "%.*s", STR_ARG(name));
}
