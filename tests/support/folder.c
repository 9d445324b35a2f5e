/* folder.c - folders for tests. */
#include "support/folder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

static const char *path_of(char *out, size_t size, const char *folder, const char *name)
{
    need((size_t)snprintf(out, size, "%s/%s", folder, name) < size, "a path is too long");
    return out;
}

void folder_remove(const char *folder)
{
    char path[4096];
    DIR *dir = opendir(folder);

    need(dir != NULL, folder);
    for (const struct dirent *entry; (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            need(unlink(path_of(path, sizeof path, folder, entry->d_name)) == 0, entry->d_name);
    closedir(dir);
    need(rmdir(folder) == 0, folder);
}

void folder_write(const char *folder, const char *name, struct str content)
{
    char path[4096];
    FILE *file = fopen(path_of(path, sizeof path, folder, name), "wb");

    need(file != NULL, path);
    need(content.n == 0 || fwrite(content.s, 1, content.n, file) == content.n, path);
    need(fclose(file) == 0, path);
}
