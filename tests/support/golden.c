/* golden.c - see golden.h. What is missing or broken here is the checkout's fault: it ends the run. */
#include "support/golden.h"

#include <stdio.h>
#include <stdlib.h>

static void give_up(const char *what, const char *name)
{
    fprintf(stderr, "%s: %s\n", what, name);
    exit(1);
}

const char *golden_path(struct arena *arena, const char *name)
{
    const char *tests = getenv("PENSIEVE_TESTS");

    if (!tests)
        give_up("PENSIEVE_TESTS must name the tests folder to find", name);
    return arena_printf(arena, "%s/%s", tests, name).s;
}

struct str golden_read(struct arena *arena, const char *name)
{
    FILE *file = fopen(golden_path(arena, name), "rb");
    long size = -1;

    if (file && fseek(file, 0, SEEK_END) == 0)
        size = ftell(file);
    if (size < 0)
        give_up("cannot open", golden_path(arena, name));
    rewind(file);
    char *bytes = arena_alloc(arena, (size_t)size);
    if (fread(bytes, 1, (size_t)size, file) != (size_t)size)
        give_up("cannot read", name);
    fclose(file);
    return (struct str){bytes, (size_t)size};
}

yyjson_val *golden_json(struct arena *arena, const char *name)
{
    yyjson_val *root = NULL;
    struct err err;

    if (!json_parse(arena, golden_read(arena, name), &root, &err))
        give_up(err.text, name);
    return root;
}

int32_t *golden_ids(struct arena *arena, yyjson_val *array, uint32_t *n)
{
    int32_t *ids = arena_array(arena, yyjson_arr_size(array), sizeof *ids);
    yyjson_val *id;
    size_t i, count;

    yyjson_arr_foreach(array, i, count, id)
        ids[i] = (int32_t)yyjson_get_int(id);
    *n = (uint32_t)count;
    return ids;
}
