/* names.c - see names.h. */
#include "base/names.h"

#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    return str_compare(*(const struct str *)a, *(const struct str *)b);
}

void names_sort(struct names *names)
{
    if (names->n)
        qsort(names->names, names->n, sizeof *names->names, compare);
}

bool names_have(const struct names *names, struct str name)
{
    return names->n && bsearch(&name, names->names, names->n, sizeof name, compare);
}

bool names_are_unique(const struct names *names)
{
    for (size_t i = 1; i < names->n; i++)
        if (str_equal(names->names[i - 1], names->names[i]))
            return false;
    return true;
}
