/* folder.c - folders for tests. */
#include "support/folder.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { OPEN_MAX_WALK = 16 };

static void need(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        abort();
    }
}

const char *folder_new(struct arena *arena)
{
    const char *tmp = getenv("TMPDIR");
    char *path = arena_cstr(arena, arena_printf(arena, "%s/pensieve-test-XXXXXX",
                                                tmp ? tmp : "/tmp"));

    need(mkdtemp(path) != NULL, path);
    return path;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    need(remove(path) == 0, path);
    return 0;
}

/* What a folder holds goes before it; a link is not followed. */
void folder_remove(const char *folder)
{
    need(nftw(folder, remove_one, OPEN_MAX_WALK, FTW_DEPTH | FTW_PHYS) == 0, folder);
}

void folder_write(const char *folder, const char *name, struct str content)
{
    char path[4096];

    need((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) < sizeof path,
         "a path is too long");
    for (char *slash = path + strlen(folder) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = '\0';
        need(mkdir(path, 0700) == 0 || errno == EEXIST, path);
    }
    FILE *file = fopen(path, "wb");
    need(file != NULL, path);
    need(content.n == 0 || fwrite(content.s, 1, content.n, file) == content.n, path);
    need(fclose(file) == 0, path);
}

int place_open(void **state)
{
    struct arena *arena = arena_new(4096);
    struct place *place = arena_alloc(arena, sizeof *place);

    *place = (struct place){arena, folder_new(arena)};
    *state = place;
    return 0;
}

int place_close(void **state)
{
    struct place *place = *state;

    folder_remove(place->root);
    arena_free(place->arena);
    return 0;
}
